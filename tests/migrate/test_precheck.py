"""What the check before an action says, apart from what the executor's tests show."""

from dataclasses import replace

import pytest

from migrate.precheck import Verdict, judge, not_as_wanted, with_flights
from optimizer.cluster import Migration
from tests.migrate.instances import cluster, host, move, rules, server, switch

START = cluster([host("h1"), host("h2", 1), host("h3")], [server("a", "h1"), server("b", "h1"), server("z", "h2")])
EMPTY_ONLY = switch("h1", "disabled", only_if_empty=True)


@pytest.mark.parametrize(
    ("action", "ongoing", "verdict"),
    [
        (move("a", "h1", "h3"), [], Verdict("start")),
        (move("a", "h1", "h2"), [], Verdict("skip", "VCPU on h2: 2 used of 1")),
        (move("a", "h1", "h2"), [move("b", "h1", "h3")], Verdict("skip", "VCPU on h2: 2 used of 1")),
        (
            move("a", "h1", "h2"),
            [move("z", "h2", "h3")],
            Verdict("wait", "waits for an action that still runs: VCPU on h2: 2 used of 1"),
        ),
        (EMPTY_ONLY, [], Verdict("skip", "h1 is not empty, it carries a, b")),
        (EMPTY_ONLY, [move("a", "h1", "h3")], Verdict("wait", "waits for an action that still runs on h1")),
        (switch("h1", "disabled"), [move("a", "h1", "h3")], Verdict("start")),
        (switch("h3", "disabled", only_if_empty=True), [], Verdict("start")),
    ],
)
def test_judge(action, ongoing, verdict):
    assert judge(action, START, rules, ongoing) == verdict


@pytest.mark.parametrize(("fields", "said"), [
    ({}, "host h1 is up and not forced down: its servers may run, and are not evacuated"),
    ({"state": "down"}, "host h1 is down and not forced down: its servers may run, and are not evacuated"),
    ({"state": "down", "forced_down": True}, ""),
])
def test_only_what_is_fenced_is_evacuated(fields, said):
    seen = replace(START, hosts=(replace(START.hosts[0], **fields), *START.hosts[1:]))
    assert judge(move("a", "h1", "h3", kind="evacuate"), seen, rules, []) == Verdict("skip" if said else "start", said)


def test_a_paused_server_is_not_evacuated():
    lost = replace(START.hosts[0], state="down", forced_down=True)
    seen = replace(START, hosts=(lost, *START.hosts[1:]), servers=(replace(START.servers[0], status="PAUSED"), *START.servers[1:]))
    verdict = judge(move("a", "h1", "h3", kind="evacuate"), seen, rules, [])
    assert verdict == Verdict("skip", "a is PAUSED; an evacuation needs ACTIVE or ERROR or SHUTOFF")


def test_a_migration_of_somebody_else_keeps_a_host_from_being_empty():
    flight = Migration(id="7", server="a", source="h1", destination="h3", kind="live-migration", status="running")
    seen = replace(START, migrations=(flight,))
    verdict = judge(switch("h3", "disabled", only_if_empty=True), seen, rules, [])
    assert verdict == Verdict("skip", "h3 is not empty, it carries migration 7")


def test_many_servers_are_counted():
    seen = cluster([host("h1", 9)], [server(name, "h1") for name in "abcde"])
    assert judge(EMPTY_ONLY, seen, rules, []).text == "h1 is not empty, it carries a, b, c and 2 more"


def test_flights_are_added_once():
    actions = [move("a", "h1", "h3"), move("gone", "h1", "h3"), switch("h2", "disabled")]
    seen = with_flights(START, actions)
    (flight,) = seen.migrations
    assert (flight.server, flight.source, flight.destination) == ("a", "h1", "h3")
    assert (flight.kind, flight.resources) == ("live-migration", {"VCPU": 1})
    assert with_flights(seen, actions) is seen


@pytest.mark.parametrize(
    ("action", "wrong"),
    [
        (move("a", "h3", "h1"), ""),
        (move("a", "h1", "h3"), "a is on h1"),
        (move("gone", "h1", "h3"), "gone does not exist any more"),
        (switch("h1", "enabled"), ""),
        (switch("h1", "disabled"), "it is enabled"),
        (switch("h9", "disabled"), "it is gone"),
    ],
)
def test_not_as_wanted(action, wrong):
    assert not_as_wanted(action, START) == wrong
