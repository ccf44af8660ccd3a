"""Annealing: never worse, always legal, what it tells of is better each time, and a seed decides."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.arrays import Index
from optimizer.cluster import Cluster
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.transient import Transient
from optimizer.objectives.balance_cost import BalanceCost
from optimizer.objectives.base import Objective
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.group_move_cost import GroupMoveCost
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.spread import Spread
from optimizer.placement import placement_of
from optimizer.problem import Level, Problem, Term
from optimizer.solvers import annealing
from optimizer.solvers.annealing_kernel import anneal
from optimizer.solvers.kernel import State, cost_of, new_state, shift
from optimizer.solvers.packed import Packed, pack
from optimizer.solvers.stop import MaxIterations, MaxRuntime, Part, Stop
from optimizer.solvers.terms import Compiled, compile_problem
from policy_sources import nova
from tests.support.clusters import make_cluster, make_host, make_server
from tests.support.problems import problems
from tests.support.walks import walk

LOADS = LoadCost("VCPU", {f"h{h}": 2 + h % 3 for h in range(12)})
LEVELS: tuple[tuple[Level, ...], ...] = (
    ((Term(LOADS, 3.0), Term(MoveCost()), Term(BalanceCost("VCPU", "MEMORY_MB", 1024), 0.001)),),
    ((Term(Fragmentation(4)),), (Term(Moves()),)),
    ((Term(LOADS), Term(Spread("cpu"))),),
)


@pytest.mark.parametrize(("objective", "taken"), [
    (LOADS, True), (BalanceCost("VCPU", "MEMORY_MB", 1), True), (Fragmentation(4), True), (Spread("cpu"), False), (HostsInUse(), False)])
def test_problems_where_what_hosts_carry_costs_something(objective: Objective, taken: bool) -> None:
    for levels in (((Term(objective),),), ((Term(Moves()),), (Term(MoveCost()), Term(objective)))):
        assert annealing.applies(compile_problem(Problem(uneven(), (Capacity(),), levels))) is taken


def annealed(compiled: Compiled, stop: Stop, where: Index | None = None, seed: int = 1, threads: int = 1) -> tuple[Index, list[Index]]:
    """What comes out, and every placement that was told of."""
    told: list[Index] = []
    stop.started()
    found = annealing.improve(compiled, compiled.arrays.start if where is None else where, stop, seed, threads, lambda one: told.append(one.copy()))
    return found, told


def uneven(hosts: int = 12, servers: int = 60) -> Cluster:
    """Most servers on the first hosts, of several sizes."""
    return make_cluster([make_host(f"h{h}", vcpus=16, memory_mb=65536, disk_gb=1000) for h in range(hosts)],
                        [make_server(f"s{s}", f"h{s % 4 if s % 3 else s % hosts}", vcpus=1 + s % 3 // 2, memory_mb=1024 * (1 + s % 4),
                                     cpu_cores=s % 5 / 4) for s in range(servers)])


@pytest.mark.parametrize("threads", [1, 2])
@settings(max_examples=40)
@given(data=st.data())
def test_it_is_legal_and_each_find_is_better_than_the_last(threads: int, data: st.DataObject) -> None:
    """From anywhere a walk leads to, with rules and objectives of every kind."""
    problem = data.draw(problems())
    compiled = compile_problem(problem)
    P = pack(compiled)
    *_, X = walk(data, P, compiled.arrays.start, 2)
    begin = X.where.copy()
    found, told = annealed(compiled, MaxIterations(20_000), begin, data.draw(st.integers(0, 3)), threads)
    assert all(problem.breaches(compiled.arrays.placement(where)) == [] for where in told)
    assert found.tolist() == (told[-1] if told else begin).tolist()
    costs = [float(cost_of(P, new_state(P, where))) for where in (begin, *told)]
    assert all(after < before for before, after in itertools.pairwise(costs))
    if len(problem.levels) == 1:  # the value by itself is the cost
        values = [problem.values(compiled.arrays.placement(where)) for where in (begin, *told)]
        assert all(after < before for before, after in itertools.pairwise(values))


@pytest.mark.parametrize("levels", LEVELS, ids=lambda levels: levels[0][0].objective.name)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_seed_decides(levels: tuple[Level, ...], threads: int) -> None:
    problem = Problem(uneven(), tuple(nova.constraints(uneven())), levels)
    compiled = compile_problem(problem)
    runs = [annealed(compiled, MaxIterations(200_000), seed=seed, threads=threads)[1] for seed in (3, 3, 4)]
    first, second, other = ([where.tolist() for where in run] for run in runs)
    assert first == second
    assert first != other
    assert problem.values(compiled.arrays.placement(runs[0][-1])) < problem.values(placement_of(problem.cluster))


@settings(max_examples=80)
@given(data=st.data())
def test_nothing_worse_is_accepted_in_the_cold(data: st.DataObject) -> None:
    """Not even half of a chain; the state is legal and up to date after each proposal."""
    problem = data.draw(problems())
    compiled = compile_problem(problem)
    P = pack(compiled)
    if not len(P.movable):
        return
    *_, X = walk(data, P, compiled.arrays.start, 2)
    cool(P, X, data.draw(st.integers(1, 2**63)), 100)
    assert problem.breaches(compiled.arrays.placement(X.where)) == []
    fresh = new_state(P, X.where)
    assert all(np.allclose(kept, computed) for kept, computed in zip(X, fresh, strict=True))


@pytest.mark.parametrize("objective", [
    Spread("cpu"), Spread("cpu", 0.1), HostsInUse(), GroupMoveCost((("s0", "s1", "s2"), ("s3", "s4", "s5")))], ids=repr)
def test_nor_is_it_where_much_is_possible(objective: Objective) -> None:
    """From good placements, where most proposals are worse."""
    compiled = compile_problem(Problem(uneven(4, 16), (Capacity(),), ((Term(objective), Term(LOADS, 0.01)),)))
    P = pack(compiled)
    for seed in range(3):
        cool(P, new_state(P, annealed(compiled, MaxIterations(2000), seed=seed)[0]), seed + 1, 1000)


def cool(P: Packed, X: State, seed: int, proposals: int) -> None:
    """Make proposals one by one at no temperature, and see that none is worse."""
    rng, tried = np.array([seed | 1], dtype=np.uint64), np.zeros(1, dtype=np.int64)
    cost = float(cost_of(P, X))
    for _ in range(proposals):
        before, count = cost, int(tried[0])
        anneal(P, X, rng, P.movable, np.zeros(len(P.start)), 0.0, 1, tried)
        cost = float(cost_of(P, X))
        assert cost <= before + 1e-9 * max(1.0, abs(before))
        assert tried[0] > count


def watched(monkeypatch: pytest.MonkeyPatch, script: Iterator[int]) -> list[tuple[int, float, int]]:
    """Let server 0 go where the script says instead of annealing; (source of chance, temperature, proposals) of each call."""
    calls: list[tuple[int, float, int]] = []

    def scripted(P: Packed, X: State, rng: Any, servers: Index, prices: Any, temperature: float, proposals: int, tried: Any) -> None:
        calls.append((int(rng[0]), temperature, proposals))
        place = next(script)
        if place != X.where[0]:
            shift(P, X, 0, place)
        tried[0] += proposals

    monkeypatch.setattr(annealing, "anneal", scripted)
    return calls


def test_the_best_that_was_seen_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """h0 costs 0.3, h1 costs 0.2, h2 costs 0.1 and h3 nothing."""
    cluster = make_cluster([make_host(f"h{h}") for h in range(4)], [make_server("s0", "h0", vcpus=3)])
    compiled = compile_problem(Problem(cluster, (), ((Term(LoadCost("VCPU", {"h0": 0, "h1": 1, "h2": 2}), 0.1),),)))
    for visits, best in (((1, 2, 1, 0), 2), ((3, 1, 0, 2), 3), ((1, 0, 1, 0), 1), ((0, 0, 0, 0), 0)):
        watched(monkeypatch, itertools.cycle(visits))
        found, told = annealed(compiled, MaxIterations(80))
        assert found.tolist() == [best]
        assert [where.tolist() for where in told] == ([[best]] if best else [])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_it_cools_down_and_ends_in_the_cold(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compile_problem(Problem(uneven(), (Capacity(),), LEVELS[0]))
    sources = set()
    for seed in range(3):
        calls = watched(monkeypatch, itertools.repeat(0))
        annealed(compiled, MaxIterations(60_000), seed=seed, threads=threads)
        temperatures = [temperature for _, temperature, _ in calls[::threads]]
        assert temperatures[0] > 0 == temperatures[-1]
        assert all(before >= after for before, after in itertools.pairwise(temperatures[1:]))  # the first does not know yet how many can be made
        assert 60_000 - threads < sum(proposals for *_, proposals in calls) <= 60_000
        sources |= {source for source, *_ in calls}
    assert len(sources) == 3 * threads


def test_a_swap_where_no_shift_fits() -> None:
    """Both hosts are full; the server with much memory belongs on the host where memory costs nothing."""
    cluster = make_cluster([make_host("h0"), make_host("h1")], [make_server("s0", "h0", vcpus=8, memory_mb=8192), make_server("s1", "h1", vcpus=8)])
    compiled = compile_problem(Problem(cluster, (Capacity(),), ((Term(LoadCost("MEMORY_MB", {"h0": 1024})),),)))
    assert annealed(compiled, MaxIterations(10_000))[0].tolist() == [1, 0]


def test_room_that_is_kept_is_not_given_away() -> None:
    """Without the rule the large ones would exchange places; what each keeps leaves no room for the other, so a small one goes."""
    cluster = make_cluster([make_host("h0"), make_host("h1")], [
        make_server("large0", "h0", vcpus=5, memory_mb=8192), make_server("large1", "h1", vcpus=5),
        make_server("small0", "h0", vcpus=1, memory_mb=4096), make_server("small1", "h1", vcpus=1)])
    level = (Term(LoadCost("MEMORY_MB", {"h0": 0})),)
    for rules, expected in (((Capacity(),), [1, 0, 1, 1]), ((Capacity(), Transient(frozenset({"VCPU"}))), [0, 1, 1, 1])):
        problem = Problem(cluster, rules, (level,))
        compiled = compile_problem(problem)
        found, _ = annealed(compiled, MaxIterations(20_000))
        assert found.tolist() == expected


@pytest.mark.parametrize(("servers", "levels"), [
    ([], LEVELS[0]), ([make_server("s0", "h0", vcpus=8, locked=True)], LEVELS[0]),
    ([make_server("s0", "h0", vcpus=8)], ()), ([make_server("s0", "h0", vcpus=8)], ((Term(LoadCost("VCPU", {"h0": 99})),),)),
], ids=["nobody", "nobody can move", "nothing costs anything", "no move costs anything"])
def test_nothing_to_anneal(servers: list[object], levels: tuple[Level, ...]) -> None:
    cluster = make_cluster([make_host(f"h{h}") for h in range(3)], servers)  # type: ignore[arg-type]
    compiled = compile_problem(Problem(cluster, tuple(nova.constraints(cluster)), levels))
    stop = MaxIterations(1000)
    found, told = annealed(compiled, stop)
    assert found is compiled.arrays.start
    assert told == []
    assert stop.spent() == 0


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("iterations", [1, 50, 1234, 100_000])
def test_it_spends_the_iterations_and_no_more(iterations: int, threads: int) -> None:
    compiled = compile_problem(Problem(uneven(), (Capacity(),), LEVELS[0]))
    stop = MaxIterations(iterations)
    annealed(compiled, stop, threads=threads)
    assert iterations - threads <= stop.spent() * iterations <= max(iterations + threads - 1, threads)


def test_a_part_of_the_budget_is_a_part() -> None:
    compiled = compile_problem(Problem(uneven(), (Capacity(),), LEVELS[0]))
    whole = MaxIterations(10_000)
    whole.started()
    whole.count(2000)
    annealed(compiled, Part(whole, 0.5))
    assert whole.spent() == pytest.approx(0.6, abs=0.001)


def test_with_a_clock_it_ends_in_time() -> None:
    group = AntiAffinity("apart", tuple(f"s{s}" for s in range(0, 60, 7)))
    problem = Problem(uneven(), (Capacity(), group), LEVELS[0])
    compiled = compile_problem(problem)
    annealed(compiled, MaxIterations(1000))  # kernels are loaded
    stop = MaxRuntime(0.5)
    found, told = annealed(compiled, stop, threads=2)
    assert -1 < stop.remaining_s() <= 0
    assert told
    assert problem.breaches(compiled.arrays.placement(found)) == []
    assert problem.values(compiled.arrays.placement(found)) < problem.values(placement_of(problem.cluster))


def test_it_comes_to_the_best_where_that_is_known() -> None:
    """80 VCPU are used, and 36 are safe on all hosts together: when every host is at its safe load or above, 44 are beyond."""
    problem = Problem(uneven(), (Capacity(),), ((Term(LOADS),),))
    compiled = compile_problem(problem)
    found, _ = annealed(compiled, MaxIterations(300_000))
    assert problem.values(compiled.arrays.placement(found)) == (80 - 36,)
