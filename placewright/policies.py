"""Rules in an audit: what the sources say, what it adds to a strategy's problem, which rules a move serves, and which cannot all hold."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from migrate.plan import Clash, MigrateInput, Plan, PlannedRule, PolicyRef
from migrate.planner import HostMoves
from optimizer.clash import smallest_clash
from optimizer.cluster import Cluster, Obstacle
from optimizer.constraints.allowed_hosts import AllowedHosts, HostNeed
from optimizer.constraints.base import Constraint
from optimizer.constraints.movable import Movable
from optimizer.objectives.base import Breaches
from optimizer.objectives.misplaced import Misplaced
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.overdrawn import Overdrawn
from optimizer.placement import Placement, placement_of
from optimizer.problem import Problem
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime
from placewright.sources import Source
from policy_sources.base import PolicySource, Rule, RuleSet, policy_of, rules_of
from policy_sources.vocabulary.base import Allowance, Policy
from policy_sources.vocabulary.opening import Opening
from policy_sources.vocabulary.selectors import Catalog

_MET = 1e-9
_CLASH_S = 5.0  # what the search for one clash may take for each question it asks, and six times this in all
_CLASHES = 12  # rules in clashes beyond which no other clash is looked for
_INVOLVED = 60  # servers that a clash is looked for among


@dataclass(frozen=True)
class Rules:
    """All that the sources said, and what it means in the cluster it was read for."""

    sets: tuple[RuleSet, ...]
    policy: Policy

    @property
    def notes(self) -> tuple[str, ...]:
        """What the operator should know of the sources, and of rules that speak of nobody."""
        return (*(note for one in self.sets for note in one.notes), *self.policy.notes)

    @property
    def rules(self) -> list[Rule]:
        """The rules of all sources."""
        return [rule for one in self.sets for rule in one.rules]


def read_policies(sources: Sequence[PolicySource], cluster: Cluster, say: Callable[[str], None]) -> Rules:
    """The rules of all sources for a cluster; raises PolicyError when one cannot be had or is not understood."""
    sets = []
    for source in sources:
        say(f"reading the rules of {source.name}")
        sets.append(source.read(cluster))
    return Rules(tuple(sets), policy_of(Catalog(cluster), (rule for one in sets for rule in one.rules)))


def references(rules: Rules) -> tuple[PolicyRef, ...]:
    """The rules as a plan keeps them."""
    return tuple(PolicyRef(source=one.source, read_at=one.read_at, revision=one.revision, age_s=round(one.age_s, 1), rules=tuple(
        PlannedRule(statement=rule.says.model_dump(mode="json", exclude_defaults=True), origin=rule.origin.where) for rule in one.rules))
        for one in rules.sets)


def recalled(references: Iterable[PolicyRef], cluster: Cluster) -> Rules:
    """The rules of a plan, as they are in a cluster; raises PolicyError for those that this program does not know."""
    sets = tuple(RuleSet(one.source, rules_of(one.source, [(rule.origin, rule.statement) for rule in one.rules], one.revision), one.read_at,
                         one.revision) for one in references)
    return Rules(sets, policy_of(Catalog(cluster), (rule for one in sets for rule in one.rules)))


def with_policy(problem: Problem, policy: Policy) -> Problem:
    """The problem with what policies ask for before all that the strategy wants: what must hold, then what should, by its weight.

    What must hold and does already is seen to by the constraints alone. Moves that policies make dearer cost more in all levels of the strategy.
    """
    now = placement_of(problem.cluster)
    broken = tuple(term for term in policy.broken if term.objective.value(problem.cluster, now) > _MET)
    levels = tuple(level for level in (broken, policy.wishes) if level)
    own = tuple(tuple(replace(term, objective=MoveCost(policy.dearer)) if isinstance(term.objective, MoveCost) else term for term in level)
                for level in problem.levels) if policy.dearer else problem.levels
    return replace(problem, levels=levels + own)


def served(cluster: Cluster, policy: Policy, reached: Placement) -> Mapping[str, tuple[str, ...]]:
    """Server id -> the rules that are broken now and that its move to the placement reached helps to hold."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    now = placement_of(cluster)
    moved = {server.id for server in cluster.servers if reached[server.id] != server.host}
    for term in (*policy.broken, *policy.wishes):
        objective = term.objective
        if isinstance(objective, Misplaced):
            for wish in objective.wishes:
                for server in moved.intersection(wish.servers):
                    if (now[server] in wish.hosts) != wish.inside and (reached[server] in wish.hosts) == wish.inside:
                        found[server][wish.origin] = None
        elif isinstance(objective, Breaches) and objective.value(cluster, reached) < objective.value(cluster, now) - _MET:
            for server in moved.intersection(objective.about):
                found[server][objective.origin] = None
        if isinstance(objective, Overdrawn) and objective.value(cluster, reached) < objective.value(cluster, now):
            for server in moved:
                if now[server] in objective.hosts and reached[server] not in objective.hosts:
                    found[server][objective.origin] = None
    for rule in policy.constraints:
        for breach in rule.violations(cluster, now):
            if breach.host is not None and breach.origin and not breach.servers:  # a host too full: whoever leaves it helps
                for server in moved:
                    if now[server] == breach.host:
                        found[server][breach.origin] = None
    return {server: tuple(origins) for server, origins in found.items()}


