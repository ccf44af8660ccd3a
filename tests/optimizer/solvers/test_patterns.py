"""The pattern solver: against the model of every server, and on what it aggregates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.order import order
from optimizer.cluster import Cluster, NumaNode, Obstacle
from optimizer.constraints.base import Constraint
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.movable import Movable
from optimizer.constraints.numa import Numa
from optimizer.constraints.transient import Transient
from optimizer.objectives.base import Objective
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.problem import Level, Problem, Term
from optimizer.solvers import cp_sat, patterns
from optimizer.solvers.cp_sat_model import everything
from optimizer.solvers.pattern_model import aggregate
from optimizer.solvers.stop import MaxRuntime
from optimizer.solvers.terms import Compiled, compile_problem
from policy_sources import nova
from tests.support.clusters import clusters, make_cluster, make_host, make_server
from tests.support.numa import numa_clusters

SECOND: tuple[Level, ...] = ((Term(Moves()),), (Term(MoveCost()),), (Term(ServerMoveCost({"s0": 3, "s2": 1})),), (Term(MoveCost(), 2), Term(Moves())))


SLOTS = Fragmentation(16)


def compiled_of(cluster: Cluster, rules: tuple[Constraint, ...], *objectives: Objective, max_moves: int | None = None) -> Compiled:
    return compile_problem(Problem(cluster, rules, tuple((Term(objective),) for objective in objectives), max_moves))


def rows(*contents: tuple[int, ...], cores: int = 32, memory_mb: int = 10**6, **fields: int) -> Cluster:
    """Hosts of 32 cores with servers of the given cores on each."""
    servers = [make_server(f"s{h}-{n}", f"h{h}", vcpus=size, **fields) for h, sizes in enumerate(contents) for n, size in enumerate(sizes)]
    return make_cluster([make_host(f"h{h}", vcpus=cores, memory_mb=memory_mb, disk_gb=10**6) for h in range(len(contents))], servers)


def limit(seconds: float = 30) -> MaxRuntime:
    stop = MaxRuntime(seconds)
    stop.started()
    return stop


def exact(compiled: Compiled) -> tuple[float, ...]:
    """The best values, by CP-SAT over every server."""
    answer = cp_sat.solve_cp_sat(compiled, compiled.arrays.start, everything(compiled), limit(), 1, 1)
    assert answer.proven
    return compiled.problem.values(compiled.arrays.placement(answer.where))


def judge(compiled: Compiled) -> None:
    """The answer is legal at every stage, no better than the optimum, its bounds hold, and what it calls proven is the optimum."""
    stages: list[np.ndarray] = []
    answer = patterns.solve_patterns(compiled, limit(), 1, stages.append)
    if answer is None:
        return
    best = exact(compiled)
    for where in [*stages, answer.where]:
        assert not compiled.problem.breaches(compiled.arrays.placement(where))
    values = compiled.problem.values(compiled.arrays.placement(answer.where))
    assert answer.bounds[0] is None or answer.bounds[0] <= best[0] + 1e-9
    assert values[0] >= best[0] - 1e-9
    if answer.bounds[0] is not None and values[0] <= answer.bounds[0] + 1e-9 and len(values) > 1 and answer.bounds[1] is not None:
        assert answer.bounds[1] <= best[1] + 1e-9
    if answer.proven:
        assert values == pytest.approx(best)


@pytest.mark.parametrize(("objectives", "rules", "expected"), [
    ((SLOTS,), (Capacity(),), True), ((SLOTS, Moves()), (Capacity(),), True), ((SLOTS, HostsInUse()), (Capacity(),), True),
    ((), (Capacity(),), False), ((Moves(),), (Capacity(),), False), ((HostsInUse(), SLOTS), (Capacity(),), False),
    ((SLOTS,), (Capacity(), Transient(frozenset({"VCPU"}))), False),
])
def test_what_it_applies_to(objectives: tuple[Objective, ...], rules: tuple[Constraint, ...], expected: bool) -> None:
    assert patterns.applies(compiled_of(rows((4,), (4,)), rules, *objectives)) == expected


@pytest.mark.parametrize(("level", "expected"), [
    ((Term(SLOTS), Term(Moves(), 0.001)), True), ((Term(SLOTS), Term(HostsInUse())), False), ((Term(SLOTS), Term(Fragmentation(8))), False),
])
def test_first_levels_of_several_terms(level: Level, expected: bool) -> None:
    assert patterns.applies(compile_problem(Problem(rows((4,), (4,)), (Capacity(),), (level,)))) == expected


# Hosts of 32 cores; slots of 16.
@pytest.mark.parametrize(("contents", "max_moves", "moves", "slots"), [
    (((8, 12), (8, 12), (20,)), None, 2, 2),  # 12 free everywhere: the first host can be emptied, 8 go to the second and 12 to the third
    (((8, 12), (8, 12), (20,)), 1, 1, 1),
    (((8, 12), (8, 12), (20,)), 0, 0, 0),
    (((8, 12), (24,), (24,)), None, 1, 1),  # 12, 8 and 8 free: 8 fits exactly
    (((20,), (20,)), None, 0, 0),  # no host takes it
    (((16, 4), (16, 4), (16, 4), (16, 4)), 1, 1, 1), (((16, 4), (16, 4), (16, 4), (16, 4)), 3, 3, 3),
    (((8, 8, 8), (8, 8, 8), (8, 8, 8), (24,)), None, 2, 2),
])
def test_by_hand(contents: tuple[tuple[int, ...], ...], max_moves: int | None, moves: int, slots: int) -> None:
    compiled = compiled_of(rows(*contents), (Capacity(),), SLOTS, Moves(), max_moves=max_moves)
    answer = patterns.solve_patterns(compiled, limit(), 1, lambda where: None)
    assert answer is not None
    assert answer.proven
    placement = compiled.arrays.placement(answer.where)
    assert SLOTS.slots(compiled.problem.cluster, placement) == slots
    assert compiled.problem.values(placement)[1] == answer.bounds[1] == moves


def test_servers_and_hosts_that_are_interchangeable_are_one() -> None:
    cluster = rows((8, 4), (8, 4), (4, 4), (4,))
    model = aggregate(compiled_of(cluster, (Capacity(),), SLOTS))
    assert model is not None
    assert sorted(len(kind.members) for kind in model.kinds) == [2, 5]
    assert [hosts.tolist() for hosts in model.hosts] == [[0, 1], [2], [3]]
    assert model.tight_room.shape == (3, 0)
    costs = ServerMoveCost({"s0-1": 3})
    model = aggregate(compiled_of(cluster, (Capacity(),), SLOTS, costs))
    assert model is not None
    assert sorted(len(kind.members) for kind in model.kinds) == [1, 2, 4]


def test_servers_that_cannot_move_are_a_part_of_their_host() -> None:
    cluster = rows((8, 4), (8, 4))
    model = aggregate(compiled_of(cluster, (Capacity(), Movable({"s0-0": (Obstacle(kind="pci", text="it has a card"),)})), SLOTS))
    assert model is not None
    assert [len(kind.members) for kind in model.kinds] == [2, 1]
    assert model.shape.cap.tolist() == [[6], [8]]


@pytest.mark.parametrize(("memory_mb", "tight"), [(32 * 1024, 0), (32 * 1024 - 1, 1)])
def test_memory_counts_only_where_it_can_be_short(memory_mb: int, tight: int) -> None:
    servers = [make_server(f"s{n}", f"h{n % 2}", vcpus=4, memory_mb=4096, resources={"DISK_GB": 0}) for n in range(4)]
    cluster = make_cluster([make_host(f"h{n}", vcpus=32, memory_mb=memory_mb) for n in range(2)], servers)
    model = aggregate(compiled_of(cluster, (Capacity(),), SLOTS))
    assert model is not None
    assert model.tight_room.shape[1] == tight


def test_memory_that_is_short_is_kept() -> None:
    """Each server takes a quarter of a host's memory, so that a fifth one never fits, though there are cores for it."""
    servers = [make_server(f"s{h}-{n}", f"h{h}", vcpus=5, memory_mb=1024, resources={"DISK_GB": 0}) for h in range(6) for n in range(3)]
    cluster = make_cluster([make_host(f"h{h}", vcpus=30, memory_mb=4096) for h in range(6)], servers)
    compiled = compiled_of(cluster, (Capacity(),), SLOTS, Moves())
    answer = patterns.solve_patterns(compiled, limit(), 1, lambda where: None)
    assert answer is not None
    placement = compiled.arrays.placement(answer.where)
    assert not compiled.problem.breaches(placement)
    # 15 free everywhere: each that gives one away has a slot, and the other takes it in without losing one.
    assert (SLOTS.slots(cluster, placement), compiled.problem.values(placement)[1]) == (3, 3)


