"""The simulator refuses what Nova refuses, holds both sides of a migration, and keeps time."""

import time
from dataclasses import replace

import pytest

from migrate.cloud import CallFailed, NotNow, Outcome, Progress
from migrate.duration import TimeModel
from migrate.simulator import Change, Fault, SimulatedCloud, delete_server, move_server, set_service
from optimizer.constraints.base import check
from optimizer.constraints.capacity import Capacity
from optimizer.placement import placement_of
from tests.migrate.instances import cluster, host, move, rules, server, switch

START = cluster(
    [host("h1"), host("h2", 2), host("h3")],
    [server("a", "h1"), server("b", "h1", 2), server("c", "h2"), server("off", "h1", status="SHUTOFF")],
)
# One migration alone: 10 s of overhead and 1024 MiB at 102.4 MiB/s, give or take the 10 % of the seed.
MODEL = TimeModel(bandwidth_mb_per_s=102.4, dirty_mb_per_core_s=0, live_overhead_s=10.0, cold_overhead_s=10.0)


def simulator(**options):
    return SimulatedCloud(START, rules, model=MODEL, **options)


def until_ended(cloud, *handles):
    """Virtual seconds at which each ended."""
    ended = {}
    while len(ended) < len(handles):
        cloud.pause(0.01)
        for handle in handles:
            if isinstance(cloud.poll(handle), Outcome):
                ended.setdefault(handle, cloud.now())
    return [ended[handle] for handle in handles]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (move("ghost", "h1", "h2"), "HTTP 404: Instance ghost"),
        (move("a", "h1", "h9"), "HTTP 400: Compute host h9"),
        (move("a", "h2", "h1", kind="cold"), "HTTP 400: Cannot migrate to the host where the server exists"),
        (move("a", "h1", "h3", kind="evacuate"), "HTTP 400: Compute service of h1 is still in use"),
        (switch("h9", "enabled"), "no nova-compute service on h9"),
    ],
)
def test_answers_with_4xx(action, message):
    cloud = simulator()
    with pytest.raises(CallFailed, match=message):
        cloud.start(action, {})
    assert cloud.cluster == START


def test_evacuates_from_a_host_that_is_down():
    hosts = (replace(START.hosts[0], state="down", forced_down=True), *START.hosts[1:])
    cloud = SimulatedCloud(replace(START, hosts=hosts), rules, model=MODEL)
    actions = [move(name, "h1", "h3", kind="evacuate") for name in ("a", "off")]
    for handle in [cloud.start(action, {}) for action in actions]:
        with pytest.raises(CallFailed, match="cannot be aborted"):
            cloud.cancel(handle)
        while not isinstance(cloud.poll(handle), Outcome):
            cloud.pause(1.0)
        assert cloud.poll(handle).state == "SUCCEEDED"
    assert {name: (cloud.cluster.server_by_id[name].host, cloud.cluster.server_by_id[name].status) for name in ("a", "off")} == {
        "a": ("h3", "ACTIVE"), "off": ("h3", "SHUTOFF")}


@pytest.mark.parametrize("destination", ["h3", "h1", "h9"])
def test_what_a_server_is_doing_counts_before_where_it_is_to_go(destination):
    with pytest.raises(NotNow, match="HTTP 409: Cannot migrate instance off while it is SHUTOFF"):
        simulator().start(move("off", "h1", destination), {})


def test_refuses_a_second_migration_of_a_server():
    cloud = simulator()
    cloud.start(move("a", "h1", "h3"), {})
    with pytest.raises(NotNow, match="while it is migrating"):
        cloud.start(move("a", "h1", "h2"), {})


def test_a_migration_that_breaks_a_rule_has_no_valid_host():
    cloud = simulator()
    handle = cloud.start(move("b", "h1", "h2"), {})
    assert cloud.poll(handle) == Outcome("FAILED", "NoValidHost: VCPU on h2: 3 used of 2")
    assert cloud.cluster == START


def test_a_live_migration_to_the_servers_own_host_is_accepted_and_comes_to_nothing():
    cloud = simulator()
    assert cloud.poll(cloud.start(move("a", "h1", "h1"), {})) == Outcome("FAILED", "NoValidHost: a is on h1 already")
    assert cloud.cluster == START


@pytest.mark.parametrize(
    ("kind", "status", "task"), [("live", "MIGRATING", "migrating"), ("cold", "RESIZE", "resize_migrating")]
)
def test_holds_both_sides_while_it_runs(kind, status, task):
    cloud = simulator()
    handle = cloud.start(move("a", "h1", "h2", kind=kind), {})
    seen = cloud.observe({"a"}, {"h1", "h2"})
    assert (seen.server_by_id["a"].host, seen.server_by_id["a"].status, seen.server_by_id["a"].task_state) == (
        "h1",
        status,
        task,
    )
    assert seen.migration_of["a"].other_side("h1") == "h2"
    # h2 has room for one more, and that is taken already.
    assert any(found.host == "h2" for found in check([Capacity()], seen, {**placement_of(seen), "off": "h2"}))
    until_ended(cloud, handle)
    assert cloud.cluster.server_by_id["a"] == server("a", "h2")
    assert cloud.cluster.migrations == ()


def test_time_and_progress():
    cloud = simulator()
    handle = cloud.start(move("a", "h1", "h3"), {})
    cloud.pause(10.0)
    halfway = cloud.poll(handle)
    assert isinstance(halfway, Progress)
    assert halfway.fraction == pytest.approx(0.5, abs=0.06)
    (ended,) = until_ended(cloud, handle)
    assert 18.0 <= ended <= 22.1


