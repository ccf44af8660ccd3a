"""Free room in pieces too small to be of use."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.sat.python import cp_model

from optimizer.cluster import Cluster, NumaNode
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.numa import Numa
from optimizer.errors import PlacewrightError
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.placement import Seated, placement_of
from optimizer.problem import Problem, Term
from optimizer.solvers import local_search
from optimizer.solvers.cp_sat_model import build, everything
from optimizer.solvers.cp_sat_terms import TERMS
from optimizer.solvers.terms import Compiled, compile_problem
from policy_sources import nova
from tests.support.clusters import clusters, in_flight, make_cluster, make_host, make_server, moved
from tests.support.numa import numa_clusters

NODE = NumaNode(cpus=8, memory_mb=8192)
HOSTS = make_cluster(
    [make_host("a", held={"VCPU": 1}), make_host("b"), make_host("c", status="disabled")],
    [make_server("s1", "a", vcpus=2), make_server("s2", "b", vcpus=1), make_server("s3", "c", vcpus=4)],
    migrations=(in_flight("s1", "b", "a", VCPU=2),))
NODES = make_cluster(
    [make_host("a", vcpus=16, numa=(NODE, NODE)), make_host("b", numa=(NODE,))],
    [make_server("s1", "a", vcpus=6, numa=(0,)), make_server("s2", "a", vcpus=4, numa=(0, 1)), make_server("s3", "b", vcpus=3, numa=(0,)),
     make_server("s4", "b", vcpus=3)])


@pytest.mark.parametrize("size", [0, -16])
def test_bad_sizes(size: int) -> None:
    with pytest.raises(ValueError, match="slot size"):
        Fragmentation(size)


@pytest.mark.parametrize(("objective", "cluster", "to", "seat", "slots", "value"), [
    # a has 8 - 1 held - 2 = 5 free, b has 8 - 1 - 2 for a migration = 5; c does not count.
    (Fragmentation(4), HOSTS, {}, {}, 2, 2 / 10),
    (Fragmentation(4), HOSTS, {"s2": "a"}, {}, 2, (0 + 2) / 10),
    (Fragmentation(5), HOSTS, {}, {}, 2, 0),
    (Fragmentation(5), HOSTS, {"s3": "b"}, {}, 1, (0 + 1) / 10),
    (Fragmentation(4), HOSTS, {"s3": "b", "s1": "b"}, {}, 0, (3 + 3) / 10),  # b: 8 - 9 = -1 free, a slot that is missing and 3 over
    (Fragmentation(1000, "MEMORY_MB"), HOSTS, {}, {}, 30, (360 + 360) / 30720),
    # a0 has 8 - 6 - 2 = 0 free, a1 6, b 5; s4 is on no node that is known.
    (Fragmentation(4, numa=True), NODES, {}, {}, 2, (0 + 2 + 1) / 11),
    (Fragmentation(4, numa=True), NODES, {"s3": "a"}, {"s3": 1}, 2, (0 + 3 + 0) / 11),
    (Fragmentation(4, numa=True), NODES, {"s1": "a"}, {"s1": 1}, 2, (2 + 0 + 1) / 11),
    (Fragmentation(4, numa=True), NODES, {"s4": "a"}, {}, 2, (0 + 2 + 1) / 11),
])
def test_by_hand(objective: Fragmentation, cluster: Cluster, to: dict[str, str], seat: dict[str, int], slots: int, value: float) -> None:
    now = placement_of(cluster)
    placement = Seated({**now, **to}, {**now.seat, **seat}) if isinstance(now, Seated) else moved(cluster, **to)
    assert objective.slots(cluster, placement) == slots
    assert objective.value(cluster, placement) == pytest.approx(value)


@pytest.mark.parametrize(("numa", "rule"), [(True, "numa"), (False, "capacity")])
def test_room_that_no_rule_packs_is_an_error(numa: bool, rule: str) -> None:
    compiled = compile_problem(Problem(NODES, (), ((Term(Fragmentation(4, numa=numa)),),)))
    with pytest.raises(PlacewrightError, match=f"rule {rule} packs"):
        local_search.State(compiled, compiled.arrays.start)


def agree(compiled: Compiled, objective: Fragmentation, data: st.DataObject) -> None:
    """The local search knows what each legal move changes, and the model's least sum at a placement is its value."""
    cluster, arrays = compiled.problem.cluster, compiled.arrays
    rows = np.arange(len(arrays.start), dtype=np.int32)
    state = local_search.State(compiled, arrays.start)
    (legal, change), now = state.tables(rows), objective.value(cluster, placement_of(cluster))
    for s in rows.tolist():
        for place in range(change.shape[1]):
            if legal[s, place]:
                where = arrays.start.copy()
                where[s] = place
                assert change[s, place] == pytest.approx(objective.value(cluster, arrays.placement(where)) - now)
    model = build(compiled, arrays.start, everything(compiled))
    where = arrays.start.copy()
    for s, places in model.at.items():
        where[s] = data.draw(st.sampled_from(sorted(places)))
        model.cp.add(places[int(where[s])] == 1)
    placement = arrays.placement(where)
    if not compiled.problem.breaches(placement):
        encoded = TERMS[type(objective)](model, objective)
        model.cp.minimize(encoded.sum)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        assert solver.solve(model.cp) == cp_model.OPTIMAL
        assert solver.objective_value / encoded.scale == pytest.approx(objective.value(cluster, placement))
        assert solver.objective_value <= encoded.greatest


@settings(max_examples=50)
@given(st.data())
def test_solvers_agree_on_hosts(data: st.DataObject) -> None:
    objective = Fragmentation(data.draw(st.sampled_from((1, 2, 3))), data.draw(st.sampled_from(("VCPU", "MEMORY_MB"))))
    cluster = data.draw(clusters())
    agree(compile_problem(Problem(cluster, tuple(nova.constraints(cluster)), ((Term(objective),),))), objective, data)


@settings(max_examples=50)
@given(st.data())
def test_solvers_agree_on_nodes(data: st.DataObject) -> None:
    objective = Fragmentation(data.draw(st.sampled_from((2, 3, 4))), numa=True)
    agree(compile_problem(Problem(data.draw(numa_clusters()), (Capacity(), Numa()), ((Term(objective),),))), objective, data)
