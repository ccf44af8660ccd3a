"""Servers that have to stay."""

from optimizer.cluster import Obstacle
from optimizer.constraints.movable import Movable
from tests.support.clusters import make_cluster, make_host, make_server, moved

CLUSTER = make_cluster([make_host("a"), make_host("b")], [make_server("s1", "a"), make_server("s2", "a")])
RULE = Movable({"s1": (Obstacle(kind="pci", text="it has a card"), Obstacle(kind="locked", text="it is locked")), "s2": (),
                "deleted": (Obstacle(kind="pci", text="gone"),)})


def test_a_server_with_an_obstacle_that_moves() -> None:
    found = list(RULE.violations(CLUSTER, moved(CLUSTER, s1="b", s2="b")))
    assert [(v.text, v.servers, v.inherited) for v in found] == [("s1 cannot be moved: it has a card; it is locked", ("s1",),
                                                                  False)]


def test_staying_is_legal() -> None:
    assert not list(RULE.violations(CLUSTER, moved(CLUSTER, s2="b")))