def unmet(cluster: Cluster, policy: Policy, placement: Placement) -> Iterator[tuple[str, float]]:
    """The rules that should hold and do not in a placement, each with its price."""
    for term in policy.wishes:
        if isinstance(term.objective, Misplaced):
            for wish in term.objective.wishes:
                if count := sum((placement[server] in wish.hosts) != wish.inside for server in wish.servers):
                    yield wish.origin, term.weight * count
        elif isinstance(term.objective, Breaches) and (value := term.objective.value(cluster, placement)) > _MET:
            yield term.objective.origin, term.weight * value


def clashes(cluster: Cluster, nova: Sequence[Constraint], rules: Rules, placement: Placement, seed: int, threads: int) -> Iterator[Clash]:
    """Why rules that must hold do not in the best placement known: sets of them that cannot all hold, each as small as can be.

    They are looked for among the servers of a broken rule and all that are tied to these by groups, as if there were no others, who could only
    take room: what is impossible then is impossible in truth. Rules that fail for want of room alone are not found so, and are told as broken.
    """
    until = time.monotonic() + 6 * _CLASH_S
    told: set[str] = set()
    for involved in _involved(cluster, rules.policy, placement):
        part = cluster.with_servers(tuple(server for server in cluster.servers if server.id in involved))
        catalog = Catalog(part)
        must = [rule for rule in rules.rules if rule.says.should is None and str(rule.origin) not in told and policy_of(catalog, [rule]).constraints]

        def impossible(some: Sequence[Rule], catalog: Catalog = catalog) -> bool:
            policy = policy_of(catalog, some)
            wanted = Problem(catalog.cluster, (*nova, *policy.constraints), (policy.broken,))
            if not policy.broken or sum(wanted.values(placement_of(catalog.cluster))) <= _MET:
                return False
            budget = min(_CLASH_S, until - time.monotonic())
            bound = solve(wanted, MaxRuntime(budget), seed, threads).levels[0].bound if budget > 0 else None
            return bound is not None and bound > _MET

        if must and impossible(must):
            smallest = smallest_clash(must, impossible)
            yield Clash(origins=tuple(str(rule.origin) for rule in smallest), text=_told(smallest))
            told.update(str(rule.origin) for rule in smallest)
            if len(told) >= _CLASHES:
                return


def _involved(cluster: Cluster, policy: Policy, placement: Placement) -> Iterator[frozenset[str]]:
    """For one broken rule after the other, its servers and those that are in a group with one of these, and so on; not those that are too many."""
    broken: list[Iterable[str]] = []
    groups: list[tuple[str, ...]] = [group.members for group in cluster.groups]
    for objective in (term.objective for term in policy.broken):
        if isinstance(objective, Misplaced):
            broken += [(server,) for wish in objective.wishes for server in wish.servers if (placement[server] in wish.hosts) != wish.inside]
        elif isinstance(objective, Breaches) and objective.about:
            groups.append(objective.about)
            if objective.value(cluster, placement) > _MET:
                broken.append(objective.about)
    groups_of: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for group in groups:
        for server in group:
            groups_of[server].append(group)
    seen: set[str] = set()
    for start in broken:
        found, todo = set[str](), list(start)
        while todo and len(found) <= _INVOLVED:
            server = todo.pop()
            if server not in found:
                found.add(server)
                todo += [member for group in groups_of.get(server, ()) for member in group]
        if not seen.issuperset(found) and len(found) <= _INVOLVED:
            yield frozenset(found)
        seen |= found


