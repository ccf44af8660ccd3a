"""One audit: from a source to a plan, in the order the product works."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from migrate.duration import TimeModel
from migrate.limits import USUAL_LIMITS, Limits, within
from migrate.plan import Action, Clash, ClusterRef, Level, Plan, Refused
from migrate.planner import Steps, plan_steps
from optimizer.cluster import Cluster
from optimizer.constraints.base import check
from optimizer.explain import best_move, refusals
from optimizer.movability import Ways
from optimizer.placement import placement_of
from optimizer.problem import Problem, level_name
from optimizer.result import LevelResult, Result
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime
from optimizer.summary import summary
from placewright.policies import Rules, clashes, read_policies, references, served, unmet, used_up, with_policy
from placewright.sources import Source, without_partial_load
from placewright.timing import Handled, endless, learned, nothing_remembered
from policy_sources import nova
from policy_sources.base import PolicySource, Veto
from policy_sources.vocabulary.base import Policy
from strategies.base import Parameters, Strategy

_NOTES = 100  # notes that a plan holds at most

Say = Callable[[str], None]


def run_audit(source: Source, strategy: Strategy, given: Mapping[str, Any], *, policies: Sequence[PolicySource] = (), vetoes: Sequence[Veto] = (),
              max_moves: int | None, time_limit_s: float, seed: int, threads: int, model: TimeModel, say: Say,
              limits: Limits = USUAL_LIMITS, learn_hours: float = 0.0, handled: Handled = nothing_remembered) -> Plan:
    """Read, decide and plan; nothing is changed. ``say`` hears what is going on; ``learn_hours``, ``handled``: see placewright.timing.

    Raises PlacewrightError for anything the operator can mend.
    """
    parameters = strategy.parameters.parse(strategy.name, dict(given))
    say("reading hosts and servers")
    cluster = source.cluster()
    limits = within(limits, cluster)
    need = strategy.load(parameters)
    if need is None:
        cluster = without_partial_load(cluster)
    else:
        say(f"reading the load of {len(cluster.servers)} servers")
        cluster = source.with_load(cluster, need)
    rules = read_policies(policies, cluster, say)
    spent = used_up(rules.policy, cluster, source, datetime.now(UTC))
    rules = replace(rules, policy=replace(rules.policy, constraints=(*rules.policy.constraints, *spent.constraints),
                                          notes=(*rules.policy.notes, *spent.notes)))
    enforced = nova_rules(cluster, parameters, rules.policy)
    problem = with_policy(strategy.problem(cluster, [*enforced, *rules.policy.constraints], parameters, max_moves), rules.policy)
    say(f"solving: {len(cluster.hosts)} hosts, {len(cluster.servers)} servers, {len(problem.constraints)} rules, "
        f"at most {time_limit_s:g} s")
    result = solve(problem, MaxRuntime(time_limit_s), seed, threads)
    model, times = learned(model, cluster, source, learn_hours, handled)
    say("putting the moves in a safe order")
    steps = plan_steps(problem, result.placement, lambda placement: strategy.service_changes(cluster, placement, parameters),
                       lambda before, after, move: strategy.reason(cluster, before, after, move, parameters), model,
                       ways_of(cluster, parameters, rules.policy), spent.host_moves, limits)
    found: tuple[Clash, ...] = ()
    if any(term.objective.value(cluster, result.placement) > 0 for term in rules.policy.broken):
        say("looking for rules that cannot all hold")
        found = tuple(clashes(cluster, enforced, rules, result.placement, seed, threads))
    plan = assembled(strategy, parameters, problem, result, steps, rules)
    plan = replace(plan, clashes=found, notes=(*plan.notes, *times, *endless(cluster, steps.actions, model)), replan=not vetoes)
    for veto in vetoes if steps.moves else ():
        say(f"asking {veto.name}")
        if objections := veto.simulate(steps.moves):
            return _vetoed(plan, veto.name, [one.text for one in objections])
    return plan


def _vetoed(plan: Plan, name: str, objections: Sequence[str]) -> Plan:
    """The plan without its actions, and why it must not be carried out."""
    refused = tuple(Refused(rule="veto", text=text, origin=name) for text in objections)
    return replace(plan, state="SUCCEEDED", actions=(), after=plan.before, refused=(*refused, *plan.refused),
                   message=f"No move is proposed: {name} objects to the plan of {_count(len(plan.actions), 'action')}: {'; '.join(objections[:3])}.")


def nova_rules(cluster: Cluster, parameters: Parameters, policy: Policy) -> list[Any]:
    """What Nova enforces in the cluster, under a strategy's parameters and a policy about live migration."""
    return nova.constraints(cluster, move_locked=parameters.move_locked, ways=ways_of(cluster, parameters, policy))


