"""From a solver's result to a plan: ordered, priced, each move with its reason, replayed by the checkers."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from migrate.duration import TimeModel, cost_of
from migrate.limits import USUAL_LIMITS, Limits
from migrate.order import Ordered, Step, order
from migrate.plan import Action, Cost, MigrateInput, Refused, ServiceStateInput
from migrate.schedule import least_s, soonest, timed
from optimizer.arrays import compile_arrays
from optimizer.cluster import Cluster, Server
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.base import Constraint, Violation, breaches
from optimizer.constraints.soft_group import SoftGroup
from optimizer.explain import benefits, by_benefit, urgency
from optimizer.movability import ANY_WAY, Ways
from optimizer.placement import Move, Placement, ServiceChange, placement_of
from optimizer.problem import Problem, better

_SERVICE_S = 1.0

Reason = Callable[[Placement, Placement, Move], str]
"""A sentence for a move: from the placement just before it, the one that the plan reaches, and the move."""


HostMoves = Mapping[str, tuple[int, str]]
"""How many more servers may come to a host or leave it, and who says so."""


class UnsafePlan(RuntimeError):
    """The replay of a plan broke a rule: a defect, never the operator's fault."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What came of a wanted placement: the one that is reached, the services changed, the actions, and the moves left out.

    ``least_s``: seconds before which the actions are not over in any order.
    """

    placement: Placement
    changes: tuple[ServiceChange, ...]
    actions: tuple[Action, ...]
    left_out: tuple[Refused, ...]
    least_s: float = 0.0

    @property
    def moves(self) -> tuple[Move, ...]:
        """The migrations, in the order of the plan."""
        return tuple(_moves(self.actions))


def plan_steps(problem: Problem, wanted: Placement, changes: Callable[[Placement], Sequence[ServiceChange]],
               reason: Reason, model: TimeModel, ways: Ways = ANY_WAY, host_moves: HostMoves | None = None,
               limits: Limits = USUAL_LIMITS) -> Steps:
    """Turn a legal placement into actions with parents; moves for which there is no safe order are left out and named.

    ``changes`` gives the services to change for the placement that is reached; ``limits`` are those that the plan will be carried out with, for the
    moments at which actions are expected. Raises UnsafePlan if the replay finds a breach.
    """
    cluster = problem.cluster
    # Soft groups count too: a stop of a member could become its last.
    arrays = compile_arrays(cluster, tuple(rule for rule in problem.constraints if rule.continuous or isinstance(rule, SoftGroup)))
    index = {host.name: h for h, host in enumerate(cluster.hosts)}
    number = {server.id: s for s, server in enumerate(cluster.servers)}
    target = np.array([index[wanted[server.id]] for server in cluster.servers], dtype=np.int32)
    allowed = {index[host]: moves for host, (moves, _) in (host_moves or {}).items()}
    ordered = order(arrays, target, [number[s] for s in by_benefit(problem, wanted)], problem.max_moves, allowed)
    reached = dict(placement_of(cluster))
    for step in ordered.steps:
        reached[cluster.servers[step.server].id] = cluster.hosts[step.destination].name
    left_out = tuple(_left_out(problem, ordered, host_moves or {}))
    if left_out and (problem.breaches(reached) or not better(problem.values(reached), problem.values(placement_of(cluster)))):
        return Steps(placement_of(cluster), (), (), left_out)
    services = tuple(changes(reached))
    found = _with_services(cluster, tuple(_migrations(cluster, ordered.steps, model, ways)), services)
    steps = _scheduled(ordered.steps, found, soonest(found, model, limits, urgency(problem, reached)))
    migrations = _explained(problem, tuple(_migrations(cluster, steps, model, ways)), reached, reason)
    replay(problem, [step.parents for step in steps], migrations)
    actions = timed(_with_services(cluster, migrations, services), model, limits)
    return Steps(reached, services, actions, left_out, least_s(actions, model, limits))


def _scheduled(steps: Sequence[Step], actions: Sequence[Action], sequence: Sequence[int]) -> Sequence[Step]:
    """The steps in a sequence of the actions made of them; before and after these are changes of services."""
    before = next((n for n, action in enumerate(actions) if isinstance(action.input_parameters, MigrateInput)), 0)
    old = [number - before for number in sequence if isinstance(actions[number].input_parameters, MigrateInput)]
    new = {number: n for n, number in enumerate(old)}
    return [replace(steps[number], parents=tuple(sorted(new[parent] for parent in steps[number].parents))) for number in old]


def _left_out(problem: Problem, ordered: Ordered, host_moves: HostMoves) -> Iterator[Refused]:
    cluster = problem.cluster
    busy = Counter(cluster.hosts[h].name for step in ordered.steps for h in (step.source, step.destination))
    limit = "" if problem.max_moves is None else f" within {problem.max_moves} moves, stops on other hosts included"
    for s, here, wanted in ordered.left:
        server, name = cluster.servers[s], cluster.hosts[wanted].name
        if spent := [host for host in (cluster.hosts[here].name, name) if host in host_moves and busy[host] >= host_moves[host][0]]:
            who = host_moves[spent[0]][1]
            why = f"{who} allows no more moves to and from {spent[0]}"
            yield Refused(server=server.id, host=name, rule="order", origin=who,
                          text=f"{server.name} would go from {cluster.hosts[here].name} to {name}, but {why}")
            continue
        yield Refused(server=server.id, host=name, rule="order",
                      text=f"{server.name} would go from {cluster.hosts[here].name} to {name}, but at no moment is there room for it{limit}")


def _migrations(cluster: Cluster, steps: Sequence[Step], model: TimeModel, ways: Ways) -> Iterator[Action]:
    """One action a step; two for a server that stops on its way."""
    ids = [str(uuid.uuid4()) for _ in steps]
    for step, name in zip(steps, ids, strict=True):
        server = cluster.servers[step.server]
        kind = ways.of(server)
        if kind is None:
            raise UnsafePlan(f"{server.name} is to move and cannot (status {server.status})")
        source, destination = cluster.hosts[step.source].name, cluster.hosts[step.destination].name
        yield Action(uuid=name, action_type="migrate", parents=tuple(ids[p] for p in step.parents), cost=cost_of(cluster, server, kind, model),
                     input_parameters=MigrateInput(resource_id=server.id, resource_name=server.name, migration_type=kind,
                                                   source_node=source, destination_node=destination))


def _explained(problem: Problem, migrations: Sequence[Action], reached: Placement, reason: Reason) -> tuple[Action, ...]:
    """Each with what it brings at its place in the order, and why it is there."""
    cluster = problem.cluster
    placement, moves, found = dict(placement_of(cluster)), list(_moves(migrations)), list[Action]()
    for action, move, gain in zip(migrations, moves, benefits(problem, moves), strict=True):
        server = cluster.server_by_id[move.server]
        if move.destination != reached[server.id]:
            why = f"{server.name} stops on {move.destination}, so that there is room on {move.source}, and goes on to {reached[server.id]}"
        elif move.source != server.host:
            why = f"{server.name} goes on from its stop on {move.source}"
        else:
            why = reason(placement, reached, move)
        placement[server.id] = move.destination
        found.append(replace(action, reason=why, benefit=gain))
    return tuple(found)


def _moves(actions: Sequence[Action]) -> Iterator[Move]:
    steps = (action.input_parameters for action in actions)
    return (Move(one.resource_id, one.source_node, one.destination_node) for one in steps if isinstance(one, MigrateInput))


def _with_services(cluster: Cluster, migrations: tuple[Action, ...], changes: Sequence[ServiceChange]) -> tuple[Action, ...]:
    """Service changes before every move from or to their host, or after all of them."""
    first: list[Action] = []
    last: list[Action] = []
    waits_for: dict[str, list[str]] = defaultdict(list)
    for change in changes:
        touching = [a.uuid for a in migrations if isinstance(a.input_parameters, MigrateInput)
                    and change.host in (a.input_parameters.source_node, a.input_parameters.destination_node)]
        action = Action(
            uuid=str(uuid.uuid4()), action_type="change_nova_service_state",
            parents=tuple(touching) if change.when == "after" else (), reason=_why(change), benefit={}, cost=Cost(expected_s=_SERVICE_S),
            input_parameters=ServiceStateInput(
                resource_id=cluster.host_by_name[change.host].id, resource_name=change.host, state=change.state,
                disabled_reason=change.reason if change.state == "disabled" else None, only_if_empty=change.when == "after"))
        (last if change.when == "after" else first).append(action)
        if change.when == "before":
            for one in touching:
                waits_for[one].append(action.uuid)
    return (*first, *(replace(a, parents=(*waits_for[a.uuid], *a.parents)) for a in migrations), *last)


def _why(change: ServiceChange) -> str:
    if change.when == "after":
        return f"{change.host} is empty by then; {change.state}, so that the scheduler sends nobody ({change.reason})"
    return f"{change.host} is {change.state} first, so that the scheduler sends nobody meanwhile ({change.reason})"


def replay(problem: Problem, parents: Sequence[Sequence[int]], migrations: Sequence[Action]) -> None:
    """Run the moves as early as their parents allow, and let the checkers judge every wave while it is under way and when it has ended.

    Raises UnsafePlan with the first breach.
    """
    cluster = problem.cluster
    placement, done = dict(placement_of(cluster)), set[int]()
    while len(done) < len(migrations):
        wave = [i for i in range(len(migrations)) if i not in done and done.issuperset(parents[i])]
        if not wave:
            raise UnsafePlan("the actions wait for each other in a circle")
        leaving = []
        for i in wave:
            what = migrations[i].input_parameters
            assert isinstance(what, MigrateInput)
            leaving.append(replace(cluster.server_by_id[what.resource_id], host=placement[what.resource_id]))
            placement[what.resource_id] = what.destination_node
        rules = [rule for rule in problem.constraints if rule.continuous]
        if found := _breaches_under_way(rules, cluster, placement, leaving) + breaches(rules, cluster, placement):
            raise UnsafePlan(f"{found[0].rule}: {found[0].text}")
        done.update(wave)


def _breaches_under_way(rules: Sequence[Constraint], cluster: Cluster, placement: Placement, leaving: Sequence[Server]) -> list[Violation]:
    """Each server that moves counts where it goes, and once more (``leaving``) where it comes from, also as a member of groups kept apart."""
    twins = {server.id: replace(server, id=f"{server.id} leaves {server.host}") for server in leaving}
    doubled = cluster.with_servers((*cluster.servers, *twins.values()))
    apart = [replace(rule, members=(*rule.members, *(twins[one].id for one in rule.members if one in twins)))
             if isinstance(rule, AntiAffinity) else rule for rule in rules]
    return breaches(apart, doubled, {**placement, **{twin.id: twin.host for twin in twins.values()}})

