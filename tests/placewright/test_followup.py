"""What could not go as planned is planned again, once: by the same strategy, for the same servers, and nobody else moves."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasources.errors import LoadMissing
from datasources.gnocchi import GnocchiSettings
from datasources.nova import PastMigration
from migrate.duration import TimeModel
from migrate.executor import Event
from migrate.journal import JournalError
from migrate.limits import Limits
from migrate.plan import Action, MigrateInput, Plan
from migrate.simulator import Change, Fault, SimulatedCloud, delete_server, move_server, set_service
from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint, check
from optimizer.placement import placement_of
from optimizer.snapshot import write_snapshot
from placewright import apply
from placewright.apply import Outcome, apply_plan
from placewright.audit import run_audit
from placewright.sources import CloudSource, SnapshotSource, load_at_hand
from placewright.store.database import Database
from placewright.store.journal import execution_of, journal_of
from placewright.undo import undo_plan
from policy_sources import nova
from policy_sources.base import Veto
from strategies.base import LoadNeed
from strategies.registry import strategy
from tests.migrate.test_executor import Fate, Killed, Mortal, Remembering
from tests.placewright.test_policies import Said, hosts, ids
from tests.support.clusters import LOAD, make_cluster, make_group, make_host, make_server

LIMITS = Limits(total=1, poll_interval_s=1.0)  # one after the other, so that what happens meanwhile meets the rest


def enforced(cluster: Cluster) -> list[Constraint]:
    """What Nova would refuse."""
    return [rule for rule in nova.constraints(cluster) if rule.continuous]


class World(CloudSource):
    """A cloud in memory that outlives the programs that act on it; it is the connection, too."""

    def __init__(self, cluster: Cluster, faults: Sequence[Fault] = (), changes: Sequence[Change] = ()) -> None:
        super().__init__("world", GnocchiSettings())
        self.__dict__["simulator"] = self.__dict__["connection"] = SimulatedCloud(cluster, enforced, faults=faults, changes=changes)

    @property
    def now(self) -> Cluster:
        """The cluster."""
        return self.simulator.cluster  # type: ignore[no-any-return]

    def cluster(self) -> Cluster:
        return self.now

    def observe(self, cluster: Cluster, servers: Iterable[str], hosts: Iterable[str]) -> Cluster:
        return self.now

    def with_load(self, cluster: Cluster, need: LoadNeed) -> Cluster:
        return load_at_hand(cluster, need)

    def history(self, since: datetime) -> list[PastMigration]:
        return []


@pytest.fixture(autouse=True)
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A World is acted on through itself."""
    monkeypatch.setattr(apply, "NovaCloud", lambda connection, observe, timeout_s: connection)


def audit(cluster: Cluster, name: str, *rows: dict[str, Any], **given: Any) -> Plan:
    return run_audit(World(cluster), strategy(name), given, policies=(Said(rows),) if rows else (), max_moves=None, time_limit_s=20, seed=0,
                     threads=1, model=TimeModel(), say=lambda text: None)


def carried_out(plan: Plan, source: CloudSource | SnapshotSource, **options: Any) -> Outcome:
    usual: dict[str, Any] = {"report": lambda event: None, "replan_threads": 1, "advised": False}
    outcome = apply_plan(plan, source, limits=LIMITS, model=TimeModel(), max_age_s=1e9, seed=0, pace=0.0, confirm=lambda cluster: True,
                         **{**usual, **options})
    assert outcome is not None
    return outcome


def moves(actions: Iterable[Action]) -> list[MigrateInput]:
    return [what for what in (action.input_parameters for action in actions) if isinstance(what, MigrateInput)]


def states(outcome: Outcome, plan: Plan) -> Counter[str]:
    """Of the plan's own actions."""
    return Counter(done.state for done in outcome.report.actions[:len(plan.actions)])


def full_house(**fields: Any) -> Cluster:
    """Three servers on a; b and c have room for all of them, d for one."""
    servers = [*(make_server(f"s{n}", "a") for n in range(3)), *(make_server(f"d{n}", "d") for n in range(7))]
    return make_cluster([make_host(name) for name in "abcd"], servers, **fields)


def drain(cluster: Cluster, *rows: dict[str, Any]) -> Plan:
    """Host a is to be empty, and its servers on b if possible."""
    plan = audit(cluster, "host_maintenance", *rows, maintenance_node="a", backup_node="b")
    assert {what.destination_node for what in moves(plan.actions)} == {"b"}
    return plan


