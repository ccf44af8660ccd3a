"""Demands that grow."""

import pytest

from optimizer.constraints.preserve import Preserve
from tests.support.clusters import make_cluster, make_host, make_server, moved

HOSTS = [make_host("a"), make_host("b")]
SERVERS = [make_server("s0", "a", vcpus=2), make_server("s1", "a", vcpus=3), make_server("s2", "b", vcpus=3)]


@pytest.mark.parametrize(("grown", "to", "expected"), [
    ({"s0": {"VCPU": 6}}, {}, [("VCPU", "a", (), True)]),  # nobody arrived: inherited
    ({"s0": {"VCPU": 6}}, {"s0": "b"}, [("VCPU", "b", ("s0",), False)]),
    ({"s0": {"VCPU": 6}}, {"s2": "a"}, [("VCPU", "a", ("s2",), False)]),  # who stays counts as grown too
    ({"s0": {"VCPU": 6}, "s2": {"VCPU": 5}}, {"s0": "b", "s2": "a"}, []),
    ({"s0": {"VCPU": 5}}, {"s0": "b"}, []),
    ({"s0": {"VCPU": 1}}, {"s0": "b", "s1": "b"}, []),  # 8 of 8: who shrinks still holds what it holds
    ({"s0": {"VCPU": 1}, "s2": {"VCPU": 4}}, {"s0": "b", "s1": "b"}, [("VCPU", "b", ("s0", "s1"), False)]),
    ({"s0": {"CUSTOM_CARD": 1}}, {"s2": "a"}, [("CUSTOM_CARD", "a", (), True)]),  # the newcomer needs none
    ({"deleted": {"VCPU": 99}}, {"s0": "b"}, []),
    ({}, {"s0": "b", "s1": "b", "s2": "a"}, []),
])
def test_hosts_too_small_for_growth(grown: dict[str, dict[str, int]], to: dict[str, str], expected: list[tuple[object, ...]]) -> None:
    cluster = make_cluster(HOSTS, SERVERS)
    found = Preserve(grown).violations(cluster, moved(cluster, **to))
    assert [(v.text.partition(" on ")[0], v.host, v.servers, v.inherited) for v in found] == expected


def test_capacity_is_another_rule() -> None:
    """What does not grow is not looked at here."""
    cluster = make_cluster(HOSTS, [*SERVERS, make_server("s3", "a", memory_mb=99999)])
    assert list(Preserve({"s0": {"VCPU": 3}}).violations(cluster, moved(cluster, s3="b"))) == []
