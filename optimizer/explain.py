"""What each move brings, and why nothing more is moved: what would help most, and which rule or cost stands against it."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from optimizer.arrays import Index
from optimizer.constraints.base import breaches
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.load_limit import LoadLimit
from optimizer.constraints.movable import Movable
from optimizer.objectives.base import Objective
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.misplaced import Misplaced
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.overload import Overload
from optimizer.objectives.spread import Spread
from optimizer.placement import Move, Placement, placement_of
from optimizer.problem import Problem, level_name
from optimizer.solvers.local_search import State
from optimizer.solvers.terms import compile_problem

_CELLS = 20_000_000  # cells of the servers x hosts table that is looked at; the hottest hosts' servers come first
_WORTH = 1e-9
_LACKS = (Capacity.name, LoadLimit.name)
_HOSTS = 10  # hosts for which it is told why they stay in use
_LOOKED_AT = 500  # servers whose best move is checked rule by rule


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server or host that was not moved or emptied, the rule against it, and a sentence."""

    server: str | None
    host: str | None
    rule: str
    text: str
    origin: str = ""


def refusals(problem: Problem, placement: Placement, limit: int = 50) -> tuple[Refusal, ...]:
    """What was refused at a placement: the single moves that would help most but break a rule, and the hosts not emptied.

    At most ``limit`` of each kind, the greatest loss first.
    """
    emptying = any(isinstance(term.objective, HostsInUse) for level in problem.levels for term in level)
    state = _state(problem, placement)
    found = _moves(problem, placement, state, limit)
    return found + (_hosts(problem, placement, state, limit) if emptying else ())


