"""Carry a plan out, and compare what it promised with what came of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from migrate.cloud import Cloud
from migrate.duration import TimeModel
from migrate.executor import Event, Limits, Report, execute
from migrate.nova import NovaCloud
from migrate.plan import MigrateInput, Plan, check_plan_matches
from migrate.simulator import SimulatedCloud
from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint, Violation, check
from optimizer.errors import PlacewrightError
from optimizer.placement import placement_of
from optimizer.summary import summary
from placewright.audit import nova_rules
from placewright.sources import CloudSource, Source
from strategies.base import LoadNeed
from strategies.registry import strategy as find_strategy


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan: each action's end, the figures before, promised and reached, and what is not as planned.

    ``before`` and ``after`` are the clusters as found before and after; ``broken`` the rules the cluster breaks afterwards.
    """

    report: Report
    before: Cluster
    after: Cluster
    reached: dict[str, float]
    misplaced: tuple[str, ...]
    broken: tuple[Violation, ...]
    notes: tuple[str, ...]

    def document(self, plan: Plan) -> dict[str, Any]:
        """The outcome as a JSON document, for --report (docs/execution.md)."""
        return {
            "plan": plan.uuid, "exit_code": self.report.exit_code, "seconds": round(self.report.seconds, 3),
            "interrupted": self.report.interrupted, "counts": dict(self.report.counts),
            "actions": [{"uuid": done.action.uuid, "action": str(done.action), "state": done.state, "text": done.text,
                         "started_s": done.started_s, "ended_s": done.ended_s} for done in self.report.actions],
            "before": dict(plan.before), "promised": dict(plan.after), "reached": self.reached,
            "misplaced": list(self.misplaced), "broken": [{"rule": found.rule, "text": found.text} for found in self.broken],
            "notes": list(self.notes),
        }


def apply_plan(plan: Plan, source: Source, *, limits: Limits, model: TimeModel, max_age_s: float, seed: int, pace: float,
               report: Callable[[Event], None], confirm: Callable[[Cluster], bool]) -> Outcome | None:
    """Check that the plan fits the cluster, ask, carry it out, read the cluster again; None when ``confirm`` says no.

    A snapshot is acted on by the simulator with ``seed`` and ``pace`` (real seconds per simulated second). Raises
    PlacewrightError before anything was done.
    """
    strategy = find_strategy(plan.strategy)
    parameters = strategy.parameters.parse(plan.strategy, dict(plan.parameters))
    before = source.cluster()
    check_plan_matches(plan, before, datetime.now(UTC), max_age_s)
    before, notes = _with_load(source, before, strategy.load(parameters))
    if not confirm(before):
        return None

    def rules(cluster: Cluster) -> list[Constraint]:
        return nova_rules(cluster, parameters)

    cloud: Cloud
    if isinstance(source, CloudSource):
        cloud = NovaCloud(source.connection, lambda servers, hosts: source.observe(before, servers, hosts))
    else:
        cloud = SimulatedCloud(before, rules, model=model, seed=seed, pace=pace)
    done = execute(plan, cloud, rules, limits, report)
    after = cloud.cluster if isinstance(cloud, SimulatedCloud) else source.cluster()
    after = _with_usage_of(before, after)
    return Outcome(done, before, after, summary(after, placement_of(after)), tuple(_misplaced(plan, after)),
                   tuple(check(rules(after), after, placement_of(after))), notes)


def _with_load(source: Source, cluster: Cluster, need: LoadNeed | None) -> tuple[Cluster, tuple[str, ...]]:
    """The load is only for the comparison afterwards: without it, the plan is carried out all the same."""
    if need is None:
        return cluster, ()
    try:
        return source.with_load(cluster, need), ()
    except PlacewrightError as error:
        return cluster, (f"Load is not compared: {error}",)


def _with_usage_of(before: Cluster, after: Cluster) -> Cluster:
    """The cluster as it is now under the servers' load of before, so that only the placement makes a difference."""
    known = before.server_by_id
    servers = tuple(replace(server, usage=known[server.id].usage if server.id in known else None) for server in after.servers)
    whole = before.load is not None and all(server.usage is not None for server in servers)
    return replace(after, servers=servers, load=before.load if whole else None)


def _misplaced(plan: Plan, after: Cluster) -> Iterator[str]:
    """Servers that are not on the host of the last migration planned for them."""
    wanted = {action.input_parameters.resource_id: action.input_parameters for action in plan.actions
              if isinstance(action.input_parameters, MigrateInput)}
    for server_id, what in wanted.items():
        server = after.server_by_id.get(server_id)
        if server is None:
            yield f"{what.resource_name} is gone; planned on {what.destination_node}"
        elif server.host != what.destination_node:
            yield f"{what.resource_name} is on {server.host}; planned on {what.destination_node}"
