"""Even load, with as little moving as possible."""

from dataclasses import replace

import pytest

from optimizer.cluster import Cluster
from optimizer.objectives.spread import spread
from optimizer.placement import Move, moves_between, placement_of
from strategies.base import LoadNeed
from strategies.workload_stabilization import WorkloadStabilization
from tests.strategies.cases import best, carried_out, every_legal, moves, problem_of
from tests.support.clusters import LOAD, make_cluster, make_group, make_host, make_server

STRATEGY = WorkloadStabilization()
ANY_GAIN = {"aggressiveness": 5}


def loads(*hosts: list[float], memory: bool = False) -> Cluster:
    """Hosts a, b, c... of 8 cores with servers of these loads: cores, or GiB of memory."""
    servers = [make_server(f"{name}{n}", name, cpu_cores=0.0 if memory else load, used_mb=1024 * load if memory else 0)
               for name, on in zip("abcdef", hosts, strict=False) for n, load in enumerate(on)]
    return make_cluster([make_host(name) for name, _ in zip("abcdef", hosts, strict=False)], servers, load=LOAD)


TINY = [
    loads([2.0, 1.0, 1.0, 0.5], [0.5], []),
    loads([3.0, 0.2, 0.2, 0.2], [], [1.0]),
    loads([1.0, 1.0, 1.0], [1.0, 1.0], []),
    loads([4.0, 0.5], [0.5, 0.5], [0.25]),
    replace(loads([2.0, 1.0, 1.0], [0.5], []), groups=(make_group("anti-affinity", "a0", "b0"), make_group("affinity", "a1", "a2", name="t"))),
]


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("cluster", TINY)
def test_the_threshold_is_reached_with_the_fewest_moves(cluster: Cluster, threshold: float) -> None:
    problem = problem_of(STRATEGY, cluster, **ANY_GAIN, thresholds={"instance_cpu_usage": threshold})
    found = best(problem)
    reached = {}
    for placement in every_legal(problem):
        excess = max(spread(cluster, placement, "cpu") - threshold, 0)
        reached[excess] = min(len(moves(problem, placement)), reached.get(excess, 99))
    least = min(reached)
    assert max(spread(cluster, found.placement, "cpu") - threshold, 0) == pytest.approx(least)
    assert len(moves(problem, found.placement)) == min(count for excess, count in reached.items() if excess <= least + 1e-9)


@pytest.mark.parametrize("aggressiveness", [1, 2, 3, 4])
@pytest.mark.parametrize("cluster", TINY[:3])
def test_gain_is_weighed_against_cost(cluster: Cluster, aggressiveness: int) -> None:
    problem = problem_of(STRATEGY, cluster, aggressiveness=aggressiveness, thresholds={"instance_cpu_usage": 0})
    assert best(problem).values == pytest.approx(min(problem.values(placement) for placement in every_legal(problem)))


@pytest.mark.parametrize("cluster", [loads([1.0] * 6, [0.5], []), loads([0.25] * 4 + [3.0], [0.25] * 2, [])])
def test_more_aggressive_moves_more_and_spreads_less(cluster: Cluster) -> None:
    counts, spreads = [], []
    for aggressiveness in range(1, 6):
        problem = problem_of(STRATEGY, cluster, aggressiveness=aggressiveness, thresholds={"instance_cpu_usage": 0})
        found = best(problem)
        counts.append(len(moves(problem, found.placement)))
        spreads.append(spread(cluster, found.placement, "cpu"))
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert spreads == sorted(spreads, reverse=True)


def test_below_the_threshold_nothing_moves() -> None:
    cluster = loads([1.0, 1.0], [1.0], [1.0])
    assert 0 < spread(cluster, placement_of(cluster), "cpu") < 0.1
    problem = problem_of(STRATEGY, cluster, **ANY_GAIN)
    found = best(problem)
    assert moves(problem, found.placement) == {}
    assert found.values == (0, 0)


def test_memory_alone() -> None:
    cluster = loads([4.0, 4.0, 4.0], [], memory=True)
    by_cpu = problem_of(STRATEGY, cluster, **ANY_GAIN)
    assert moves(by_cpu, best(by_cpu).placement) == {}
    by_memory = problem_of(STRATEGY, cluster, **ANY_GAIN, metrics=["instance_ram_usage"], thresholds={"instance_ram_usage": 0.13})
    assert len(moves(by_memory, best(by_memory).placement)) == 1


def two_faced() -> Cluster:
    """Two busy servers and two with much memory on host a."""
    servers = [make_server(f"busy{n}", "a", cpu_cores=2.0, used_mb=0) for n in range(2)]
    servers += [make_server(f"big{n}", "a", cpu_cores=0.0, used_mb=4096) for n in range(2)]
    return make_cluster([make_host("a"), make_host("b")], servers, load=LOAD)


