"""Fewer hosts in use: which hosts can be emptied at best, and a way to pack their servers into the others.

*Choosing* is a small exact model with one 0/1 variable a host: whatever servers have to stay inside a set of hosts must fit into those of the
set that stay in use, quantity by quantity (a condition of the kind of P. Hall's, 1935). That is a relaxation, so its optimum is a bound: on the
hosts in use, and on what must move at least. *Packing* then tries to do what the choice promises: largest first into the fullest host, then
simulated annealing that shifts and swaps servers to make room. Where that fails, a choice that keeps more hosts is tried.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from ortools.sat.python import cp_model

from optimizer.arrays import Index, Ints, Mask
from optimizer.objectives.base import Objective
from optimizer.objectives.host_cost import HostCost
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.overload import Overload
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.solvers.cp_sat import solver_for
from optimizer.solvers.jit import kernel
from optimizer.solvers.kernel import State, assign_state, new_state, shift, shift_cost, shift_legal, swap, swap_legal
from optimizer.solvers.packed import Packed, pack
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

Floats = npt.NDArray[np.float64]
_USE: tuple[type[Objective], ...] = (HostsInUse, HostCost)
_OTHERS: tuple[type[Objective], ...] = (Overload, Moves, MoveCost, ServerMoveCost)
_UNIONS = 8  # different sets of hosts of which every union is looked at; of more, pairs only
_EXACT = 10**12  # what the largest coefficient of a choice becomes as a whole number
_GATHER = 0.02  # what free room is worth that lies in one piece
_COLD = 0.05  # the last temperature, in parts of what a server costs that only makes room
_HEATS = ((0.5, 20.0), (2.0, 20.0), (5.0, 20.0), (10.0, 30.0), (10.0, 100.0), (30.0, 300.0))
"""One try after another, the less it stirs up the earlier: the first temperature, and what a server on a host that is to be emptied costs."""
_ROUNDS = 1_000_000
_WORTH = 1e-9  # smaller changes are rounding
_SMALL = 100  # hosts up to which a second way is looked for where the first moves more than the bound
_CHUNK = 200_000
_CHOOSING_S = 10.0
_TRIES = ((0, 0.0), (0, 0.1), (0, 0.25), (0, 0.5), (0, 1.0), (1, 0.0), (1, 0.25), (1, 1.0), (2, 0.0), (2, 0.5), (4, 0.0), (8, 0.0), (16, 0.0),
          (32, 0.0), (64, 0.0), (128, 0.0))
"""One try after another: hosts that are kept beyond the fewest, and how far to go from those that move least to those with most room."""
_NEAR = 0.01  # a cost that is above its bound by less than this share is not worth another try


@dataclass(frozen=True)
class Choice:
    """Hosts (H) that stay in use, and lower bounds: on the first level, and on the cost of moves in the next when the first is met."""

    keep: Mask
    first: float
    second: float | None


def applies(compiled: Compiled) -> bool:
    """Whether the first level speaks of the use of hosts and nothing but that, overload and the cost of moves counts at all."""
    levels = compiled.problem.levels
    kinds = [{type(term.objective) for term in level} for level in levels]
    return (bool(levels) and any(kind in _USE for kind in kinds[0]) and not any(kind in _USE for level in kinds[1:] for kind in level)
            and all(kind in _USE or kind in _OTHERS for level in kinds for kind in level)
            and all(term.weight >= 0 for level in levels for term in level))


def improve(compiled: Compiled, where: Index, choice: Choice | None, stop: Stop, seed: int, found: Callable[[Index], None]) -> Index:
    """Empty the hosts of a choice, or of another that is not much worse; ``found`` hears of what is reached."""
    P = pack(compiled)
    rng = np.random.default_rng(seed)
    levels = compiled.problem.levels
    cost = compiled.move_costs(levels[1]) if len(levels) > 1 else np.zeros(len(where))
    best, least = where, math.inf
    for number, (more, roomy) in enumerate(_TRIES):
        if stop.remaining_s() <= 0:
            return best
        picked = choose(compiled, stop, more, roomy) if number else choice
        if picked is None:
            continue
        before = least
        for heat in _HEATS if not number else _HEATS[:4]:
            if stop.remaining_s() <= 0:
                return best
            X = new_state(P, where)
            done = _pack(compiled, P, X, picked.keep, heat, stop, rng)
            found(X.where.copy())
            paid = float(cost[X.where != P.start].sum())
            if done and paid < least:
                best, least = X.where.copy(), paid
            if done:
                break
        near = choice is None or choice.second is None or least <= (1 + _NEAR) * choice.second or len(P.room) > _SMALL
        if least < math.inf and (near or before <= least):
            break
    return best


def level_bounds(compiled: Compiled, choice: Choice | None) -> tuple[float | None, ...]:
    """A bound for each level; that of the second holds where the first meets its own."""
    known = (choice.first, choice.second) if choice else (None, None)
    unknown: tuple[float | None, ...] = (None,) * len(compiled.problem.levels)
    return (*known, *unknown)[:len(compiled.problem.levels)]


# ---- choosing


def choose(compiled: Compiled, stop: Stop, more: int = 0, roomy: float = 0.0) -> Choice | None:
    """The best hosts to keep as far as sums can tell, of equally good ones those that move least; None where time or room is lacking.

    ``more`` hosts are kept beyond the fewest; ``roomy`` goes, from 0 to 1, from the hosts that move least to those that have most room of
    the scarcest quantity. The bounds are those without both.
    """
    arrays = compiled.arrays
    able, use = compiled.able, _use_costs(compiled)
    hosts = len(use)
    free = (use > 0) & (np.bincount(arrays.home[~able], minlength=hosts) == 0)
    levels = compiled.problem.levels
    first = np.bincount(arrays.home, weights=compiled.move_costs(levels[0]), minlength=hosts)
    later = compiled.move_costs(levels[1]) if len(levels) > 1 else np.zeros(len(able))
    model = cp_model.CpModel()
    keep = [model.new_bool_var(f"keep {h}") if free[h] else 1 for h in range(hosts)]
    for those, room, need in _conditions(compiled, able):
        model.add(sum(int(room[h]) * keep[h] for h in those) >= need)
    if compiled.problem.max_moves is not None:
        counts = np.bincount(arrays.home, minlength=hosts)
        model.add(sum(int(counts[h]) * (1 - keep[h]) for h in np.flatnonzero(free).tolist()) <= compiled.problem.max_moves)
    # Keeping a host costs its use, emptying it what its servers cost to move.
    price = np.where(free, use - first, 0.0)
    base = float(use[~free].sum()) + float(first[free].sum())
    found = _minimise(model, keep, price, stop)
    if found is None:
        return None
    if not found.proven:
        return Choice(found.keep, base + found.bound, None)
    if more or roomy:
        model.add(sum(keep) == int(found.keep.sum()) + more)
    else:
        model.add(_scaled(keep, price, found.scale) <= round(found.value * found.scale))
    leaving = np.bincount(arrays.home, weights=later if later.any() else np.ones(len(able)), minlength=hosts)
    second = _minimise(model, keep, np.where(free, -leaving, 0.0), stop)
    if roomy and second is not None:
        second = _roomier(model, keep, np.where(free, -leaving, 0.0), arrays.room[:, _scarcest(compiled, np.ones_like(free))], second, roomy, stop)
    if second is None:
        return None if more or roomy else Choice(found.keep, base + found.bound, None)
    plain = later.any() and not more and not roomy
    return Choice(second.keep, base + found.bound, float(leaving[free].sum()) + second.bound if plain else None)


def _roomier(model: cp_model.CpModel, keep: list[cp_model.IntVar | int], price: Floats, room: Ints, least: "_Optimum", roomy: float,
             stop: Stop) -> "_Optimum | None":
    """The least sum of prices of hosts that go so far (``roomy``, 0 to 1) from the room of ``least`` to the most room there can be."""
    most = _minimise(model, keep, -room.astype(np.float64), stop)
    if most is None:
        return None
    ends = int(room[least.keep].sum()), int(room[most.keep].sum())
    if ends[1] <= ends[0]:
        return None
    model.add(sum(int(r) * k for r, k in zip(room.tolist(), keep, strict=True)) >= ends[0] + math.ceil(roomy * (ends[1] - ends[0])))
    return _minimise(model, keep, price, stop)


@dataclass(frozen=True)
class _Optimum:
    """Hosts kept (H), the value and its bound, and the factor that made prices whole."""

    keep: Mask
    value: float
    bound: float
    scale: float
    proven: bool


def _minimise(model: cp_model.CpModel, keep: list[cp_model.IntVar | int], price: Floats, stop: Stop) -> _Optimum | None:
    """The least sum of the prices (H) of the hosts kept."""
    distinct = np.unique(np.abs(price[price != 0]))
    scale = _EXACT / float(distinct.max()) if len(distinct) > 1 else 1.0 / float(distinct[0]) if len(distinct) else 1.0
    model.minimize(_scaled(keep, price, scale))
    solver = solver_for(stop, min(_CHOOSING_S, stop.remaining_s()), _CHOOSING_S)
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    chosen = np.array([bool(k if isinstance(k, int) else solver.value(k)) for k in keep])
    return _Optimum(chosen, float(solver.objective_value) / scale, float(solver.best_objective_bound) / scale, scale, status == cp_model.OPTIMAL)


def _scaled(keep: list[cp_model.IntVar | int], price: Floats, scale: float) -> Any:
    return sum(round(p * scale) * k for p, k in zip(price.tolist(), keep, strict=True))


def _use_costs(compiled: Compiled) -> Floats:
    """What each host (H) costs in the first level while it is in use and could be emptied."""
    packed = pack(compiled, (tuple(term for term in compiled.problem.levels[0] if type(term.objective) in _USE),))
    return packed.use_cost


def _conditions(compiled: Compiled, able: Mask) -> list[tuple[list[int], Ints, int]]:
    """(hosts of a set, room by host, need): what cannot leave the set needs so much of a quantity there."""
    arrays = compiled.arrays
    modes = arrays.modes
    least = arrays.demand.reshape(len(arrays.start), modes, -1).min(axis=1)
    used = arrays.used(arrays.start)
    held = np.zeros_like(used)
    np.add.at(held, arrays.home[~able], least[~able])
    room = np.maximum(arrays.room, used) - held
    classes = np.unique(arrays.server_class[able]).tolist()
    sets = {arrays.eligible[c].tobytes(): arrays.eligible[c] for c in classes}
    found = []
    for mask in _unions(list(sets.values())):
        inside = np.array([not (row & ~mask).any() for row in arrays.eligible])
        bound_to = able & inside[arrays.server_class] & mask[arrays.home]
        hosts = np.flatnonzero(mask).tolist()
        if bound_to.any():
            found.append((hosts, np.ones(len(mask), dtype=np.int64), 1))
        for d in range(least.shape[1]):
            need = int(least[bound_to, d].sum())
            if need > 0:
                found.append((hosts, room[:, d].clip(min=0), need))
    return found


def _unions(sets: list[Mask]) -> list[Mask]:
    """Every union of the sets where they are few, else each, the pairs of those that differ, and all together."""
    sizes = range(1, len(sets) + 1) if len(sets) <= _UNIONS else (1,) if len(sets) > 100 else (1, 2)
    unions = {}
    for size in sizes:
        for some in combinations(sets, size):
            mask = np.logical_or.reduce(some)
            unions[mask.tobytes()] = mask
    if sets:
        mask = np.logical_or.reduce(sets)
        unions[mask.tobytes()] = mask
    return list(unions.values())


# ---- packing


def _pack(compiled: Compiled, P: Packed, X: State, keep: Mask, heat: tuple[float, float], stop: Stop, rng: np.random.Generator) -> bool:
    """Move everything off the hosts that are not kept as far as possible; True when they are empty."""
    closed = ~keep
    if not keep.any():
        return not closed[X.where // P.modes].any()
    home = P.start // np.int32(P.modes)
    _descend(P, X, keep.astype(np.uint8), stop)
    size = _sizes(compiled, keep)
    # Servers of the hosts that are to be emptied have to move anyhow; of the others each costs what it is large.
    stray = np.where(closed[home], 0.0, 0.5 + size)
    hot, waiting = heat
    pay = waiting * (0.5 + size)
    servers = np.flatnonzero(closed[X.where // P.modes])
    admitted = P.eligible[P.server_class[servers]][:, keep].sum(axis=1)
    order = servers[np.lexsort((-size[servers], admitted))].astype(np.int32)
    quantity = _scarcest(compiled, keep)
    _fill(P, X, order, keep.astype(np.uint8), quantity)
    _anneal(P, X, keep, pay, stray, quantity, hot, stop, rng)
    _descend(P, X, keep.astype(np.uint8), stop)
    if closed[X.where // P.modes].any():
        return False
    if hot > _HEATS[0][0]:  # what was stirred up more than need be settles
        _anneal(P, X, keep, pay, stray, quantity, _HEATS[0][0], stop, rng)
    return True


def _anneal(P: Packed, X: State, keep: Mask, pay: Floats, stray: Floats, quantity: int, hot: float, stop: Stop, rng: np.random.Generator) -> None:
    """Anneal from a state, which becomes the best one found."""
    best, least, hosts = X.where.copy(), np.array([1e30]), np.flatnonzero(keep)
    waiting, at = np.zeros(len(best), dtype=np.int32), np.zeros(len(best), dtype=np.int32)
    for begin in range(0, _ROUNDS, _CHUNK):
        if stop.remaining_s() <= 0:
            break
        ends = hot * (_COLD / hot) ** (begin / _ROUNDS), hot * (_COLD / hot) ** ((begin + _CHUNK) / _ROUNDS)
        _settle(P, X, best, least, waiting, at, (~keep).astype(np.uint8), hosts, pay, stray, quantity, _CHUNK, *ends, int(rng.integers(2**31)))
        if least[0] <= _WORTH:
            break
    assign_state(X, new_state(P, best))


def _sizes(compiled: Compiled, keep: Mask) -> Floats:
    """How much of the scarcest quantity each server (S) needs, in parts of the average server's."""
    arrays = compiled.arrays
    rows = arrays.demand[arrays.rows(arrays.start)].astype(np.float64)
    share = (rows / np.maximum(1.0, arrays.room[keep].mean(axis=0))).max(axis=1)
    return np.asarray(share / max(1e-12, float(share.mean()))) if len(share) else share