def test_the_same_seed_gives_the_same_times():
    def seconds(seed, *others):
        cloud = simulator(seed=seed)
        for other in others:
            cloud.start(other, {})
        return until_ended(cloud, cloud.start(move("a", "h1", "h3"), {}))[0]

    assert seconds(1) == seconds(1)
    assert len({seconds(seed) for seed in range(5)}) > 1


def test_migrations_of_one_host_share_its_bandwidth():
    cloud = SimulatedCloud(START, rules, model=replace(MODEL, live_per_source=2))
    one, other = until_ended(cloud, cloud.start(move("a", "h1", "h3"), {}), cloud.start(move("b", "h1", "h3"), {}))
    # Overhead 10 s in parallel, then 2 GiB through one link: about 20 s.
    assert min(one, other) > 25
    assert 27 <= max(one, other) <= 33
    apart = simulator()
    alone, _ = until_ended(apart, apart.start(move("a", "h1", "h3"), {}), apart.start(switch("h2", "disabled"), {}))
    assert alone < 23


def test_live_migrations_from_one_host_are_queued():
    cloud = simulator(spread=0.0)
    alone, _ = until_ended(cloud, cloud.start(move("a", "h1", "h3"), {}), cloud.start(switch("h2", "disabled"), {}))
    queued = simulator(spread=0.0)
    one, other = until_ended(queued, queued.start(move("a", "h1", "h3"), {}), queued.start(move("b", "h1", "h3"), {}))
    assert (one, other) == pytest.approx((alone, 2 * alone), abs=0.05)


@pytest.mark.parametrize(
    ("fault", "struck"),
    [
        (Fault(phase="run"), True),
        (Fault(phase="stall", server="b"), False),
        (Fault(phase="run", server="a"), True),
        (Fault(phase="run", server="b"), False),
        (Fault(phase="run", destination="h3"), True),
        (Fault(phase="run", destination="h2"), False),
        (Fault(phase="start", server="a", destination="h3"), True),
        (Fault(phase="start", server="a", destination="h2"), False),
    ],
)
def test_faults(fault, struck):
    cloud = simulator(faults=[fault])
    handle = cloud.start(move("a", "h1", "h3"), {})
    until_ended(cloud, handle)
    assert cloud.poll(handle).state == ("FAILED" if struck else "SUCCEEDED")
    assert cloud.cluster.server_by_id["a"] == server("a", "h1" if struck else "h3")


def test_changes_happen_at_their_time():
    cloud = simulator(
        changes=[
            Change(7.0, delete_server("c")),
            Change(5.0, set_service("h2", "disabled", "repair")),
            Change(6.0, move_server("b", "h3")),
        ]
    )
    cloud.pause(4.9)
    assert cloud.cluster == START
    cloud.pause(0.2)
    assert (cloud.cluster.host_by_name["h2"].status, cloud.cluster.host_by_name["h2"].disabled_reason) == (
        "disabled",
        "repair",
    )
    cloud.pause(1.0)
    assert cloud.cluster.server_by_id["b"].host == "h3"
    cloud.pause(1.0)
    assert "c" not in cloud.cluster.server_by_id


def test_abort():
    cloud = simulator()
    live, cold = cloud.start(move("a", "h1", "h3"), {}), cloud.start(move("off", "h1", "h3", kind="cold"), {})
    assert cloud.cancel(live) == "it was aborted"
    assert cloud.poll(live) == Outcome("FAILED", "cancelled")
    assert cloud.cluster.server_by_id["a"] == server("a", "h1")
    with pytest.raises(CallFailed, match="it cannot be aborted"):
        cloud.cancel(cold)
    with pytest.raises(CallFailed, match="it cannot be forced to complete"):
        cloud.force_complete(cold)
    until_ended(cloud, cold)
    assert cloud.cluster.server_by_id["off"].status == "SHUTOFF"


def test_stall():
    """Half-way it stands still, and holds the place of those behind it."""
    cloud = simulator(faults=[Fault(phase="stall", server="a")], spread=0.0)
    stalled, queued = cloud.start(move("a", "h1", "h3"), {}), cloud.start(move("b", "h1", "h3"), {})
    seen = []
    for _ in range(40):
        cloud.pause(1.0)
        seen.append(cloud.poll(stalled).fraction)
        assert cloud.poll(queued) == Progress(None, "queued")
    assert seen == pytest.approx([min(0.05 * second, 0.5) for second in range(1, 41)])
    assert cloud.force_complete(stalled) == "it was forced to complete"
    assert until_ended(cloud, stalled) == [pytest.approx(50, abs=0.02)]
    assert cloud.cluster.server_by_id["a"] == server("a", "h3")


def test_forced_before_it_stalls():
    cloud = simulator(faults=[Fault(phase="stall")], spread=0.0)
    handle = cloud.start(move("a", "h1", "h3"), {})
    cloud.pause(3.0)
    cloud.force_complete(handle)
    assert until_ended(cloud, handle) == [pytest.approx(20, abs=0.02)]  # as if it had never been about to


def test_what_would_fail_is_not_saved_by_force():
    cloud = simulator(faults=[Fault(phase="run")])
    handle = cloud.start(move("a", "h1", "h3"), {})
    cloud.force_complete(handle)
    until_ended(cloud, handle)
    assert cloud.poll(handle).state == "FAILED"


def test_services():
    cloud = simulator()
    handle = cloud.start(switch("h2", "disabled"), {})
    assert cloud.poll(handle) == Outcome("SUCCEEDED", "nova-compute on h2 is disabled")
    assert cloud.cluster.host_by_name["h2"].disabled_reason == "test"
    cloud.start(switch("h2", "enabled"), {})
    assert cloud.cluster == START


def test_pace(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    simulator().pause(5.0)
    assert slept == []
    simulator(pace=0.01).pause(5.0)
    assert slept == [0.05]
