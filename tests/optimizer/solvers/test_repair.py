"""Repair: the fewest servers that must leave, and where they go."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.arrays import Index
from optimizer.cluster import Cluster, Host, Server
from optimizer.constraints.among import Among
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.available import Available
from optimizer.constraints.base import Constraint
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.fault_domains import FaultDomains
from optimizer.constraints.numa import Numa
from optimizer.constraints.preserve import Preserve
from optimizer.constraints.run import Run
from optimizer.constraints.transient import Transient
from optimizer.growth import NOT_RUNNING
from optimizer.objectives.broken import Broken
from optimizer.objectives.moves import Moves
from optimizer.objectives.spread import Spread
from optimizer.placement import Placement
from optimizer.problem import Level, Problem, Term
from optimizer.result import Status
from optimizer.solvers import bounds, repair
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime
from optimizer.solvers.terms import compile_problem
from policy_sources import nova
from tests.support.clusters import clusters, make_cluster, make_host, make_server, moved
from tests.support.numa import numa_clusters

STOPPED = make_host(NOT_RUNNING, status="disabled", inventory={}, vcpus=0, memory_mb=0, disk_gb=0)


def problem_of(cluster: Cluster, grown: dict[str, dict[str, int]], must_run: tuple[str, ...] = (), *rules: Constraint) -> Problem:
    return Problem(cluster, (Capacity(), Available(), Preserve(grown), Run(must_run), *rules),
                   ((Term(Broken(grown, must_run)),), (Term(Moves()),)))


def repaired(problem: Problem) -> Placement:
    compiled = compile_problem(problem)
    steps: list[Index] = []
    stop = MaxRuntime(30)
    stop.started()
    where = repair.improve(compiled, compiled.arrays.start, stop, steps.append)
    placement = compiled.arrays.placement(where)
    assert [step.tolist() for step in steps] == ([where.tolist()] if (where != compiled.arrays.start).any() else [])
    assert problem.breaches(placement) == []
    return placement


# ---- the fewest that must leave


@pytest.mark.parametrize(("excess", "demand", "least", "sets"), [
    ([1], [[3], [1], [2]], 1, [(1,), (2,), (0,)]),  # smallest first
    ([4], [[3], [1], [2]], 2, [(0, 1), (0, 2)]),
    ([2, 2], [[2, 0], [0, 2], [2, 2]], 1, [(2,)]),
    ([2, 2], [[2, 0], [0, 2], [1, 1]], 2, [(0, 1)]),
    ([2, -5], [[1, 9], [1, 0], [0, 7]], 2, [(0, 1)]),  # a quantity that is not lacking does not matter
    ([9], [[3], [1], [2]], 0, []),
    ([1], np.zeros((0, 1)), 0, []),
])
def test_the_fewest_by_hand(excess: list[int], demand: list[list[int]], least: int, sets: list[tuple[int, ...]]) -> None:
    assert repair.fewest(np.array(excess), np.array(demand, dtype=np.int64)) == (least, sets)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=8), st.integers(1, 20), st.integers(-3, 20), st.booleans())
def test_no_fewer_reach_the_excess(demand: list[tuple[int, int]], first: int, second: int, few: bool) -> None:
    amounts, excess = np.array(demand, dtype=np.int64), np.array([first, second])
    with pytest.MonkeyPatch.context() as patch:
        if few:
            patch.setattr(repair, "_ENUMERATED", 1)
        least, sets = repair.fewest(excess, amounts)
    reach = [size for size in range(1, len(demand) + 1)
             if any((amounts[list(one)].sum(axis=0) >= excess).all() for one in itertools.combinations(range(len(demand)), size))]
    assert all((amounts[list(one)].sum(axis=0) >= excess).all() and len(set(one)) == len(one) for one in sets)
    if few:
        assert least <= min(reach, default=0)
    else:
        assert least == min(reach, default=0)
        assert all(len(one) == least for one in sets)
    assert bool(sets) == bool(reach)


# ---- small ones by hand


HOSTS = [make_host(name, vcpus=8) for name in "abcd"]


@pytest.mark.parametrize(("servers", "grown", "rules", "moves"), [
    ([("a", 4), ("a", 4), ("b", 1)], {"s0": 6}, (), 1),
    ([("a", 4), ("a", 2), ("a", 2), ("b", 1), ("c", 1), ("d", 1)], {"s0": 8}, (), 2),
    # the fewest is s0 alone, which nobody can take: the two others go
    ([("a", 4), ("a", 2), ("a", 2), ("b", 3)], {"s0": 8}, (Among("g", ("s0",), (frozenset("a"),)),), 2),
    ([("a", 4), ("a", 4)], {"s0": 2}, (), 0),
    ([("a", 5), ("b", 5), ("c", 5), ("d", 5), ("a", 3), ("b", 1)], {"s0": 8}, (), 1),
    # s1 fits nowhere unless one that fits elsewhere makes room
    ([("a", 4), ("a", 4), ("b", 4), ("b", 3), ("c", 5), ("d", 8)], {"s0": 8}, (), 2),
    # both members may not meet
    ([("a", 4), ("a", 4), ("b", 1), ("c", 8), ("d", 8)], {"s0": 6}, (AntiAffinity("g", ("s1", "s2")), AntiAffinity("h", ("s0", "s2"))), 0),
    # the set of s1 has no room, so s0 goes
    ([("a", 4), ("a", 4), ("b", 8), ("c", 1)], {"s0": 6}, (Among("g", ("s1",), (frozenset("ab"),)),), 1),
    ([("a", 4), ("a", 4)], {"s0": 99}, (), 0),  # too large for any host
])
def test_repaired_by_hand(servers: list[tuple[str, int]], grown: dict[str, int], rules: tuple[Constraint, ...], moves: int) -> None:
    cluster = make_cluster(HOSTS, [make_server(f"s{n}", host, vcpus=vcpus) for n, (host, vcpus) in enumerate(servers)])
    problem = problem_of(cluster, {server: {"VCPU": amount} for server, amount in grown.items()}, (), *rules)
    before, after = problem.values(moved(cluster)), problem.values(repaired(problem))
    assert after[1] == moves
    assert after[0] == (0 if moves else before[0])


@pytest.mark.parametrize(("stopped", "rules", "expected"), [
    (2, (), {"s0": "d", "s1": "d"}),  # where it is tightest
    (2, (AntiAffinity("g", ("s0", "s1")),), {"s0": "d", "s1": "c"}),
    (2, (Among("g", ("s0", "s1"), (frozenset("a"), frozenset("cd"))),), {"s0": "d", "s1": "d"}),
    (2, (Among("g", ("s0", "s1", "s2"), (frozenset("ab"), frozenset("cd"))),), {"s0": "b", "s1": "b"}),  # s2 runs on a
    (2, (Among("g", ("s0", "s1"), ()),), {"s0": NOT_RUNNING, "s1": NOT_RUNNING}),
])
def test_servers_are_started(stopped: int, rules: tuple[Constraint, ...], expected: dict[str, str]) -> None:
    servers = [*(make_server(f"s{n}", NOT_RUNNING, vcpus=2) for n in range(stopped)),
               *(make_server(f"s{n + 2}", host, vcpus=n) for n, host in enumerate("abcd"))]
    cluster = make_cluster([*HOSTS[:3], make_host("d", vcpus=7), STOPPED], servers)
    placement = repaired(problem_of(cluster, {}, ("s0", "s1"), *rules))
    assert {name: placement[name] for name in expected} == expected
    assert all(placement[s.id] == s.host for s in servers[stopped:])


def test_what_need_not_run_is_not_started() -> None:
    cluster = make_cluster([make_host("a"), STOPPED], [make_server("s0", NOT_RUNNING)])
    assert repaired(problem_of(cluster, {})) == {"s0": NOT_RUNNING}


def test_where_there_is_nothing_nothing_is_broken() -> None:
    assert repaired(problem_of(make_cluster([make_host("a")]), {"deleted": {"VCPU": 1}})) == {}
    assert repaired(problem_of(make_cluster([make_host("a")]), {})) == {}
    assert repaired(problem_of(make_cluster([]), {})) == {}


# ---- what it is for


@pytest.mark.parametrize(("levels", "expected"), [
    ((), False), (((Term(Moves()),), (Term(Broken()),)), False), (((Term(Broken()),), (Term(Moves()),)), True),
    (((Term(Spread("cpu")), Term(Broken(), 2.0)),), True),
])
def test_it_is_for_problems_that_first_ask_for_repair(levels: tuple[Level, ...], expected: bool) -> None:
    cluster = make_cluster([make_host("a")], [make_server("s0", "a", cpu_cores=1)])
    assert repair.applies(compile_problem(Problem(cluster, (), levels))) == expected


def test_the_portfolio_proves_a_repair_that_meets_the_bound() -> None:
    cluster = make_cluster(HOSTS, [make_server(f"s{n}", "a", vcpus=2) for n in range(4)])
    result = solve(problem_of(cluster, {"s0": {"VCPU": 6}, "s1": {"VCPU": 5}}), MaxRuntime(10))
    assert (result.status, result.values) == (Status.OPTIMAL, (0.0, 2.0))
    assert [level.bound for level in result.levels] == [0.0, 2.0]
    assert result.trace[-1].solver == "repair"


@settings(max_examples=120)
@given(clusters(max_servers=8), st.data())
def test_whatever_the_rules_a_repair_is_legal_and_for_the_better(cluster: Cluster, data: st.DataObject) -> None:
    grown = {server.id: {"VCPU": data.draw(st.integers(1, 6)), "MEMORY_MB": 2048} for server in cluster.servers if data.draw(st.booleans())}
    ids = tuple(server.id for server in cluster.servers)
    rules = (*nova.constraints(cluster), Transient(frozenset({"VCPU"})), FaultDomains("zones", ids[:3], {h.name: h.zone for h in cluster.hosts}, 2),
             Preserve(grown), Among("g", ids[2:5], (frozenset({"h0", "h1"}), frozenset({"h2"}))))
    problem = Problem(cluster, rules, ((Term(Broken(grown)),), (Term(Moves()),)), max_moves=data.draw(st.sampled_from((None, 1))))
    before, after = problem.values(moved(cluster)), problem.values(repaired(problem))
    assert after == before or after[0] < before[0]


@given(numa_clusters(), st.data())
def test_servers_on_numa_nodes_are_repaired_legally(cluster: Cluster, data: st.DataObject) -> None:
    grown = {server.id: {"VCPU": data.draw(st.integers(1, 40))} for server in cluster.servers if data.draw(st.booleans())}
    problem = Problem(cluster, (Capacity(), Numa(), Preserve(grown)), ((Term(Broken(grown)),), (Term(Moves()),)))
    before, after = problem.values(moved(cluster)), problem.values(repaired(problem))
    assert after == before or after[0] < before[0]


# ---- the bound


@st.composite
def broken_clusters(draw: st.DrawFn) -> Problem:
    names = "abc"
    hosts: list[Host] = [make_host(name, vcpus=draw(st.integers(3, 8)), memory_mb=4096) for name in names]
    servers: list[Server] = [make_server(f"s{n}", draw(st.sampled_from((*names, "a", "a", NOT_RUNNING))), vcpus=draw(st.integers(1, 3)),
                                         memory_mb=draw(st.sampled_from((0, 1024)))) for n in range(draw(st.integers(1, 5)))]
    grown = {server.id: {"VCPU": draw(st.integers(1, 6))} for server in servers if draw(st.booleans())}
    must_run = tuple(server.id for server in servers if draw(st.integers(0, 3)))
    ids = [server.id for server in servers]
    rules = draw(st.lists(st.sampled_from((AntiAffinity("g", tuple(ids[:2])), Among("h", tuple(ids[1:4]), (frozenset("ab"), frozenset("c"))))),
                          unique=True))
    return problem_of(make_cluster([*hosts, STOPPED], servers), grown, must_run, *rules)


@settings(max_examples=60)
@given(broken_clusters())
def test_no_placement_goes_below_the_bound(problem: Problem) -> None:
    cluster = problem.cluster
    compiled = compile_problem(problem)
    after = problem.values(repaired(problem))
    ids = [server.id for server in cluster.servers]
    best: tuple[float, ...] = problem.values(moved(cluster))
    for where in itertools.product([host.name for host in cluster.hosts], repeat=len(ids)):
        placement = dict(zip(ids, where, strict=True))
        values = problem.values(placement)
        if values < best and not problem.breaches(placement):
            best = values
    assert after >= best
    assert after[0] <= problem.values(moved(cluster))[0]
    for value, bound in zip(best, bounds.level_bounds(compiled, best), strict=True):
        assert bound is None or bound <= value + 1e-9
    result = solve(problem, MaxRuntime(20))
    assert result.values == pytest.approx(best)
