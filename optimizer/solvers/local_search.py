"""Local search: single moves by steepest descent, and hosts emptied as a whole, on numpy arrays.

Fast and without proof; its placements are legal at every step and start the exact solver.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Apart, Index, Mask
from optimizer.objectives.base import Objective
from optimizer.objectives.elsewhere import Elsewhere
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.spread import Spread
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

Floats = npt.NDArray[np.float64]
_CHUNK = 2_000_000  # cells of one (servers x hosts) table; bounds memory at 16 MB a table
_NEXT_LEVEL = 1e-4  # what a unit of one level counts against a unit of the level before
_WORTH = 1e-12  # smaller changes are rounding


class State:
    """A legal placement and what follows from it, kept up to date move by move.

    ``where`` (S) host of each server; ``used`` (H x D); ``load`` metric -> (H); ``count`` (H) servers; ``moves`` servers not
    where the cluster has them.
    """

    def __init__(self, compiled: Compiled, where: Index) -> None:
        """Take over a legal placement."""
        arrays = compiled.arrays
        self.compiled = compiled
        self.where = where.copy()
        self.used = arrays.used(where)
        self.count = np.bincount(where, minlength=len(arrays.room)).astype(np.int64)
        self.moves = int((where != arrays.start).sum())
        self.load = {metric: np.bincount(where, weights=b.load, minlength=len(arrays.room)).astype(np.int64)
                     for metric, b in compiled.balance.items()}
        self.apart_of: dict[int, list[Apart]] = {}
        for group in arrays.apart:
            for member in group.members.tolist():
                self.apart_of.setdefault(member, []).append(group)
        self.tied: dict[int, list[Callable[[int], Mask]]] = {}
        for members in arrays.together:
            for member in members.tolist():
                self.tied.setdefault(member, []).append(lambda s, m=members: self._together(s, m))  # type: ignore[misc]
        for soft in arrays.not_worse:
            for member in soft.members.tolist():
                self.tied.setdefault(member, []).append(
                    lambda s, g=soft: self._not_worse(s, g.members, g.hosts, g.together))  # type: ignore[misc]

    def move(self, server: int, host: int) -> None:
        """Put a server on another host; legality is the caller's care."""
        arrays, source = self.compiled.arrays, int(self.where[server])
        self.used[source] -= arrays.demand[server]
        self.used[host] += arrays.demand[server]
        self.count[source] -= 1
        self.count[host] += 1
        for metric, load in self.load.items():
            load[source] -= self.compiled.balance[metric].load[server]
            load[host] += self.compiled.balance[metric].load[server]
        self.moves += int(source == arrays.start[server]) - int(host == arrays.start[server])
        self.where[server] = host

    def legal(self, rows: Index) -> Mask:
        """Where each server of ``rows`` may go now, the host it is on excluded (R x H)."""
        arrays = self.compiled.arrays
        home, here = arrays.start[rows], self.where[rows]
        each = np.arange(len(rows))
        mask: Mask = arrays.eligible[arrays.server_class[rows]]
        mask[each, home] = True
        for d in range(arrays.demand.shape[1]):
            demand = arrays.demand[rows, d][:, None]
            mask &= (self.used[:, d] + demand <= arrays.room[:, d]) | (demand <= 0)
        mask[each, here] = False
        limit = self.compiled.problem.max_moves
        if limit is not None and self.moves >= limit:
            back = np.zeros_like(mask)
            back[each, home] = True
            mask &= np.where((here != home)[:, None], True, back)
        for r, s in enumerate(rows.tolist()):
            for group in self.apart_of.get(s, ()):
                others = group.members[group.members != s]
                taken = np.bincount(self.where[others], minlength=mask.shape[1]) + group.held
                mask[r] &= taken < group.limit
            for allowed in self.tied.get(s, ()):
                mask[r] &= allowed(s)
        return mask

    def _together(self, server: int, members: Index) -> Mask:
        """Hosts where another member stays; none at all when somebody who came relies on this server staying."""
        start = self.compiled.arrays.start
        others = members[members != server]
        staying = others[self.where[others] == start[others]]
        mask = np.zeros(len(self.count), dtype=np.bool_)
        mask[start[staying]] = True
        mask[start[server]] = True
        here = self.where[server]
        guests = others[(self.where[others] == here) & (start[others] != here)]
        if here == start[server] and len(guests) and not (start[staying] == here).any():
            mask[:] = False
        return mask

    def _not_worse(self, server: int, members: Index, hosts: int, together: bool) -> Mask:
        others = set(self.where[members[members != server]].tolist())
        known = np.zeros(len(self.count), dtype=np.bool_)
        known[list(others)] = True
        after = len(others) + ~known
        mask: Mask = after <= hosts if together else after >= hosts
        return mask

    def gain(self, rows: Index) -> Floats:
        """How the levels change when a server of ``rows`` goes to each host, folded into one number (R x H)."""
        total = np.zeros((len(rows), len(self.count)))
        factor = 1.0
        for level in self.compiled.problem.levels:
            for term in level:
                total += factor * term.weight * self.delta(term.objective, rows)
            factor *= _NEXT_LEVEL
        return total

    def delta(self, objective: Objective, rows: Index) -> Floats:
        """How the value of one objective changes when a server of ``rows`` goes to each host (R x H)."""
        return _DELTAS[type(objective)](self, objective, rows)


