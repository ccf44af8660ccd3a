"""Fewer hosts in use, and the emptied ones disabled."""

import pytest

from optimizer.cluster import Cluster
from optimizer.placement import Move, ServiceChange, placement_of
from strategies.base import LoadNeed
from strategies.vm_workload_consolidation import DISABLED_REASON, VmWorkloadConsolidation
from tests.strategies.cases import best, carried_out, every_legal, moves, problem_of
from tests.support.clusters import LOAD, in_flight, make_cluster, make_group, make_host, make_server

STRATEGY = VmWorkloadConsolidation()


def filled(*counts: int, load: float = 0.5, **fields: object) -> Cluster:
    """Hosts a, b, c... with so many servers each."""
    names = "abcdefgh"[:len(counts)]
    servers = [make_server(f"{name}{n}", name, cpu_cores=load) for name, count in zip(names, counts, strict=True) for n in range(count)]
    return make_cluster([make_host(name) for name in names], servers, load=LOAD, **fields)


def disabled(cluster: Cluster, found: dict[str, str], **given: object) -> list[str]:
    parameters = STRATEGY.parameters.parse(STRATEGY.name, dict(given))
    return [change.host for change in STRATEGY.service_changes(cluster, {**placement_of(cluster), **found}, parameters)]


@pytest.mark.parametrize("counts", [(3, 1, 1), (2, 2, 2), (1, 1, 1)])
def test_the_fewest_hosts_with_the_fewest_moves(counts: tuple[int, ...]) -> None:
    cluster = filled(*counts)
    problem = problem_of(STRATEGY, cluster, aggressiveness=5)
    found = best(problem)
    reached = {(len(set(p.values())), len(moves(problem, p))) for p in every_legal(problem)}
    assert (len(set(found.placement.values())), len(moves(problem, found.placement))) == min(reached)


def test_emptied_hosts_are_disabled_when_the_last_server_has_left() -> None:
    cluster = filled(4, 1, 1)
    found = best(problem_of(STRATEGY, cluster)).placement
    assert set(found.values()) == {"a"}
    assert STRATEGY.service_changes(cluster, found, STRATEGY.parameters()) == (
        ServiceChange("b", "disabled", DISABLED_REASON, "after"), ServiceChange("c", "disabled", DISABLED_REASON, "after"))


def test_hosts_empty_before_and_hosts_still_in_use_are_left_alone() -> None:
    cluster = filled(4, 1, 0)
    assert disabled(cluster, {"b0": "a"}) == ["b"]
    assert disabled(cluster, {}) == []
    assert disabled(cluster, {"a0": "b"}) == []


def test_disabling_can_be_switched_off() -> None:
    assert disabled(filled(4, 1, 0), {"b0": "a"}, disable_emptied=False) == []


def test_a_host_that_a_migration_holds_is_not_disabled() -> None:
    cluster = filled(4, 1, 2, migrations=(in_flight("c0", "c", "b", VCPU=1),))
    assert disabled(cluster, {"b0": "a"}) == []


@pytest.mark.parametrize(("limit", "hosts"), [(100, 1), (60, 2), (40, 3)])
def test_no_host_is_filled_beyond_max_cpu_percent(limit: float, hosts: int) -> None:
    """Three hosts of 8 cores, 2.4 cores of load each."""
    cluster = filled(2, 2, 2, load=1.2)
    problem = problem_of(STRATEGY, cluster, aggressiveness=5, max_cpu_percent=limit)
    found = best(problem).placement
    assert len(set(found.values())) == hosts
    for host in set(found.values()):
        assert host in "abc"
        assert 1.2 * list(found.values()).count(host) / 8 <= limit / 100