CLOSED = Change(6.0, set_service("b", "disabled", "it smokes"))  # when the first server has arrived there


# ---- what is planned again


def test_a_destination_that_is_closed_under_way() -> None:
    plan, world = drain(full_house()), World(full_house(), changes=[CLOSED])
    outcome = carried_out(plan, world)
    assert states(outcome, plan) == {"SUCCEEDED": 2, "SKIPPED": 2}
    assert not world.now.servers_on["a"]
    assert (outcome.exit_code, outcome.misplaced, outcome.broken) == (0, (), ())
    follow_up = outcome.follow_up
    assert follow_up is not None
    assert follow_up.message == f"Follows plan {plan.uuid}: 2 of 2 servers that were skipped are planned again."
    more = outcome.report.actions[len(plan.actions):]
    assert [done.action for done in more] == list(follow_up.actions)
    for done in more:
        assert (done.state, done.text) == ("SUCCEEDED", "completed; instead of b: host b is disabled and up (it smokes)")
    first = min(action.cost.start_s or 0.0 for action in follow_up.actions)
    assert first == pytest.approx(max(done.ended_s or 0.0 for done in outcome.report.actions[:len(plan.actions)]))
    document = outcome.document(plan)
    assert document["exit_code"] == 0
    assert document["follow_up"] == {"plan": follow_up.uuid, "message": follow_up.message, "expected_s": follow_up.expected_s}
    assert [one["plan"] for one in document["actions"]] == [plan.uuid] * len(plan.actions) + [follow_up.uuid] * len(more)


def test_the_same_on_a_snapshot(tmp_path: Path) -> None:
    plan, file = drain(full_house()), tmp_path / "s.json"
    write_snapshot(set_service("b", "disabled", "it smokes")(full_house()), file)
    outcome = carried_out(plan, SnapshotSource(file))
    assert states(outcome, plan) == {"SUCCEEDED": 1, "SKIPPED": 3}
    assert (outcome.exit_code, outcome.after.servers_on["a"]) == (0, ())
    started = [done.started_s for done in outcome.report.actions if done.started_s is not None]
    assert started == sorted(started)
    assert outcome.report.seconds >= max(done.ended_s or 0.0 for done in outcome.report.actions)


def test_without_it_all_ends_as_it_ended() -> None:
    for plan, options in ((drain(full_house()), {"replan_threads": None}), (replace(drain(full_house()), replan=False), {})):
        outcome = carried_out(plan, World(full_house(), changes=[CLOSED]), **options)
        assert len(outcome.report.actions) == len(plan.actions)
        assert (outcome.exit_code, outcome.follow_up, outcome.report.counts) == (3, None, {"SUCCEEDED": 2, "SKIPPED": 2})
        assert len(outcome.misplaced) == 2
        assert outcome.document(plan)["follow_up"] is None


def making_room() -> Cluster:
    """The large server of a has room on b once the small one there has left, and none on c; e is closed."""
    large, small = make_server("large", "a", vcpus=8), make_server("small", "b")
    return make_cluster([*(make_host(name) for name in "abc"), make_host("e", status="disabled")],
                        [large, small, make_server("other", "c", vcpus=2, memory_mb=4096)])


@pytest.mark.parametrize("phase", ["start", "run"])
@pytest.mark.parametrize("opened", [True, False])
def test_who_made_room_has_failed(phase: Any, opened: bool) -> None:
    """The other goes elsewhere where that is possible, else it stays, for the reason given."""
    plan = audit(making_room(), "host_maintenance", maintenance_node="a")
    assert [(what.resource_name, what.destination_node) for what in moves(plan.actions)] == [("small", "c"), ("large", "b")]
    changes = [Change(0.5, set_service("e", "enabled"))] if opened else []
    world = World(making_room(), [Fault(phase=phase, server="small")], changes)
    outcome = carried_out(plan, world)
    assert states(outcome, plan) == {"SUCCEEDED": 1, "FAILED": 1, "SKIPPED": 1}
    assert outcome.exit_code == 3
    assert world.now.server_by_id["small"].host == "b"
    assert world.now.server_by_id["large"].host == ("e" if opened else "a")
    skipped = next(done for done in outcome.report.actions if done.state == "SKIPPED")
    assert "VCPU on b" in skipped.text
    if opened:
        assert outcome.report.actions[-1].text == f"completed; instead of b: {skipped.text}"
    else:
        assert outcome.follow_up is None


