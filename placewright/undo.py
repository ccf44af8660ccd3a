"""Taking a plan back: a new plan, ordered and checked like any other, that brings servers home which the old one moved."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from migrate.duration import TimeModel
from migrate.journal import Entry
from migrate.limits import USUAL_LIMITS, Limits, within
from migrate.plan import MigrateInput, Plan, PlanError, PolicyRef, Refused, ServiceStateInput, check_plan_matches
from migrate.planner import plan_steps
from optimizer.cluster import Cluster, Obstacle
from optimizer.constraints.base import breaches
from optimizer.constraints.movable import Movable
from optimizer.objectives.misplaced import Misplaced, Wish
from optimizer.objectives.moves import Moves
from optimizer.placement import Placement, ServiceChange
from optimizer.problem import Problem, Term
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime
from placewright.audit import assembled, nova_rules, ways_of
from placewright.policies import recalled
from placewright.sources import Source, without_partial_load
from placewright.timing import Handled, endless, learned, nothing_remembered
from strategies.registry import strategy as find_strategy


def undo_plan(plan: Plan, entries: Mapping[str, Entry], source: Source, *, time_limit_s: float, seed: int, threads: int, model: TimeModel,
              say: Callable[[str], None], limits: Limits = USUAL_LIMITS, learn_hours: float = 0.0,
              handled: Handled = nothing_remembered) -> Plan:
    """The plan by which everything that succeeded of another (``entries`` by action) is taken back, as far as rules and room allow it by now.

    Servers that somebody has moved since are left alone. Raises PlacewrightError; nothing is changed.
    """
    still = [action for action in plan.actions if action.uuid in entries and entries[action.uuid].state in ("PENDING", "ONGOING")]
    if still:
        raise PlanError(f"plan {plan.uuid} has not ended, {len(still)} of its actions are open; go on with plan apply --resume, then take it back")
    strategy = find_strategy(plan.strategy)
    parameters = strategy.parameters.parse(plan.strategy, dict(plan.parameters))
    say("reading hosts and servers")
    cluster = without_partial_load(source.cluster())
    limits = within(limits, cluster)
    check_plan_matches(plan, cluster, datetime.now(UTC), math.inf, begun=True)
    done = replace(plan, actions=tuple(action for action in plan.actions if action.uuid in entries and entries[action.uuid].state == "SUCCEEDED"))
    homes, notes = _homes(done, cluster)
    services = tuple(_services(done, cluster))
    lasting = _lasting(plan)
    rules = recalled(lasting, cluster)
    back = {change.host: change.state for change in services}
    opened = replace(cluster, hosts=tuple(replace(host, status=back.get(host.name, host.status)) for host in cluster.hosts))
    others = Movable({server.id: (Obstacle(kind="undo", text="the plan has not moved it"),) for server in cluster.servers if server.id not in homes})
    wish = Misplaced(tuple(Wish((server,), frozenset({home}), True, f"plan {plan.uuid}") for server, home in homes.items()))
    problem = Problem(opened, (*nova_rules(opened, parameters, rules.policy), *rules.policy.constraints, others), ((Term(wish),), (Term(Moves()),)))
    say(f"looking for the way back of {len(homes)} servers")
    result = solve(problem, MaxRuntime(time_limit_s), seed, threads)
    model, times = learned(model, cluster, source, learn_hours, handled)
    steps = plan_steps(problem, result.placement, lambda placement: services,
                       lambda before, after, move: f"plan {plan.uuid} moved it from {homes.get(move.server, move.destination)}", model,
                       ways_of(cluster, parameters, rules.policy), limits=limits)
    home = sum(steps.placement[server] == place for server, place in homes.items())
    undone = assembled(strategy, parameters, problem, result, steps, rules)
    return replace(undone, message=f"Takes back plan {plan.uuid}: {home} of {len(homes)} servers return, {len(services)} services are switched back.",
                   state="RECOMMENDED" if steps.actions else "SUCCEEDED", policies=lasting, replan=False,
                   notes=(*notes, *undone.notes, *times, *endless(cluster, steps.actions, model)),
                   refused=(*steps.left_out, *_kept_away(problem, homes, steps.placement)))


def _kept_away(problem: Problem, homes: Mapping[str, str], reached: Placement) -> Iterator[Refused]:
    """Why servers do not return: what each of them would break at home."""
    for server, home in homes.items():
        if reached[server] != home:
            name = problem.cluster.server_by_id[server].name
            for found in breaches(problem.constraints, problem.cluster, {**reached, server: home})[:1]:
                yield Refused(server=server, host=home, rule=found.rule, text=f"{name} does not return: {found.text}", origin=found.origin)


def _homes(done: Plan, cluster: Cluster) -> tuple[dict[str, str], tuple[str, ...]]:
    """Server id -> where it was before the plan, and notes on those that are not where the plan has brought them, or have no home."""
    first: dict[str, str] = {}
    last: dict[str, MigrateInput] = {}
    for what in (action.input_parameters for action in done.actions):
        if isinstance(what, MigrateInput):
            first.setdefault(what.resource_id, what.source_node)
            last[what.resource_id] = what
    homes, notes = {}, []
    for key, what in last.items():
        server = cluster.server_by_id.get(key)
        if server is None:
            notes.append(f"{what.resource_name} does not exist any more.")
        elif server.host != what.destination_node:
            notes.append(f"{server.name} is left alone: it is on {server.host}, and the plan brought it to {what.destination_node}.")
        elif first[key] not in cluster.host_by_name:
            notes.append(f"{server.name} is left alone: host {first[key]} does not exist any more.")
        elif first[key] != server.host:
            homes[key] = first[key]
    return homes, tuple(notes)


def _services(done: Plan, cluster: Cluster) -> Iterator[ServiceChange]:
    """Services that the plan has switched and that are still so; hosts are opened first, and closed when they are empty again."""
    switched = [action.input_parameters for action in done.actions if isinstance(action.input_parameters, ServiceStateInput)]
    first, last = {what.resource_name: what.state for what in reversed(switched)}, {what.resource_name: what.state for what in switched}
    for host in last:
        if host in cluster.host_by_name and first[host] == last[host] == cluster.host_by_name[host].status:
            reason = f"as before plan {done.uuid}"
            yield ServiceChange(host, "enabled", reason, "before") if last[host] == "disabled" else ServiceChange(host, "disabled", reason, "after")


def _lasting(plan: Plan) -> tuple[PolicyRef, ...]:
    """The rules of a plan, but for budgets: what it has moved has used them up, and taking it back is one decision with it."""
    return tuple(replace(one, rules=tuple(rule for rule in one.rules if rule.statement.get("rule") != "budget")) for one in plan.policies)
