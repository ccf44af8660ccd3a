"""A failed host evacuated: only when it is fenced, everything that can be evacuated, under all rules."""

from dataclasses import replace
from typing import Any

import pytest

from optimizer.cluster import Cluster
from optimizer.explain import refusals
from optimizer.placement import Move
from strategies.base import ParameterError
from strategies.host_evacuation import HostEvacuation
from tests.strategies.cases import best, moves, problem_of
from tests.support.clusters import make_cluster, make_group, make_host, make_server

STRATEGY = HostEvacuation()
FAILED = {"failed_node": "a"}


def cluster_of(*servers: Any, b: int = 8, **fields: Any) -> Cluster:
    return make_cluster([make_host("a", state="down", forced_down=True), make_host("b", vcpus=b), make_host("c")], servers, **fields)


@pytest.mark.parametrize(("fields", "given", "said"), [
    ({}, {"failed_node": "x"}, "failed_node: there is no host 'x'; hosts are a, b, c"),
    ({"state": "up", "forced_down": False}, FAILED, "a is up and not forced down: drain it with host_maintenance"),
    ({"forced_down": False}, FAILED, "a is down and not forced down: make sure that it is off"),
    ({}, {}, "failed_node"),
    ({}, {**FAILED, "first": ["=1"]}, "first: need a tag or KEY=VALUE, or a list of such"),
])
def test_hosts_whose_servers_may_still_run(fields: dict[str, Any], given: dict[str, Any], said: str) -> None:
    cluster = cluster_of(make_server("s", "a"))
    with pytest.raises(ParameterError) as caught:
        problem_of(STRATEGY, replace(cluster, hosts=(replace(cluster.hosts[0], **fields), *cluster.hosts[1:])), **given)
    assert str(caught.value).startswith("strategy host_evacuation: ")
    assert said in str(caught.value)


def test_all_that_can_be_evacuated_is() -> None:
    servers = [make_server(f"s{status}", "a", status=status) for status in ("ACTIVE", "SHUTOFF", "ERROR", "PAUSED")]
    problem = problem_of(STRATEGY, cluster_of(*servers, make_server("locked", "a", locked=True)), **FAILED)
    found = best(problem).placement
    assert moves(problem, found).keys() == {"sACTIVE", "sSHUTOFF", "sERROR", "locked"}
    (refused,) = refusals(problem, found)
    assert refused.server == "sPAUSED"
    assert "Nova evacuates ACTIVE, SHUTOFF and ERROR servers" in refused.text


def test_groups_stay_apart() -> None:
    cluster = cluster_of(*(make_server(f"s{n}", "a") for n in range(3)), groups=(make_group("anti-affinity", "s0", "s1", "s2"),))
    found = moves(problem := problem_of(STRATEGY, cluster, **FAILED), best(problem).placement)
    assert sorted(found.values()) == ["b", "c"]


def test_others_make_room() -> None:
    cluster = make_cluster([make_host("a", state="down", forced_down=True), make_host("b"), make_host("c", vcpus=4)],
                           [make_server("s", "a", vcpus=8), make_server("t", "b")])
    problem = problem_of(STRATEGY, cluster, **FAILED)
    assert moves(problem, best(problem).placement) == {"s": "b", "t": "c"}
    parameters = STRATEGY.parameters(**FAILED)
    assert STRATEGY.reason(cluster, {}, {}, Move("t", "b", "c"), parameters) == "b needs room for servers of a, which has failed"
    assert STRATEGY.reason(cluster, {}, {}, Move("s", "a", "b"), parameters) == "a has failed"


def test_other_hosts_that_failed_are_left_alone() -> None:
    cluster = make_cluster([make_host("a", state="down", forced_down=True), make_host("b", state="down", forced_down=True), make_host("c")],
                           [make_server("s", "a"), make_server("t", "b")])
    problem = problem_of(STRATEGY, cluster, **FAILED)
    assert moves(problem, best(problem).placement) == {"s": "c"}


def test_no_load_and_no_service_is_touched() -> None:
    parameters = STRATEGY.parameters(**FAILED)
    assert STRATEGY.load(parameters) is None
    assert STRATEGY.service_changes(cluster_of(), {}, parameters) == ()
