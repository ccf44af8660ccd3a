"""Statements: what is refused, and how the fault is told."""

from typing import Any

import pytest

from policy_sources.vocabulary.kinds import KINDS, parse

WEB: dict[str, Any] = {"name": "web-*"}
A: dict[str, Any] = {"name": "a"}


@pytest.mark.parametrize(("row", "faults"), [
    (5, [("", "a rule is a mapping with a key \"rule\", not 5")]),
    ([], [("", "a rule is a mapping with a key \"rule\", not []")]),
    ({}, [("rule", "is missing; there are together, apart,")]),
    ({"rule": "appart"}, [("rule", "'appart' is no kind of rule; there are together, apart,")]),
    ({"rule": ["apart"]}, [("rule", "['apart'] is no kind of rule")]),
    ({"rule": "apart"}, [("servers", "is missing")]),
    ({"rule": "apart", "servers": WEB, "max": 2}, [("max", "there is no such key; known are rule, should, why, servers, max_per_host, during")]),
    ({"rule": "apart", "servers": {"nmae": "x"}}, [("servers.nmae", "there is no such key; known are id, name, project,")]),
    ({"rule": "apart", "servers": {}}, [("servers", "nothing is selected; give at least one of id, name,")]),
    ({"rule": "apart", "servers": {"name": []}}, [("servers.name", "at least 1 item")]),
    ({"rule": "apart", "servers": {"name": [""]}}, [("servers.name.0", "at least 1 character")]),
    ({"rule": "apart", "servers": {"name": 5}}, [("servers.name", "(got 5)")]),
    ({"rule": "apart", "servers": {"metadata": {}}}, [("servers.metadata", "at least 1 item")]),
    ({"rule": "apart", "servers": "web"}, [("servers", "(got 'web')")]),
    ({"rule": "apart", "servers": WEB, "max_per_host": 0}, [("max_per_host", "greater than or equal to 1 (got 0)")]),
    ({"rule": "apart", "servers": WEB, "should": True, "max_per_host": False}, [("should", "need a value, not true"),
                                                                               ("max_per_host", "need a value, not false")]),
    ({"rule": "apart", "servers": WEB, "should": 0}, [("should", "greater than 0 (got 0)")]),
    ({"rule": "apart", "servers": WEB, "should": float("nan")}, [("should", "(got nan)")]),
    ({"rule": "apart", "servers": WEB, "should": 1e7}, [("should", "less than or equal to 1000000")]),
    ({"rule": "apart", "servers": WEB, "why": "x" * 501}, [("why", "at most 500 characters")]),
    ({"rule": "spread", "servers": WEB, "across": "floor"}, [("across", "(got 'floor')")]),
    ({"rule": "spread", "servers": WEB, "across": "host"}, [("across", "(got 'host')")]),
    ({"rule": "spread", "servers": WEB, "across": "zone", "at_least": 1}, [("at_least", "greater than or equal to 2")]),
    ({"rule": "quarantine", "hosts": A, "should": 1}, [("should", "(got 1)")]),
    ({"rule": "keep", "servers": WEB, "should": 1}, [("should", "(got 1)")]),
    ({"rule": "cap", "hosts": A, "resource": "CPU", "percent": 80}, [("resource", "(got 'CPU')")]),
    ({"rule": "cap", "hosts": A, "resource": "VCPU", "percent": 101}, [("percent", "less than or equal to 100 (got 101)")]),
    ({"rule": "automation", "servers": WEB, "level": "full"}, [("level", "'off' or 'advise' (got 'full')")]),
    ({"rule": "window", "servers": WEB, "cron": "61 * * * *", "minutes": 0, "timezone": "Mars/Olympus"},
     [("cron", "'61 * * * *' is no cron expression: Bad minute"), ("minutes", "(got 0)"), ("timezone", "there is no time zone 'Mars/Olympus'")]),
    ({"rule": "budget", "hours": 1}, [("", "need servers or hosts, one of them")]),
    ({"rule": "budget", "servers": WEB, "hosts": A, "hours": 1}, [("", "need servers or hosts, one of them")]),
    ({"rule": "sensitivity", "servers": WEB, "property": "speed", "level": "very"}, [("property", "(got 'speed')"), ("level", "(got 'very')")]),
    ({"rule": "on", "servers": {"host": []}, "hosts": {"zone": 1}}, [("servers.host", "at least 1"), ("hosts.zone", "(got 1)")]),
])
def test_what_is_refused(row: Any, faults: list[tuple[str, str]]) -> None:
    good: dict[str, Any] = {"rule": "keep", "servers": WEB}
    _, found = parse([good, row])
    assert [(fault.row, fault.path) for fault in found] == [(1, path) for path, _ in faults]
    for fault, (_, text) in zip(found, faults, strict=True):
        assert text in fault.text


def test_all_faults_of_all_rows_are_told_at_once() -> None:
    _, faults = parse([{"rule": "apart"}, {"rule": "keep", "servers": WEB}, {"rule": "x"}, {"rule": "cap", "percent": "much"}])
    assert [(fault.row, fault.path) for fault in faults] == [(0, "servers"), (2, "rule"), (3, "hosts"), (3, "resource"), (3, "percent")]


def test_the_table_names_each_kind_as_it_is_written() -> None:
    for name, kind in KINDS.items():
        assert kind.model_json_schema()["properties"]["rule"]["const"] == name
        assert kind.title
