"""Checking several rules at once."""

from optimizer.constraints.available import Available
from optimizer.constraints.base import breaches, check
from optimizer.constraints.capacity import Capacity
from tests.support.clusters import make_cluster, make_host, make_server, moved


def test_breaches_are_what_moves_brought_about() -> None:
    cluster = make_cluster([make_host("a", vcpus=1), make_host("b", status="disabled")],
                           [make_server("s1", "a"), make_server("s2", "a"), make_server("s3", "a")])
    placement = moved(cluster, s3="b")
    rules = (Capacity(), Available())
    assert [(v.rule, v.inherited) for v in check(rules, cluster, placement)] == [("capacity", True), ("available", False)]
    assert [v.rule for v in breaches(rules, cluster, placement)] == ["available"]
    assert check((), cluster, placement) == []