def _scarcest(compiled: Compiled, keep: Mask) -> int:
    """The quantity of which the hosts that are kept have least to spare."""
    arrays = compiled.arrays
    rows = arrays.demand[arrays.rows(arrays.start)]
    return int((rows.sum(axis=0) / np.maximum(1, arrays.room[keep].sum(axis=0))).argmax())


def _descend(P: Packed, X: State, keep: npt.NDArray[np.uint8], stop: Stop) -> None:
    """Single shifts to hosts that are kept, as long as one is an improvement: off overloaded hosts, and home again."""
    while stop.remaining_s() > 0:
        overloaded: Mask = np.asarray((X.excess > 0).any(axis=1))
        home = P.start // P.modes
        rows = overloaded[X.where // P.modes] | ((X.where != P.start) & (keep[home] > 0))
        if not _shift_each(P, X, P.movable[rows[P.movable]], keep):
            return


@kernel
def _shift_each(P, X, rows, keep):  # type: ignore[no-untyped-def]
    """Shift each server to the kept place that is best, if that is an improvement; how many went."""
    went = 0
    for i in range(len(rows)):
        s = rows[i]
        best, place = -1e-12, -1
        for h in range(len(keep)):
            if keep[h]:
                for p in range(h * P.modes, h * P.modes + P.modes):
                    if p != X.where[s] and shift_legal(P, X, s, p):
                        cost = shift_cost(P, X, s, p)
                        if cost < best:
                            best, place = cost, p
        if place >= 0:
            shift(P, X, s, place)
            went += 1
    return went


@kernel
def _fill(P, X, order, keep, quantity):  # type: ignore[no-untyped-def]
    """Put the servers, in their order, where least of the scarcest quantity is left over."""
    M = P.modes
    for i in range(len(order)):
        s = order[i]
        best, place = np.int64(2**62), -1
        for h in range(len(keep)):
            if keep[h] and X.free[h, quantity] < best:
                for m in range(M):
                    if shift_legal(P, X, s, h * M + m):
                        best, place = X.free[h, quantity], h * M + m
                        break
        if place >= 0:
            shift(P, X, s, place)


@kernel
def _settle(P, X, best, least, waiting, at, closed, hosts, pay, stray, quantity, rounds, hot, cold, seed):  # type: ignore[no-untyped-def]
    """Anneal what servers on closed hosts cost (``pay``) and what others cost that are not at home (``stray``).

    Of two hosts the fuller is filled further: where free room lies in one piece, large servers fit. ``waiting`` and ``at`` (S) are room
    for a list of the servers on closed hosts, and their places in it.
    """
    np.random.seed(seed)
    M, movable, size = P.modes, P.movable, 0
    energy, average = 0.0, 0.0
    for s in range(len(at)):
        at[s] = -1
    for i in range(len(movable)):
        s = movable[i]
        average += P.demand[s * M, quantity] / len(movable)
        if X.where[s] != P.start[s]:
            energy += stray[s]
        if closed[X.where[s] // M]:
            waiting[size] = s
            at[s] = size
            size += 1
            energy += pay[s]
    average = max(1.0, average)
    heat, cooling = hot, (cold / hot) ** (1.0 / rounds)
    for number in range(rounds + 1):
        if energy < least[0] - _WORTH:
            least[0] = energy
            for i in range(len(best)):
                best[i] = X.where[i]
        if number == rounds or energy <= _WORTH:
            return
        heat *= cooling
        s = waiting[np.random.randint(size)] if size and np.random.random() < 0.4 else movable[np.random.randint(len(movable))]
        o = X.where[s]
        a = o // M
        if np.random.random() < 0.5:
            h = hosts[np.random.randint(len(hosts))]
            p = h * M + (np.random.randint(M) if M > 1 else 0)
            if stray[s] > 0.0 and o != P.start[s] and np.random.random() < 0.5:
                p = P.start[s]
                h = p // M
            if not shift_legal(P, X, s, p):
                continue
            change = stray[s] * (int(p != P.start[s]) - int(o != P.start[s]))
            if closed[a]:
                change -= pay[s]
            gather = 0.0
            if not closed[a]:
                need = P.demand[s * M + p % M, quantity]
                gather = _GATHER * need / average * (X.free[h, quantity] - need - X.free[a, quantity]) / average
            if change + gather <= 0.0 or np.random.random() < np.exp(-(change + gather) / heat):
                shift(P, X, s, p)
                energy += change
                if at[s] >= 0:
                    size -= 1
                    waiting[at[s]] = waiting[size]
                    at[waiting[size]] = at[s]
                    at[s] = -1
        else:
            t = movable[np.random.randint(len(movable))]
            p = X.where[t]
            b = p // M
            if a == b or (closed[a] and closed[b]) or not swap_legal(P, X, s, t):
                continue
            change = stray[s] * (int(p != P.start[s]) - int(o != P.start[s])) + stray[t] * (int(o != P.start[t]) - int(p != P.start[t]))
            if closed[a] != closed[b]:
                change += (pay[t] - pay[s]) if closed[a] else (pay[s] - pay[t])
            if change <= 0.0 or np.random.random() < np.exp(-change / heat):
                swap(P, X, s, t)
                energy += change
                if closed[a] != closed[b]:
                    old, new = (s, t) if closed[a] else (t, s)
                    waiting[at[old]] = new
                    at[new] = at[old]
                    at[old] = -1
