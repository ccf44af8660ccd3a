"""Soft groups never get worse."""

import pytest

from optimizer.constraints.soft_group import SoftGroup
from tests.support.clusters import make_cluster, make_host, make_server, moved

HOSTS = [make_host("a"), make_host("b"), make_host("c")]


@pytest.mark.parametrize(("policy", "now", "to", "servers"), [
    ("soft-affinity", "aab", {"s1": "c"}, ("s1",)),
    ("soft-affinity", "aaa", {"s1": "b", "s2": "c"}, ("s1", "s2")),
    ("soft-anti-affinity", "abc", {"s1": "b"}, ("s1",)),
    ("soft-anti-affinity", "aab", {"s3": "a"}, ("s3",)),
    ("soft-affinity", "aab", {"s3": "a"}, None),
    ("soft-affinity", "aab", {"s1": "b"}, None),
    ("soft-affinity", "aaa", {"s1": "c", "s2": "c", "s3": "c"}, None),
    ("soft-affinity", "abc", {}, None),
    ("soft-anti-affinity", "aaa", {"s1": "b", "s2": "b", "s3": "b"}, None),
    ("soft-anti-affinity", "aab", {"s1": "c"}, None),
    ("soft-anti-affinity", "aaa", {}, None),
])
def test_number_of_hosts(policy: str, now: str, to: dict[str, str], servers: tuple[str, ...] | None) -> None:
    cluster = make_cluster(HOSTS, [make_server(f"s{n}", host) for n, host in enumerate(now, 1)])
    found = list(SoftGroup("group", policy, ("s1", "s2", "s3", "deleted")).violations(cluster,
                                                                                      moved(cluster,
                                                                                            **to)))  # type: ignore[arg-type]
    assert [(v.servers, v.inherited) for v in found] == ([] if servers is None else [(servers, False)])