def _told(rules: Sequence[Rule]) -> str:
    said = "; ".join(f"{rule.origin} ({rule.says.rule}{': ' + rule.says.why if rule.says.why else ''})" for rule in rules)
    if len(rules) == 1:
        return f"{said} cannot hold, whatever the others say. Change it, or give it a weight (should)."
    return f"These cannot all hold: {said}. Change one of them, or give it a weight (should)."


def out_of_hours(policy: Policy, cluster: Cluster, now: datetime) -> list[Constraint]:
    """A rule by which servers stay of which no window is open at a moment."""
    said: dict[tuple[Opening, ...], tuple[Obstacle, ...]] = {}
    stuck = {}
    for server in cluster.servers:
        openings = policy.windows.get(server.id, ())
        if openings and openings not in said:
            first = min(openings, key=lambda one: one.opens_after(now))
            text = f"{first.origin} opens its next window at {first.opens_after(now).isoformat(timespec='minutes')}"
            said[openings] = () if any(one.open_at(now) for one in openings) else (Obstacle(kind="policy", text=text),)
        if openings and said[openings]:
            stuck[server.id] = said[openings]
    return [Movable(stuck)] if stuck else []


@dataclass(frozen=True)
class Spent:
    """What budgets leave: rules by which those who have used theirs up stay or are left alone, what other hosts have left, and notes."""

    constraints: tuple[Constraint, ...] = ()
    host_moves: HostMoves = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def used_up(policy: Policy, cluster: Cluster, source: Source, now: datetime) -> Spent:
    """What budgets leave; the past is looked up only where a rule asks for it."""
    allowances = [one for some in (*policy.budgets.values(), *policy.host_budgets.values()) for one in some]
    if not allowances:
        return Spent()
    history = source.history(now - timedelta(hours=max(one.hours for one in allowances)))
    notes = () if history is not None else (
        f"{', '.join(sorted({one.origin for one in allowances})[:5])}: what was moved before is not known from a snapshot; only this plan counts.",)
    ends: dict[str, list[datetime]] = defaultdict(list)
    for past in history or ():
        for one in (past.server, past.source, past.destination):
            ends[one].append(past.ended)

    def left(who: str, allowance: Allowance) -> int:
        return allowance.moves - sum(now - ended < timedelta(hours=allowance.hours) for ended in ends[who])

    stuck: dict[str, tuple[Obstacle, ...]] = defaultdict(tuple)
    for server, some in policy.budgets.items():
        for allowance in some:
            if (more := left(server, allowance)) <= 0:
                stuck[server] += (Obstacle(kind="policy", text=_spent(allowance, allowance.moves - more)),)
    closed, open_to = [], {}
    for host, some in policy.host_budgets.items():
        scarcest = min(some, key=lambda one: left(host, one))
        if (more := left(host, scarcest)) > 0:
            open_to[host] = (more, scarcest.origin)
            continue
        text = f"{_spent(scarcest, scarcest.moves - more)} to and from {host}"
        closed.append(HostNeed(frozenset({host}), False, scarcest.origin))
        for resident in cluster.servers_on[host]:
            stuck[resident.id] += (Obstacle(kind="policy", text=text),)
    rules: list[Constraint] = [Movable(stuck)] if stuck else []
    if closed:
        rules.append(AllowedHosts({server.id: tuple(closed) for server in cluster.servers}))
    return Spent(tuple(rules), open_to, notes)


def _spent(allowance: Allowance, made: int) -> str:
    return f"{allowance.origin} allows {allowance.moves} move{'' if allowance.moves == 1 else 's'} in {allowance.hours:g} h; {made} made"


def beyond(plan: Plan, host_moves: HostMoves, cluster: Cluster) -> list[Constraint]:
    """A rule by which servers stay whose planned moves go beyond what hosts have left by now.

    A move that the cluster has behind it does not count again.
    """
    left, stuck, where = {host: moves for host, (moves, _) in host_moves.items()}, {}, dict(placement_of(cluster))
    for action in plan.actions:
        if not isinstance(what := action.input_parameters, MigrateInput) or where.get(what.resource_id) != what.source_node:
            continue
        where[what.resource_id] = what.destination_node
        ends = [host for host in (what.source_node, what.destination_node) if host in left]
        if closed := [host for host in ends if left[host] <= 0]:
            stuck[what.resource_id] = (Obstacle(kind="policy", text=f"{host_moves[closed[0]][1]} allows no more moves to and from {closed[0]}"),)
        else:
            left.update((host, left[host] - 1) for host in ends)
    return [Movable(stuck)] if stuck else []
