"""solve(): compared with trying every placement of a tiny cluster, and at the edges."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ortools.sat.python import cp_model

from optimizer.cluster import Cluster
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.available import Available
from optimizer.constraints.base import Violation
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.load_limit import LoadLimit
from optimizer.errors import PlacewrightError
from optimizer.load import LoadMissing
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.elsewhere import Elsewhere
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.spread import Spread
from optimizer.placement import Placement, placement_of
from optimizer.problem import Level, Problem, Term, better
from optimizer.result import Result, Status
from optimizer.solvers import portfolio
from optimizer.solvers.bounds import level_bound
from optimizer.solvers.cp_sat import solve_cp_sat
from optimizer.solvers.cp_sat_model import everything
from optimizer.solvers.portfolio import IllegalResult, solve
from optimizer.solvers.stop import MaxRuntime
from optimizer.solvers.terms import compile_problem
from policy_sources import nova
from tests.support.clusters import clusters, make_cluster, make_group, make_host, make_server

LEVELS: tuple[tuple[Level, ...], ...] = (
    ((Term(HostsInUse()),), (Term(MoveCost()),)),
    ((Term(HostsInUse()), Term(MoveCost(), 0.3)), (Term(Spread("memory")),)),
    ((Term(Spread("cpu"), 0.4), Term(Spread("memory"), 1.6), Term(MoveCost(), 0.01)),),
    ((Term(Spread("cpu", 0.05)),), (Term(MoveCost()),)),
    ((Term(Remaining("h0")),), (Term(Elsewhere("h0", "h1")), Term(MoveCost(), 0.001)), (Term(Spread("cpu")),)),
    ((Term(MoveCost()),), (Term(HostsInUse()),)),
)


def problem_of(data: st.DataObject, cluster: Cluster) -> Problem:
    rules = nova.constraints(cluster)
    if data.draw(st.booleans()):
        rules.append(LoadLimit("cpu", 60))
    if data.draw(st.booleans()):
        rules.append(Available(frozenset({"h0"})))
    return Problem(cluster, tuple(rules), data.draw(st.sampled_from(LEVELS)),
                   max_moves=data.draw(st.sampled_from((None, None, 0, 1, 2))))


def legal_placements(problem: Problem) -> Iterator[Placement]:
    cluster = problem.cluster
    for hosts in itertools.product([host.name for host in cluster.hosts], repeat=len(cluster.servers)):
        placement = dict(zip([server.id for server in cluster.servers], hosts, strict=True))
        if not problem.breaches(placement):
            yield placement


def best_values(problem: Problem, tolerance: float) -> tuple[float, ...]:
    """The best values in the order of the levels; ``tolerance`` is by how much a level may miss its best for those after."""
    left = [problem.values(placement) for placement in legal_placements(problem)]
    for level in range(len(problem.levels)):
        least = min(values[level] for values in left)
        left = [values for values in left if values[level] <= least + tolerance]
    return min(left)


@given(st.data())
def test_the_best_of_all_legal_placements_is_found_and_proven(data: st.DataObject) -> None:
    problem = problem_of(data, data.draw(clusters(max_hosts=3, max_servers=4, mixed=False, min_servers=0)))
    result = solve(problem, MaxRuntime(60), seed=data.draw(st.integers(0, 3)))
    assert result.status is Status.OPTIMAL
    assert not problem.breaches(result.placement)
    assert result.values == problem.values(result.placement)
    assert result.values == pytest.approx(best_values(problem, 1e-9), abs=1e-6)
    for level in result.levels:
        assert level.bound == pytest.approx(level.value, abs=1e-6)
        assert level.bound <= level.value


@given(st.data())
def test_on_hosts_of_several_sizes_the_bounds_hold_and_optimal_is_the_best(data: st.DataObject) -> None:
    problem = problem_of(data, data.draw(clusters(max_hosts=3, max_servers=4)))
    result = solve(problem, MaxRuntime(60))
    assert not problem.breaches(result.placement)
    best = best_values(problem, 1e-9)
    assert result.values[0] == pytest.approx(best[0], rel=2e-3, abs=1e-5)
    assert not better(problem.values(placement_of(problem.cluster)), result.values)
    assert_honest(result, best)


def assert_honest(result: Result, best: tuple[float, ...]) -> None:
    """Bounds are not above the best, as far as the levels before are the best too; optimal is said of nothing less."""
    for level, least in zip(result.levels, best, strict=True):
        assert level.bound is None or level.bound <= least + 1e-9
        if level.value > least + 1e-9:
            break
    assert (result.status is Status.OPTIMAL) == all(level.gap == 0 for level in result.levels)
    if result.status is Status.OPTIMAL:
        assert not better(best, result.values, 2e-9)


@given(st.lists(st.integers(20_000, 140_000), min_size=2, max_size=3), st.lists(st.integers(1, 30_000), min_size=1, max_size=5),
       st.sampled_from((0.0, 0.03, 0.1)), st.sampled_from((None, 0.05, 0.3)))
def test_rounding_is_taken_off_the_bound(sizes: list[int], used: list[int], threshold: float, weight: float | None) -> None:
    # Memory of hosts without a common measure: no whole-number weights of the squares are exact.
    cluster = make_cluster([make_host(f"h{h}", vcpus=16, memory_mb=size) for h, size in enumerate(sizes)],
                           [make_server(f"s{s}", "h0", vcpus=0, memory_mb=7 * s, cpu_cores=0, used_mb=amount) for s, amount in enumerate(used)])
    spread = Term(Spread("memory", threshold))
    levels = ((spread,), (Term(MoveCost()),)) if weight is None else ((spread, Term(MoveCost(), weight)),)
    problem = Problem(cluster, (), levels)
    assert_honest(solve(problem, MaxRuntime(60)), best_values(problem, 1e-9))


def test_weights_of_hosts_with_a_common_measure_are_exact() -> None:
    cluster = make_cluster([make_host("h0", vcpus=24, memory_mb=4096), make_host("h1", vcpus=32, memory_mb=4096)],
                           [make_server(f"s{s}", "h0", vcpus=1, cpu_cores=cores) for s, cores in enumerate((3.1, 2.2, 5.7, 0.9))])
    result = solve(Problem(cluster, (), ((Term(Spread("cpu")),), (Term(MoveCost()),))), MaxRuntime(60))
    assert result.status is Status.OPTIMAL
    assert result.values[0] > 0
    assert result.levels[0].bound == pytest.approx(result.values[0], abs=1e-12)


@given(st.data())
def test_no_legal_placement_is_below_the_bound(data: st.DataObject) -> None:
    problem = problem_of(data, data.draw(clusters(max_hosts=3, max_servers=4)))
    compiled = compile_problem(problem)
    values = [problem.values(placement) for placement in legal_placements(problem)]
    for level in (*problem.levels, (Term(HostsInUse(), 2.0), Term(Remaining("h1"), 0.5))):
        least = min(Problem(problem.cluster, (), (level,)).values(placement)[0] for placement in legal_placements(problem))
        assert level_bound(compiled, level) <= least + 1e-9
    assert values


@pytest.mark.parametrize(("fields", "expected"), [
    # Three servers of 4 VCPU need two hosts of 8, wherever they are.
    ({}, 2 / 3), ({"ratio": 2.0}, 1 / 3), ({"held": {"VCPU": 1}}, 1.0), ({"held": {"VCPU": 0}}, 2 / 3),
])
def test_the_bound_on_hosts_in_use_sees_the_room(fields: dict[str, Any], expected: float) -> None:
    cluster = make_cluster([make_host(f"h{n}", **fields) for n in range(3)],
                           [make_server(f"s{n}", f"h{n}", vcpus=4) for n in range(3)])
    level = (Term(HostsInUse()),)
    assert level_bound(compile_problem(Problem(cluster, tuple(nova.constraints(cluster)), (level,))),
                       level) == pytest.approx(expected)


def medium() -> Problem:
    """20 hosts, 120 servers, three of four on the first five hosts."""
    hosts = [make_host(f"h{n}", vcpus=16, ratio=2.0, memory_mb=65536, disk_gb=1000) for n in range(20)]
    servers = [make_server(f"s{n}", f"h{n % 5 if n % 4 else n % 20}", cpu_cores=(n % 7) / 4, used_mb=100 * (n % 9),
                           locked=n % 13 == 0)
               for n in range(120)]
    groups = (make_group("anti-affinity", "s1", "s2", "s3"), make_group("affinity", "s5", "s9", name="two"),
              make_group("soft-anti-affinity", *[f"s{n}" for n in range(20, 40)], name="three"))
    cluster = make_cluster(hosts, servers, groups=groups)
    return Problem(cluster, tuple(nova.constraints(cluster)), ((Term(Spread("cpu")), Term(MoveCost(), 0.01)),), max_moves=30)


def test_a_large_problem_is_improved_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portfolio, "EXACT_UP_TO", 0)
    problem = medium()
    result = solve(problem, MaxRuntime(2), seed=2)
    assert result.status is Status.FEASIBLE
    assert not problem.breaches(result.placement)
    assert result.values[0] < problem.values(placement_of(problem.cluster))[0] / 10
    for step, following in itertools.pairwise(result.trace):
        assert better(following.values, step.values)
        assert following.seconds >= step.seconds
    assert result.trace[0].solver == "present"
    assert result.trace[-1].values == result.values
    assert result.levels[0].bound is not None
    assert result.levels[0].bound <= result.values[0]


def terabytes(hosts: int, servers: int, used_mb: int) -> Cluster:
    """Hosts of 1 and 2 TB, and servers that are all on the first two of them."""
    return make_cluster([make_host(f"h{n}", vcpus=256, memory_mb=1_000_000 * (1 + n % 2), disk_gb=10**5) for n in range(hosts)],
                        [make_server(f"s{n}", f"h{n % 2}", cpu_cores=40, used_mb=used_mb) for n in range(servers)])


def test_what_is_all_but_proven_is_not_searched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair with as few moves as can be, of which the cost alone might still be a little lower."""
    def fail(*_: object) -> None:
        raise AssertionError("there is nothing left worth the time")

    monkeypatch.setattr(portfolio.local_search, "descend", fail)
    monkeypatch.setattr(portfolio.lns, "improve", fail)
    monkeypatch.setattr(portfolio, "EXACT_UP_TO", 0)
    servers = [make_server(f"s{n}", "h0", memory_mb=1000 + n) for n in range(12)]
    cluster = make_cluster([make_host(f"h{h}", vcpus=64) for h in range(20)], servers)
    rule = Crowded(tuple(server.id for server in servers))
    problem = Problem(cluster, (Capacity(), AntiAffinity("all", rule.members)), ((Term(rule),), (Term(Moves()), Term(MoveCost(), 1e-4))))
    result = solve(problem, MaxRuntime(60))
    assert (result.levels[0].gap, result.levels[1].value) == (0, pytest.approx(11, abs=1e-3))


