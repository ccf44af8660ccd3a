"""Carry a plan out, and compare what it promised with what came of it."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from datasources.nova import PastMigration
from migrate.cloud import Cloud
from migrate.duration import TimeModel
from migrate.executor import Event, Report, execute
from migrate.journal import Journal, NoJournal
from migrate.limits import Limits, within
from migrate.nova import NovaCloud
from migrate.plan import MigrateInput, Plan, ServiceStateInput, check_plan_matches
from migrate.precheck import Rules, not_as_wanted
from migrate.simulator import SimulatedCloud
from optimizer.cluster import Cluster, Obstacle
from optimizer.constraints.base import Constraint, Violation, check
from optimizer.constraints.movable import Movable
from optimizer.errors import PlacewrightError
from optimizer.placement import ServiceChange, placement_of
from optimizer.summary import summary
from placewright.audit import nova_rules
from placewright.followup import follow_up
from placewright.goal import Achieved, achieved, goal_of, worth
from placewright.policies import beyond, out_of_hours, recalled, used_up
from placewright.sources import CloudSource, SnapshotSource, Source, without_partial_load
from policy_sources.vocabulary.base import Policy
from strategies.base import LoadNeed, Parameters
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
    differs between them is placement, and none of it the hour of the day. ``report`` has the actions of the plan, then those of its ``follow_up``.
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
    follow_up: Plan | None = None

    @property
    def exit_code(self) -> int:
        """0 when every action succeeded, or what was skipped was made good by the plan that followed; else 3."""
        if self.follow_up is None:
            return self.report.exit_code
        last = {done.action.input_parameters.resource_id: done for done in self.report.actions}
        good = all(done.state == "SUCCEEDED" or not not_as_wanted(done.action, self.after) for done in last.values())
        return 0 if good and {done.state for done in self.report.actions} <= {"SUCCEEDED", "SKIPPED"} else 3

    def document(self, plan: Plan) -> dict[str, Any]:
        """The outcome as a JSON document, for --report (docs/execution.md)."""
        follow_up, own = self.follow_up, len(plan.actions)
        return {
            "plan": plan.uuid, "exit_code": self.exit_code, "seconds": round(self.report.seconds, 3),
            "expected_s": plan.expected_s,
            "interrupted": self.report.interrupted, "counts": dict(self.report.counts),
            "follow_up": None if follow_up is None else {"plan": follow_up.uuid, "message": follow_up.message, "expected_s": follow_up.expected_s},
            "actions": [{"uuid": done.action.uuid, "plan": plan.uuid if follow_up is None or number < own else follow_up.uuid,
                         "action": str(done.action), "state": done.state, "text": done.text,
                         "started_s": done.started_s, "ended_s": done.ended_s} for number, done in enumerate(self.report.actions)],
            "before": self.present, "promised": self.promised, "reached": self.reached,
            "misplaced": list(self.misplaced), "broken": [{"rule": found.rule, "text": found.text} for found in self.broken],
            "notes": list(self.notes),
            "achieved_percent": None if self.achieved is None else round(self.achieved.percent, 1),
        }


def apply_plan(plan: Plan, source: CloudSource | SnapshotSource, *, limits: Limits, model: TimeModel, max_age_s: float, advised: bool, seed: int,
               pace: float, report: Callable[[Event], None], confirm: Callable[[Cluster], bool], resume: bool = False,
               journals: Journals = no_journals, replan_threads: int | None = None) -> Outcome | None:
    """Check that the plan fits the cluster, ask, carry it out, read the cluster again; None when ``confirm`` says no.

    ``advised``: also the moves that are advice only. A snapshot is acted on by the simulator with ``seed`` and ``pace`` (real seconds per
    simulated second). What is done on a cloud goes into a journal of ``journals``; ``resume`` goes on where that ends, whatever the age of the plan.
    With ``replan_threads`` what was skipped is planned again, by so many threads, and carried out too.
    Raises PlacewrightError before anything was done.
    """
    strategy = find_strategy(plan.strategy)
    parameters = strategy.parameters.parse(plan.strategy, dict(plan.parameters))
    before = source.cluster()
    limits = within(limits, before)
    check_plan_matches(plan, before, datetime.now(UTC), math.inf if resume else max_age_s, begun=resume)
    before, notes = _with_load(source, before, strategy.load(parameters))
    policy = recalled(plan.policies, before).policy
    spent = used_up(policy, before, source, datetime.now(UTC))
    kept = [*beyond(plan, spent.host_moves, before), *_advice(plan, advised)]
    rules = _rules(parameters, policy, [*spent.constraints, *kept])
    goal = goal_of(plan, strategy, parameters, policy, before)
    still = None if goal is None else partial(worth, goal)
    if not confirm(before):
        return None

    cloud: Cloud
    if isinstance(source, CloudSource):
        watch = _Watch(source, before)
        cloud = NovaCloud(source.connection, watch.observe, source.nova_timeout_s)
        read, held = watch.afterwards, journals(plan, resume)
    else:
        cloud = simulator = SimulatedCloud(before, rules, model=model, seed=seed, pace=pace)
        read, held = lambda: (simulator.cluster, ()), nullcontext(NoJournal(simulator.now))
    with held as journal:
        done = execute(plan, cloud, rules, limits, report, journal, still)
        after, unread = read()
        following = None
        try:
            past = source if isinstance(source, CloudSource) else _Rehearsed(source.path, done)
            following = journal.followed()
            if following is None and replan_threads is not None and plan.replan and not unread and _ended(done):
                made = follow_up(plan, done, after, past, kept, seed=seed, threads=replan_threads, model=model, limits=limits)
                following = None if made is None else (made, journal.follow(made))
            if following is not None:
                spent = used_up(policy, after, past, datetime.now(UTC))
                rules = _rules(parameters, policy, [*spent.constraints, *beyond(following[0], spent.host_moves, after), *kept])
        except PlacewrightError as error:
            following, unread = None, (*unread, f"What was skipped is not planned again: {error}")
        except KeyboardInterrupt:
            following, done = None, replace(done, interrupted=True)
        if following is not None:
            done = _both(done, execute(following[0], cloud, rules, limits, report, following[1], still))
            after, unread = read()
    after = _with_usage_of(before, after)
    whole = plan if following is None else plan.then(following[0])
    return Outcome(done, before, after, summary(before, placement_of(before)), _promised(plan, before),
                   summary(after, placement_of(after)), tuple(_misplaced(whole, after)),
                   tuple(check([*nova_rules(after, parameters, policy), *policy.constraints], after, placement_of(after))), notes + unread,
                   None if goal is None else achieved(goal, plan, after), None if following is None else following[0])


def _rules(parameters: Parameters, policy: Policy, lasting: Sequence[Constraint]) -> Rules:
    """What holds while servers move: a group may be worse on the way, Nova does not mind, and the plan ends well."""
    lasting = [*(rule for rule in policy.constraints if rule.continuous), *lasting]

    def rules(cluster: Cluster) -> list[Constraint]:
        enforced = (rule for rule in nova_rules(cluster, parameters, policy) if rule.continuous)
        return [*enforced, *lasting, *out_of_hours(policy, cluster, datetime.now(UTC))]
    return rules


def _ended(done: Report) -> bool:
    """Whether the plan has come to its end, and was not broken off."""
    return not done.interrupted and {one.state for one in done.actions} <= {"SUCCEEDED", "FAILED", "SKIPPED"}


def _both(first: Report, then: Report) -> Report:
    """The report of a plan and of what followed it, whose actions say in their texts why they are there."""
    told = (replace(one, text="; ".join(filter(None, (one.text, one.action.reason)))) for one in then.actions)
    return replace(then, actions=(*first.actions, *told))


@dataclass(frozen=True)
class _Rehearsed(SnapshotSource):
    """A snapshot file, and what the simulator has done since."""

    done: Report

    def history(self, since: datetime) -> Sequence[PastMigration]:
        """All of it, as if it had just ended."""
        now = datetime.now(UTC)
        moved = (one.action.input_parameters for one in self.done.actions if one.state == "SUCCEEDED")
        return [PastMigration(what.resource_id, what.source_node, what.destination_node, what.migration_type, now, now)
                for what in moved if isinstance(what, MigrateInput)]


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
        """The cluster with these servers and hosts read afresh; of a host that has gone there is nothing to read."""
        self.seen = self.source.observe(self.seen, servers, self.seen.host_by_name.keys() & hosts)
        return self.seen

    def afterwards(self) -> tuple[Cluster, tuple[str, ...]]:
        """The whole cluster as it is now; what was done must be told even when that cannot be read, or takes too long for the operator."""
        try:
            self.seen = self.source.cluster()
        except PlacewrightError as error:
            why = str(error)
        except KeyboardInterrupt:
            why = "interrupted"
        else:
            return self.seen, ()
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
    """The figures of the planned placement and services under the load of before; none where a destination has gone since the plan was begun."""
    placement = dict(placement_of(before))
    changes = []
    for action in plan.actions:
        what = action.input_parameters
        if isinstance(what, ServiceStateInput):
            changes.append(ServiceChange(what.resource_name, what.state, what.disabled_reason or "", "before"))
        elif what.destination_node not in before.host_by_name:
            return {}
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
