"""Lower bounds that hold for any legal placement, found without search."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from optimizer.arrays import Index
from optimizer.objectives.balance_cost import BalanceCost
from optimizer.objectives.base import Objective
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.misplaced import Misplaced
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.scattering import Scattering
from optimizer.problem import Level
from optimizer.solvers import repair
from optimizer.solvers.terms import Compiled

_PERFECT = 1e-9  # a value below is 0 but for rounding


def level_bound(compiled: Compiled, level: Level) -> float:
    """A value that no legal placement goes below in a level, taken as the first level; 0 is always one."""
    return sum(term.weight * _BOUNDS.get(type(term.objective), _zero)(compiled, term.objective) for term in level)


def level_bounds(compiled: Compiled, values: Sequence[float]) -> tuple[float | None, ...]:
    """A bound for each level of a placement with these values; None where nothing is known but that it is not negative.

    That of a later level may hold for placements only that are perfect in all levels before, so it is only known when this one is.
    """
    levels = compiled.problem.levels
    found: list[float | None] = [level_bound(compiled, level) for level in levels[:1]]
    for number, level in enumerate(levels[1:], start=1):
        bound = level_bound(compiled, level)
        if all(value <= _PERFECT for value in values[:number]):
            bound = max(bound, _moving(compiled, level, levels[:number]))
        found.append(bound if bound > _PERFECT or values[number] <= _PERFECT else None)
    return tuple(found)


def _moving(compiled: Compiled, level: Level, before: Sequence[Level]) -> float:
    """What a level cannot go below that counts moves, where nothing is left to repair in the levels before."""
    if not all(isinstance(term.objective, Moves | MoveCost) and term.weight >= 0 for term in level):
        return 0.0
    moves, cost = _unavoidable(compiled, before)
    if repair.applies(compiled):
        moves = max(moves, repair.fewest_moves(compiled))
    return sum(term.weight * (moves if isinstance(term.objective, Moves) else cost) for term in level)


def _unavoidable(compiled: Compiled, levels: Sequence[Level]) -> tuple[int, float]:
    """How many servers have to move, and what that costs at least, for all of them to be in place and no group to be crowded."""
    home, cost = compiled.arrays.home, compiled.move_cost
    objectives = [term.objective for level in levels for term in level if term.weight > 0]
    leaving = np.zeros(len(home), dtype=np.bool_)
    for objective in objectives:
        if isinstance(objective, Misplaced):
            classes, broken = compiled.misplaced(objective)
            leaving |= broken[classes, home] > 0
    moves, total = int(leaving.sum()), float(cost[leaving].sum())
    counted = leaving.copy()  # who was counted once is not counted for another group
    for members, least in (one for objective in objectives for one in _leaving(compiled, objective)):
        rest = members[~counted[members]]
        more = least - len(members) + len(rest)
        if more > 0:
            moves, total = moves + more, total + float(np.sort(cost[rest])[:more].sum())
            counted[members] = True
    return moves, total


def _leaving(compiled: Compiled, objective: Objective) -> Iterator[tuple[Index, int]]:
    """Servers of which at least so many have to change host for an objective to be 0."""
    home = compiled.arrays.home
    if isinstance(objective, Crowded):
        members = compiled.members(objective.members)
        for host in np.unique(home[members]).tolist():
            here = members[home[members] == host]
            yield here, len(here) - objective.max_per_host
    elif isinstance(objective, Scattering):
        members = compiled.members(objective.members)
        count = len(np.unique(compiled.domain(objective.domains)[home[members]]))
        most = count if objective.at_most is None else objective.at_most
        yield members, max(objective.at_least - count, count - most) if len(members) else 0


def _zero(compiled: Compiled, objective: Objective) -> float:
    return 0.0


def _remaining(compiled: Compiled, objective: Remaining) -> float:
    """Servers that cannot move at all stay on the host."""
    on_host = compiled.arrays.home == compiled.host_index[objective.host]
    return float((on_host & ~compiled.arrays.movable).sum()) / max(1, len(on_host))


def _hosts_in_use(compiled: Compiled, objective: HostsInUse) -> float:
    """Hosts that have to be in use, and as many of the roomiest others as the rest of each quantity needs.

    A host's room is what it can hold in any legal placement: its capacity, or what is on it now where that is more.
    """
    arrays = compiled.arrays
    busy = compiled.bound.copy()
    busy[arrays.home[~arrays.movable]] = True
    holds = np.maximum(arrays.room, arrays.used(arrays.start))
    most = int((busy & compiled.available).sum())
    for d in range(arrays.demand.shape[1]):
        outside = busy | ~compiled.available
        rest = int(arrays.demand[arrays.rows(arrays.start), d].sum()) - int(holds[outside, d].clip(min=0).sum())
        roomy = np.sort(holds[~outside, d])[::-1].cumsum()
        needed = int(np.searchsorted(roomy, rest)) + 1 if rest > 0 else 0
        most = max(most, int((busy & compiled.available).sum()) + min(needed, len(roomy)))
    return most / max(1, int(compiled.available.sum()))


def _load_cost(compiled: Compiled, objective: LoadCost) -> float:
    """What all servers use beyond what is safe on all hosts together."""
    cluster = compiled.problem.cluster
    if any(host.name not in objective.safety for host in cluster.hosts):
        return 0.0
    used = sum(server.resources.get(objective.resource, 0) for server in cluster.servers)
    return float(max(0, used - sum(objective.safety[host.name] for host in cluster.hosts)))


def _balance_cost(compiled: Compiled, objective: BalanceCost) -> float:
    """The cost of all hosts as if they were one."""
    cluster = compiled.problem.cluster
    first, second = (sum(host.inventory[name].capacity for host in cluster.hosts if name in host.inventory)
                     - sum(server.resources.get(name, 0) for server in cluster.servers) for name in (objective.first, objective.second))
    return float(max(0, objective.target * first - second))


def _misplaced(compiled: Compiled, objective: Misplaced) -> float:
    """Each server for itself: the fewest wishes it can break, on a host that it may go to or stays on."""
    classes, broken = compiled.misplaced(objective)
    concerned = np.flatnonzero(broken[classes, compiled.arrays.home] > 0)  # whoever breaks none now need not
    least = 0
    for s in concerned.tolist():
        open_to = compiled.arrays.allowed(s) & bool(compiled.able[s])
        wishes = broken[classes[s]]
        least += int(min(wishes[compiled.arrays.home[s]], wishes.min(where=open_to, initial=np.iinfo(np.int64).max)))
    return float(least)


_BOUNDS: Mapping[type[Objective], Callable[[Compiled, Any], float]] = {
    HostsInUse: _hosts_in_use, Remaining: _remaining, LoadCost: _load_cost, BalanceCost: _balance_cost,
    Misplaced: _misplaced,
}
