"""Servers that must run."""

from optimizer.constraints.run import Run
from optimizer.growth import NOT_RUNNING
from tests.support.clusters import make_cluster, make_host, make_server, moved

CLUSTER = make_cluster([make_host("a"), make_host(NOT_RUNNING, status="disabled")],
                       [make_server("s0", NOT_RUNNING), make_server("s1", NOT_RUNNING), make_server("s2", "a")])


def test_who_does_not_run_is_named_and_inherited() -> None:
    found = list(Run(("s0", "s2", "deleted")).violations(CLUSTER, moved(CLUSTER)))
    assert [(v.servers, v.inherited) for v in found] == [(("s0",), True)]
    assert found[0].text == "s0 must run and does not"
    assert list(Run(("s0",)).violations(CLUSTER, moved(CLUSTER, s0="a"))) == []


def test_stopping_one_that_must_run_is_a_breach() -> None:
    assert [v.inherited for v in Run(("s2",)).violations(CLUSTER, moved(CLUSTER, s2=NOT_RUNNING))] == [False]
