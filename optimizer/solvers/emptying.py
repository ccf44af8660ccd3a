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

import numpy as np
import numpy.typing as npt
from numba import njit
from ortools.sat.python import cp_model

from optimizer.arrays import Index, Ints, Mask
from optimizer.objectives.base import Objective
from optimizer.objectives.host_cost import HostCost
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.overload import Overload
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.solvers.kernel import State, new_state, refresh, shift, shift_cost, shift_legal, swap, swap_cost, swap_legal
from optimizer.solvers.levelling import move_costs
from optimizer.solvers.packed import Packed, pack
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

Floats = npt.NDArray[np.float64]
_jit = njit(cache=True, nogil=True, error_model="numpy")
_USE: tuple[type[Objective], ...] = (HostsInUse, HostCost)
_OTHERS: tuple[type[Objective], ...] = (Overload, Moves, MoveCost, ServerMoveCost)
_UNIONS = 8  # different sets of hosts of which every union is looked at; of more, pairs only
_EXACT = 10**12  # what the largest coefficient of a choice becomes as a whole number
_ROUNDS = 4_000_000
_CHUNK = 200_000
_CHOOSING_S = 10.0
_MORE = (0, 1, 2, 4, 8, 16, 32, 64)  # hosts that are kept beyond the fewest, one try after another


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
    """Empty the hosts of a choice, or of one that keeps a few more; ``found`` hears of what is reached."""
    P = pack(compiled)
    rng = np.random.default_rng(seed)
    best = where
    for more in _MORE:
        picked = choice if more == 0 else choose(compiled, stop, more)
        if picked is None or stop.remaining_s() <= 0:
            return best
        X = new_state(P, where)
        done = _pack(compiled, P, X, picked.keep, stop, rng)
        found(X.where.copy())
        if done:
            return X.where.copy()
    return best


# ---- choosing


def choose(compiled: Compiled, stop: Stop, more: int = 0) -> Choice | None:
    """The best hosts to keep as far as sums can tell, ``more`` beyond the fewest; None when there is no time to find them."""
    arrays = compiled.arrays
    able = _able(compiled)
    use = _use_costs(compiled)
    stuck = np.bincount(arrays.home[~able], minlength=len(use)) > 0
    free = (use > 0) & ~stuck
    levels = compiled.problem.levels
    first = move_costs(compiled, levels[0])
    later = move_costs(compiled, levels[1]) if len(levels) > 1 else np.zeros(len(first))
    model = cp_model.CpModel()
    keep = [model.new_bool_var(f"keep {h}") if free[h] else 1 for h in range(len(use))]
    for hosts, room, need in _conditions(compiled, able):
        model.add(sum(int(room[h]) * keep[h] for h in hosts) >= need)
    if compiled.problem.max_moves is not None:
        counts = np.bincount(arrays.home, minlength=len(use))
        model.add(sum(int(counts[h]) * (1 - keep[h]) for h in np.flatnonzero(free).tolist()) <= compiled.problem.max_moves)
    # Keeping a host costs its use, emptying it what its servers cost to move.
    price = use - np.bincount(arrays.home, weights=first, minlength=len(use))
    base = float(use[~free].sum()) + float(np.bincount(arrays.home, weights=first, minlength=len(use))[free].sum())
    value = _minimise(model, keep, np.where(free, price, 0.0), stop)
    if value is None:
        return None
    picked, bound, total, scale = value
    if more:
        model.add(sum(keep) >= int(picked.sum()) + more)
    elif bound * scale < total * scale:
        return Choice(picked, base + bound, None)
    else:
        model.add(_scaled(keep, np.where(free, price, 0.0), scale) <= round(total * scale))
    leaving = np.bincount(arrays.home, weights=later if later.any() else np.ones(len(first)), minlength=len(use))
    second = _minimise(model, keep, np.where(free, -leaving, 0.0), stop)
    if second is None:
        return Choice(picked, base + bound, None)
    return Choice(second[0], base + bound, float(leaving[free].sum()) + second[1] if later.any() else None)


def _minimise(model: cp_model.CpModel, keep: list[cp_model.IntVar | int], price: Floats, stop: Stop) -> tuple[Mask, float, float, float] | None:
    """(hosts kept, bound, value, the factor that made prices whole) for the least sum of prices."""
    distinct = np.unique(np.abs(price[price != 0]))
    scale = _EXACT / float(distinct.max()) if len(distinct) > 1 else 1.0 / float(distinct[0]) if len(distinct) else 1.0
    model.minimize(_scaled(keep, price, scale))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = max(0.05, min(_CHOOSING_S, stop.remaining_s()))
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    chosen = np.array([bool(k if isinstance(k, int) else solver.value(k)) for k in keep])
    return chosen, float(solver.best_objective_bound) / scale, float(solver.objective_value) / scale, scale


def _scaled(keep: list[cp_model.IntVar | int], price: Floats, scale: float) -> cp_model.LinearExprT:
    return sum(round(p * scale) * k for p, k in zip(price.tolist(), keep, strict=True))


def _use_costs(compiled: Compiled) -> Floats:
    """What each host (H) costs in the first level while it is in use and could be emptied."""
    packed = pack(compiled, (tuple(term for term in compiled.problem.levels[0] if type(term.objective) in _USE),))
    return packed.use_cost


def _able(compiled: Compiled) -> Mask:
    """The servers (S) that can move; those of a group that draws together and is together cannot."""
    able = compiled.arrays.movable.copy()
    for members in compiled.arrays.together:
        if len(set(compiled.arrays.home[members].tolist())) == 1:
            able[members] = False
    return able


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


