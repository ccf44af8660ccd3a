"""Mending: rules that are broken, about where servers are and who is with whom, are put right by the servers that have a part in it.

Whoever has a part in a breach goes where that helps most, one after the other and again as long as it helps. What needs more than that, such as two
who have to change places, is left to large-neighbourhood search, which gives the hosts concerned to the exact solver.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Index, Ints, Mask
from optimizer.constraints.allowed_hosts import AllowedHosts, HostNeed
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.base import Constraint
from optimizer.constraints.cap import Cap
from optimizer.constraints.dependency import Dependency
from optimizer.constraints.fault_domains import FaultDomains
from optimizer.constraints.load_limit import LoadLimit
from optimizer.constraints.numa import Numa
from optimizer.constraints.reserve import Reserve
from optimizer.objectives.base import Objective
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.lonely import Lonely
from optimizer.objectives.misplaced import Misplaced
from optimizer.objectives.overdrawn import Overdrawn
from optimizer.objectives.overload import Overload
from optimizer.objectives.scattering import Scattering
from optimizer.placement import Placement, moves_between, placement_of
from optimizer.problem import Problem
from optimizer.solvers.local_search import State
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

_ROWS = 1_000  # servers whose ways are looked at together
_WORTH = 1e-12  # smaller changes are rounding


def applies(compiled: Compiled) -> bool:
    """Whether some level counts breaches of rules about single servers or groups."""
    kinds = (Misplaced, Crowded, Scattering, Lonely, Overdrawn)
    return any(isinstance(term.objective, kinds) for level in compiled.problem.levels for term in level)


def held(problem: Problem, placement: Placement) -> Problem | None:
    """The problem from a placement on, as if servers were there now: what counts breaches of rules in the first levels becomes constraints.

    None where no level is left, or where servers have NUMA nodes. Whatever is legal in it keeps the rules as well as the placement does.
    """
    rules: list[Constraint] = []
    levels = problem.levels
    while levels and all(type(term.objective) in _PARTS for term in levels[0]):
        rules += [rule for term in levels[0] for rule in _as_constraints(term.objective)]
        levels = levels[1:]
    if not levels or any(isinstance(rule, Numa) for rule in problem.constraints):
        return None
    moved = sum(1 for _ in moves_between(placement_of(problem.cluster), placement))
    servers = tuple(replace(server, host=placement[server.id]) for server in problem.cluster.servers)
    most = None if problem.max_moves is None else problem.max_moves - moved
    return Problem(problem.cluster.with_servers(servers), (*problem.constraints, *rules), levels, most)


def _as_constraints(objective: Objective) -> list[Constraint]:
    """What does not let the value of an objective grow."""
    match objective:
        case Misplaced():
            needs: dict[str, tuple[HostNeed, ...]] = {}
            for wish in objective.wishes:
                need = (HostNeed(wish.hosts, wish.inside, wish.origin),)
                needs.update((server, needs.get(server, ()) + need) for server in wish.servers)
            return [AllowedHosts(needs)]
        case Crowded():
            return [AntiAffinity(objective.origin, objective.members, objective.max_per_host, origin=objective.origin)]
        case Scattering():
            return [FaultDomains(objective.origin, objective.members, objective.domains, objective.at_least, objective.at_most, objective.origin)]
        case Lonely():
            return [Dependency(objective.origin, objective.members, "needed", objective.needs, objective.domains, objective.origin)]
        case LoadCost():
            return [Cap(objective.resource, objective.safety, origin=objective.origin)]
        case Overdrawn():
            return [Reserve(objective.hosts, objective.resource, objective.most, objective.origin)]
        case Overload():
            return [LoadLimit(objective.metric, objective.max_percent, objective.hosts, origin=objective.origin)]
    raise AssertionError(objective)


def improve(compiled: Compiled, where: Index, stop: Stop, found: Callable[[Index], None]) -> Index:
    """Move those that have a part in a breach as long as it helps; ``found`` gets the placement after each round."""
    state = State(compiled, where)
    while stop.remaining_s() > 0 and _round(state, np.flatnonzero(concerned(compiled, state.now.where) & compiled.arrays.movable), stop):
        found(state.now.where)
    return state.now.where


def _round(state: State, servers: npt.NDArray[np.intp], stop: Stop) -> bool:
    """Each of some servers, those first whose moving helps most, goes where that helps most by then; whether any did."""
    moved = False
    for begin in range(0, len(servers), _ROWS):
        rows = servers[begin:begin + _ROWS].astype(np.int32)
        legal, cost = state.tables(rows)
        best = np.where(legal, cost, np.inf).min(axis=1)
        for s in rows[np.argsort(best, kind="stable")[:int((best < -_WORTH).sum())]].tolist():
            if stop.remaining_s() <= 0:
                return moved
            one, change = state.tables(np.array([s], dtype=np.int32))
            place = int(np.where(one[0], change[0], np.inf).argmin())
            if one[0, place] and change[0, place] < -_WORTH:
                state.move(s, place)
                moved = True
    return moved


def concerned(compiled: Compiled, where: Index) -> Mask:
    """The servers (S) that have a part in a breach of some rule in a placement (places)."""
    found = np.zeros(len(where), dtype=np.bool_)
    hosts = (where // np.int32(compiled.arrays.modes)).astype(np.int32)
    for level in compiled.problem.levels:
        for term in level:
            if find := _PARTS.get(type(term.objective)):
                found |= find(compiled, hosts, term.objective)
    return found


def _of_misplaced(compiled: Compiled, hosts: Index, objective: Misplaced) -> Mask:
    classes, broken = compiled.misplaced(objective)
    out: Mask = broken[classes, hosts] > 0
    return out


def _chosen(hosts: Index, members: Index, some: Mask) -> Mask:
    """The mask (S) of the members that ``some`` (one for each member) marks."""
    mask = np.zeros(len(hosts), dtype=np.bool_)
    mask[members[some]] = True
    return mask


def _of_crowded(compiled: Compiled, hosts: Index, objective: Crowded) -> Mask:
    members = compiled.members(objective.members)
    count = np.bincount(hosts[members], minlength=len(compiled.arrays.room))
    return _chosen(hosts, members, count[hosts[members]] > objective.max_per_host)


def _of_scattering(compiled: Compiled, hosts: Index, objective: Scattering) -> Mask:
    members = compiled.members(objective.members)
    count = len(set(compiled.domain(objective.domains)[hosts[members]].tolist()))
    off = count < objective.at_least or (objective.at_most is not None and count > objective.at_most)
    return _chosen(hosts, members, np.full(len(members), off and len(members) > 0))


def _of_lonely(compiled: Compiled, hosts: Index, objective: Lonely) -> Mask:
    domain, members, needs = compiled.domain(objective.domains), compiled.members(objective.members), compiled.members(objective.needs)
    alone = ~np.isin(domain[hosts[members]], domain[hosts[needs]])
    return _chosen(hosts, members, alone) | _chosen(hosts, needs, np.full(len(needs), alone.any()))


def _of_load_cost(compiled: Compiled, hosts: Index, objective: LoadCost) -> Mask:
    amounts = np.array([server.resources.get(objective.resource, 0) for server in compiled.problem.cluster.servers], dtype=np.int64)
    return _beyond(hosts, amounts, {compiled.host_index[name]: most for name, most in objective.safety.items() if name in compiled.host_index},
                   len(compiled.arrays.room))


def _of_overdrawn(compiled: Compiled, hosts: Index, objective: Overdrawn) -> Mask:
    inside, demand = compiled.pool(objective)
    there: Mask = inside[hosts] & (demand > 0)
    return there if int(demand[there].sum()) > objective.most else np.zeros_like(there)


def _of_overload(compiled: Compiled, hosts: Index, objective: Overload) -> Mask:
    limits = map(objective.limit, compiled.problem.cluster.hosts)
    return _beyond(hosts, compiled.balance[objective.metric].load, {h: limit for h, limit in enumerate(limits) if limit is not None},
                   len(compiled.arrays.room))


def _beyond(hosts: Index, amounts: Ints, limits: Mapping[int, int], count: int) -> Mask:
    """The servers with an amount on hosts whose sum is beyond a limit."""
    used = np.zeros(count, dtype=np.int64)
    np.add.at(used, hosts, amounts)
    full = np.zeros(count, dtype=np.bool_)
    full[[h for h, most in limits.items() if used[h] > most]] = True
    mask: Mask = full[hosts] & (amounts > 0)
    return mask


_PARTS: Mapping[type[Objective], Callable[[Compiled, Index, Any], Mask]] = {
    Misplaced: _of_misplaced, Crowded: _of_crowded, Scattering: _of_scattering, Lonely: _of_lonely, LoadCost: _of_load_cost, Overload: _of_overload,
    Overdrawn: _of_overdrawn,
}
