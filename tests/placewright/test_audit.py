"""One audit, from a source to a plan."""

import re
from dataclasses import dataclass, replace
from typing import Any

import pytest

from migrate.duration import TimeModel
from migrate.plan import Plan, read_plan, write_plan
from optimizer.cluster import Cluster
from optimizer.placement import placement_of
from optimizer.summary import summary
from placewright.audit import nova_rules, run_audit
from placewright.sources import load_at_hand
from policy_sources.vocabulary.base import Policy
from strategies.base import LoadNeed, ParameterError
from strategies.registry import strategy
from tests.support.clusters import LOAD, make_cluster, make_group, make_host, make_server

TIMES = TimeModel()


@dataclass
class Here:
    """A source that holds the cluster itself."""

    now: Cluster
    needs: list[LoadNeed]

    def cluster(self) -> Cluster:
        return self.now

    def with_load(self, cluster: Cluster, need: LoadNeed) -> Cluster:
        self.needs.append(need)
        return load_at_hand(cluster, need)


def audit(cluster: Cluster, name: str, max_moves: int | None = None, said: list[str] | None = None, needs: list[LoadNeed] | None = None,
          model: TimeModel = TIMES, **given: Any) -> Plan:
    heard: list[str] = [] if said is None else said
    return run_audit(Here(cluster, [] if needs is None else needs), strategy(name), given, max_moves=max_moves, time_limit_s=20, seed=1, threads=1,
                     model=model, say=heard.append)


def uneven(**fields: Any) -> Cluster:
    return make_cluster([make_host(name) for name in "abc"], [make_server(f"s{n}", "a", cpu_cores=1.5) for n in range(4)], load=LOAD, **fields)


def test_the_whole_plan(tmp_path: Any) -> None:
    cluster, said, needs = uneven(notes=("it was dark",)), [], []
    plan = audit(cluster, "workload_stabilization", said=said, needs=needs, aggressiveness=5)
    assert (plan.state, plan.strategy, plan.goal, plan.status) == ("RECOMMENDED", "workload_stabilization", "workload_balancing", "optimal")
    assert plan.parameters["aggressiveness"] == 5
    assert plan.cluster.hosts == {"a": "id-a", "b": "id-b", "c": "id-c"}
    assert plan.before == summary(cluster, placement_of(cluster))
    where = placement_of(cluster) | {a.input_parameters.resource_id: a.hosts[1] for a in plan.actions}
    assert plan.after == summary(cluster, where)
    assert plan.message.startswith(f"{len(plan.actions)} migrations, 0 service changes. ")
    assert "cpu spread % 35.355 -> " in plan.message
    assert plan.notes[0] == "it was dark"
    least_s = re.fullmatch(r"In no order, under these limits, are the actions over in less than (\d+) s.", plan.notes[1])
    assert least_s is not None
    assert 0 < float(least_s[1]) <= (plan.expected_s or 0)
    assert [level.name for level in plan.levels] == ["spread", "moves + move_cost"]
    assert (plan.objective, plan.bound, plan.gap) == (plan.levels[0].value, plan.levels[0].bound, plan.levels[0].gap)
    enforced = nova_rules(cluster, strategy(plan.strategy).parameters(), Policy())
    assert said == ["reading hosts and servers", "reading the load of 4 servers",
                    f"solving: 3 hosts, 4 servers, {len(enforced) + 2} rules, at most 20 s",
                    "putting the moves in a safe order"]
    assert needs == [LoadNeed(720, 300, "mean", "fail")]
    write_plan(plan, tmp_path / "p.json")
    assert read_plan(tmp_path / "p.json") == plan


def test_parameters_are_looked_at_before_anything_is_read() -> None:
    said: list[str] = []
    with pytest.raises(ParameterError):
        audit(uneven(), "workload_stabilization", said=said, aggressiveness=7)
    assert said == []


def test_maintenance_reads_no_load() -> None:
    needs: list[LoadNeed] = []
    plan = audit(uneven(), "host_maintenance", needs=needs, maintenance_node="a")
    assert needs == []
    assert plan.after["hosts_available"] == 2


@pytest.mark.parametrize(("cluster", "name", "given", "said"), [
    (uneven(), "workload_stabilization", {"thresholds": {"instance_cpu_usage": 0.9}}, "No move is needed: the goal is met as it is."),
    (replace(uneven(), servers=()), "vm_workload_consolidation", {}, "No move is needed: the goal is met as it is."),
    (uneven(), "vm_workload_consolidation", {}, "No beneficial move: the best legal move, s0 from a to"),
    (make_cluster([make_host("a"), make_host("b", status="disabled")], [make_server("s", "b", locked=True)]), "host_maintenance",
     {"maintenance_node": "b"}, "No beneficial move: no server can be moved anywhere."),
    (make_cluster([make_host("a"), make_host("b", status="disabled"), make_host("c")], [make_server("s", "a"), make_server("t", "c")]),
     "host_maintenance", {"maintenance_node": "b"}, "No move is needed: the goal is met as it is."),
])
def test_nothing_to_do_in_words(cluster: Cluster, name: str, given: dict[str, Any], said: str) -> None:
    plan = audit(cluster, name, **given)
    assert (plan.state, plan.actions) == ("SUCCEEDED", ())
    assert plan.message.startswith(said), plan.message
    assert plan.before == plan.after