def test_what_is_possible_again_is_done_once_more() -> None:
    """Closed when its turn came, and open when all else was done."""
    class Reopened(World):
        def cluster(self) -> Cluster:
            self.simulator.cluster = set_service("b", "enabled")(self.now)
            return self.now

        def observe(self, cluster: Cluster, servers: Iterable[str], hosts: Iterable[str]) -> Cluster:
            return self.now

    plan, world = drain(full_house()), Reopened(full_house(), changes=[CLOSED])
    outcome = carried_out(plan, world)
    assert states(outcome, plan) == {"SUCCEEDED": 2, "SKIPPED": 2}
    assert [done.text for done in outcome.report.actions[len(plan.actions):]] == ["completed; once more: host b is disabled and up (it smokes)"] * 2
    assert (outcome.exit_code, outcome.reached) == (0, outcome.promised)


def test_a_host_is_closed_after_all_when_it_is_empty_after_all() -> None:
    servers = [make_server("s", "a", cpu_cores=0.1), *(make_server(f"b{n}", "b", cpu_cores=0.1) for n in range(3)),
               *(make_server(f"c{n}", "c", cpu_cores=0.1) for n in range(7))]
    cluster = make_cluster([make_host(name) for name in "abc"], servers, load=LOAD)
    plan = audit(cluster, "vm_workload_consolidation")
    (going,) = moves(plan.actions)
    outcome = carried_out(plan, World(set_service(going.destination_node, "disabled", "mine")(cluster)))
    assert states(outcome, plan) == {"SKIPPED": 2}
    assert [str(done.action) for done in outcome.report.actions[2:]] == [
        f"live migration of s from a to {'b' if going.destination_node == 'c' else 'c'}", "disable nova-compute on a"]
    assert outcome.after.host_by_name["a"].status == "disabled"
    assert outcome.exit_code == 0


def test_a_host_that_others_have_opened_again_is_not_closed_again() -> None:
    """The plan has closed a, and somebody did not like that."""
    plan = drain(full_house())
    outcome = carried_out(plan, World(full_house(), changes=[CLOSED, Change(7.0, set_service("a", "enabled"))]))
    assert outcome.follow_up is not None
    assert len(moves(outcome.follow_up.actions)) == len(outcome.follow_up.actions)
    assert outcome.after.host_by_name["a"].status == "enabled"


# ---- what is not


def stopped(name: str) -> Callable[[Cluster], Cluster]:
    return lambda cluster: cluster.with_servers(tuple(replace(one, status="SHUTOFF") if one.id == name else one for one in cluster.servers))


@pytest.mark.parametrize("change", [move_server("s2", "d"), delete_server("s2"), stopped("s2")], ids=["moved", "gone", "stopped"])
def test_servers_that_are_not_as_the_plan_knew_them(change: Callable[[Cluster], Cluster]) -> None:
    plan = drain(full_house())
    last = moves(plan.actions)[-1].resource_id
    change = {"s2": change}.get(last, change)
    world = World(full_house(), changes=[CLOSED, Change(6.0, change)])
    outcome = carried_out(plan, world)
    assert outcome.follow_up is not None
    assert "s2" not in {what.resource_id for what in moves(outcome.follow_up.actions)}
    assert outcome.exit_code == 3


def test_what_has_failed_is_not_tried_again() -> None:
    plan = drain(full_house())
    outcome = carried_out(plan, World(full_house(), [Fault(phase="run", destination="b")]))
    assert states(outcome, plan) == {"SUCCEEDED": 1, "FAILED": 3}
    assert (outcome.follow_up, outcome.exit_code) == (None, 3)


def test_a_follow_up_is_not_followed() -> None:
    """Its own skips are final: c closes as soon as the first server is on its way there."""
    plan = drain(full_house())
    start = set_service("b", "disabled")(full_house())
    outcome = carried_out(plan, World(start, changes=[Change(3.0, set_service("c", "disabled"))]))
    assert outcome.follow_up is not None
    last = Counter(done.state for done in outcome.report.actions[len(plan.actions):])
    assert last["SUCCEEDED"] >= 1
    assert last["SKIPPED"] >= 1
    assert len(outcome.report.actions) == len(plan.actions) + len(outcome.follow_up.actions)
    assert outcome.exit_code == 3
    assert outcome.misplaced


