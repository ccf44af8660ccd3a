"""Members of a group on one host."""

import pytest

from optimizer.cluster import Cluster
from optimizer.constraints.affinity import Affinity
from tests.support.clusters import make_cluster, make_host, make_server, moved

HOSTS = [make_host("a"), make_host("b"), make_host("c")]


def cluster(**on: str) -> Cluster:
    return make_cluster(HOSTS, [make_server(name, host) for name, host in on.items()])


def verdicts(now: Cluster, **to: str) -> list[tuple[tuple[str, ...], str | None, bool]]:
    rule = Affinity("group", ("s1", "s2", "s3", "deleted"))
    return [(found.servers, found.host, found.inherited) for found in rule.violations(now, moved(now, **to))]


@pytest.mark.parametrize(("now", "to", "expected"), [
    # Nova moves one server at a time: a group that is together is refused, even when it moves as a whole.
    ({"s1": "a", "s2": "a"}, {"s1": "b", "s2": "b"}, [(("s1",), "b", False), (("s2",), "b", False)]),
    ({"s1": "a", "s2": "a"}, {"s1": "b"}, [(("s1",), "b", False), (("s1", "s2"), None, True)]),
    # The only member left is refused as well: the hosts of a group are those of all its members, itself included.
    ({"s1": "a"}, {"s1": "b"}, [(("s1",), "b", False)]),
    # Who comes cannot rely on one who came.
    ({"s1": "a", "s2": "b"}, {"s1": "c", "s2": "c"}, [(("s1",), "c", False), (("s2",), "c", False)]),
    ({"s1": "a", "s2": "b"}, {"s1": "b", "s2": "a"}, [(("s1",), "b", False), (("s2",), "a", False), (("s1", "s2"), None, True)]),
    # Split: inherited while nobody moves, and drawn together is legal.
    ({"s1": "a", "s2": "b"}, {}, [(("s1", "s2"), None, True)]),
    ({"s1": "a", "s2": "b"}, {"s1": "b"}, []),
    ({"s1": "a", "s2": "b", "s3": "c"}, {"s1": "b"}, [(("s1", "s2", "s3"), None, True)]),
    ({"s1": "a", "s2": "a"}, {}, []),
    ({"s1": "a"}, {}, []),
    ({}, {}, []),
])
def test_members_and_their_hosts(now: dict[str, str], to: dict[str, str], expected: list[object]) -> None:
    assert verdicts(cluster(**now), **to) == expected
