"""A plan carried out in the simulator, and what is said about it afterwards."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from datasources.gnocchi import GnocchiSettings
from migrate.cloud import CallFailed
from migrate.duration import TimeModel
from migrate.executor import Event
from migrate.limits import LimitError, Limits
from migrate.plan import Plan, PlanError
from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError
from optimizer.snapshot import write_snapshot
from placewright.apply import Outcome, _Watch, apply_plan
from placewright.audit import run_audit
from placewright.sources import CloudSource, SnapshotSource
from strategies.registry import strategy
from tests.support.clusters import LOAD, make_cluster, make_group, make_host, make_server


@dataclass
class Site:
    """A snapshot file, and what is heard while a plan is carried out."""

    path: Path
    events: list[Event]

    def write(self, cluster: Cluster) -> None:
        write_snapshot(cluster, self.path)

    def audit(self, cluster: Cluster, name: str, **given: Any) -> Plan:
        self.write(cluster)
        return run_audit(SnapshotSource(self.path), strategy(name), given, max_moves=None, time_limit_s=20, seed=0, threads=1, model=TimeModel(),
                         say=lambda text: None)

    def apply(self, plan: Plan, yes: bool = True) -> Outcome | None:
        return apply_plan(plan, SnapshotSource(self.path), limits=Limits(), model=TimeModel(), max_age_s=60, advised=False, seed=0, pace=0,
                          report=self.events.append, confirm=lambda cluster: yes)

    def done(self, plan: Plan) -> Outcome:
        outcome = self.apply(plan)
        assert outcome is not None
        return outcome


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "s.json", [])


def cluster_of(**fields: Any) -> Cluster:
    servers = [make_server(f"s{n}", "a", cpu_cores=1.0) for n in range(4)] + [make_server("t", "b", cpu_cores=0.5)]
    return make_cluster([make_host(name) for name in "abc"], servers, load=LOAD, **fields)


def test_limits_of_an_aggregate_that_is_not_there_are_told_before_anything_is_done(site: Site) -> None:
    limits, source = Limits(in_aggregate={"rack-1": 2}), SnapshotSource(site.path)
    plan = site.audit(cluster_of(), "workload_stabilization", aggressiveness=5)
    with pytest.raises(LimitError, match="no aggregate rack-1"):
        apply_plan(plan, source, limits=limits, model=TimeModel(), max_age_s=60, advised=False, seed=0, pace=0, report=site.events.append,
                   confirm=lambda cluster: pytest.fail("nobody is asked"))
    with pytest.raises(LimitError, match="no aggregate rack-1"):
        run_audit(source, strategy("workload_stabilization"), {}, max_moves=None, time_limit_s=20, seed=0, threads=1, model=TimeModel(),
                  say=lambda text: None, limits=limits)
    assert site.events == []


@pytest.mark.parametrize(("name", "given"), [("workload_stabilization", {"aggressiveness": 5}), ("vm_workload_consolidation", {}),
                                             ("host_maintenance", {"maintenance_node": "a"})])
def test_the_promise_is_kept(site: Site, name: str, given: dict[str, Any]) -> None:
    plan = site.audit(cluster_of(), name, **given)
    outcome = site.done(plan)
    assert outcome.reached == plan.after
    assert (outcome.misplaced, outcome.broken, outcome.notes) == ((), (), ())
    assert outcome.report.exit_code == 0
    assert outcome.before == cluster_of()
    assert outcome.after.load == LOAD
    assert {event.action.uuid for event in site.events if event.state == "SUCCEEDED"} == {action.uuid for action in plan.actions}
    document = outcome.document(plan)
    assert document["promised"] == document["reached"] == dict(plan.after)


def test_a_plan_goes_on_without_a_host_that_has_gone(site: Site) -> None:
    """What was to go there is skipped, and planned again where there is another place."""
    plan = site.audit(cluster_of(), "host_maintenance", maintenance_node="a")
    lost = sorted({host for action in plan.actions for host in action.hosts} - {"a"})[0]
    left = cluster_of()
    site.write(replace(left, hosts=tuple(host for host in left.hosts if host.name != lost),
                       servers=tuple(one for one in left.servers if one.host != lost)))
    with pytest.raises(PlanError, match=f"host {lost} does not exist here"):
        site.apply(plan)
    outcome = apply_plan(plan, SnapshotSource(site.path), limits=Limits(), model=TimeModel(), max_age_s=60, advised=False, seed=0, pace=0,
                         report=site.events.append, confirm=lambda cluster: True, resume=True, replan_threads=1)
    assert outcome is not None
    assert outcome.follow_up is not None
    skipped = [done for done in outcome.report.actions if done.state == "SKIPPED"]
    assert skipped
    assert all(done.text == f"host {lost} does not exist any more" for done in skipped)
    assert {done.state for done in outcome.report.actions if done not in skipped} == {"SUCCEEDED"}
    assert outcome.after.servers_on["a"] == ()
    assert (outcome.promised, outcome.achieved) == ({}, None), "nobody knows what the host would have been good for"


def test_no_is_no(site: Site) -> None:
    plan = site.audit(cluster_of(), "host_maintenance", maintenance_node="a")
    assert site.apply(plan, yes=False) is None
    assert site.events == []


def test_a_server_gone_or_elsewhere_is_named(site: Site) -> None:
    plan = site.audit(cluster_of(), "host_maintenance", maintenance_node="a", backup_node="b")
    cluster = cluster_of()
    site.write(cluster.with_servers(tuple(replace(s, host="c") if s.id == "s1" else s for s in cluster.servers if s.id != "s0")))
    outcome = site.done(plan)
    assert outcome.report.exit_code == 3
    assert sorted(outcome.misplaced) == ["s0 is gone; planned on b", "s1 is on c; planned on b"]
    assert outcome.report.counts == {"SKIPPED": 2, "SUCCEEDED": 3}


def test_rules_broken_afterwards_are_named(site: Site) -> None:
    plan = site.audit(cluster_of(), "host_maintenance", maintenance_node="a", backup_node="b")
    site.write(cluster_of(groups=(make_group("anti-affinity", "s0", "t"),)))
    outcome = site.done(plan)
    assert {done.state for done in outcome.report.actions} == {"SKIPPED", "SUCCEEDED"}
    assert outcome.broken == ()
    broken = cluster_of(groups=(make_group("anti-affinity", "s0", "s1", name="old"),))
    plan = site.audit(broken, "host_maintenance", maintenance_node="c")
    assert [found.rule for found in site.done(plan).broken] == ["anti_affinity"]


def test_figures_are_compared_under_the_load_of_before(site: Site) -> None:
    """A server that appeared since is without load: then nothing is said about load, rather than something wrong."""
    plan = site.audit(cluster_of(), "workload_stabilization", aggressiveness=5)
    site.write(cluster_of().with_servers((*cluster_of().servers, make_server("new", "c"))))
    outcome = site.done(plan)
    assert outcome.report.exit_code == 0
    assert "cpu_spread_percent" not in outcome.reached
    assert outcome.reached["servers"] == 6
    assert len(outcome.notes) == 1
    assert outcome.notes[0].startswith("Load is not compared: 1 of 6 servers")


@pytest.mark.parametrize(("fields", "error", "said"), [
    ({"created_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}, PlanError, "too old"),
    ({"strategy": "magic"}, PlacewrightError, "there is no strategy 'magic'"),
    ({"parameters": {}}, PlacewrightError, "maintenance_node: Field required"),
])
def test_a_plan_that_does_not_fit_is_refused_before_anything_is_done(site: Site, fields: dict[str, Any], error: type[Exception], said: str) -> None:
    plan = replace(site.audit(cluster_of(), "host_maintenance", maintenance_node="a"), **fields)
    with pytest.raises(error, match=said):
        site.apply(plan)
    assert site.events == []


def test_an_empty_plan_changes_nothing(site: Site) -> None:
    plan = site.audit(cluster_of(), "workload_stabilization", thresholds={"instance_cpu_usage": 1})
    outcome = site.done(plan)
    assert outcome.after == outcome.before
    assert outcome.report.exit_code == 0


class Gone(CloudSource):
    """A cloud that was read once and cannot be read any more."""

    def cluster(self) -> Cluster:
        raise CallFailed("nobody there")


class Impatient(CloudSource):
    """The operator presses Ctrl-C while the cloud is read."""

    def cluster(self) -> Cluster:
        raise KeyboardInterrupt


@pytest.mark.parametrize(("kind", "why"), [(Gone, "nobody there"), (Impatient, "interrupted")])
def test_what_was_done_is_told_although_the_cloud_cannot_be_read_afterwards(kind: type[CloudSource], why: str) -> None:
    seen, notes = _Watch(kind("c", GnocchiSettings()), cluster_of()).afterwards()
    assert seen == cluster_of()
    assert notes == (f"The cloud could not be read afterwards ({why}); figures and places are those seen last.",)


class Asked(CloudSource):
    """A cloud that tells which hosts were asked for."""

    def observe(self, cluster: Cluster, servers: Collection[str], hosts: Collection[str]) -> Cluster:
        return replace(cluster, name=",".join(sorted(hosts)))


def test_a_host_that_has_gone_is_not_asked_for() -> None:
    """There would be no answer, and with none nothing else could be started."""
    assert _Watch(Asked("c", GnocchiSettings()), cluster_of()).observe({"s0"}, {"a", "gone"}).name == "a"