def test_advice_is_not_carried_out_by_a_detour() -> None:
    row = {"rule": "automation", "servers": ids("s0", "s1", "s2"), "level": "advise"}
    plan = drain(full_house(), row)
    assert all(action.advised for action in plan.actions if action.action_type == "migrate")
    assert carried_out(plan, World(full_house())).follow_up is None
    outcome = carried_out(plan, World(full_house(), changes=[CLOSED]), advised=True)
    assert outcome.follow_up is not None
    assert outcome.exit_code == 0


def test_a_plan_that_was_put_to_a_veto_is_not_planned_again() -> None:
    class Content(Veto):
        name = "congress"

        def simulate(self, moves: Any) -> tuple[Any, ...]:
            return ()

    plan = run_audit(World(full_house()), strategy("host_maintenance"), {"maintenance_node": "a", "backup_node": "b"}, vetoes=(Content(),),
                     max_moves=None, time_limit_s=20, seed=0, threads=1, model=TimeModel(), say=lambda text: None)
    assert plan.actions
    assert not plan.replan
    assert drain(full_house()).replan


@pytest.mark.parametrize("snapshot", [True, False])
def test_rules_hold_for_both_together(snapshot: bool, tmp_path: Path) -> None:
    """One of the servers must not be on c, and c may take one more server today: the third stays."""
    rows = ({"rule": "not_on", "servers": ids("s0"), "hosts": hosts("c")}, {"rule": "budget", "hours": 24, "hosts": hosts("c"), "moves": 1})
    plan, closed = drain(full_house(), *rows), set_service("b", "disabled")(full_house())
    write_snapshot(closed, tmp_path / "s.json")
    outcome = carried_out(plan, SnapshotSource(tmp_path / "s.json") if snapshot else World(closed))
    assert sorted(server.host for server in outcome.after.servers if server.id.startswith("s")) == ["a", "c", "d"]
    assert outcome.after.server_by_id["s0"].host != "c"
    assert (outcome.broken, outcome.exit_code) == ((), 3)


def test_a_group_is_kept_apart_all_the_way() -> None:
    cluster = full_house(groups=(make_group("anti-affinity", "s0", "d0"),))
    plan = drain(cluster)
    outcome = carried_out(plan, World(set_service("b", "disabled")(cluster)))
    assert outcome.after.server_by_id["s0"].host == "c"
    assert (outcome.broken, outcome.exit_code) == ((), 0)


def test_what_cannot_be_planned_is_said() -> None:
    """The load is gone when it would be needed."""
    class Unmeasured(World):
        def with_load(self, cluster: Cluster, need: LoadNeed) -> Cluster:
            if not any(host.status == "disabled" for host in cluster.hosts):
                return super().with_load(cluster, need)
            raise LoadMissing("Gnocchi is away")

    servers = [make_server(f"s{n}", "a", cpu_cores=1.0) for n in range(4)]
    cluster = make_cluster([make_host(name) for name in "abc"], servers, load=LOAD)
    plan = audit(cluster, "workload_stabilization", aggressiveness=5)
    shut = moves(plan.actions)[-1].destination_node
    outcome = carried_out(plan, Unmeasured(cluster, changes=[Change(0.5, set_service(shut, "disabled"))]))
    assert outcome.follow_up is None
    assert outcome.notes == ("What was skipped is not planned again: Gnocchi is away",)
    assert outcome.exit_code == 3


def test_ctrl_c_before_the_rest_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(apply, "follow_up", interrupted)
    plan = drain(full_house())
    outcome = carried_out(plan, World(full_house(), changes=[CLOSED]))
    assert outcome.report.interrupted
    assert (outcome.follow_up, outcome.exit_code, len(outcome.report.actions)) == (None, 3, len(plan.actions))


def test_what_was_cancelled_is_not_planned_again() -> None:
    def impatient(event: Event) -> None:
        if event.state == "SKIPPED":
            raise KeyboardInterrupt

    outcome = carried_out(drain(full_house()), World(full_house(), changes=[CLOSED]), report=impatient)
    assert outcome.report.interrupted
    assert outcome.follow_up is None


