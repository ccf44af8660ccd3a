"""What could not go as planned is planned again: once, for the same servers, by the same strategy and under the same rules."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from migrate.duration import TimeModel
from migrate.executor import Report
from migrate.limits import Limits
from migrate.plan import Cost, MigrateInput, Plan, ServiceStateInput
from migrate.planner import plan_steps
from migrate.precheck import server_obstacle
from optimizer.cluster import Cluster, Obstacle
from optimizer.constraints.base import Constraint
from optimizer.constraints.movable import Movable
from optimizer.placement import Move, Placement, ServiceChange
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime
from placewright.audit import assembled, nova_rules, ways_of
from placewright.policies import out_of_hours, recalled, used_up, with_policy
from placewright.sources import Source, without_partial_load
from strategies.registry import strategy as find_strategy

_SOLVE_S = 20.0  # somebody waits for the rest of a plan


def follow_up(plan: Plan, done: Report, cluster: Cluster, source: Source, kept: Sequence[Constraint], *, seed: int, threads: int, model: TimeModel,
              limits: Limits) -> Plan | None:
    """The plan for servers whose migration was skipped, in the cluster as it is now; None when there are none, or no better place for them.

    All other servers stay. ``source`` tells load and history; ``kept`` are rules about its moves that the plan was under.
    Raises PlacewrightError; nothing is changed.
    """
    why = dict(_stranded(done, cluster))
    if not why:
        return None
    strategy = find_strategy(plan.strategy)
    parameters = strategy.parameters.parse(plan.strategy, dict(plan.parameters))
    need = strategy.load(parameters)
    cluster = without_partial_load(cluster) if need is None else source.with_load(cluster, need)
    rules, now = recalled(plan.policies, cluster), datetime.now(UTC)
    spent = used_up(rules.policy, cluster, source, now)
    others = Movable({server.id: (Obstacle(kind="plan", text="only what could not go as planned is planned again"),)
                      for server in cluster.servers if server.id not in why})
    enforced = [*nova_rules(cluster, parameters, rules.policy), *rules.policy.constraints, *spent.constraints, *kept,
                *out_of_hours(rules.policy, cluster, now), others]
    skipped = [one.action.input_parameters for one in done.actions if one.state == "SKIPPED"]
    moves = sum(isinstance(what, MigrateInput) and what.resource_id in why for what in skipped)  # never more than the plan had
    problem = with_policy(strategy.problem(cluster, enforced, parameters, moves), rules.policy)
    result = solve(problem, MaxRuntime(_SOLVE_S), seed, threads)
    wanted = {what.resource_id: what.destination_node for what in skipped if isinstance(what, MigrateInput)}
    switched = {(what.resource_name, what.state) for what in skipped if isinstance(what, ServiceStateInput)}

    def services(placement: Placement) -> list[ServiceChange]:
        return [change for change in strategy.service_changes(cluster, placement, parameters) if (change.host, change.state) in switched]

    def reason(before: Placement, after: Placement, move: Move) -> str:
        again = move.destination == wanted[move.server]
        return f"{'once more' if again else f'instead of {wanted[move.server]}'}: {why[move.server]}"

    steps = plan_steps(problem, result.placement, services, reason, model, ways_of(cluster, parameters, rules.policy), spent.host_moves, limits)
    if not steps.moves:
        return None
    made = assembled(strategy, parameters, problem, result, steps, rules)
    return replace(made, message=f"Follows plan {plan.uuid}: {len({move.server for move in steps.moves})} of {len(why)} servers that were skipped "
                                 "are planned again.",
                   actions=tuple(replace(one, reason=own.reason, cost=_later(one.cost, done.seconds))
                                 for one, own in zip(made.actions, steps.actions, strict=True)), replan=False)


def _later(cost: Cost, seconds: float) -> Cost:
    """Times of both plans count from the same beginning."""
    return replace(cost, start_s=None if cost.start_s is None else cost.start_s + seconds, end_s=None if cost.end_s is None else cost.end_s + seconds)


def _stranded(done: Report, cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Servers that were skipped and are as the plan knew them, where it found or left them; and why they were skipped.

    What has failed is left alone: nobody knows whether it would fail again.
    """
    failed = {one.action.input_parameters.resource_id for one in done.actions if one.state == "FAILED"}
    for one in done.actions:
        what = one.action.input_parameters
        if one.state == "SKIPPED" and isinstance(what, MigrateInput) and what.resource_id not in failed and not server_obstacle(what, cluster):
            yield what.resource_id, one.text
