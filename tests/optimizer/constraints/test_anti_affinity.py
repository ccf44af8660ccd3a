"""Members of a group apart."""

import pytest

from optimizer.cluster import Migration
from optimizer.constraints.anti_affinity import AntiAffinity
from tests.support.clusters import in_flight, make_cluster, make_host, make_server, moved

HOSTS = [make_host("a"), make_host("b"), make_host("c")]
FLYING = (in_flight("s1", "a", "b"),)  # the server is still on a


@pytest.mark.parametrize(("limit", "now", "migrations", "to", "expected"), [
    (1, "ab", (), {"s1": "b"}, [(("s1", "s2"), "b", False)]),
    (1, "aac", (), {"s3": "a"}, [(("s1", "s2", "s3"), "a", False)]),
    (1, "abc", (), {"s1": "c", "s2": "c", "s3": "a"}, [(("s1", "s2"), "c", False)]),
    (2, "aab", (), {"s3": "a"}, [(("s1", "s2", "s3"), "a", False)]),
    (1, "acc", FLYING, {"s2": "b"}, [(("s1", "s2"), "b", False)]),
    (1, "ab", FLYING, {}, [(("s1", "s2"), "b", True)]),
    (1, "aa", (), {}, [(("s1", "s2"), "a", True)]),
    (1, "aaa", (), {"s1": "b"}, [(("s2", "s3"), "a", True)]),
    (1, "aa", (), {"s1": "b"}, []),
    (1, "ab", (), {"s1": "b", "s2": "a"}, []),
    (2, "ab", (), {"s1": "b"}, []),
    (2, "abc", FLYING, {"s3": "b"}, [(("s1", "s2", "s3"), "b", False)]),
    # A resize on the spot holds one host, once.
    (2, "ab", (in_flight("s1", "a", "a"),), {"s2": "a"}, []),
])
def test_members_of_a_host(limit: int, now: str, migrations: tuple[Migration, ...], to: dict[str, str],
                           expected: list[tuple[tuple[str, ...], str, bool]]) -> None:
    servers = [make_server(f"s{n}", host) for n, host in enumerate(now, 1)]
    cluster = make_cluster(HOSTS, servers, migrations=migrations)
    rule = AntiAffinity("group", ("s1", "s2", "s3", "deleted"), limit)
    found = rule.violations(cluster, moved(cluster, **to))
    assert [(sorted(v.servers), v.host, v.inherited) for v in found] == [(sorted(s), h, i) for s, h, i in expected]