# ---- the program ends without warning, and what was done is taken back


class MortalJournal(Mortal):
    """And those that follow it."""

    def followed(self) -> Any:
        self.fate.passes()
        found = self.inner.followed()  # type: ignore[attr-defined]
        self.fate.passes()
        return None if found is None else (found[0], MortalJournal(found[1], self.fate))

    def follow(self, plan: Plan) -> Any:
        self.fate.passes()
        journal = self.inner.follow(plan)  # type: ignore[attr-defined]
        self.fate.passes()
        return MortalJournal(journal, self.fate)


@dataclass
class Remembered(Remembering):
    """What follows it is remembered, too."""

    then: tuple[Plan, Any] | None = None

    def followed(self) -> Any:
        return self.then

    def follow(self, plan: Plan) -> Any:
        self.then = (plan, Remembering(self.cloud))
        return self.then[1]


def survived(plan: Plan, moment: int, database: Database | None = None) -> tuple[Outcome, Cluster, int]:
    """What came of a plan, and the cluster, after a program died at a moment and another went on; and how many moments the last one took.

    The journal is in a database, or in a memory that outlives the program.
    """
    world, begun = World(full_house(), changes=[CLOSED]), list[str]()
    memory = Remembered(world.simulator)

    @contextmanager
    def journals(fate: Fate, plan: Plan, resume: bool) -> Iterator[Any]:
        with nullcontext(memory) if database is None else journal_of(database, plan, resume=resume) as journal:
            yield MortalJournal(journal, fate)

    for fate, resume in ((Fate(moment), False), (Fate(), True)):
        world.__dict__["connection"] = Mortal(world.simulator, fate, begun)
        left = fate.left
        try:
            outcome = carried_out(plan, world, journals=partial(journals, fate), resume=resume)
        except Killed:
            continue
        break
    assert max(Counter(begun).values()) == 1
    return outcome, world.now, left - fate.left


def test_died_at_any_moment(tmp_path: Path) -> None:
    """Before and after each call to the cloud and the journal: another program goes on, and all ends as if there had been one."""
    plan, database = drain(full_house()), Database(f"sqlite:///{tmp_path}/p.db")
    whole, undisturbed, moments = survived(plan, 10**9)
    assert whole.follow_up is not None
    late = range(moments - 30, moments, 6)  # in the follow-up
    deaths = [*((moment, plan, None) for moment in range(moments)), *((moment, replace(plan, uuid=f"{moment}"), database) for moment in late)]
    for moment, dying, where in deaths:
        outcome, cluster, _ = survived(dying, moment, where)
        assert [done.state for done in outcome.report.actions] == [done.state for done in whole.report.actions]
        assert placement_of(cluster) == placement_of(undisturbed)
        assert (outcome.exit_code, outcome.misplaced) == (0, ())


def test_it_is_known_what_followed(tmp_path: Path) -> None:
    """A follow-up that was begun is gone on with whatever the settings say now, and the plan counts as carried out with it."""
    database, plan, world = Database(f"sqlite:///{tmp_path}/p.db"), drain(full_house()), World(full_house(), changes=[CLOSED])

    def journals(plan: Plan, resume: bool) -> Any:
        return journal_of(database, plan, resume=resume)

    class Gone(Exception):
        """The program is."""

    def leaving(event: Event) -> None:
        if event.action.uuid not in {action.uuid for action in plan.actions}:
            raise Gone

    with pytest.raises(Gone):
        carried_out(plan, world, journals=journals, report=leaving)
    with pytest.raises(JournalError, match="did not end, 2 of 6 actions are open; go on with --resume"):
        carried_out(plan, world, journals=journals)
    outcome = carried_out(plan, world, journals=journals, resume=True, replan_threads=None)
    assert (outcome.exit_code, len(outcome.report.actions)) == (0, 6)
    with pytest.raises(JournalError, match=r"was carried out at .* \(2 SKIPPED, 4 SUCCEEDED\)"):
        carried_out(plan, world, journals=journals)
    again = carried_out(plan, world, journals=journals, resume=True)
    assert [done.action for done in again.report.actions] == [done.action for done in outcome.report.actions]


