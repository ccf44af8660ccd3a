"""Groups scattered over fault domains."""

import pytest

from optimizer.constraints.base import check
from optimizer.constraints.fault_domains import FaultDomains
from tests.support.clusters import make_cluster, make_host, make_server, moved

RACKS = {"a": "r1", "b": "r1", "c": "r2"}
CLUSTER = make_cluster([make_host(name) for name in "abcd"], [make_server("s1", "a"), make_server("s2", "c"), make_server("s3", "b")])
ALL = ("s1", "s2", "s3")


@pytest.mark.parametrize(("at_least", "to", "broken", "inherited"), [
    (1, {"s2": "a"}, False, False), (2, {}, False, False), (2, {"s2": "b"}, True, False), (2, {"s1": "b"}, False, False),
    (3, {}, True, True), (3, {"s1": "d"}, False, False), (3, {"s3": "c"}, True, True), (3, {"s2": "a"}, True, False), (9, {"s1": "d"}, True, True),
])
def test_never_in_fewer_domains_than_now_or_than_asked(at_least: int, to: dict[str, str], broken: bool, inherited: bool) -> None:
    found = check([FaultDomains("g", ALL, RACKS, at_least)], CLUSTER, moved(CLUSTER, **to))
    assert bool(found) == broken
    assert all(violation.inherited == inherited for violation in found)


def test_members_that_are_gone_do_not_count() -> None:
    assert not check([FaultDomains("g", ("gone", "s1"), RACKS, 1)], CLUSTER, moved(CLUSTER))