def best_move(problem: Problem, placement: Placement) -> str | None:
    """The legal move that comes nearest to being worth it, in words; None when nothing can be moved at all."""
    state = _state(problem, placement)
    rows = _rows(state)
    if not len(rows):
        return None
    loss = np.where(state.legal(rows), state.gain(rows), np.inf)
    best = int(loss.argmin())
    if not np.isfinite(loss.flat[best]):
        return None
    server = problem.cluster.servers[int(rows[best // loss.shape[1]])]
    host = problem.cluster.hosts[best % loss.shape[1]]
    now, then = problem.values(placement), problem.values({**placement, server.id: host.name})
    level = next((n for n, (a, b) in enumerate(zip(now, then, strict=True)) if abs(a - b) > _WORTH), 0)
    goal = level_name(problem.levels[level])
    return (f"the best legal move, {server.name} from {placement[server.id]} to {host.name}, would take {goal} "
            f"from {now[level]:.6g} to {then[level]:.6g}")


def by_benefit(problem: Problem, wanted: Placement) -> list[str]:
    """The servers that move to a wanted placement, those first whose move alone does most good."""
    cluster, state = problem.cluster, _state(problem, placement_of(problem.cluster))
    moved = np.array([s for s, server in enumerate(cluster.servers) if wanted[server.id] != server.host], dtype=np.int32)
    index = state.compiled.host_index
    gain = [float(state.gain(moved[n:n + 1])[0, index[wanted[cluster.servers[s].id]]]) for n, s in enumerate(moved.tolist())]
    return [cluster.servers[int(moved[n])].id for n in np.argsort(gain, kind="stable")]


def urgency(problem: Problem, wanted: Placement) -> dict[str, int]:
    """Server -> the first level of which a wanted placement fulfils a wish for it; without those that no wish is for."""
    placement, found = placement_of(problem.cluster), dict[str, int]()
    for number, level in enumerate(problem.levels):
        wishes = [wish for term in level if isinstance(term.objective, Misplaced) for wish in term.objective.wishes]
        for wish in wishes:
            for server in wish.servers:
                if server in placement and (placement[server] in wish.hosts) != wish.inside == (wanted[server] in wish.hosts):
                    found.setdefault(server, number)
    return found


def benefits(problem: Problem, moves: Sequence[Move]) -> list[dict[str, float]]:
    """What each of a sequence of moves takes off each objective but the cost, at its place in the sequence.

    A host is empty only when the last server leaves, so what the departures of a host bring is shared out among them.
    """
    state = _state(problem, placement_of(problem.cluster))
    number = {server.id: s for s, server in enumerate(problem.cluster.servers)}
    terms = [term.objective for level in problem.levels for term in level if not isinstance(term.objective, MoveCost)]
    found: list[dict[str, float]] = []
    leaving: dict[str, list[dict[str, float]]] = defaultdict(list)
    for move in moves:
        server, host = number[move.server], state.compiled.host_index[move.destination]
        row = np.array([server], dtype=np.int32)
        found.append({_label(term): 0.0 - float(state.delta(term, row)[0, host]) for term in terms})
        leaving[move.source].append(found[-1])
        state.move(server, host)
    if any(isinstance(term, HostsInUse) for term in terms):
        for together in leaving.values():
            share = sum(one[HostsInUse.name] for one in together) / len(together)
            for one in together:
                one[HostsInUse.name] = share
    return found


def _label(objective: Objective) -> str:
    return f"{objective.name}_{objective.metric}" if isinstance(objective, Spread | Overload) else objective.name


def _state(problem: Problem, placement: Placement) -> State:
    compiled = compile_problem(problem)
    index = compiled.host_index
    return State(compiled, np.array([index[placement[server.id]] for server in problem.cluster.servers], dtype=np.int32))


def _rows(state: State) -> Index:
    order = np.argsort(-state.load["cpu"][state.where], kind="stable") if "cpu" in state.load else np.arange(len(state.where))
    return order[:max(1, _CELLS // max(1, len(state.count)))].astype(np.int32)


def _moves(problem: Problem, placement: Placement, state: State, limit: int) -> tuple[Refusal, ...]:
    """Illegal moves that would help, the best one of each server."""
    rows = _rows(state)
    if not len(rows):
        return ()
    loss = np.where(state.legal(rows), np.inf, state.gain(rows))
    loss[np.arange(len(rows)), state.where[rows]] = np.inf
    # Of equally good hosts, name the one that is nearest to having room.
    arrays = state.compiled.arrays
    short = np.zeros_like(loss)
    for d in range(arrays.demand.shape[1]):
        lack = state.used[:, d] + arrays.demand[rows, d][:, None] - arrays.room[:, d]
        short = np.maximum(short, lack / np.maximum(1, arrays.room[:, d]))
    best = (loss + 1e-7 * short).argmin(axis=1)
    worth = loss[np.arange(len(rows)), best]
    found: dict[tuple[str, str], Refusal] = {}
    others: Counter[tuple[str, str]] = Counter()
    for r in np.argsort(worth, kind="stable")[:_LOOKED_AT]:
        if worth[r] >= -_WORTH or len(found) == limit:
            break
        server, host = problem.cluster.servers[int(rows[r])], problem.cluster.hosts[int(best[r])]
        broken = breaches(problem.constraints, problem.cluster, {**placement, server.id: host.name})
        if broken:
            rule = next((b for b in broken if b.rule == Movable.name), broken[0])
            refusal = Refusal(server.id, host.name, rule.rule, f"{server.name} to {host.name} would help, but {rule.text}", rule.origin)
        elif problem.max_moves is not None and state.moves >= problem.max_moves:
            refusal = Refusal(server.id, host.name, "max_moves",
                              f"{server.name} to {host.name} would help, but the limit of {problem.max_moves} moves is reached")
        else:
            continue
        # What a host lacks is told once, what stands in the way of a server is told of each.
        key = (refusal.rule, host.name if refusal.rule in _LACKS else server.id)
        others[key] += key in found
        found.setdefault(key, refusal)
    return tuple(replace(one, text=f"{one.text} (the same goes for {others[key]} more servers)") if others[key] else one
                 for key, one in found.items())


def _hosts(problem: Problem, placement: Placement, state: State, limit: int) -> tuple[Refusal, ...]:
    """Hosts in use with the fewest servers: who on them cannot leave, and why."""
    cluster, arrays = problem.cluster, state.compiled.arrays
    stuck = {server: reasons for rule in problem.constraints if isinstance(rule, Movable) for server, reasons in rule.obstacles.items()}
    moves_left = len(state.where) if problem.max_moves is None else problem.max_moves - state.moves
    in_use = np.flatnonzero((state.count > 0) & state.compiled.available)
    found = []
    for h in in_use[np.argsort(state.count[in_use], kind="stable")][:min(limit, _HOSTS)].tolist():
        servers = np.flatnonzero(state.where == h).astype(np.int32)
        legal = state.legal(servers) & (state.count > 0)
        pinned = [s for s in servers.tolist() if not arrays.movable[s]]
        homeless = [s for s, mask in zip(servers.tolist(), legal, strict=True) if not mask.any() and s not in pinned]
        name = cluster.hosts[h].name
        not_moved = int((arrays.home[servers] == h).sum())
        if state.compiled.bound[h]:
            found.append(Refusal(None, name, Capacity.name, f"{name} stays in use: a migration or another consumer holds something of it"))
        elif pinned:
            server = cluster.servers[pinned[0]]
            why = stuck[server.id][0].text if stuck.get(server.id) else "no host satisfies its rules"
            found.append(Refusal(server.id, name, Movable.name, f"{name} stays in use: {server.name} cannot be moved: {why}"))
        elif not_moved > moves_left:
            found.append(Refusal(None, name, "max_moves", f"{name} stays in use: emptying it takes {not_moved} more moves, and the limit of "
                                                          f"{problem.max_moves} leaves {moves_left}"))
        elif homeless:
            server = cluster.servers[homeless[0]]
            found.append(Refusal(server.id, name, _first_rule(problem, placement, server.id, h),
                                 f"{name} stays in use: no other host in use takes {server.name} ({len(homeless)} of {len(servers)} have no place)"))
        else:
            found.append(Refusal(None, name, "benefit", f"{name} stays in use: its {len(servers)} servers do not all fit elsewhere, or moving "
                                                        "them costs more than the host is worth at this aggressiveness"))
    return tuple(found)


def _first_rule(problem: Problem, placement: Placement, server: str, source: int) -> str:
    """The rule that most hosts in use refuse the server by."""
    count: dict[str, int] = {}
    for name in sorted(set(placement.values()))[:50]:
        if name != problem.cluster.hosts[source].name:
            for found in breaches(problem.constraints, problem.cluster, {**placement, server: name})[:1]:
                count[found.rule] = count.get(found.rule, 0) + 1
    return max(count, key=lambda rule: count[rule]) if count else "capacity"
