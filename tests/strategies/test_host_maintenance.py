"""A host drained: everything that can be moved, the backup first, with the fewest moves."""

from dataclasses import replace
from typing import Any

import pytest

from optimizer.cluster import Cluster
from optimizer.explain import by_benefit, refusals
from optimizer.placement import Move, ServiceChange, placement_of
from strategies.base import ParameterError
from strategies.host_maintenance import DISABLED_REASON, HostMaintenance
from tests.strategies.cases import best, carried_out, every_legal, moves, problem_of
from tests.support.clusters import make_cluster, make_group, make_host, make_server

STRATEGY = HostMaintenance()
DRAIN = {"maintenance_node": "a"}


def cluster_of(*servers: Any, b: int = 8, c: int = 8, **fields: Any) -> Cluster:
    return make_cluster([make_host("a"), make_host("b", vcpus=b), make_host("c", vcpus=c)], servers, **fields)


def on_a(count: int = 3, **fields: Any) -> list[Any]:
    return [make_server(f"s{n}", "a", **fields) for n in range(count)]


def drained(cluster: Cluster, **given: Any) -> dict[str, str]:
    problem = problem_of(STRATEGY, cluster, **{**DRAIN, **given})
    return moves(problem, best(problem).placement)


# ---- parameters that do not fit the cluster


@pytest.mark.parametrize(("given", "said"), [
    ({"maintenance_node": "x"}, ["1 fault", "maintenance_node: there is no host 'x'; hosts are a, b, c"]),
    ({"maintenance_node": "a", "backup_node": "y"}, ["1 fault", "backup_node: there is no host 'y'; hosts are a, b, c"]),
    ({"maintenance_node": "x", "backup_node": "y"}, ["2 faults", "maintenance_node: there is no host 'x'", "backup_node: there is no host 'y'"]),
    ({"maintenance_node": "a", "backup_node": "id-a"}, ["backup_node: id-a is maintenance_node too, a; need two hosts"]),
    ({"maintenance_node": "id-a", "backup_node": "a"}, ["backup_node: a is maintenance_node too, a; need two hosts"]),
])
def test_hosts_that_are_not_there(given: dict[str, str], said: list[str]) -> None:
    with pytest.raises(ParameterError) as caught:
        problem_of(STRATEGY, cluster_of(), **given)
    assert str(caught.value).startswith("strategy host_maintenance: ")
    assert all(part in str(caught.value) for part in said), str(caught.value)


def test_of_many_hosts_only_some_are_listed() -> None:
    with pytest.raises(ParameterError, match=r"h0, .*, \.\.\.$"):
        problem_of(STRATEGY, make_cluster([make_host(f"h{n}") for n in range(11)]), **DRAIN)


# ---- draining


def test_all_that_can_move_leaves() -> None:
    assert sorted(drained(cluster_of(*on_a()))) == ["s0", "s1", "s2"]


def test_a_host_by_its_uuid() -> None:
    cluster = cluster_of(*on_a(2))
    assert drained(cluster, maintenance_node="id-a", backup_node="id-c") == {"s0": "c", "s1": "c"}
    parameters = STRATEGY.parameters.parse(STRATEGY.name, {"maintenance_node": "id-a"})
    assert STRATEGY.service_changes(cluster, {}, parameters)[0].host == "a"
    assert STRATEGY.reason(cluster, placement_of(cluster), {}, Move("s0", "a", "c"), parameters) == "a is being drained (2 left before this move)"


def test_the_backup_is_preferred_as_far_as_it_has_room() -> None:
    found = drained(cluster_of(*on_a(4), b=3), backup_node="b")
    assert sorted(found.values()) == ["b", "b", "b", "c"]


def test_a_backup_that_takes_nobody_does_not_stop_the_drain() -> None:
    cluster = cluster_of(*on_a(2))
    closed = replace(cluster, hosts=(cluster.hosts[0], replace(cluster.hosts[1], status="disabled"), cluster.hosts[2]))
    assert set(drained(closed, backup_node="b").values()) == {"c"}


def test_others_make_room_when_that_is_what_it_takes() -> None:
    """s needs 8 VCPU at once: b's only server has to go to c."""
    cluster = cluster_of(make_server("s", "a", vcpus=8), make_server("t", "b", vcpus=1), make_server("u", "c", vcpus=3, memory_mb=4096))
    assert drained(cluster) == {"s": "b", "t": "c"}
    parameters = STRATEGY.parameters(**DRAIN)
    assert STRATEGY.reason(cluster, {}, {}, Move("t", "b", "c"), parameters) == "b needs room for servers of a, which is being drained"


def test_the_fewest_servers_stay_and_the_fewest_move() -> None:
    cluster = cluster_of(*on_a(3, vcpus=2), make_server("t", "b"), make_server("u", "c"), b=4, c=3)
    problem = problem_of(STRATEGY, cluster, **DRAIN)
    found = best(problem)
    assert found.values == pytest.approx(min(problem.values(placement) for placement in every_legal(problem)))


