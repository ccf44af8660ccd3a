"""What a plan has done is taken back, as far as that is still possible."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrate.duration import TimeModel
from migrate.journal import Entry
from migrate.limits import Limits
from migrate.plan import Plan, PlanError, ServiceStateInput
from optimizer.cluster import Cluster
from optimizer.placement import placement_of
from optimizer.snapshot import write_snapshot
from placewright.apply import Outcome, apply_plan
from placewright.audit import run_audit
from placewright.sources import SnapshotSource
from placewright.undo import undo_plan
from policy_sources.base import PolicySource
from strategies.registry import strategy
from tests.placewright.test_policies import Said, hosts, ids, small
from tests.support.clusters import make_server


class Site:
    """A cluster in a file, a plan that was carried out on it, and what was written down."""

    def __init__(self, folder: Path, name: str, given: dict[str, Any], *policies: PolicySource) -> None:
        """Nothing is done yet."""
        self.file = folder / "cluster.json"
        self.start = small()
        self.put(self.start)
        self.plan = run_audit(self.source, strategy(name), given, policies=policies, max_moves=None, time_limit_s=20, seed=0, threads=1,
                              model=TimeModel(), say=lambda text: None)
        self.outcome = self.carried_out(self.plan)
        self.now = self.outcome.after
        self.entries: Mapping[str, Entry] = {one.action.uuid: Entry(one.state, one.text) for one in self.outcome.report.actions}

    @property
    def source(self) -> SnapshotSource:
        """The file."""
        return SnapshotSource(self.file)

    def put(self, cluster: Cluster) -> None:
        """The cluster is like this now."""
        self.now = cluster
        write_snapshot(cluster, self.file)

    def carried_out(self, plan: Plan) -> Outcome:
        """What comes of a plan; the file is as it was before."""
        outcome = apply_plan(plan, self.source, limits=Limits(), model=TimeModel(), max_age_s=1e9, advised=False, seed=0, pace=0.0,
                             report=lambda event: None, confirm=lambda cluster: True)
        assert outcome is not None
        return outcome

    def undo(self) -> Plan:
        """The plan back from where things are now."""
        write_snapshot(self.now, self.file)
        return undo_plan(self.plan, self.entries, self.source, time_limit_s=20, seed=0, threads=1, model=TimeModel(), say=lambda text: None)


@pytest.fixture
def drained(tmp_path: Path) -> Site:
    """Host a was emptied and disabled."""
    site = Site(tmp_path, "host_maintenance", {"maintenance_node": "a"})
    assert site.now.host_by_name["a"].status == "disabled"
    assert not site.now.servers_on["a"]
    return site


def test_all_as_before(drained: Site) -> None:
    undo = drained.undo()
    assert undo.message == f"Takes back plan {drained.plan.uuid}: 5 of 5 servers return, 1 services are switched back."
    assert not undo.actions[0].parents
    assert all(undo.actions[0].uuid in action.parents for action in undo.actions[1:])
    after = drained.carried_out(undo).after
    assert placement_of(after) == placement_of(drained.start)
    assert [host.status for host in after.hosts] == [host.status for host in drained.start.hosts]


def test_an_undo_is_taken_back_like_any_plan(drained: Site) -> None:
    """Then the host is empty and closed again."""
    emptied = drained.now
    drained.plan = drained.undo()
    outcome = drained.carried_out(drained.plan)
    drained.entries = {one.action.uuid: Entry(one.state, one.text) for one in outcome.report.actions}
    drained.now = outcome.after
    again = drained.carried_out(drained.undo()).after
    assert placement_of(again) == placement_of(emptied)
    assert again.host_by_name["a"].status == "disabled"


def test_what_did_not_succeed_is_not_taken_back(drained: Site) -> None:
    failed = next(action for action in drained.plan.actions if action.action_type == "migrate")
    name = failed.input_parameters.resource_id
    drained.entries = {**drained.entries, failed.uuid: Entry("FAILED", "so")}
    undo = drained.undo()
    assert name not in {action.input_parameters.resource_id for action in undo.actions}
    assert "4 of 4 servers return" in undo.message


@pytest.mark.parametrize("state", ["PENDING", "ONGOING"])
def test_a_plan_that_has_not_ended(drained: Site, state: Any) -> None:
    drained.entries = {**drained.entries, drained.plan.actions[-1].uuid: Entry(state)}
    with pytest.raises(PlanError, match="has not ended, 1 of its actions are open; go on with plan apply --resume"):
        drained.undo()


def test_who_was_moved_since_or_is_gone_is_left_alone(drained: Site) -> None:
    moved, gone, *_ = [action.input_parameters for action in drained.plan.actions if action.action_type == "migrate"]
    other = next(host.name for host in drained.now.hosts if host.name not in ("a", moved.destination_node))  # type: ignore[union-attr]
    drained.now = replace(drained.now, servers=tuple(replace(one, host=other) if one.id == moved.resource_id else one
                                                     for one in drained.now.servers if one.id != gone.resource_id))
    undo = drained.undo()
    assert {moved.resource_id, gone.resource_id}.isdisjoint(action.input_parameters.resource_id for action in undo.actions)
    assert any(f"{moved.resource_name} is left alone: it is on {other}" in note for note in undo.notes)
    assert any(f"{gone.resource_name} does not exist any more" in note for note in undo.notes)
    assert "3 of 3 servers return" in undo.message


def test_a_host_that_has_gone_is_nobody_s_home(drained: Site) -> None:
    moved = {action.input_parameters.resource_name for action in drained.plan.actions if action.action_type == "migrate"}
    drained.now = replace(drained.now, hosts=tuple(host for host in drained.now.hosts if host.name != "a"))
    undone = drained.undo()
    assert undone.actions == ()
    assert {note for note in undone.notes if "does not exist" in note} == {f"{name} is left alone: host a does not exist any more." for name in moved}
    assert moved


def test_a_service_that_others_have_switched_since_is_left_alone(drained: Site) -> None:
    drained.now = replace(drained.now, hosts=tuple(replace(host, status="enabled") for host in drained.now.hosts))
    assert "5 of 5 servers return, 0 services" in drained.undo().message


def test_a_service_that_the_plan_itself_has_switched_back_stays(drained: Site) -> None:
    """Disabled for the time of the moves, and enabled at the end: as before the plan, so there is nothing to take back."""
    disable = next(action for action in drained.plan.actions if isinstance(action.input_parameters, ServiceStateInput))
    enable = replace(disable, uuid="enable", input_parameters=replace(disable.input_parameters, state="enabled", disabled_reason=None))
    drained.plan = replace(drained.plan, actions=(*drained.plan.actions, enable))
    drained.entries = {**drained.entries, "enable": Entry("SUCCEEDED", "done")}
    drained.now = replace(drained.now, hosts=tuple(replace(host, status="enabled") for host in drained.now.hosts))
    undo = drained.undo()
    assert "5 of 5 servers return, 0 services" in undo.message
    assert all(action.action_type == "migrate" for action in undo.actions)


def test_where_others_have_taken_the_room_as_many_return_as_fit(drained: Site) -> None:
    host = drained.now.host_by_name["a"]
    room = host.inventory["VCPU"].capacity
    intruder = make_server("intruder", "a", vcpus=room - 2)
    drained.now = replace(drained.now, servers=(*drained.now.servers, intruder))
    undo = drained.undo()
    after = drained.carried_out(undo).after
    back = [server for server in after.servers_on["a"] if server.id != "intruder"]
    assert len(back) == 2
    assert "2 of 5 servers return" in undo.message
    assert {one.server for one in undo.refused} >= {action.input_parameters.resource_id for action in drained.plan.actions
                                                  if action.action_type == "migrate"} - {server.id for server in back}


def test_rules_of_the_plan_hold_on_the_way_back(tmp_path: Path) -> None:
    """What was moved because a rule was broken does not return; budgets do not stand in the way of others."""
    rows = ({"rule": "not_on", "servers": ids("b0"), "hosts": hosts("b")},
            {"rule": "on", "servers": ids("b1"), "hosts": hosts("c", "d"), "should": 1},
            {"rule": "budget", "servers": {"name": "*"}, "hours": 24})
    site = Site(tmp_path, "repair", {}, Said(rows))
    assert {action.input_parameters.resource_id for action in site.plan.actions} == {"b0", "b1"}
    undo = site.undo()
    assert [action.input_parameters.resource_id for action in undo.actions] == ["b1"]
    assert "1 of 2 servers return" in undo.message
    assert {rule.statement["rule"] for one in undo.policies for rule in one.rules} == {"not_on", "on"}
    assert site.carried_out(undo).after.server_by_id["b1"].host == "b"


def test_nothing_to_take_back(drained: Site) -> None:
    drained.entries = {}
    undo = drained.undo()
    assert (undo.state, undo.actions) == ("SUCCEEDED", ())
    assert "0 of 0 servers return, 0 services" in undo.message
