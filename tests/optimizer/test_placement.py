"""Where servers are, and the moves between two placements."""

from optimizer.placement import Move, moves_between, placement_of
from tests.support.clusters import make_cluster, make_host, make_server


def test_present_placement() -> None:
    cluster = make_cluster([make_host("a"), make_host("b")], [make_server("s1", "a"), make_server("s2", "b")])
    assert placement_of(cluster) == {"s1": "a", "s2": "b"}
    assert placement_of(make_cluster([])) == {}


def test_moves_between_placements() -> None:
    before = {"s2": "a", "s1": "a", "s3": "b"}
    assert list(moves_between(before, before)) == []
    assert list(moves_between(before, {"s1": "b", "s2": "c", "s3": "b"})) == [Move("s2", "a", "c"), Move("s1", "a", "b")]
