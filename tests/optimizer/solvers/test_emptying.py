"""Emptying hosts: the choice is a bound, the packing keeps the rules, and what has to make room does."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.cluster import Cluster
from optimizer.constraints.load_limit import LoadLimit
from optimizer.objectives.host_cost import HostCost
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.overload import Overload
from optimizer.objectives.spread import Spread
from optimizer.placement import Placement
from optimizer.problem import Level, Problem, Term, better
from optimizer.solvers import emptying
from optimizer.solvers.stop import MaxRuntime
from optimizer.solvers.terms import compile_problem
from policy_sources import nova
from tests.support.clusters import LOAD, clusters, make_cluster, make_group, make_host, make_server
from tests.support.small import tight

FEWEST: tuple[Level, ...] = ((Term(HostsInUse()), Term(Overload("cpu", 60), 100.0)), (Term(MoveCost()),))
LEVELS: tuple[tuple[Level, ...], ...] = (
    FEWEST, ((Term(HostsInUse()), Term(MoveCost(), 0.4)), (Term(Moves()),)),
    ((Term(HostCost({"h0": 1.5, "h1": 0.25, "h3": 1.0})),), (Term(Moves()),)))


@pytest.mark.parametrize(("levels", "taken"), [
    *((levels, True) for levels in LEVELS), (((Term(HostsInUse()),),), True), (((Term(MoveCost()),), (Term(HostsInUse()),)), False),
    (((Term(HostsInUse()), Term(Spread("cpu"))),), False), (((Term(HostsInUse()),), (Term(Spread("cpu")),)), False),
    (((Term(HostsInUse(), -1.0),),), False), ((), False),
])
def test_problems_whose_first_level_is_the_use_of_hosts(levels: tuple[Level, ...], taken: bool) -> None:
    cluster = make_cluster([make_host("h0"), make_host("h1")], [make_server("s0", "h0", cpu_cores=1)], load=LOAD)
    assert emptying.applies(compile_problem(Problem(cluster, (), levels))) is taken


def emptied(problem: Problem, seed: int = 1) -> tuple[Any, tuple[float | None, ...], list[Placement]]:
    """The choice, the bounds, and every placement that was told of."""
    compiled, told = compile_problem(problem), []
    stop = MaxRuntime(30)
    stop.started()
    choice = emptying.choose(compiled, stop)
    emptying.improve(compiled, compiled.arrays.start, choice, stop, seed, lambda where: told.append(compiled.arrays.placement(where)))
    return choice, emptying.level_bounds(compiled, choice), told


def best_values(problem: Problem) -> tuple[float, ...]:
    cluster, best = problem.cluster, None
    for hosts in itertools.product([host.name for host in cluster.hosts], repeat=len(cluster.servers)):
        placement = dict(zip([server.id for server in cluster.servers], hosts, strict=True))
        if (best is None or better(problem.values(placement), best)) and not problem.breaches(placement):
            best = problem.values(placement)
    assert best is not None
    return best


@pytest.mark.parametrize("levels", LEVELS)
@given(cluster=clusters(max_hosts=4, max_servers=5) | tight(), limited=st.booleans(), most=st.sampled_from((None, None, 1, 3)))
def test_the_choice_is_a_bound_and_the_packing_is_legal(levels: tuple[Level, ...], cluster: Cluster, limited: bool, most: int | None) -> None:
    if len(cluster.hosts) ** len(cluster.servers) > 5000 or any(server.usage is None for server in cluster.servers):
        return
    problem = Problem(cluster, (*nova.constraints(cluster), *((LoadLimit("cpu", 60),) if limited else ())), levels, most)
    choice, bounds, told = emptied(problem)
    assert all(problem.breaches(placement) == [] for placement in told)
    if choice is None:
        assert most is not None or not cluster.servers
        return
    best = best_values(problem)
    assert len(bounds) == len(levels)
    for n, bound in enumerate(bounds):
        if bound is not None:
            assert bound <= best[n] + 1e-9
            if abs(best[n] - bound) > 1e-9:
                break


def full(sizes: dict[str, list[int]], memory_gb: int = 8, **fields: Any) -> Cluster:
    """Hosts of so much memory with servers of these sizes, in GiB."""
    servers = [make_server(f"{host}{n}", host, memory_mb=1024 * size, cpu_cores=0.1) for host, on in sizes.items() for n, size in enumerate(on)]
    return make_cluster([make_host(name, vcpus=32, memory_mb=1024 * memory_gb, disk_gb=1000) for name in sizes], servers, load=LOAD, **fields)


def test_room_is_made_where_it_lies_in_pieces() -> None:
    """Two hosts have 2 GiB free each, the one to be emptied a server of 4: two of the small ones have to change place first."""
    cluster = full({"a": [2, 2, 2], "b": [2, 2, 2], "c": [4]})
    problem = Problem(cluster, tuple(nova.constraints(cluster)), FEWEST)
    _, bounds, told = emptied(problem)
    used, cost = min(problem.values(placement) for placement in told)
    assert used == bounds[0] == pytest.approx(2 / 3)
    assert cost == pytest.approx(2 / 14 + (4 + 2) / 32)  # the large server, and one small one that makes room


def test_the_second_level_is_proven_where_nothing_has_to_make_room() -> None:
    cluster = full({"a": [2, 2], "b": [4], "c": [1], "d": [1]})
    problem = Problem(cluster, tuple(nova.constraints(cluster)), FEWEST)
    _, bounds, told = emptied(problem)
    assert min(problem.values(placement) for placement in told) == pytest.approx(bounds)


def test_zones_keep_a_host_each() -> None:
    hosts = [make_host(f"{zone}{n}", zone=zone) for zone in ("east", "west") for n in range(3)]
    servers = [make_server(f"s{host.name}", host.name, pinned_zone=host.zone, cpu_cores=0.1) for host in hosts]
    cluster = make_cluster(hosts, servers, load=LOAD)
    problem = Problem(cluster, tuple(nova.constraints(cluster)), FEWEST)
    _, bounds, told = emptied(problem)
    assert min(problem.values(placement) for placement in told)[0] == bounds[0] == pytest.approx(2 / 6)


def test_a_group_that_is_together_keeps_its_host() -> None:
    cluster = full({"a": [1, 1], "b": [1], "c": [6]}, groups=(make_group("affinity", "a0", "a1"),))
    problem = Problem(cluster, tuple(nova.constraints(cluster)), FEWEST)
    choice, _, told = emptied(problem)
    assert choice.keep.tolist()[0]
    assert all(placement["a0"] == placement["a1"] == "a" for placement in told)


def test_an_overloaded_host_is_relieved() -> None:
    servers = [make_server(f"a{n}", "a", cpu_cores=1.6) for n in range(4)]
    servers += [make_server(f"{name}0", name, cpu_cores=1) for name in "bc"]
    cluster = make_cluster([make_host(name) for name in "abc"], servers, load=LOAD)
    problem = Problem(cluster, (*nova.constraints(cluster), LoadLimit("cpu", 60)), FEWEST)
    _, _, told = emptied(problem)
    best = min(told, key=problem.values)
    assert Overload("cpu", 60).value(cluster, best) == 0
    assert sum(host == "a" for host in best.values()) == 3


def test_what_fits_by_sums_alone_is_not_promised() -> None:
    """Three servers of 3 GiB fit into two hosts of 5 by their sum, and not in fact."""
    cluster = full({"a": [3], "b": [3], "c": [3]}, memory_gb=5)
    problem = Problem(cluster, tuple(nova.constraints(cluster)), FEWEST)
    _, bounds, told = emptied(problem)
    assert bounds[0] == pytest.approx(2 / 3)
    assert all(problem.values(placement)[0] == 1 for placement in told)


def test_a_seed_decides() -> None:
    cluster = full({"a": [2, 2, 2], "b": [2, 2, 2], "c": [4], "d": [1, 1, 1]})
    problem = Problem(cluster, tuple(nova.constraints(cluster)), FEWEST)
    assert emptied(problem, 3)[2] == emptied(problem, 3)[2]


def test_nothing_is_chosen_once_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A choice takes a second where there are thousands of hosts, and there are many to try."""
    compiled = compile_problem(Problem(full({"a": [2], "b": [4]}), (), FEWEST))
    stop = MaxRuntime(30)
    stop.started()
    monkeypatch.setattr(stop, "remaining_s", lambda: 0.0)
    monkeypatch.setattr(emptying, "choose", lambda *arguments: pytest.fail("another choice"))
    found = emptying.improve(compiled, compiled.arrays.start, None, stop, 1, lambda where: pytest.fail("a placement"))
    assert found is compiled.arrays.start
