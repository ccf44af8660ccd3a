"""Mending: whoever has a part in a breach is found, and what comes out is legal and better."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.constraints.allowed_hosts import AllowedHosts, HostNeed
from optimizer.constraints.capacity import Capacity
from optimizer.objectives.base import Objective
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.lonely import Lonely
from optimizer.objectives.misplaced import Misplaced, Wish
from optimizer.objectives.moves import Moves
from optimizer.objectives.scattering import Scattering
from optimizer.problem import Problem, Term, better
from optimizer.solvers import mending
from optimizer.solvers.stop import MaxIterations
from optimizer.solvers.terms import compile_problem
from tests.support.clusters import clusters, make_cluster, make_host, make_server
from tests.support.problems import OBJECTIVES, problems

RULES = [one for one in OBJECTIVES if type(one) in mending._PARTS]


@pytest.mark.parametrize("objective", RULES, ids=repr)
@settings(max_examples=40)
@given(data=st.data())
def test_somebody_has_a_part_in_what_is_broken_and_nobody_in_what_is_not(objective: Objective, data: st.DataObject) -> None:
    cluster = data.draw(clusters())
    compiled = compile_problem(Problem(cluster, (), ((Term(objective),),)))
    where = np.array([data.draw(st.integers(0, len(cluster.hosts) - 1)) for _ in cluster.servers], dtype=np.int32)
    value = objective.value(cluster, compiled.arrays.placement(where))
    assert mending.concerned(compiled, where).any() == (value > 0)


@settings(max_examples=80)
@given(data=st.data())
def test_what_comes_out_is_legal_and_no_worse(data: st.DataObject) -> None:
    problem = data.draw(problems())
    compiled = compile_problem(problem)
    told: list[np.ndarray] = []
    mended = mending.improve(compiled, compiled.arrays.start, MaxIterations(1), told.append)
    before, after = (compiled.problem.values(compiled.arrays.placement(where)) for where in (compiled.arrays.start, mended))
    assert not problem.breaches(compiled.arrays.placement(mended))
    assert np.array_equal(mended, compiled.arrays.start) or better(after, before) or after == pytest.approx(before)
    assert bool(told) == (not np.array_equal(mended, compiled.arrays.start))


def test_it_is_for_rules_about_servers_and_groups() -> None:
    cluster = make_cluster([make_host("h0")], [make_server("s0", "h0")])
    for objective, expected in ((Crowded(("s0",)), True), (Scattering(("s0",), {}), True), (Lonely(("s0",), (), {}), True),
                                (Misplaced(()), True), (Moves(), False)):
        assert mending.applies(compile_problem(Problem(cluster, (), ((Term(Moves()),), (Term(objective),))))) == expected


def test_a_host_is_emptied_and_who_may_not_go_stays() -> None:
    cluster = make_cluster([make_host(f"h{h}") for h in range(4)], [make_server(f"s{n}", "h0") for n in range(6)])
    rules = (Capacity(), AllowedHosts({"s0": (HostNeed(frozenset({"h0"}), True),)}))
    gone = Misplaced((Wish(tuple(f"s{n}" for n in range(6)), frozenset({"h0"}), False),))
    compiled = compile_problem(Problem(cluster, rules, ((Term(gone),), (Term(Moves()),))))
    mended = mending.improve(compiled, compiled.arrays.start, MaxIterations(1), lambda where: None)
    assert (mended == 0).tolist() == [True, False, False, False, False, False]
