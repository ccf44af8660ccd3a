"""NUMA nodes inside a host."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.sat.python import cp_model

from optimizer.arrays import compile_arrays
from optimizer.cluster import Cluster, NumaNode, Obstacle
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.movable import Movable
from optimizer.constraints.numa import Numa
from optimizer.placement import Seated, moves_between, placement_of
from optimizer.problem import Problem
from optimizer.solvers import local_search
from optimizer.solvers.cp_sat_model import build, everything
from optimizer.solvers.terms import compile_problem
from tests.support.clusters import make_cluster, make_host, make_server
from tests.support.numa import numa_clusters, seated_placements

NODE = NumaNode(cpus=4, memory_mb=8192)


def two_hosts(**b: Any) -> Cluster:
    """On a: s1 (2 cores on node 0), s2 (4 cores over nodes 0 and 1), s3 (node unknown); on b: s4 (3 cores on node 1)."""
    return make_cluster(
        [make_host("a", numa=(NODE, NODE)), make_host("b", **{"numa": (NODE, NODE), **b})],
        [make_server("s1", "a", vcpus=2, numa=(0,)), make_server("s2", "a", vcpus=4, memory_mb=4096, numa=(0, 1)), make_server("s3", "a"),
         make_server("s4", "b", vcpus=3, numa=(1,))])


@pytest.mark.parametrize(("b", "to", "seat", "expected"), [
    ({}, {"s1": "b"}, {"s1": 1}, [("VCPU on NUMA node 1 of b: 5 used of 4", ("s1",), False)]),
    ({}, {"s2": "b"}, {}, [("VCPU on NUMA node 1 of b: 5 used of 4", ("s2",), False)]),
    ({"numa": (NODE,)}, {"s1": "b"}, {"s1": 1}, [
        ("MEMORY_MB on NUMA node 1 of b: 2048 used of 0", ("s1",), False), ("VCPU on NUMA node 1 of b: 5 used of 0", ("s1",), False)]),
    ({"numa": (NumaNode(cpus=4, memory_mb=512), NODE)}, {"s1": "b"}, {"s1": 0}, [
        ("MEMORY_MB on NUMA node 0 of b: 1024 used of 512", ("s1",), False)]),
    ({"numa": (NODE, NumaNode(cpus=2, memory_mb=8192))}, {}, {}, [("VCPU on NUMA node 1 of b: 3 used of 2", (), True)]),
    ({"numa": (NODE, NumaNode(cpus=2, memory_mb=8192))}, {}, {"s4": 0}, []),
    ({}, {"s1": "b"}, {"s1": 0}, []),
    ({}, {"s1": "a"}, {"s1": 1}, []),
    ({"numa": (NODE, NumaNode(cpus=3, memory_mb=8192)), "ratio": 1.5}, {"s1": "b"}, {"s1": 1}, [
        ("VCPU on NUMA node 1 of b: 5 used of 4", ("s1",), False)]),
    ({"numa": ()}, {"s3": "b"}, {}, [
        ("MEMORY_MB on NUMA node 1 of b: 1024 used of 0", (), True), ("VCPU on NUMA node 1 of b: 3 used of 0", (), True)]),
])
def test_what_a_node_takes(b: dict[str, Any], to: dict[str, str], seat: dict[str, int], expected: list[object]) -> None:
    cluster = two_hosts(**b)
    now = placement_of(cluster)
    assert isinstance(now, Seated)
    found = list(Numa().violations(cluster, Seated({**now, **to}, {**now.seat, **seat})))
    assert [(v.text, v.servers, v.inherited) for v in found] == expected


def test_parts_of_a_server_that_spans_nodes_are_rounded_up() -> None:
    cluster = make_cluster([make_host("a", numa=(NODE, NODE)), make_host("b", numa=(NumaNode(cpus=2, memory_mb=8192), NODE))],
                           [make_server("s1", "a", vcpus=5, numa=(0, 1))])
    assert [v.text for v in Numa().violations(cluster, {"s1": "b"})] == ["VCPU on NUMA node 0 of b: 3 used of 2"]


def test_a_change_of_node_is_a_move_that_obstacles_forbid() -> None:
    cluster = make_cluster([make_host("a", numa=(NODE, NODE))], [make_server("s1", "a", numa=(0,))])
    placement = Seated({"s1": "a"}, {"s1": 1})
    assert [move.server for move in moves_between(placement_of(cluster), placement)] == ["s1"]
    rule = Movable({"s1": (Obstacle(kind="pci", text="it has a card"),)})
    assert [v.inherited for v in rule.violations(cluster, placement)] == [False]
    assert not list(rule.violations(cluster, placement_of(cluster)))
    overfull = make_cluster([make_host("a", vcpus=2, held={"VCPU": 1}, numa=(NODE, NODE))], [make_server("s1", "a", vcpus=2, numa=(0,))])
    assert [v.inherited for v in Capacity().violations(overfull, placement)] == [False]


def test_places_and_placements() -> None:
    cluster = two_hosts()
    arrays = compile_arrays(cluster, (Capacity(), Numa()))
    assert arrays.modes == 2
    assert arrays.start.tolist() == [0, 0, 0, 3]
    assert arrays.seats.tolist() == [[True, True], [True, False], [True, False], [True, True]]
    placement = arrays.placement(np.array([3, 2, 0, 2], dtype=np.int32))
    assert isinstance(placement, Seated)
    assert (dict(placement), placement.seat) == ({"s1": "b", "s2": "b", "s3": "a", "s4": "b"}, {"s1": 1, "s4": 0})
    assert arrays.where(placement).tolist() == [3, 2, 0, 2]


@settings(max_examples=80)
@given(st.data())
def test_checker_model_and_local_search_agree(data: st.DataObject) -> None:
    cluster = data.draw(numa_clusters())
    limit = data.draw(st.sampled_from((None, 1, 2)))
    problem = Problem(cluster, (Capacity(), Numa()), (), limit)
    compiled = compile_problem(problem)
    arrays = compiled.arrays
    if arrays.modes > 1:
        placement = data.draw(seated_placements(cluster, arrays.modes))
        found = problem.breaches(placement)
        assert admits(compiled, arrays.where(placement)) == (not found), found
    state = local_search.State(compiled, arrays.start)
    legal = state.legal(np.arange(len(arrays.start), dtype=np.int32))
    for s in range(len(arrays.start)):
        for place in range(legal.shape[1]):
            where = arrays.start.copy()
            where[s] = place
            if arrays.seats[s, place % arrays.modes] and place != arrays.start[s]:
                assert legal[s, place] == (not problem.breaches(arrays.placement(where))), (s, place)
            else:
                assert not legal[s, place]


def admits(compiled: Any, where: np.ndarray) -> bool:
    """Whether the model of the whole problem has this placement among its solutions."""
    arrays = compiled.arrays
    model = build(compiled, arrays.start, everything(compiled))
    for s, place in enumerate(where.tolist()):
        if s not in model.at and place != arrays.start[s]:
            return False
        if s in model.at:
            if place not in model.at[s]:
                return False
            model.cp.add(model.at[s][place] == 1)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    return solver.solve(model.cp) != cp_model.INFEASIBLE