def test_both_are_taken_back(tmp_path: Path) -> None:
    database, plan, world = Database(f"sqlite:///{tmp_path}/p.db"), drain(full_house()), World(full_house(), changes=[CLOSED])
    carried_out(plan, world, journals=lambda plan, resume: journal_of(database, plan, resume=resume))
    whole, entries = execution_of(database, plan)
    assert len(whole.actions) == len(plan.actions) + 2
    undo = undo_plan(whole, entries, world, time_limit_s=20, seed=0, threads=1, model=TimeModel(), say=lambda text: None)
    assert undo.message == f"Takes back plan {plan.uuid}: 3 of 3 servers return, 1 services are switched back."
    assert not undo.replan
    carried_out(undo, world)
    assert placement_of(world.now) == placement_of(full_house())


# ---- random clusters, and what others do to them


@st.composite
def scenarios(draw: Any) -> tuple[Cluster, list[Change], list[Fault]]:
    """Four hosts with up to ten servers of three sizes; hosts are closed and opened, servers deleted and moved, migrations fail."""
    names = "abcd"
    free, servers = dict.fromkeys(names, 8), []
    for number in range(draw(st.integers(2, 10))):
        size, host = draw(st.sampled_from((1, 2, 4))), draw(st.sampled_from(names))
        if size <= free[host]:
            free[host] -= size
            servers.append(make_server(f"s{number}", host, vcpus=size, cpu_cores=size / 2))
    ids = [server.id for server in servers] or ["s"]
    groups = (make_group("anti-affinity", *ids[:2]),) if len(servers) > 1 and servers[0].host != servers[1].host else ()
    at = st.floats(0, 30)
    switches = st.builds(set_service, st.sampled_from(names), st.sampled_from(("enabled", "disabled")))
    changes = draw(st.lists(st.builds(Change, at, switches), max_size=4))
    changes += draw(st.lists(st.builds(Change, at, st.builds(delete_server, st.sampled_from(ids))), max_size=1))
    faults = draw(st.lists(st.builds(Fault, phase=st.sampled_from(("start", "run")), server=st.sampled_from(ids)), max_size=1))
    return make_cluster([make_host(name) for name in names], servers, load=LOAD, groups=groups), changes, faults


@settings(max_examples=40, deadline=None)
@given(scenarios(), st.sampled_from(("host_maintenance", "vm_workload_consolidation", "workload_stabilization")))
def test_whatever_happens(scenario: tuple[Cluster, list[Change], list[Fault]], name: str) -> None:
    """Only servers that were skipped move again; each is where its last success brought it; no rule is broken; 0 means all is as wanted."""
    cluster, changes, faults = scenario
    plan = audit(cluster, name, **({"maintenance_node": "a"} if name == "host_maintenance" else {}))
    world = World(cluster, faults, changes)
    outcome = carried_out(plan, world)
    own, more = outcome.report.actions[:len(plan.actions)], outcome.report.actions[len(plan.actions):]
    skipped = Counter(what.resource_id for what in moves(done.action for done in own if done.state == "SKIPPED"))
    again = Counter(what.resource_id for what in moves(done.action for done in more))
    assert again.keys() <= skipped.keys()
    assert again.total() <= skipped.total()
    assert bool(more) == (outcome.follow_up is not None)
    reached = {what.resource_id: what.destination_node for what in moves(done.action for done in outcome.report.actions if done.state == "SUCCEEDED")}
    for server in world.now.servers:
        assert server.host == reached.get(server.id, cluster.server_by_id[server.id].host)
    assert check(enforced(world.now), world.now, placement_of(world.now)) == []
    wanted = {what.resource_id: what.destination_node for what in moves(done.action for done in outcome.report.actions)}
    as_wanted = all(key in world.now.server_by_id and world.now.server_by_id[key].host == host for key, host in wanted.items())
    assert as_wanted == (outcome.misplaced == ())
    ends = {done.state for done in outcome.report.actions}
    if outcome.exit_code == 0:
        assert ends <= ({"SUCCEEDED"} if outcome.follow_up is None else {"SUCCEEDED", "SKIPPED"})
        last = {done.action.input_parameters.resource_id: done for done in outcome.report.actions}
        assert all(world.now.server_by_id[key].host == done.action.hosts[-1] for key, done in last.items()
                   if done.state == "SKIPPED" and done.action.action_type == "migrate")
    elif as_wanted and more:
        assert ends & {"FAILED", "CANCELLED", "ONGOING"} or any(done.action.action_type != "migrate" for done in outcome.report.actions)