def test_memory_has_a_limit_too() -> None:
    cluster = make_cluster([make_host("a"), make_host("b")], [make_server("s", "a", cpu_cores=0, used_mb=9000),
                                                              make_server("t", "b", cpu_cores=0, used_mb=7000)], load=LOAD)
    problem = problem_of(STRATEGY, cluster, aggressiveness=5)
    assert moves(problem, best(problem).placement) == {}
    problem = problem_of(STRATEGY, cluster, aggressiveness=5, max_memory_percent=100)
    assert len(moves(problem, best(problem).placement)) == 1


def test_rules_of_nova_hold() -> None:
    cluster = filled(1, 1, 1, groups=(make_group("anti-affinity", "a0", "b0"),))
    found = best(problem_of(STRATEGY, cluster, aggressiveness=5)).placement
    assert len(set(found.values())) == 2


def test_more_aggressive_moves_more_and_frees_more() -> None:
    cluster = filled(7, 1, 5, 3)
    counts, used = [], []
    for aggressiveness in range(1, 6):
        problem = problem_of(STRATEGY, cluster, aggressiveness=aggressiveness)
        found = best(problem).placement
        counts.append(len(moves(problem, found)))
        used.append(len(set(found.values())))
    assert counts == sorted(counts)
    assert used == sorted(used, reverse=True)
    assert counts[0] < counts[-1]


@pytest.mark.parametrize("aggressiveness", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("counts", [(3, 1, 1), (7, 1, 5, 3), (7, 5, 1, 1), (5, 3, 1, 1, 1, 1, 1), (2, 2, 2, 2)])
def test_twice_in_a_row_the_second_finds_nothing(counts: tuple[int, ...], aggressiveness: int) -> None:
    cluster = filled(*counts)
    found = best(problem_of(STRATEGY, cluster, aggressiveness=aggressiveness)).placement
    after = carried_out(STRATEGY, cluster, found)
    again = problem_of(STRATEGY, after, aggressiveness=aggressiveness)
    assert moves(again, best(again).placement) == {}
    assert disabled(after, {}) == []


def test_the_price_of_a_host_does_not_change_when_others_are_disabled() -> None:
    """Emptying b costs more than it is worth among 8 hosts; it still does when the 6 others are gone."""
    cluster = filled(8, 4, 1, 1, 1, 1, 1, 1, load=0.1)
    cluster = make_cluster([make_host(host.name, vcpus=32, memory_mb=65536, disk_gb=900) for host in cluster.hosts], cluster.servers, load=LOAD)
    problem = problem_of(STRATEGY, cluster, aggressiveness=1)
    found = best(problem).placement
    after = carried_out(STRATEGY, cluster, found)
    assert 1 < sum(host.available for host in after.hosts) < 8
    again = problem_of(STRATEGY, after, aggressiveness=1)
    assert moves(again, best(again).placement) == {}


@pytest.mark.parametrize(("given", "need"), [
    ({}, LoadNeed(3600, 300, "mean", "fail")),
    ({"period": 60, "granularity": 30, "statistic": "p95", "missing_load": "flavor"}, LoadNeed(60, 30, "p95", "flavor")),
])
def test_which_load_is_read(given: dict[str, object], need: LoadNeed) -> None:
    assert STRATEGY.load(STRATEGY.parameters.parse(STRATEGY.name, given)) == need


def test_reasons() -> None:
    cluster = filled(3, 2, 1)
    now, parameters = placement_of(cluster), STRATEGY.parameters()
    after = {**now, "c0": "b", "b0": "a"}
    assert STRATEGY.reason(cluster, now, after, Move("c0", "c", "b"), parameters) == (
        "c is being emptied (1 left); b has 2 servers and room for this one")
    assert STRATEGY.reason(cluster, now, after, Move("b0", "b", "a"), parameters) == "b needs room for servers of hosts that are being emptied"
    parameters = STRATEGY.parameters(max_cpu_percent=10)
    assert STRATEGY.reason(cluster, now, after, Move("b0", "b", "a"), parameters) == "cpu load of b is 12.5 %, limit 10 %"