def test_a_drain_of_an_empty_host_only_disables_it() -> None:
    plan = audit(uneven(), "host_maintenance", maintenance_node="b")
    assert [str(action) for action in plan.actions] == ["disable nova-compute on b"]
    assert plan.message.startswith("0 migrations, 1 service change.")


def test_maintenance_works_where_only_some_servers_have_a_load() -> None:
    plan = audit(uneven().with_servers((*uneven().servers, make_server("dumb", "b"))), "host_maintenance", maintenance_node="a")
    assert len(plan.actions) == 5
    assert "cpu_spread_percent" not in plan.before


def crossed() -> Cluster:
    """The only thing that helps is that two servers change places, and there is no third host to stop on."""
    loads = [("s", "a", 3.0), ("t", "b", 0.5), ("u", "b", 1.0), ("v", "a", 3.5)]
    return make_cluster([make_host("a"), make_host("b")], [make_server(s, h, vcpus=4, cpu_cores=load) for s, h, load in loads], load=LOAD)


def test_moves_without_a_safe_order_are_refused_and_named() -> None:
    plan = audit(crossed(), "workload_stabilization", aggressiveness=5, thresholds={"instance_cpu_usage": 0})
    assert plan.actions == ()
    assert (plan.state, plan.status) == ("SUCCEEDED", "feasible")
    assert plan.message == "No move is proposed: there is no safe order for the moves that would help."
    assert [one.rule for one in plan.refused][:2] == ["order", "order"]
    assert plan.objective is not None
    assert plan.bound is not None
    assert plan.bound < plan.objective
    assert plan.gap is not None
    assert plan.gap > 0


def test_what_is_broken_already_is_noted() -> None:
    cluster = uneven(groups=(make_group("anti-affinity", "s0", "s1"),))
    plan = audit(cluster, "host_maintenance", maintenance_node="b")
    assert plan.notes == ("Already broken, anti_affinity: anti-affinity group group: 2 members on a (s0, s1), 1 allowed.",)


def test_what_does_not_end_by_itself_is_noted() -> None:
    """By the measured load: the servers have more than one busy core, of two."""
    cluster = uneven()
    moved, noted = (audit(cluster, "workload_stabilization", aggressiveness=5, model=replace(TIMES, dirty_mb_per_core_s=rate)) for rate in (300, 400))
    assert not any("not expected to end" in note for note in moved.notes)
    names = sorted(cluster.server_by_id[action.input_parameters.resource_id].name for action in noted.actions)
    assert len(names) == len(set(names)) > 0
    assert f"Live migrations that are not expected to end by themselves: {', '.join(names)}" in [note.partition(". ")[0] for note in noted.notes]
    flavor = cluster.flavors["medium"]
    assert {action.cost.copy_gb for action in noted.actions} == {2 * flavor.memory_mb / 1024 + flavor.disk_gb}


def test_assumed_load_is_noted() -> None:
    cluster = uneven()
    cluster = replace(cluster, servers=(*cluster.servers, make_server("dumb", "b")))
    plan = audit(cluster, "workload_stabilization", missing_load="flavor")
    assert plan.notes[0] == "1 of 5 servers have no measures; taken as flavor."


@pytest.mark.parametrize(("given", "movable"), [({}, {"plain"}), ({"move_locked": True}, {"plain", "locked"}),
                                                ({"disable_live_migration": True}, {"plain"}), ({"disable_cold_migration": True}, {"plain"})])
def test_rules_follow_the_parameters(given: dict[str, bool], movable: set[str]) -> None:
    cluster = make_cluster([make_host("a"), make_host("b")], [make_server("plain", "a"), make_server("locked", "a", locked=True)])
    plan = audit(cluster, "host_maintenance", maintenance_node="a", **given)
    kinds = {a.input_parameters.resource_id: a.input_parameters.migration_type for a in plan.actions if a.action_type == "migrate"}  # type: ignore[union-attr]
    assert set(kinds) == movable
    assert set(kinds.values()) == {"cold" if "disable_live_migration" in given else "live"}


def test_max_moves() -> None:
    assert len(audit(uneven(), "workload_stabilization", max_moves=1, aggressiveness=5).actions) == 1