def test_moves_have_an_order() -> None:
    """Two full hosts that exchange servers by way of room that only the exchange makes would have none."""
    node = NumaNode(cpus=16, memory_mb=10**6)
    servers = [make_server(f"s{h}-{k}-{n}", f"h{h}", vcpus=size, numa=(k,), resources={"DISK_GB": 0, "MEMORY_MB": 0})
               for h in range(6) for k in range(2) for n, size in enumerate(((8, 2, 2), (4, 4, 2, 2))[(h + k) % 2])]
    cluster = make_cluster([make_host(f"h{h}", vcpus=32, numa=(node, node)) for h in range(6)], servers)
    for size in (4, 8, 16):
        compiled = compiled_of(cluster, (Capacity(), Numa()), Fragmentation(size, numa=True), Moves())
        answer = patterns.solve_patterns(compiled, limit(), 1, lambda where: None)
        assert answer is not None
        moved = np.flatnonzero(answer.where != compiled.arrays.start).tolist()
        assert not order(compiled.arrays, answer.where, moved, len(moved)).left


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_numa_nodes(data: st.DataObject) -> None:
    cluster = data.draw(numa_clusters())
    objective = Fragmentation(data.draw(st.sampled_from((2, 3, 4))), numa=True)
    second = data.draw(st.sampled_from(SECOND))
    most = data.draw(st.sampled_from((None, 1, 2, 3)))
    compiled = compile_problem(Problem(cluster, (*nova.constraints(cluster), Numa()), ((Term(objective),), second), most))
    if any(server.numa and server.resources["VCPU"] for server in cluster.servers):
        judge(compiled)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_hosts_with_every_rule_of_nova(data: st.DataObject) -> None:
    cluster = data.draw(clusters(max_servers=8))
    objective = Fragmentation(data.draw(st.sampled_from((1, 2, 3))), data.draw(st.sampled_from(("VCPU", "MEMORY_MB"))))
    second = data.draw(st.sampled_from(SECOND))
    most = data.draw(st.sampled_from((None, 1, 3)))
    judge(compile_problem(Problem(cluster, tuple(nova.constraints(cluster)), ((Term(objective, 2.0),), second), most)))