def test_nobody_comes_to_the_host() -> None:
    problem = problem_of(STRATEGY, cluster_of(*on_a(1), make_server("t", "b")), **DRAIN)
    assert [found.rule for found in problem.breaches({"s0": "a", "t": "a"})] == ["available"]


@pytest.mark.parametrize(("fields", "given", "said"), [
    ({"locked": True}, {}, "locked"),
    ({"status": "ERROR"}, {}, "its status is ERROR"),
    ({"status": "SHUTOFF"}, {"disable_cold_migration": True}, "cold migration is switched off"),
    ({"status": "PAUSED"}, {"disable_live_migration": True}, "live migration is switched off"),
    ({"pinned_zone": "nowhere"}, {}, "nowhere"),
    ({"task_state": "rebooting"}, {}, "rebooting"),
])
def test_what_cannot_move_stays_and_is_named(fields: dict[str, Any], given: dict[str, Any], said: str) -> None:
    cluster = cluster_of(make_server("stuck", "a", **fields), make_server("free", "a"))
    problem = problem_of(STRATEGY, cluster, **DRAIN, **given)
    found = best(problem).placement
    assert list(moves(problem, found)) == ["free"]
    (refused,) = [one for one in refusals(problem, found) if one.server == "stuck"]
    assert "stuck" in refused.text
    assert said in refused.text


def test_locked_servers_move_when_told_to() -> None:
    assert drained(cluster_of(*on_a(1, locked=True)), move_locked=True).keys() == {"s0"}


def test_a_group_that_is_together_stays() -> None:
    cluster = cluster_of(*on_a(2), make_server("t", "a"), groups=(make_group("affinity", "s0", "s1"),))
    problem = problem_of(STRATEGY, cluster, **DRAIN)
    found = best(problem).placement
    assert list(moves(problem, found)) == ["t"]
    assert {one.server for one in refusals(problem, found)} == {"s0", "s1"}


@pytest.mark.parametrize("first", [["gold"], ["tier=1"], "tier=1", ["nobody", "gold"], ["gold", "tier=1"]])
@pytest.mark.parametrize("urgent", ["s0", "s2"])
def test_when_not_all_can_leave_those_that_are_first_do(first: Any, urgent: str) -> None:
    servers = [replace(one, tags=("gold",), metadata={"tier": "1"}) if one.id == urgent else one for one in on_a(3, vcpus=2)]
    assert drained(cluster_of(*servers, b=2, c=1), first=first) == {urgent: "b"}


def test_the_first_of_the_first() -> None:
    tags = {"s0": ("silver",), "s1": ("gold", "silver"), "s2": ()}
    cluster = cluster_of(*(replace(one, tags=tags[one.id]) for one in on_a(3)))
    problem = problem_of(STRATEGY, cluster, **DRAIN, first=["gold", "silver"])
    assert by_benefit(problem, best(problem).placement) == ["s1", "s0", "s2"]


@pytest.mark.parametrize("first", ["", [""], ["=x"], [" "], 3, [3], {"gold": 1}, None])
def test_first_that_names_nobody(first: Any) -> None:
    with pytest.raises(ParameterError, match="first: need a tag or KEY=VALUE, or a list of such"):
        problem_of(STRATEGY, cluster_of(), **DRAIN, first=first)


def test_max_moves() -> None:
    problem = problem_of(STRATEGY, cluster_of(*on_a(4)), 2, **DRAIN)
    assert len(moves(problem, best(problem).placement)) == 2


# ---- the service


def test_the_host_is_disabled_before_anything_leaves() -> None:
    parameters = STRATEGY.parameters(**DRAIN)
    assert STRATEGY.service_changes(cluster_of(*on_a()), {}, parameters) == (ServiceChange("a", "disabled", DISABLED_REASON, "before"),)


@pytest.mark.parametrize("state", ["up", "down"])
def test_a_host_that_is_disabled_is_not_disabled_again(state: str) -> None:
    cluster = cluster_of()
    closed = replace(cluster, hosts=(replace(cluster.hosts[0], status="disabled", state=state), *cluster.hosts[1:]))
    assert STRATEGY.service_changes(closed, {}, STRATEGY.parameters(**DRAIN)) == ()


def test_no_load_is_read() -> None:
    assert STRATEGY.load(STRATEGY.parameters(**DRAIN)) is None


@pytest.mark.parametrize("given", [{}, {"backup_node": "b"}])
def test_twice_in_a_row_the_second_finds_nothing(given: dict[str, str]) -> None:
    given = {**DRAIN, **given}
    cluster = cluster_of(*on_a(4), make_server("t", "c", vcpus=4), make_server("stuck", "a", locked=True), b=3)
    after = carried_out(STRATEGY, cluster, best(problem_of(STRATEGY, cluster, **given)).placement, **given)
    again = problem_of(STRATEGY, after, **given)
    assert moves(again, best(again).placement) == {}
    assert STRATEGY.service_changes(after, placement_of(after), STRATEGY.parameters(**given)) == ()
