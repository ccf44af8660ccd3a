"""Carry a plan out, and compare what it promised with what came of it."""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from migrate.cloud import Cloud
from migrate.duration import TimeModel
from migrate.executor import Event, Report, execute
from migrate.journal import Journal, NoJournal
from migrate.limits import Limits, within
from migrate.nova import NovaCloud
from migrate.plan import MigrateInput, Plan, ServiceStateInput, check_plan_matches
from migrate.simulator import SimulatedCloud
from optimizer.cluster import Cluster, Obstacle
from optimizer.constraints.base import Constraint, Violation, check
from optimizer.constraints.movable import Movable
from optimizer.errors import PlacewrightError
from optimizer.placement import ServiceChange, placement_of
from optimizer.summary import summary
from placewright.achieved import Achieved, achieved
from placewright.audit import nova_rules
from placewright.policies import beyond, out_of_hours, recalled, used_up
from placewright.sources import CloudSource, Source, without_partial_load
from strategies.base import LoadNeed
from strategies.registry import strategy as find_strategy

Journals = Callable[[Plan, bool], AbstractContextManager[Journal]]
"""The journal of a plan, to be held while it is carried out; whether that goes on where an earlier program ended."""


def no_journals(plan: Plan, resume: bool) -> AbstractContextManager[Journal]:
    """Nothing is remembered."""
    return nullcontext(NoJournal())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan: each action's end, the figures before, promised and reached, and what is not as planned.

    ``before`` and ``after`` are the clusters as found before and after; ``broken`` the rules the cluster breaks afterwards.
    ``present``, ``promised`` and ``reached`` are figures under one and the same load, that of the servers just before: what
    differs between them is placement, and none of it the hour of the day.
    """

    report: Report
    before: Cluster
    after: Cluster
    present: dict[str, float]
    promised: dict[str, float]
    reached: dict[str, float]
    misplaced: tuple[str, ...]
    broken: tuple[Violation, ...]
    notes: tuple[str, ...]
    achieved: Achieved | None = None

    def document(self, plan: Plan) -> dict[str, Any]:
        """The outcome as a JSON document, for --report (docs/execution.md)."""
        return {
            "plan": plan.uuid, "exit_code": self.report.exit_code, "seconds": round(self.report.seconds, 3),
            "expected_s": plan.expected_s,
            "interrupted": self.report.interrupted, "counts": dict(self.report.counts),
            "actions": [{"uuid": done.action.uuid, "action": str(done.action), "state": done.state, "text": done.text,
                         "started_s": done.started_s, "ended_s": done.ended_s} for done in self.report.actions],
            "before": self.present, "promised": self.promised, "reached": self.reached,
            "misplaced": list(self.misplaced), "broken": [{"rule": found.rule, "text": found.text} for found in self.broken],
            "notes": list(self.notes),
            "achieved_percent": None if self.achieved is None else round(self.achieved.percent, 1),
        }


def apply_plan(plan: Plan, source: Source, *, limits: Limits, model: TimeModel, max_age_s: float, advised: bool, seed: int, pace: float,
               report: Callable[[Event], None], confirm: Callable[[Cluster], bool], resume: bool = False,
               journals: Journals = no_journals) -> Outcome | None:
    """Check that the plan fits the cluster, ask, carry it out, read the cluster again; None when ``confirm`` says no.

    ``advised``: also the moves that are advice only. A snapshot is acted on by the simulator with ``seed`` and ``pace`` (real seconds per
    simulated second). What is done on a cloud goes into a journal of ``journals``; ``resume`` goes on where that ends, whatever the age of the plan.
    Raises PlacewrightError before anything was done.
    """
    strategy = find_strategy(plan.strategy)
    parameters = strategy.parameters.parse(plan.strategy, dict(plan.parameters))
    before = source.cluster()
    limits = within(limits, before)
    check_plan_matches(plan, before, datetime.now(UTC), math.inf if resume else max_age_s)
    before, notes = _with_load(source, before, strategy.load(parameters))
    policy = recalled(plan.policies, before).policy
    spent = used_up(policy, before, source, datetime.now(UTC))
    lasting = [*(rule for rule in policy.constraints if rule.continuous),
               *spent.constraints, *beyond(plan, spent.host_moves), *_advice(plan, advised)]
    if not confirm(before):
        return None

    def rules(cluster: Cluster) -> list[Constraint]:
        """What holds while servers move: a group may be worse on the way, Nova does not mind, and the plan ends well."""
        now = datetime.now(UTC)
        return [*(rule for rule in nova_rules(cluster, parameters, policy) if rule.continuous), *lasting, *out_of_hours(policy, cluster, now)]

    cloud: Cloud
    if isinstance(source, CloudSource):
        watch = _Watch(source, before)
        cloud = NovaCloud(source.connection, watch.observe, source.nova_timeout_s)
        with journals(plan, resume) as journal:
            done = execute(plan, cloud, rules, limits, report, journal)
        after, unread = watch.afterwards()
        notes += unread
    else:
        cloud = SimulatedCloud(before, rules, model=model, seed=seed, pace=pace)
        done = execute(plan, cloud, rules, limits, report, NoJournal())
        after = cloud.cluster
    after = _with_usage_of(before, after)
    return Outcome(done, before, after, summary(before, placement_of(before)), _promised(plan, before),
                   summary(after, placement_of(after)), tuple(_misplaced(plan, after)),
                   tuple(check([*nova_rules(after, parameters, policy), *policy.constraints], after, placement_of(after))), notes,
                   achieved(plan, strategy, parameters, policy, before, after))


def _advice(plan: Plan, carried_out: bool) -> list[Constraint]:
    """A rule by which servers stay whose moves the plan only advises, unless these are to be carried out too."""
    reasons = {action.input_parameters.resource_id: action.advised for action in plan.actions if action.advised is not None}
    if carried_out or not reasons:
        return []
    return [Movable({server: (Obstacle(kind="policy", text=f"{origin} allows advice only"),) for server, origin in reasons.items()})]


@dataclass
class _Watch:
    """Looks at a cloud again and again, each time starting from what was seen last."""

    source: CloudSource
    seen: Cluster

    def observe(self, servers: Collection[str], hosts: Collection[str]) -> Cluster:
        """The cluster with these servers and hosts read afresh."""
        self.seen = self.source.observe(self.seen, servers, hosts)
        return self.seen

    def afterwards(self) -> tuple[Cluster, tuple[str, ...]]:
        """The whole cluster as it is now; what was done must be told even when that cannot be read, or takes too long for the operator."""
        try:
            return self.source.cluster(), ()
        except PlacewrightError as error:
            why = str(error)
        except KeyboardInterrupt:
            why = "interrupted"
        return self.seen, (f"The cloud could not be read afterwards ({why}); figures and places are those seen last.",)


def _with_load(source: Source, cluster: Cluster, need: LoadNeed | None) -> tuple[Cluster, tuple[str, ...]]:
    """The load is only for the comparison afterwards: without it, the plan is carried out all the same."""
    if need is None:
        return without_partial_load(cluster), ()
    try:
        return source.with_load(cluster, need), ()
    except PlacewrightError as error:
        return replace(cluster, load=None), (f"Load is not compared: {error}",)


def _with_usage_of(before: Cluster, after: Cluster) -> Cluster:
    """The cluster as it is now under the servers' load of before, so that only the placement makes a difference."""
    known = before.server_by_id
    servers = tuple(replace(server, usage=known[server.id].usage if server.id in known else None) for server in after.servers)
    whole = before.load is not None and all(server.usage is not None for server in servers)
    return replace(after, servers=servers, load=before.load if whole else None)


def _promised(plan: Plan, before: Cluster) -> dict[str, float]:
    """The figures of the planned placement and services under the load of before."""
    placement = dict(placement_of(before))
    changes = []
    for action in plan.actions:
        what = action.input_parameters
        if isinstance(what, ServiceStateInput):
            changes.append(ServiceChange(what.resource_name, what.state, what.disabled_reason or "", "before"))
        elif what.resource_id in placement:
            placement[what.resource_id] = what.destination_node
    return summary(before, placement, changes)


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