def ways_of(cluster: Cluster, parameters: Parameters, policy: Policy) -> Ways:
    """How servers may be moved."""
    lost = frozenset(host.name for host in cluster.hosts if host.forced_down) if parameters.evacuates else frozenset()
    return Ways(not parameters.disable_live_migration, not parameters.disable_cold_migration, policy.cold_only, policy.live_only, lost)


def assembled(strategy: Strategy, parameters: Parameters, problem: Problem, result: Result, steps: Steps, rules: Rules) -> Plan:
    """The plan of what was found and ordered, with bounds, figures before and after, and reasons."""
    cluster = problem.cluster
    refused = (*(Refused(rule=r.rule, text=r.text, server=r.server, host=r.host, origin=r.origin) for r in refusals(problem, steps.placement)),
               *(Refused(rule="should", text=f"{origin} does not hold; the price is {price:g}", origin=origin)
                 for origin, price in unmet(cluster, rules.policy, steps.placement)))
    # The bounds hold for any placement; the values are those of the placement that the plan reaches.
    # A later level's bound holds among placements as good as the result in those before, which a plan with moves left out may not be.
    reached = [LevelResult(value, None if steps.left_out and number else level.bound)
               for number, (value, level) in enumerate(zip(problem.values(steps.placement), result.levels, strict=True))]
    levels = tuple(Level(name=level_name(terms), value=level.value, bound=level.bound, gap=level.gap)
                   for terms, level in zip(problem.levels, reached, strict=True))
    before, after = summary(cluster, placement_of(cluster)), summary(cluster, steps.placement, steps.changes)
    return Plan(
        uuid=str(uuid.uuid4()), created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        state="RECOMMENDED" if steps.actions else "SUCCEEDED", goal=strategy.goal, strategy=strategy.name,
        parameters=parameters.model_dump(mode="json"),
        cluster=ClusterRef(name=cluster.name, taken_at=cluster.taken_at, hosts={host.name: host.id for host in cluster.hosts}),
        status="feasible" if steps.left_out else result.status.value,
        objective=levels[0].value, bound=levels[0].bound, gap=levels[0].gap, levels=levels,
        before=before, after=after, message=_message(problem, steps, before, after),
        notes=(*rules.notes, *_notes(problem), *_least(steps)), policies=references(rules),
        refused=(*steps.left_out, *refused), actions=_cited(steps.actions, served(cluster, rules.policy, steps.placement), rules.policy))


def _cited(actions: tuple[Action, ...], served: Mapping[str, tuple[str, ...]], policy: Policy) -> tuple[Action, ...]:
    """The actions with the rules that they serve, which say more than the strategy does, and those by which they are advice only."""
    found = []
    for action in actions:
        origins = served.get(action.input_parameters.resource_id, ())
        reason = f"{' and '.join(origins)} {'is' if len(origins) == 1 else 'are'} broken, and {'holds' if len(origins) == 1 else 'hold'} after it"
        reason = reason if origins else action.reason
        found.append(replace(action, policy=origins, reason=reason, advised=policy.advised.get(action.input_parameters.resource_id)))
    return tuple(found)


def _message(problem: Problem, steps: Steps, before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """The result in words; for an empty plan, why."""
    migrations = sum(action.action_type == "migrate" for action in steps.actions)
    if steps.actions:
        changed = "; ".join(f"{name.replace('_percent', ' %').replace('_', ' ')} {before[name]:g} -> {after[name]:g}"
                            for name in before if before[name] != after[name])
        return f"{_count(migrations, 'migration')}, {_count(len(steps.actions) - migrations, 'service change')}. {changed}".rstrip()
    if steps.left_out:
        return "No move is proposed: there is no safe order for the moves that would help."
    if problem.values(steps.placement)[0] <= 0:
        return "No move is needed: the goal is met as it is."
    candidate = best_move(problem, steps.placement)
    return f"No beneficial move: {candidate}." if candidate else "No beneficial move: no server can be moved anywhere."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _least(steps: Steps) -> Iterator[str]:
    """How good the order of the actions is."""
    if steps.moves:
        yield f"In no order, under these limits, are the actions over in less than {steps.least_s:.0f} s."


def _notes(problem: Problem) -> tuple[str, ...]:
    """What the reader had to assume, what was not measured, and which rules are broken already."""
    cluster = problem.cluster
    notes = list(cluster.notes)
    if cluster.load is not None and cluster.load.missing:
        notes.append(f"{len(cluster.load.missing)} of {len(cluster.servers)} servers have no measures; taken as {cluster.load.missing_means}.")
    broken: dict[str, list[str]] = {}
    for found in check(problem.constraints, cluster, placement_of(cluster)):
        broken.setdefault(found.origin or found.rule, []).append(found.text)
    notes += [f"Already broken, {who}: {texts[0]}{f', and {len(texts) - 1} more' if len(texts) > 1 else ''}." for who, texts in broken.items()]
    return tuple(notes[:_NOTES])