def descend(state: State, stop: Stop) -> None:
    """Make the single move that helps most, again and again, until none helps or time is up."""
    movable = np.flatnonzero(state.compiled.arrays.movable).astype(np.int32)
    rows_at_once = max(1, _CHUNK // max(1, len(state.count)))
    while stop.remaining_s() > 0:
        order = movable
        if len(movable) > rows_at_once:  # look at the hottest hosts first and take the best move of the first table that has one
            order = movable[np.argsort(-_heat(state)[state.where[movable]], kind="stable")]
        for begin in range(0, len(order), rows_at_once):
            rows = order[begin:begin + rows_at_once]
            gain = np.where(state.legal(rows), state.gain(rows), np.inf)
            best = int(gain.argmin())
            if gain.flat[best] < -_WORTH:
                state.move(int(rows[best // gain.shape[1]]), best % gain.shape[1])
                break
        else:
            return


def _heat(state: State) -> Floats:
    """How far each host is above the balanced level (H); 0 without a load."""
    heat = np.zeros(len(state.count))
    for metric, balance in state.compiled.balance.items():
        heat = np.maximum(heat, (state.load[metric] - balance.level) / np.maximum(1, balance.capacity))
    return heat


def evacuate(state: State, stop: Stop) -> None:
    """Empty whole hosts, the cheapest first, wherever the levels become better by it."""
    arrays = state.compiled.arrays
    stuck = np.bincount(state.where[~arrays.movable], minlength=len(state.count)) > 0
    cost = np.bincount(state.where, weights=state.compiled.move_cost, minlength=len(state.count))
    for host in np.argsort(cost, kind="stable").tolist():
        if stop.remaining_s() <= 0:
            return
        if state.count[host] and not stuck[host] and state.compiled.available[host] and not state.compiled.bound[host]:
            _evacuate_one(state, host)


def _evacuate_one(state: State, host: int) -> None:
    """Move everything off a host to the fullest hosts that take it; undo it all when the levels do not become better."""
    arrays = state.compiled.arrays
    servers = np.flatnonzero(state.where == host).astype(np.int32)
    size = (arrays.demand[servers] / np.maximum(1, arrays.room.max(axis=0))).max(axis=1)
    done, total = [], 0.0
    for s in servers[np.argsort(-size, kind="stable")].tolist():
        row = np.array([s], dtype=np.int32)
        mask, gain = state.legal(row)[0], state.gain(row)[0]
        mask &= (state.count > 0) | state.compiled.bound
        left = (arrays.room - state.used - arrays.demand[s]) / np.maximum(1, arrays.room)
        score = np.where(mask, gain + 1e-6 * left.min(axis=1), np.inf)
        target = int(score.argmin())
        if not np.isfinite(score[target]):
            total = np.inf
            break
        total += gain[target]
        state.move(s, target)
        done.append(s)
    if total >= -_WORTH:
        for s in reversed(done):
            state.move(s, host)


def _spread(state: State, objective: Spread, rows: Index) -> Floats:
    balance, load = state.compiled.balance[objective.metric], state.load[objective.metric]
    counted = max(1, int(balance.counted.sum()))
    weight = np.where(balance.counted, 1.0 / (counted * np.maximum(1, balance.capacity).astype(np.float64) ** 2), 0.0)
    distance = (load - balance.level).astype(np.float64)
    now = float((weight * distance**2).sum()) - objective.threshold**2
    source, amount = state.where[rows], balance.load[rows].astype(np.float64)
    leave = weight[source] * amount * (amount - 2 * distance[source])
    arrive = weight * amount[:, None] * (amount[:, None] + 2 * distance)
    change: Floats = np.maximum(0.0, now + leave[:, None] + arrive) - max(0.0, now)
    return change


def _move_cost(state: State, objective: MoveCost, rows: Index) -> Floats:
    start, cost = state.compiled.arrays.start[rows], state.compiled.move_cost[rows]
    change: Floats = np.repeat(np.where(state.where[rows] == start, cost, 0.0)[:, None], len(state.count), axis=1)
    change[np.arange(len(rows)), start] -= cost
    return change


def _remaining(state: State, objective: Remaining, rows: Index) -> Floats:
    return _presence(state, rows, state.compiled.host_index[objective.host])


def _presence(state: State, rows: Index, host: int) -> Floats:
    """Change of (servers on a host / all servers)."""
    change = np.repeat(-(state.where[rows] == host).astype(np.float64)[:, None], len(state.count), axis=1)
    change[:, host] += 1
    return change / len(state.where)


def _elsewhere(state: State, objective: Elsewhere, rows: Index) -> Floats:
    source, preferred = state.compiled.host_index[objective.source], state.compiled.host_index[objective.preferred]
    fine = np.zeros(len(state.count))
    fine[[source, preferred]] = 1
    concerned = (state.compiled.arrays.start[rows] == source)[:, None]
    change: Floats = np.where(concerned, fine[state.where[rows]][:, None] - fine, 0.0) / len(state.where)
    return change


def _hosts_in_use(state: State, objective: HostsInUse, rows: Index) -> Floats:
    counts = state.compiled.available & ~state.compiled.bound
    left_empty = (counts & (state.count == 1))[state.where[rows]].astype(np.float64)
    newly_used = (counts & (state.count == 0)).astype(np.float64)
    change: Floats = (newly_used - left_empty[:, None]) / max(1, int(state.compiled.available.sum()))
    return change


_DELTAS: Mapping[type[Objective], Callable[[State, Any, Index], Floats]] = {
    Spread: _spread, MoveCost: _move_cost, Remaining: _remaining, Elsewhere: _elsewhere, HostsInUse: _hosts_in_use,
}
"""The one table that joins each objective with its change under single moves."""
