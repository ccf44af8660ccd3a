"""A problem: its values, its breaches, and which values are better."""

import pytest

from optimizer.constraints.available import Available
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.remaining import Remaining
from optimizer.problem import Problem, Term, better
from tests.support.clusters import make_cluster, make_host, make_server, moved

CLUSTER = make_cluster([make_host("a"), make_host("b"), make_host("off", status="disabled")],
                       [make_server("s1", "a"), make_server("s2", "a")])


@pytest.mark.parametrize(("first", "second", "expected"), [
    ((1.0,), (1.0,), False), ((1.0,), (1.0 + 1e-12,), False), ((1.0,), (2.0,), True), ((2.0,), (1.0,), False),
    ((1.0, 5.0), (2.0, 0.0), True), ((1.0, 5.0), (1.0, 0.0), False), ((1.0 + 1e-12, 0.0), (1.0, 5.0), True), ((), (), False),
])
def test_better_by_the_first_level_that_differs(first: tuple[float, ...], second: tuple[float, ...], expected: bool) -> None:
    assert better(first, second) is expected


def test_levels_of_different_number_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        better((1.0,), (1.0, 2.0))


@pytest.mark.parametrize(("limit", "to", "expected"), [
    (0, {"s1": "b"}, [("max_moves", "1 servers move, 0 may")]),
    (1, {"s1": "b", "s2": "off"}, [("available", "off is disabled and up; s2 cannot go there"),
                                   ("max_moves", "2 servers move, 1 may")]),
    (1, {"s1": "b"}, []), (0, {}, []), (None, {"s1": "b", "s2": "b"}, []),
])
def test_breaches_include_the_limit_on_moves(limit: int | None, to: dict[str, str], expected: list[tuple[str, str]]) -> None:
    problem = Problem(CLUSTER, (Available(),), (), max_moves=limit)
    assert [(found.rule, found.text) for found in problem.breaches(moved(CLUSTER, **to))] == expected


def test_a_level_is_the_weighted_sum_of_its_terms() -> None:
    problem = Problem(CLUSTER, (), ((Term(HostsInUse(), 2.0), Term(Remaining("a"), 3.0)), (Term(MoveCost()),)))
    assert problem.values(moved(CLUSTER)) == (2.0 * 0.5 + 3.0, 0.0)
    assert problem.values(moved(CLUSTER, s1="b")) == (2.0 + 3.0 * 0.5, 0.5)
