"""Why a host stays in use."""

from optimizer.cluster import Cluster
from optimizer.constraints.capacity import Capacity
from optimizer.explain import benefits, refusals, urgency
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.misplaced import Misplaced, Wish
from optimizer.objectives.overload import Overload
from optimizer.placement import Move, placement_of
from optimizer.problem import Problem, Term
from tests.support.clusters import LOAD, make_cluster, make_host, make_server


def texts(cluster: Cluster, max_moves: int | None) -> dict[str | None, tuple[str, str]]:
    problem = Problem(cluster, (Capacity(),), ((Term(HostsInUse()),),), max_moves)
    return {found.host: (found.rule, found.text) for found in refusals(problem, placement_of(cluster)) if "stays in use" in found.text}


def test_a_host_that_would_take_more_moves_than_are_left_is_not_called_full() -> None:
    cluster = make_cluster([make_host("a"), make_host("b")], [make_server("s0", "a"), make_server("s1", "a"), make_server("s2", "b")])
    found = texts(cluster, max_moves=0)
    assert found["a"] == ("max_moves", "a stays in use: emptying it takes 2 more moves, and the limit of 0 leaves 0")
    assert found["b"][0] == "max_moves"


def test_a_host_held_by_another_consumer_is_not_said_to_be_worth_too_little() -> None:
    cluster = make_cluster([make_host("a", held={"VCPU": 1}), make_host("b")], [make_server("s0", "a"), make_server("s1", "b")])
    assert texts(cluster, max_moves=None)["a"] == ("capacity", "a stays in use: a migration or another consumer holds something of it")


def test_the_benefits_of_two_limits_are_told_apart() -> None:
    cluster = make_cluster([make_host("a"), make_host("b")], [make_server("s0", "a", cpu_cores=4), make_server("s1", "a", cpu_cores=4)], load=LOAD)
    problem = Problem(cluster, (Capacity(),), ((Term(Overload("cpu", 50)), Term(Overload("memory", 50))),))
    (benefit,) = benefits(problem, [Move("s0", "a", "b")])
    assert benefit["overload_cpu"] > 0
    assert str(benefit["overload_memory"]) == "0.0"


def test_the_urgent_are_those_of_whom_a_wish_comes_true_the_first_first() -> None:
    cluster = make_cluster([make_host(name) for name in "abc"], [make_server(f"s{n}", "a") for n in range(5)])
    leave, come = Wish(("s0", "s1", "s4", "gone"), frozenset("a"), inside=False), Wish(("s0", "s2", "s3"), frozenset("b"), inside=True)
    problem = Problem(cluster, (Capacity(),), ((Term(HostsInUse()),), (Term(Misplaced((leave,))),), (Term(Misplaced((come,))),)))
    wanted = {**placement_of(cluster), "s0": "b", "s1": "c", "s2": "b", "s3": "c"}
    assert urgency(problem, wanted) == {"s0": 1, "s1": 1, "s2": 2}
