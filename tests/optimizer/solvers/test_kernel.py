"""The kernels: what they call legal the checkers accept, a cost is what the objectives say, and a state kept up to date is a fresh one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.arrays import Index
from optimizer.cluster import Cluster
from optimizer.constraints.affinity import Affinity
from optimizer.constraints.among import Among
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.base import Constraint, check
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.dependency import Dependency
from optimizer.constraints.fault_domains import FaultDomains
from optimizer.constraints.transient import Transient
from optimizer.objectives.base import Objective
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.group_move_cost import GroupMoveCost
from optimizer.placement import placement_of
from optimizer.problem import Problem, Term
from optimizer.solvers.kernel import (
    State,
    assign_state,
    copy_state,
    cost_of,
    new_state,
    refresh,
    shift,
    shift_cost,
    shift_legal,
    swap,
    swap_cost,
    swap_legal,
)
from optimizer.solvers.packed import NEXT_LEVEL, Packed, pack
from optimizer.solvers.terms import Compiled, compile_problem
from tests.support.clusters import clusters, make_cluster, make_host, make_server
from tests.support.problems import OBJECTIVES, in_one_of_several, problems
from tests.support.walks import shifts, swaps, walk


def shifted(X: State, s: int, p: int) -> Index:
    where = X.where.copy()
    where[s] = p
    return where


def swapped(X: State, s: int, t: int) -> Index:
    where = X.where.copy()
    where[[s, t]] = where[[t, s]]
    return where


def anywhere(data: st.DataObject, P: Packed) -> Index:
    """A place for each server, about half of them at home; legal or not."""
    places = st.integers(0, len(P.room) * P.modes - 1)
    return np.array([data.draw(st.just(home) | places) for home in P.start.tolist()], dtype=np.int32)


class Claims:
    """Where the kernels claim to refuse nothing that the checkers accept.

    Not for a way home: a server may always stay where the cluster has it, but nobody is sent back to a host that is overfull or lacks somebody.
    Not for groups that are to be inside one of several sets of hosts and are in none of them alone. Not where servers keep what they had on hosts
    with NUMA nodes: a change of node is counted as one of host. A swap is two shifts for groups that need one another near, and servers whose
    groups are tied are not swapped at all.
    """

    def __init__(self, compiled: Compiled, P: Packed) -> None:
        cluster, rules = compiled.problem.cluster, compiled.problem.constraints
        number = {server.id: s for s, server in enumerate(cluster.servers)}
        self.held = {number[m] for rule in rules if isinstance(rule, Among) and not in_one_of_several(rule, cluster) for m in rule.members
                     if m in number}
        self.lacking = any(found.rule == Dependency.name for found in check(rules, cluster, placement_of(cluster)))
        self.kept = P.any_kept and P.modes > 1
        self.P, self.home = P, compiled.arrays.home

    def shift(self, s: int, p: int) -> bool:
        host, seat = divmod(p, self.P.modes)
        return not self.lacking and not self.kept and s not in self.held and host != self.home[s] and bool(self.P.seats[s, seat])

    def swap(self, X: State, s: int, t: int) -> bool:
        tied, near = (pointers[1:] > pointers[:-1] for pointers in (self.P.tied_from, self.P.present_from))
        return self.shift(s, int(X.where[t])) and self.shift(t, int(X.where[s])) and not tied[s] and not tied[t] and not (near[s] and near[t])


@settings(max_examples=150)
@given(data=st.data())
def test_legal_is_what_the_checkers_accept(data: st.DataObject) -> None:
    problem = data.draw(problems())
    compiled = compile_problem(problem)
    P = pack(compiled)
    claims = Claims(compiled, P)
    for X in walk(data, P, compiled.arrays.start, 3):
        for s, p in shifts(P, X):
            found = problem.breaches(compiled.arrays.placement(shifted(X, s, p)))
            if shift_legal(P, X, s, p):
                assert not found, (s, p, X.where)
            elif claims.shift(s, p):
                assert found, (s, p, X.where)
        for s, t in swaps(P, X):
            found = problem.breaches(compiled.arrays.placement(swapped(X, s, t)))
            before = copy_state(X)
            if swap_legal(P, X, s, t):
                assert not found, (s, t, X.where)
            elif claims.swap(X, s, t):
                assert found, (s, t, X.where)
            assert all(np.array_equal(now, then) for now, then in zip(X, before, strict=True))  # to ask changes nothing


def total(compiled: Compiled, where: Index) -> float:
    """All levels as one number, from the values of the objectives themselves."""
    return sum(NEXT_LEVEL**n * value for n, value in enumerate(compiled.problem.values(compiled.arrays.placement(where))))


def close(value: float) -> Any:
    """Equal but for rounding, so that what a second or third level counts is not lost."""
    return pytest.approx(value, rel=1e-11, abs=1e-11)


@settings(max_examples=150)
@given(data=st.data())
def test_a_cost_is_what_the_objectives_change_by(data: st.DataObject) -> None:
    compiled = compile_problem(data.draw(problems()))
    P = pack(compiled)
    for X in walk(data, P, compiled.arrays.start, 3):
        now = total(compiled, X.where)
        for s, p in shifts(P, X):
            if shift_legal(P, X, s, p):
                assert now + shift_cost(P, X, s, p) == close(total(compiled, shifted(X, s, p))), (s, p, X.where)
        for s, t in swaps(P, X):
            if swap_legal(P, X, s, t):
                assert now + swap_cost(P, X, s, t) == close(total(compiled, swapped(X, s, t))), (s, t, X.where)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@settings(max_examples=25)
@given(data=st.data())
def test_each_objective_alone_wherever_servers_are(objective: Objective, data: st.DataObject) -> None:
    """Without rules, so that anything is legal; a cost is the change of cost_of too."""
    cluster = data.draw(clusters())
    compiled = compile_problem(Problem(cluster, (), ((Term(objective, 3.0),),)))
    P = pack(compiled)
    X = new_state(P, anywhere(data, P))
    now, cost = total(compiled, X.where), cost_of(P, X)
    for changes, changed, change in ((shifts, shifted, shift_cost), (swaps, swapped, swap_cost)):
        for first, second in changes(P, X):
            where, difference = changed(X, first, second), change(P, X, first, second)
            assert difference == pytest.approx(total(compiled, where) - now, abs=1e-9), (change.__name__, first, second)
            assert difference == pytest.approx(cost_of(P, new_state(P, where)) - cost, abs=1e-9), (change.__name__, first, second)


@settings(max_examples=150)
@given(data=st.data())
def test_a_state_kept_up_to_date_is_a_fresh_one(data: st.DataObject) -> None:
    compiled = compile_problem(data.draw(problems()))
    P = pack(compiled)
    X = new_state(P, compiled.arrays.start)
    for _ in range(data.draw(st.integers(1, 12))):
        ways = [(shift, *way) for way in shifts(P, X)] + [(swap, *way) for way in swaps(P, X)]
        if ways:
            change, first, second = data.draw(st.sampled_from(ways))  # legal or not
            change(P, X, first, second)
    fresh = new_state(P, X.where)
    for name, kept, computed in zip(State._fields, X, fresh, strict=True):
        same = np.allclose(kept, computed, rtol=1e-11, atol=1e-11) if kept.dtype.kind == "f" else np.array_equal(kept, computed)
        assert same, (name, kept, computed)
    assert cost_of(P, X) == close(cost_of(P, fresh))
    refresh(P, X)
    assert all(np.array_equal(kept, computed) for kept, computed in zip(X, fresh, strict=True))


@settings(max_examples=100)
@given(data=st.data())
def test_a_fresh_state_says_what_the_placement_says(data: st.DataObject) -> None:
    """Counted anew, from the arrays and the rules."""
    problem = data.draw(problems())
    compiled = compile_problem(problem)
    P, arrays = pack(compiled), compiled.arrays
    where = anywhere(data, P)
    X, hosts = new_state(P, where), where // P.modes
    D = len(arrays.quantities)
    assert (X.free[:, :D] == arrays.room - arrays.used(where) - arrays.away(where)).all()
    assert X.count.tolist() == np.bincount(hosts, minlength=len(P.room)).tolist()
    assert X.figures[0] == (where != P.start).sum()
    assert [row.tolist() for row in X.apart] == [(np.bincount(hosts[group.members], minlength=len(P.room)) + group.held).tolist()
                                                 for group in arrays.apart if len(group.members) > 1 or group.held.any()]
    assert X.distinct.tolist() == [len(set(group.domain[hosts[group.members]].tolist())) for group in arrays.scattered]
    placement = compiled.arrays.placement(where)
    assert [X.figures[1]] * bool(P.groups) == [term.objective.value(problem.cluster, placement) for level in problem.levels for term in level
                                               if isinstance(term.objective, GroupMoveCost)]


def test_states_are_copied_whole() -> None:
    P = pack(compile_problem(Problem(two(4, 4), (Capacity(),), ())))
    X = new_state(P, P.start)
    Y = copy_state(X)
    shift(P, Y, 0, 1)
    assert (X.where.tolist(), Y.where.tolist()) == ([0, 1], [1, 1])
    assert (X.free != Y.free).any()
    assign_state(X, Y)
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(X, Y, strict=True))
    shift(P, Y, 0, 0)
    assert X.where.tolist() == [1, 1]


# ---- by hand


def two(*vcpus: int, **fields: Any) -> Cluster:
    """Two hosts of 8 VCPU, and servers s0, s1 and so on of these sizes on them by turns."""
    return make_cluster([make_host("h0"), make_host("h1")], [make_server(f"s{n}", f"h{n % 2}", vcpus=size) for n, size in enumerate(vcpus)], **fields)


def packed(cluster: Cluster, *rules: Constraint, max_moves: int | None = None) -> tuple[Packed, State]:
    P = pack(compile_problem(Problem(cluster, rules, (), max_moves)))
    return P, new_state(P, P.start)


KEPT = Transient(frozenset({"VCPU"}))


@pytest.mark.parametrize(("sizes", "rules", "legal"), [
    ((5, 5), (Capacity(),), True), ((8, 8), (Capacity(),), True),
    ((5, 5), (KEPT,), False), ((4, 4), (KEPT,), True), ((5, 3), (KEPT,), True), ((5, 4), (KEPT,), False),
    ((5, 4, 3), (Capacity(),), True), ((6, 4, 3), (Capacity(),), True), ((4, 6, 3), (Capacity(),), False),
])
def test_a_swap_needs_the_room_of_both(sizes: tuple[int, ...], rules: tuple[Constraint, ...], legal: bool) -> None:
    P, X = packed(two(*sizes), *rules)
    assert swap_legal(P, X, 0, 1) == swap_legal(P, X, 1, 0) == legal


def test_who_comes_home_takes_what_was_kept() -> None:
    """s1 leaves h1, where 5 of 8 are used, and fills h0, but keeps its 4; home again, it needs nothing new."""
    P, X = packed(two(4, 4, 0, 1), KEPT)
    assert not shift_legal(P, X, 0, 1)  # 5 of 8 are used there
    assert shift_legal(P, X, 1, 0)
    shift(P, X, 1, 0)
    assert X.free[:, 0].tolist() == [0, 3]
    assert not shift_legal(P, X, 3, 0)
    assert shift_legal(P, X, 1, 1)
    shift(P, X, 1, 1)
    assert X.free[:, 0].tolist() == [4, 3]


def test_two_of_a_group_that_keeps_apart_exchange_places() -> None:
    P, X = packed(two(1, 1, 1), Capacity(), AntiAffinity("pair", ("s0", "s1")))
    assert swap_legal(P, X, 0, 1)
    assert not swap_legal(P, X, 2, 1)  # s1 would join s0
    assert not shift_legal(P, X, 1, 0)
    assert shift_legal(P, X, 2, 1)


def test_nobody_is_left_where_the_one_that_stayed_leaves() -> None:
    """s0 went to h1 because s1 stays there: s1 cannot go on to h2, where s2 stays, until s0 is gone."""
    hosts = [make_host(f"h{h}") for h in range(3)]
    P, X = packed(make_cluster(hosts, [make_server(f"s{n}", f"h{n}") for n in range(3)]), Affinity("three", ("s0", "s1", "s2")))
    assert shift_legal(P, X, 1, 2)
    shift(P, X, 0, 1)
    assert not shift_legal(P, X, 1, 2)
    assert not shift_legal(P, X, 1, 0)  # nobody stays there
    shift(P, X, 0, 2)
    assert shift_legal(P, X, 1, 2)
    assert not swap_legal(P, X, 1, 2)


def test_two_of_a_scattered_group_exchange_places() -> None:
    P, X = packed(two(1, 1, 1), FaultDomains("pair", ("s0", "s1"), {}, 2))
    assert swap_legal(P, X, 0, 1)
    assert not swap_legal(P, X, 2, 1)
    assert not shift_legal(P, X, 0, 1)


def test_somebody_needed_near_is_exchanged_for_another() -> None:
    """s0 needs s2 or s4, which are on its host: one of them may leave, not both, and s0 cannot go alone. Whom it needs is put in first."""
    P, X = packed(two(1, 1, 1, 1, 1), Dependency("front", ("s0",), "back", ("s2", "s4"), {}))
    assert not shift_legal(P, X, 0, 1)
    assert shift_legal(P, X, 2, 1)
    assert swap_legal(P, X, 2, 1)
    shift(P, X, 2, 1)
    assert not shift_legal(P, X, 4, 1)
    assert swap_legal(P, X, 2, 4)
    assert not swap_legal(P, X, 4, 1)
    assert shift_legal(P, X, 0, 1)


@pytest.mark.parametrize(("limit", "legal"), [(0, False), (1, False), (2, True), (None, True)])
def test_a_swap_is_two_moves(limit: int | None, legal: bool) -> None:
    P, X = packed(two(1, 1), Capacity(), max_moves=limit)
    assert swap_legal(P, X, 0, 1) == legal


def test_a_swap_that_brings_both_home_is_always_within_the_limit() -> None:
    P, X = packed(two(1, 1), Capacity(), max_moves=2)
    swap(P, X, 0, 1)
    assert X.figures[0] == 2
    assert swap_legal(P, X, 0, 1)


@pytest.mark.parametrize(("groups", "away", "change"), [
    # Two of the one group that moved go home.
    ((("s0", "s1"),), ("s0", "s1"), -2),
    # The other group has one away, or as many.
    ((("s0", "s1"), ("s2", "s3")), ("s0", "s1", "s2"), -1), ((("s0", "s1"), ("s2", "s3")), ("s0", "s1", "s2", "s3"), 0),
    # They are of two groups.
    ((("s0", "s2"), ("s1", "s3")), ("s0", "s1"), -1), ((("s0", "s2"), ("s1", "s3")), ("s0", "s1", "s2"), -1),
    ((("s0", "s2"), ("s1", "s3")), ("s0", "s1", "s2", "s3"), -1), ((("s0",), ("s2", "s3")), ("s0", "s1", "s2", "s3"), 0),
])
def test_the_greatest_number_of_moves_when_two_go_home(groups: tuple[tuple[str, ...], ...], away: tuple[str, ...], change: int) -> None:
    cluster = two(1, 1, 1, 1)
    compiled = compile_problem(Problem(cluster, (), ((Term(GroupMoveCost(groups)),),)))
    P = pack(compiled)
    X = new_state(P, np.array([1 - s % 2 if f"s{s}" in away else s % 2 for s in range(4)], dtype=np.int32))
    assert swap_cost(P, X, 0, 1) == change
    before = int(X.figures[1])
    swap(P, X, 0, 1)
    assert X.figures[1] - before == change
    assert swap_cost(P, X, 0, 1) == -change


def test_fragments_do_not_count_what_is_kept() -> None:
    """s0 leaves for h1 and keeps its 3 VCPU on h0: the free room there is 8 all the same, as the objective has it."""
    compiled = compile_problem(Problem(two(3, 1), (Capacity(), KEPT), ((Term(Fragmentation(4)),),)))
    P = pack(compiled)
    X = new_state(P, P.start)
    change = total(compiled, np.array([1, 1])) - total(compiled, P.start)
    assert shift_cost(P, X, 0, 1) == pytest.approx(change)
    before = cost_of(P, X)
    shift(P, X, 0, 1)
    assert cost_of(P, X) - before == pytest.approx(change)