@pytest.mark.parametrize(("weights", "moved"), [
    ({"instance_cpu_usage_weight": 3}, "busy"), ({"instance_ram_usage_weight": 3}, "big"),
    ({"instance_cpu_usage_weight": 0}, "big"), ({"instance_ram_usage_weight": 0}, "busy"),
])
def test_of_several_metrics_the_weightier_one_comes_first(weights: dict[str, float], moved: str) -> None:
    cluster = two_faced()
    problem = problem_of(STRATEGY, cluster, 1, **ANY_GAIN, metrics=["instance_cpu_usage", "instance_ram_usage"], weights=weights)
    (server,) = moves(problem, best(problem).placement)
    assert server.startswith(moved)


def test_no_target_is_overloaded() -> None:
    cluster = loads([5.0, 3.0], [4.5])
    problem = problem_of(STRATEGY, cluster, **ANY_GAIN, thresholds={"instance_cpu_usage": 0}, max_cpu_percent=90)
    assert moves(problem, best(problem).placement) == {}
    problem = problem_of(STRATEGY, cluster, **ANY_GAIN, thresholds={"instance_cpu_usage": 0}, max_cpu_percent=100)
    assert moves(problem, best(problem).placement) == {"a1": "b"}


def test_max_moves() -> None:
    cluster = loads([1.0] * 6, [], [])
    counts = [len(moves(p, best(p).placement)) for p in (problem_of(STRATEGY, cluster, limit, **ANY_GAIN) for limit in (0, 1, 2))]
    assert counts == [0, 1, 2]


@pytest.mark.parametrize("aggressiveness", [1, 3, 5])
@pytest.mark.parametrize("cluster", TINY)
def test_twice_in_a_row_the_second_finds_nothing(cluster: Cluster, aggressiveness: int) -> None:
    given = {"aggressiveness": aggressiveness, "thresholds": {"instance_cpu_usage": 0.02}}
    problem = problem_of(STRATEGY, cluster, **given)
    after = carried_out(STRATEGY, cluster, best(problem).placement, **given)
    again = problem_of(STRATEGY, after, **given)
    assert moves(again, best(again).placement) == {}


@pytest.mark.parametrize(("given", "statistic", "window"), [
    ({}, "mean", 720),
    ({"statistic": "p95"}, "p95", 720),
    ({"aggregation_method": {"instance": "max"}}, "p100", 720),
    ({"aggregation_method": {"instance": "mean", "compute_node": "max"}}, "mean", 720),
    ({"aggregation_method": {"instance": "max"}, "statistic": "p90"}, "p90", 720),
    ({"aggregation_method": {"instance": "max"}, "statistic": "mean", "periods": {"instance": 60}}, "mean", 60),
])
def test_which_load_is_read(given: dict[str, object], statistic: str, window: int) -> None:
    parameters = STRATEGY.parameters.parse(STRATEGY.name, {**given, "granularity": 60, "missing_load": "idle"})
    need = LoadNeed(window, 60, statistic, "idle")
    assert STRATEGY.load(parameters) == need
    # The same when the plan with these parameters is carried out.
    assert STRATEGY.load(STRATEGY.parameters.parse(STRATEGY.name, parameters.model_dump(mode="json"))) == need


@pytest.mark.parametrize(("metrics", "said"), [
    (["instance_cpu_usage"], "a is at 50 % CPU, b at 0 %; busy0 uses 2.00 cores"),
    (["instance_ram_usage"], "a is at 50 % memory, b at 0 %; busy0 uses 0 MiB"),
    (["instance_cpu_usage", "instance_ram_usage"], "a is at 50 % CPU, b at 0 %; a is at 50 % memory, b at 0 %; busy0 uses 2.00 cores and 0 MiB"),
])
def test_the_reason_speaks_of_what_is_balanced(metrics: list[str], said: str) -> None:
    cluster = two_faced()
    parameters = STRATEGY.parameters.parse(STRATEGY.name, {"metrics": metrics})
    after = {**placement_of(cluster), "busy0": "b"}
    (move,) = moves_between(placement_of(cluster), after)
    assert move == Move("busy0", "a", "b")
    assert STRATEGY.reason(cluster, placement_of(cluster), after, move, parameters) == said


def test_services_stay_as_they_are() -> None:
    cluster = loads([1.0], [])
    assert STRATEGY.service_changes(cluster, {"a0": "b"}, STRATEGY.parameters()) == ()