@pytest.mark.parametrize("weight", [0.04, 0.3, 0.75, 1.0])
def test_weights_count_with_terabytes_too(weight: float) -> None:
    cluster = terabytes(4, 5, 600_000)
    problem = Problem(cluster, (), ((Term(Spread("memory"), weight), Term(Spread("cpu"), 1 - weight), Term(MoveCost(), 0.001)),))
    result = solve(problem, MaxRuntime(60))
    best = best_values(problem, 1e-9)
    assert result.values == pytest.approx(best, rel=2e-3)
    assert_honest(result, best)
    assert result.levels[0].bound == pytest.approx(result.values[0], rel=5e-3)


@pytest.mark.parametrize("level", [(Term(Spread("memory")),), (Term(Spread("memory"), 0.5), Term(MoveCost(), 0.1))])
def test_a_model_of_many_terabytes_is_valid(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    """CP-SAT computes in 64 bits and refuses a model whose sums may not fit."""
    faults: list[str] = []

    def look(solver: cp_model.CpSolver, model: cp_model.CpModel) -> int:
        faults.append(model.validate())
        return cp_model.UNKNOWN

    monkeypatch.setattr(cp_model.CpSolver, "solve", look)
    monkeypatch.setattr(cp_model.CpSolver, "wall_time", 0.0)
    compiled = compile_problem(Problem(terabytes(60, 60, 100_000), (), (level,)))
    answer = solve_cp_sat(compiled, compiled.arrays.start, everything(compiled), MaxRuntime(60), seed=0, threads=1)
    assert faults == [""]
    assert answer.bounds == (None,)
    assert not answer.proven


def test_a_seed_gives_the_same_result_again() -> None:
    cluster = medium().cluster
    part = make_cluster(cluster.hosts[:5],
                        [server for server in cluster.servers if server.host in ("h0", "h1", "h2", "h3", "h4")][:14])
    problem = Problem(part, tuple(nova.constraints(part)), ((Term(Spread("cpu")),), (Term(MoveCost()),)), max_moves=4)
    first, second = (solve(problem, MaxRuntime(60), seed=5) for _ in range(2))
    assert first.placement == second.placement
    assert first.levels == second.levels
    assert first.status is Status.OPTIMAL


def result_of(cluster: Cluster, *levels: Level) -> Result:
    return solve(Problem(cluster, tuple(nova.constraints(cluster)), levels), MaxRuntime(10))


ALL_TERMS = (Term(HostsInUse()), Term(MoveCost()), Term(Spread("cpu")), Term(Spread("memory")))


@pytest.mark.parametrize("cluster", [
    make_cluster([]),
    make_cluster([make_host("h0"), make_host("h1")]),
    make_cluster([make_host("h0")], [make_server("s0", "h0", cpu_cores=1)]),
    make_cluster([make_host("h0"), make_host("h1")], [make_server("s0", "h0", cpu_cores=1, locked=True)]),
    make_cluster([make_host("h0"), make_host("h1", status="disabled")], [make_server("s0", "h0", cpu_cores=1)]),
    make_cluster([make_host("h0", state="down"), make_host("h1", state="down")], [make_server("s0", "h0", cpu_cores=1)]),
], ids=["no hosts", "no servers", "one host", "all stuck", "nowhere to go", "no host up"])
def test_where_nothing_can_move_the_present_is_optimal(cluster: Cluster) -> None:
    for levels in ((), (ALL_TERMS,), tuple((term,) for term in ALL_TERMS)):
        result = result_of(cluster, *levels)
        assert result.status is Status.OPTIMAL
        assert result.placement == placement_of(cluster)
        assert all(level.bound == pytest.approx(level.value) for level in result.levels)
        assert [step.solver for step in result.trace] == ["present"]


@dataclass(frozen=True)
class Unheard:
    """A rule and an objective in one that no solver knows."""

    name: ClassVar[str] = "unheard"

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        return iter(())

    def value(self, cluster: Cluster, placement: Placement) -> float:
        return 0.0


@pytest.mark.parametrize(("rules", "objective", "message"), [
    ((Unheard(),), MoveCost(),
     "constraint unheard has no solver encoding; there are encodings for affinity, allowed_hosts, among, anti_affinity, available, cap,"),
    ((), Unheard(),
     "objective unheard has no solver encoding; there are encodings for balance_cost, broken, crowded, elsewhere,"),
])
def test_unknown_kinds_are_refused(rules: tuple[Any, ...], objective: Any, message: str) -> None:
    cluster = make_cluster([make_host("h0")], [make_server("s0", "h0")])
    with pytest.raises(PlacewrightError, match=message):
        solve(Problem(cluster, rules, ((Term(objective),),)), MaxRuntime(1))


def test_load_that_was_never_read_is_an_error() -> None:
    with pytest.raises(LoadMissing, match="server s0"):
        result_of(make_cluster([make_host("h0"), make_host("h1")], [make_server("s0", "h0")]), (Term(Spread("cpu")),))


def test_an_illegal_answer_of_a_solver_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = make_cluster([make_host("h0"), make_host("h1", status="disabled")], [make_server("s0", "h0")])
    problem = Problem(cluster, (Available(),), ((Term(Remaining("h0")),),))
    fake = portfolio.Stage("fake", lambda search: True, lambda search: search.offer("fake", np.array([1], dtype=np.int32)) or (None,))
    monkeypatch.setattr(portfolio, "STAGES", (fake,))
    with pytest.raises(IllegalResult, match="fake: 1 breaches, first available: h1 is disabled and up; s0 cannot go there"):
        solve(problem, MaxRuntime(1))


def test_names_of_values_in_a_trace() -> None:
    cluster = make_cluster([make_host("h0"), make_host("h1")], [make_server("s0", "h0"), make_server("s1", "h1")])
    result = result_of(cluster, (Term(HostsInUse()),), (Term(MoveCost()),))
    moved: Mapping[str, str] = result.placement
    assert len(set(moved.values())) == 1
    assert result.values == pytest.approx((0.5, 0.5))
    assert [level.gap for level in result.levels] == [0.0, 0.0]
