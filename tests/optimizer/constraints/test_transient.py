"""Resources kept on the host that a server leaves."""

import pytest

from optimizer.constraints.base import breaches
from optimizer.constraints.transient import Transient
from tests.support.clusters import in_flight, make_cluster, make_host, make_server, moved

# Both hosts full of disk; memory is plentiful.
FULL = make_cluster([make_host("a"), make_host("b"), make_host("c")],
                    [make_server("s1", "a", resources={"DISK_GB": 100}), make_server("s2", "b", resources={"DISK_GB": 60})])
RULE = Transient(frozenset({"DISK_GB"}))


@pytest.mark.parametrize(("to", "broken"), [
    ({}, []), ({"s1": "c"}, []), ({"s1": "b", "s2": "a"}, ["a", "b"]), ({"s1": "c", "s2": "a"}, ["a"]), ({"s2": "c"}, []),
])
def test_what_leaves_is_still_counted(to: dict[str, str], broken: list[str]) -> None:
    found = breaches([RULE], FULL, moved(FULL, **to))
    assert sorted(violation.host or "" for violation in found) == broken


def test_other_resources_may_change_places() -> None:
    assert not breaches([Transient(frozenset({"VCPU"}))], FULL, moved(FULL, s1="b", s2="a"))


def test_an_overfull_host_that_receives_nothing_is_left_alone() -> None:
    cluster = make_cluster([make_host("a"), make_host("b")], [make_server("s1", "a", resources={"DISK_GB": 300})])
    assert not breaches([RULE], cluster, moved(cluster))


def test_what_migrations_and_others_hold_counts() -> None:
    cluster = make_cluster([make_host("a"), make_host("b", held={"DISK_GB": 30})],
                           [make_server("s1", "a", resources={"DISK_GB": 50}), make_server("s2", "a")],
                           migrations=(in_flight("s2", "a", "b", DISK_GB=30),))
    text = breaches([RULE], cluster, moved(cluster, s1="b"))[0].text
    assert "110 used of 100" in text
