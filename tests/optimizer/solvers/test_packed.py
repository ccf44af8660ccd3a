"""Packed problems: the cost of a placement is what its levels add up to, and groups are what the rules say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.arrays import Inside
from optimizer.cluster import Cluster
from optimizer.constraints.among import Among
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.dependency import Dependency
from optimizer.constraints.preserve import Preserve
from optimizer.errors import PlacewrightError
from optimizer.objectives.base import Objective
from optimizer.objectives.broken import Broken
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.group_move_cost import GroupMoveCost
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.spread import Spread
from optimizer.placement import placement_of
from optimizer.problem import Level, Problem, Term
from optimizer.solvers.cp_sat_terms import TERMS
from optimizer.solvers.kernel import cost_of, new_state
from optimizer.solvers.packed import NEXT_LEVEL, PACKINGS, Packed, pack, part_of, pinned
from optimizer.solvers.terms import Compiled, compile_problem
from tests.support.clusters import clusters, make_cluster, make_host, make_server
from tests.support.problems import OBJECTIVES, problems
from tests.support.walks import walk


def cost(compiled: Compiled, P: Packed, where: list[int]) -> float:
    return float(cost_of(P, new_state(P, np.array(where, dtype=np.int32))))


@settings(max_examples=150)
@given(data=st.data())
def test_levels_add_up_each_a_ten_thousandth_of_the_one_before(data: st.DataObject) -> None:
    """But for what no placement changes, such as hosts that stay in use: that is left out."""
    compiled = compile_problem(data.draw(problems()))
    P, constant = pack(compiled), []
    for X in walk(data, P, compiled.arrays.start, 3):
        values = compiled.problem.values(compiled.arrays.placement(X.where))
        constant.append(sum(1e-4**n * value for n, value in enumerate(values)) - cost(compiled, P, X.where.tolist()))
    assert constant == pytest.approx([constant[0]] * len(constant), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@settings(max_examples=25)
@given(cluster=clusters(), weight=st.sampled_from((0.25, 1.0, 40.0)), data=st.data())
def test_each_objective_alone(objective: Objective, cluster: Cluster, weight: float, data: st.DataObject) -> None:
    """Where nobody but servers holds anything, nothing is left out."""
    chosen = [[data.draw(st.integers(0, len(cluster.hosts) - 1)) for _ in cluster.servers] for _ in range(3)]
    alone = replace(cluster, hosts=tuple(replace(host, held={}) for host in cluster.hosts), migrations=())
    for what, constants in ((cluster, 1), (alone, 0)):
        compiled = compile_problem(Problem(what, (), ((Term(objective, weight),),)))
        P = pack(compiled)
        left = [compiled.problem.values(compiled.arrays.placement(np.array(where, dtype=np.int32)))[0] - cost(compiled, P, where) for where in chosen]
        assert left == pytest.approx([left[0] * constants] * 3, abs=1e-9)


def test_every_objective_is_packed() -> None:
    assert set(PACKINGS) == set(TERMS) == {type(objective) for objective in OBJECTIVES} | {Fragmentation}


CLUSTER = make_cluster([make_host(f"h{h}") for h in range(3)], [make_server(f"s{s}", f"h{s % 3}", vcpus=1 + s, cpu_cores=s / 2) for s in range(4)])
LOAD, COST = Term(LoadCost("VCPU", {"h0": 2, "h1": 2, "h2": 2})), Term(MoveCost())


@pytest.mark.parametrize(("levels", "expected"), [
    ((), 0), (((),), 0),
    # h0 has s3 of 4 VCPU, h1 has s0 and s1 with 1 + 2, h2 has s2 with 3. One of four servers of the same memory moved.
    (((LOAD,),), 4), (((COST,),), 0.25), (((Term(LOAD.objective, 2.0), Term(MoveCost(), 4.0)),), 8 + 1),
    (((LOAD,), (COST,)), 4 + NEXT_LEVEL / 4), (((COST,), (LOAD,)), 0.25 + 4 * NEXT_LEVEL), (((COST,), (), (LOAD,)), 0.25 + 4 * NEXT_LEVEL**2),
    (((LOAD, COST), (Term(Moves(), 3.0), COST)), 4.25 + 3.25 * NEXT_LEVEL),
])
def test_costs_by_hand(levels: tuple[Level, ...], expected: float) -> None:
    compiled = compile_problem(Problem(CLUSTER, (), levels))
    assert cost(compiled, pack(compiled), [1, 1, 2, 0]) == pytest.approx(expected, abs=1e-12)


def test_other_levels_than_its_own() -> None:
    compiled = compile_problem(Problem(CLUSTER, (Capacity(),), ((COST,), (Term(Spread("cpu")),))))
    own, other = pack(compiled), pack(compiled, ((LOAD,),))
    assert cost(compiled, other, [1, 1, 2, 0]) == 4
    assert (len(own.variance_weight), len(other.variance_weight)) == (1, 0)
    assert (own.demand.shape[1], other.demand.shape[1]) == (4, 3)  # load is a quantity of its own, VCPU is packed already


# ---- where two things speak of the same


def test_growth_that_is_repaired_may_differ_from_growth_that_is_preserved() -> None:
    """8 VCPU, of which 5 + 4 will be needed by the rule and 6 + 4 by the objective."""
    cluster = make_cluster([make_host("h0"), make_host("h1")], [make_server("s0", "h0", vcpus=4), make_server("s1", "h0", vcpus=4)])
    problem = Problem(cluster, (Capacity(), Preserve({"s0": {"VCPU": 5}})), ((Term(Broken({"s0": {"VCPU": 6}})),),))
    compiled = compile_problem(problem)
    assert cost(compiled, pack(compiled), [0, 0]) == problem.values(placement_of(cluster))[0] == 2 / 8


def test_two_groupings_are_refused() -> None:
    level = (Term(GroupMoveCost((("s0", "s1"),))), Term(GroupMoveCost((("s0",), ("s1",)))))
    with pytest.raises(PlacewrightError, match="group_move_cost"):
        pack(compile_problem(Problem(CLUSTER, (), (level,))))


# ---- groups


def test_a_group_of_one_keeps_apart_from_nobody() -> None:
    P = pack(compile_problem(Problem(CLUSTER, (AntiAffinity("one", ("s0",)), AntiAffinity("two", ("s1", "s3")), AntiAffinity("gone", ("x",))), ())))
    assert P.apart_limit.tolist() == [1]
    assert P.apart_from.tolist() == [0, 0, 1, 1, 2]


def test_servers_that_several_need_are_counted_once() -> None:
    zones = {"h0": "a", "h1": "a", "h2": "b"}
    rules = (Dependency("web", ("s0",), "db", ("s2", "s3"), zones), Dependency("app", ("s1",), "db", ("s2", "s3"), zones),
             Dependency("web", ("s0",), "app", ("s1",), {}))
    P = pack(compile_problem(Problem(CLUSTER, rules, ())))
    # web and db by zone, app by zone; web and app by host.
    assert len(P.present_division) == 5
    assert P.domains.tolist() == [[0, 0, 1], [0, 1, 2]]
    assert [P.present[P.present_from[s]:P.present_from[s + 1]].tolist() for s in range(4)] == [[0, 3], [2, 4], [1], [1]]
    assert [P.needs[P.needs_from[g]:P.needs_from[g + 1]].tolist() for g in range(5)] == [[1], [], [1], [4], []]
    assert [P.needed[P.needed_from[g]:P.needed_from[g + 1]].tolist() for g in range(5)] == [[], [0, 2], [], [], [3]]


ONE, TWO, LAST = (np.array(mask, dtype=np.bool_) for mask in ([1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]))


@pytest.mark.parametrize(("hosts", "expected"), [
    ([0, 0], 0), ([1, 1], 0), ([0, 1], 0), ([1, 2], 1), ([2, 2], 1), ([0, 2], -1), ([3, 3], -1),
    ([0, 3], 0), ([3, 2], 1),  # one in no part does not count
])
def test_the_part_that_a_group_is_in(hosts: list[int], expected: int) -> None:
    assert part_of(Inside(np.array([0, 1], dtype=np.int32), (ONE, TWO)), np.array(hosts, dtype=np.int32)) == expected
    assert part_of(Inside(np.array([0, 1], dtype=np.int32), ()), np.array(hosts, dtype=np.int32)) == -1


@pytest.mark.parametrize(("members", "parts", "expected"), [
    (("s0",), None, [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]]),  # alone it may go to any part
    (("s0", "s1"), None, [[0, 1], [0, 1], [0, 1, 2], [0, 1, 2]]),
    (("s0", "s2"), None, [[], [0, 1, 2], [], [0, 1, 2]]),  # torn apart, and held
    (("s0", "s2"), {0: 1}, [[1, 2], [0, 1, 2], [1, 2], [0, 1, 2]]),
    (("s0", "s1"), {7: 1}, [[0, 1], [0, 1], [0, 1, 2], [0, 1, 2]]),
])
def test_members_are_held_to_their_part(members: tuple[str, ...], parts: dict[int, int] | None, expected: list[list[int]]) -> None:
    rule = Among("group", members, (frozenset({"h0", "h1"}), frozenset({"h1", "h2"})))
    eligible, server_class = pinned(compile_problem(Problem(CLUSTER, (rule,), ())), parts)
    assert [np.flatnonzero(eligible[c]).tolist() for c in server_class] == expected
