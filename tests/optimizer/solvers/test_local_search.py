"""Local search: never worse, always legal, and at the end of a descent no single move helps."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.cluster import Cluster
from optimizer.constraints.capacity import Capacity
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.spread import Spread
from optimizer.placement import placement_of
from optimizer.problem import Level, Problem, Term
from optimizer.solvers import local_search
from optimizer.solvers.kernel import cost_of, new_state
from optimizer.solvers.local_search import State, descend, evacuate
from optimizer.solvers.stop import MaxRuntime
from optimizer.solvers.terms import compile_problem
from policy_sources import nova
from tests.support.clusters import make_cluster, make_host, make_server
from tests.support.problems import problems
from tests.support.walks import walk


def started(seconds: float = 30) -> MaxRuntime:
    stop = MaxRuntime(seconds)
    stop.started()
    return stop


@pytest.mark.parametrize("chunk", [local_search._CHUNK, 1], ids=["all at once", "server by server"])
@settings(max_examples=80)
@given(data=st.data())
def test_a_descent_ends_where_no_single_move_helps(chunk: int, data: st.DataObject) -> None:
    problem = data.draw(problems())
    compiled = compile_problem(problem)
    state = State(compiled, compiled.arrays.start)
    *_, X = walk(data, state.packed, compiled.arrays.start, 2)
    begin = X.where.copy()
    state = State(compiled, begin)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_search, "_CHUNK", chunk)
        descend(state, started())
    assert problem.breaches(compiled.arrays.placement(state.now.where)) == []
    before, after = (cost_of(state.packed, new_state(state.packed, where)) for where in (begin, state.now.where))
    assert after < before or state.now.where.tolist() == begin.tolist()
    legal, gain = state.tables(state.packed.movable)
    assert not (legal & (gain < -local_search._WORTH)).any()


@settings(max_examples=100)
@given(data=st.data())
def test_hosts_are_emptied_legally_and_for_the_better(data: st.DataObject) -> None:
    problem = data.draw(problems())
    compiled = compile_problem(problem)
    state = State(compiled, compiled.arrays.start)
    *_, X = walk(data, state.packed, compiled.arrays.start, 2)
    begin = X.where.copy()
    state = State(compiled, begin)
    evacuate(state, started())
    assert problem.breaches(compiled.arrays.placement(state.now.where)) == []
    before, after = (cost_of(state.packed, new_state(state.packed, where)) for where in (begin, state.now.where))
    assert after < before or state.now.where.tolist() == begin.tolist()
    used, left = (set((where // state.packed.modes).tolist()) for where in (begin, state.now.where))
    assert left <= used | set(np.flatnonzero(compiled.bound).tolist())


def evacuated(cluster: Cluster, *levels: Level) -> list[int]:
    compiled = compile_problem(Problem(cluster, tuple(nova.constraints(cluster)), levels))
    state = State(compiled, compiled.arrays.start)
    evacuate(state, started())
    assert state.count.tolist() == np.bincount(state.where, minlength=len(state.count)).tolist()
    where: list[int] = state.where.tolist()
    return where


FEWEST: tuple[Level, ...] = ((Term(HostsInUse()),), (Term(MoveCost()),))


def rows(*on: int, **fields: Any) -> Cluster:
    """Hosts of 8 VCPU with so many servers of 2 VCPU each."""
    return make_cluster([make_host(f"h{h}", **fields.get(f"h{h}", {})) for h in range(len(on))],
                        [make_server(f"s{h}.{n}", f"h{h}", vcpus=2, **fields.get(f"s{h}", {})) for h, count in enumerate(on) for n in range(count)])


@pytest.mark.parametrize(("cluster", "expected"), [
    # The host with least to move goes first, into the fullest that has room.
    (rows(2, 1, 3), [0, 0, 2, 2, 2, 2]), (rows(1, 1, 1), [2, 2, 2]),
    # No room for all: nothing moves.
    (rows(3, 3, 3), [0, 0, 0, 1, 1, 1, 2, 2, 2]), (rows(2, 4), [0, 0, 1, 1, 1, 1]),
    # Who cannot move keeps its host in use, and takes others in.
    (rows(1, 1, s0={"locked": True}), [0, 0]), (rows(1, 1, s0={"locked": True}, s1={"locked": True}), [0, 1]),
    # A host that is closed does not count, and takes nobody; one that something else holds stays in use and takes anybody.
    (rows(1, 1, h0={"status": "disabled"}), [0, 1]), (rows(1, 0, h1={"held": {"VCPU": 1}}), [1]), (rows(1, 0), [0]),
])
def test_which_hosts_are_emptied(cluster: Cluster, expected: list[int]) -> None:
    assert evacuated(cluster, *FEWEST) == expected


def test_hosts_are_not_emptied_where_that_costs_more() -> None:
    assert evacuated(rows(1, 1), (Term(HostsInUse()), Term(Moves(), 0.4))) == [1, 1]
    assert evacuated(rows(1, 1), (Term(HostsInUse()), Term(Moves(), 0.6))) == [0, 1]
    assert evacuated(rows(1, 3), (Term(HostsInUse()), Term(LoadCost("VCPU", {"h0": 6, "h1": 6}), 0.4))) == [0, 1, 1, 1]


def test_no_empty_host_is_filled_to_empty_another() -> None:
    level = (Term(LoadCost("VCPU", {"h0": 0})),)
    assert evacuated(rows(1, 0), level) == [0]
    assert evacuated(rows(1, 1), level) == [1, 1]


@pytest.mark.parametrize("work", [descend, evacuate])
def test_nothing_is_done_without_time(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = rows(1, 3)
    compiled = compile_problem(Problem(cluster, (Capacity(),), FEWEST))
    state = State(compiled, compiled.arrays.start)
    stop = started()
    monkeypatch.setattr(stop, "remaining_s", lambda: 0.0)
    work(state, stop)
    assert state.now.where.tolist() == compiled.arrays.start.tolist()
    monkeypatch.setattr(stop, "remaining_s", lambda: math.inf)
    work(state, stop)
    assert state.now.where.tolist() == [1, 1, 1, 1]


def test_the_hottest_host_is_relieved_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where servers are looked at a few at a time, and there is time for one move only."""
    cluster = make_cluster([make_host(f"h{h}") for h in range(3)], [make_server("warm", "h0", cpu_cores=1), make_server("cool", "h0", cpu_cores=1),
                                                                    *(make_server(f"hot{n}", "h1", cpu_cores=1.5) for n in range(3))])
    problem = Problem(cluster, (Capacity(),), ((Term(Spread("cpu")),),))
    compiled = compile_problem(problem)
    state = State(compiled, compiled.arrays.start)
    monkeypatch.setattr(local_search, "_CHUNK", 1)
    stop, calls = started(), iter((1.0, 1.0, 0.0, 0.0))
    monkeypatch.setattr(stop, "remaining_s", lambda: next(calls))
    descend(state, stop)
    assert state.where.tolist() == [0, 0, 2, 1, 1]
    assert problem.values(compiled.arrays.placement(state.now.where)) < problem.values(placement_of(cluster))


def test_objectives_one_by_one_follow_the_moves() -> None:
    cluster = rows(2, 0, 1)
    used, moves = HostsInUse(), Moves()
    compiled = compile_problem(Problem(cluster, (Capacity(),), ((Term(used), Term(moves, 0.01)),)))
    state = State(compiled, compiled.arrays.start)
    row = np.array([0], dtype=np.int32)
    assert state.delta(used, row)[0].tolist() == pytest.approx([0, 1 / 3, 0])
    assert state.delta(moves, row)[0].tolist() == [0, 1, 1]
    state.move(1, 2)
    assert state.delta(used, row)[0].tolist() == pytest.approx([0, 0, -1 / 3])
    assert state.delta(moves, row)[0].tolist() == [0, 1, 1]
    state.move(0, 2)
    assert state.delta(used, row)[0].tolist() == pytest.approx([1 / 3, 1 / 3, 0])
    assert state.delta(moves, row)[0].tolist() == [-1, 0, 0]
    assert state.gain(row)[0].tolist() == pytest.approx([1 / 3 - 0.01, 1 / 3, 0])
    assert state.moves == 2