def _pack(compiled: Compiled, P: Packed, X: State, keep: Mask, stop: Stop, rng: np.random.Generator) -> bool:
    """Move everything off the hosts that are not kept as far as possible; True when they are empty."""
    closed = ~keep
    size = _sizes(compiled, keep)
    pay = _pay(P, X, size, closed)
    servers = np.flatnonzero(closed[X.where // P.modes])
    admitted = P.eligible[P.server_class[servers]][:, keep].sum(axis=1)
    order = servers[np.lexsort((-size[servers], admitted))].astype(np.int32)
    quantity = _scarcest(compiled, keep)
    _fill(P, X, order, keep.astype(np.uint8), quantity)
    total, best = _ROUNDS, X.where.copy()
    least = np.array([np.inf])
    unit = float(np.median(pay[pay > 0])) if (pay > 0).any() else 1.0
    for begin in range(0, total, _CHUNK):
        if stop.remaining_s() <= 0:
            break
        heat = unit * 1e-3 ** (begin / total)
        refresh(P, X)
        if _settle(P, X, best, least, closed.astype(np.uint8), pay, quantity, _CHUNK, heat, heat * 1e-3 ** (_CHUNK / total), int(rng.integers(2**31))):
            break
    X.where[:] = best
    fresh = new_state(P, best)
    for mine, theirs in zip(X, fresh, strict=True):
        mine[...] = theirs
    return not closed[X.where // P.modes].any()


def _sizes(compiled: Compiled, keep: Mask) -> Floats:
    """How much of the scarcest quantity each server (S) needs, as a share of an average host."""
    arrays = compiled.arrays
    rows = arrays.demand[arrays.rows(arrays.start)].astype(np.float64)
    room = np.maximum(1.0, arrays.room[keep].mean(axis=0))
    return np.asarray((rows / room).max(axis=1))


def _scarcest(compiled: Compiled, keep: Mask) -> int:
    """The quantity of which the hosts that are kept have least to spare."""
    arrays = compiled.arrays
    rows = arrays.demand[arrays.rows(arrays.start)]
    return int((rows.sum(axis=0) / np.maximum(1, arrays.room[keep].sum(axis=0))).argmax())


def _pay(P: Packed, X: State, size: Floats, closed: Mask) -> Floats:
    """What it is worth that a server (S) is not on a closed host: more than a move costs, and by size."""
    per_host = float(P.use_cost.max()) if len(P.use_cost) else 1.0
    dearest = float((P.host_cost + P.move_cost).max()) if len(P.host_cost) else 0.0
    mean = float(size.mean()) if len(size) else 1.0
    return np.asarray((per_host + dearest) * (0.25 + size / max(mean, 1e-12)))


@_jit
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


@_jit
def _settle(P, X, best, least, closed, pay, quantity, rounds, hot, cold, seed):  # type: ignore[no-untyped-def]
    """Anneal the objective and what is paid for servers that are off closed hosts; True once all are.

    Free room of the scarcest quantity is drawn together: where it lies in one piece, large servers fit.
    """
    np.random.seed(seed)
    M, H = P.modes, len(X.count)
    movable = P.movable
    waiting, at, size = np.empty(len(X.where), dtype=np.int64), np.full(len(X.where), -1, dtype=np.int64), 0
    for i in range(len(movable)):
        s = movable[i]
        if closed[X.where[s] // M]:
            waiting[size] = s
            at[s] = size
            size += 1
    energy = 0.0
    for i in range(size):
        energy += pay[waiting[i]]
    open_hosts = np.flatnonzero(closed == 0)
    average = 0.0
    for i in range(len(movable)):
        average += P.demand[movable[i] * M, quantity]
    average = max(1.0, average / max(1, len(movable)))
    heat, cooling = hot, (cold / hot) ** (1.0 / rounds)
    if energy < least[0]:
        least[0] = energy
        best[:] = X.where
    for _ in range(rounds):
        if size == 0:
            best[:] = X.where
            return True
        heat *= cooling
        draw = np.random.random()
        if draw < 0.5:
            s = waiting[np.random.randint(size)]
        else:
            s = movable[np.random.randint(len(movable))]
        if np.random.random() < 0.6:
            h = open_hosts[np.random.randint(len(open_hosts))]
            p = h * M + (np.random.randint(M) if M > 1 else 0)
            if not shift_legal(P, X, s, p):
                continue
            o = X.where[s] // M
            change = shift_cost(P, X, s, p)
            if closed[o]:
                change -= pay[s]
            else:
                need = P.demand[s * M + p % M, quantity]
                change -= 0.02 * hot * need / average * (X.free[o, quantity] + need - X.free[h, quantity]) / average
            if change <= 0.0 or np.random.random() < np.exp(-change / heat):
                shift(P, X, s, p)
                if at[s] >= 0:
                    size -= 1
                    waiting[at[s]] = waiting[size]
                    at[waiting[size]] = at[s]
                    at[s] = -1
                    energy -= pay[s]
        else:
            t = movable[np.random.randint(len(movable))]
            a, b = X.where[s] // M, X.where[t] // M
            if a == b or (closed[a] and closed[b]) or not swap_legal(P, X, s, t):
                continue
            change = swap_cost(P, X, s, t)
            if closed[a] != closed[b]:
                change += (pay[t] - pay[s]) if closed[a] else (pay[s] - pay[t])
            if change <= 0.0 or np.random.random() < np.exp(-change / heat):
                swap(P, X, s, t)
                if closed[a] != closed[b]:
                    old, new = (s, t) if closed[a] else (t, s)
                    waiting[at[old]] = new
                    at[new] = at[old]
                    at[old] = -1
                    energy += pay[new] - pay[old]
        if energy < least[0] - 1e-12:
            least[0] = energy
            best[:] = X.where
    return size == 0
