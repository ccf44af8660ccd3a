"""Needs of servers that have grown."""

import pytest

from optimizer.growth import NOT_RUNNING, needed, overloads
from tests.support.clusters import in_flight, make_cluster, make_host, make_server, moved

GROWN = {"s0": {"VCPU": 6}, "s1": {"VCPU": 1, "CUSTOM_CARD": 2}}


@pytest.mark.parametrize(("server", "expected"), [
    ("s0", {"VCPU": 6, "MEMORY_MB": 1024, "DISK_GB": 10}),
    ("s1", {"VCPU": 2, "MEMORY_MB": 1024, "DISK_GB": 10, "CUSTOM_CARD": 2}),  # what shrinks is still held
    ("s2", {"VCPU": 2, "MEMORY_MB": 1024, "DISK_GB": 10}),
])
def test_a_need_is_the_greater_of_held_and_grown(server: str, expected: dict[str, int]) -> None:
    assert needed(make_server(server, "a", vcpus=2), GROWN) == expected


def test_overloads_count_held_and_migrations_too() -> None:
    cluster = make_cluster([make_host("a"), make_host("b", held={"VCPU": 1})], [make_server("s0", "a"), make_server("s3", "a", vcpus=3)],
                           migrations=(in_flight("s3", "a", "b", VCPU=3),))
    assert list(overloads(cluster, moved(cluster), {})) == []
    assert list(overloads(cluster, moved(cluster), GROWN)) == [("a", "VCPU", 9, 8)]
    assert list(overloads(cluster, moved(cluster, s0="b"), GROWN)) == [("b", "VCPU", 10, 8)]


def test_where_servers_do_not_run_nothing_is_overloaded() -> None:
    cluster = make_cluster([make_host("a"), make_host(NOT_RUNNING, status="disabled", vcpus=0)], [make_server("s0", NOT_RUNNING)])
    assert list(overloads(cluster, moved(cluster), GROWN)) == []
