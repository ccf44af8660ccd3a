"""Even load with as little moving as possible: a search for problems of one spread and a cost of each server that moves.

Three stages. *Descent*: the single shift that takes most off the variance, until the threshold is met. *Budgets*: the same with ever fewer
moves, by simulated annealing over placements with at most so many moves (S. Kirkpatrick, C. D. Gelatt, M. P. Vecchi, "Optimization by
simulated annealing", Science 220, 1983). *Costs*: annealing of the whole objective, moves taken back or exchanged for cheaper ones. Every
stage is limited by iterations, so that a seed gives the same result on every machine that has the time.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Index
from optimizer.objectives.base import Objective
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.objectives.spread import Spread
from optimizer.problem import Term
from optimizer.solvers.jit import inlined, kernel
from optimizer.solvers.kernel import State, assign_state, copy_state, new_state, refresh, shift, shift_legal, swap, swap_legal
from optimizer.solvers.packed import NEXT_LEVEL, Packed, pack
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

Floats = npt.NDArray[np.float64]
_MANY = 100  # moves beyond which a budget is tried once only, and less time is spent on their cost
_STARTS = 8  # times that costs are annealed where moves are few and the spread does not come first
_PER_MOVE = 20_000  # annealing iterations for each move that is allowed
_AT_MOST = 1_000_000
_CHUNK = 200_000  # iterations between two looks at the clock
_ENDLESS = 1e30  # more than anything costs; kernels know no infinity
_WORTH = 1e-12  # smaller changes are rounding
_COSTS: tuple[type[Objective], ...] = (Moves, MoveCost, ServerMoveCost)


@dataclass(frozen=True)
class Task:
    """A problem of this kind: ``weight`` x max(0, variance - ``floor``) + the ``cost`` (S) of the servers that move.

    ``first`` says that the spread comes before all cost. ``fewest``: that the number of moves comes before all other cost.
    """

    packed: Packed
    spread: Spread
    weight: float
    floor: float
    hosts: float
    cost: Floats
    first: bool

    @property
    def fewest(self) -> bool:
        """Whether one move more always costs more than any choice of dearer servers saves."""
        movable = self.cost[self.packed.movable]
        return self.first and len(movable) > 0 and movable.min() > 0 and float((movable - movable.min()).sum()) < movable.min()


def task(compiled: Compiled) -> Task | None:
    """What the problem asks for, or None where it is of another kind."""
    levels = compiled.problem.levels
    spreads = [(n, term) for n, level in enumerate(levels) for term in level if isinstance(term.objective, Spread)]
    others = [term for level in levels for term in level if not isinstance(term.objective, Spread)]
    if len(spreads) != 1 or spreads[0][0] != 0 or not all(type(term.objective) in _COSTS and term.weight >= 0 for term in others):
        return None
    term = spreads[0][1]
    if term.weight <= 0 or not isinstance(term.objective, Spread) or not compiled.balance[term.objective.metric].counted.any():
        return None
    first = len(levels[0]) == 1
    cost, factor = np.zeros(len(compiled.arrays.start)), 1.0
    for level in levels[1:] if first else levels:
        cost += factor * compiled.move_costs(level)
        factor *= NEXT_LEVEL
    packed = pack(compiled, ((Term(replace(term.objective, threshold=0.0)),),))
    return Task(packed, term.objective, term.weight, term.objective.threshold**2, float(packed.variance_hosts[0]), cost, first)


def applies(compiled: Compiled) -> bool:
    """Whether the problem is one spread, first or weighed against the cost of moves, and nothing else."""
    return task(compiled) is not None


def improve(compiled: Compiled, where: Index, stop: Stop, seed: int, threads: int, found: Callable[[Index], None]) -> Index:
    """The best placement of the three stages, from a legal one; ``found`` hears of each stage's result."""
    work = task(compiled)
    if work is None:
        return where
    P = work.packed
    X = new_state(P, where)
    rng = np.random.default_rng(seed)
    goal = work.floor - 1e-12
    _descend(work, X, stop, goal)
    found(X.where.copy())
    if work.first and variance(X, work.hosts) > work.floor:
        _anneal(work, X, stop, rng, P.max_moves, np.zeros_like(work.cost), 1.0, goal, goal)  # as even as it gets, whatever it costs
        found(X.where.copy())
    if work.fewest and variance(X, work.hosts) <= work.floor:
        _budgets(work, X, stop, rng, goal, found)
    if work.cost.any() and stop.remaining_s() > 0:
        _costs(work, X, stop, rng, threads)
        found(X.where.copy())
    return X.where.copy()


def variance(X: State, hosts: float) -> float:
    """The variance of the hosts' utilisation in a state."""
    return float(X.sums[0, 1] / hosts - (X.sums[0, 0] / hosts) ** 2)


def _descend(work: Task, X: State, stop: Stop, goal: float) -> None:
    """The best shift again and again until the goal is met or nothing helps; costs count where they are weighed against the spread."""
    P = work.packed
    cost = np.zeros_like(work.cost) if work.first else work.cost * work.hosts / work.weight
    floor = work.floor if not work.first else -1.0
    counted = np.flatnonzero(P.share[:, 0] > 0).astype(np.int32)
    while stop.remaining_s() > 0 and variance(X, work.hosts) > goal:
        coldest_first = counted[np.argsort(X.level[counted, 0], kind="stable")]
        server, place = _best_shift(P, X, coldest_first, float(P.share.max()), cost, floor)
        if server < 0:
            return
        shift(P, X, server, place)


@kernel
def _best_shift(P, X, order, widest, cost, floor):  # type: ignore[no-untyped-def]
    """(server, place) of the legal shift that takes most off n x max(variance, floor) + cost, or (-1, -1).

    ``order``: the hosts that count, the coldest first. ``widest``: the greatest utilisation by one unit of load.
    """
    n, M = P.variance_hosts[0], P.modes
    mean = X.sums[0, 0] / n
    above = X.sums[0, 1] - n * mean * mean - n * max(floor, 0.0)
    best, server, place = 1e-12, -1, -1
    coldest = mean - X.level[order[0], 0]
    for i in range(len(P.movable)):
        s = P.movable[i]
        o = X.where[s]
        h = o // M
        load = P.heat[s, 0]
        if load == 0.0:
            continue
        price = cost[s] if o == P.start[s] else 0.0
        a = load * P.share[h, 0]
        leave = a * (2.0 * (X.level[h, 0] - mean) - a)
        slack = max(a, load * widest) ** 2 / n
        if leave + min(coldest * coldest, 2.0 * coldest * load * widest) + slack - price <= best:
            continue
        for j in range(len(order)):
            g = order[j]
            cold = mean - X.level[g, 0]
            if leave + cold * abs(cold) + slack - price <= best:
                break
            if g == h:
                continue
            b = load * P.share[g, 0]
            gain = leave + b * (2.0 * cold - b) + (b - a) ** 2 / n
            gain = min(gain, above) - price if floor >= 0.0 else gain - price
            if gain <= best:
                continue
            for m in range(M):
                p = g * M + m
                back = cost[s] if p == P.start[s] and o != p else 0.0
                if gain + back > best and shift_legal(P, X, s, p):
                    best, server, place = gain + back, s, p
    return server, place


def _budgets(work: Task, X: State, stop: Stop, rng: np.random.Generator, goal: float, found: Callable[[Index], None]) -> None:
    """Ever fewer moves as long as the goal can be met. What a failure lacks, in moves like the least useful one, tells what to try next."""
    none = np.zeros_like(work.cost)
    hopeless, again, tries = 0, 0, 2 if X.figures[0] <= _MANY else 1
    limit = int(X.figures[0]) - max(1, int(X.figures[0]) // 40)
    while stop.remaining_s() > 0 and X.figures[0] > 0 and again < tries:
        trial = copy_state(X)
        worth = _take_back(work.packed, trial, limit)
        _anneal(work, trial, stop, rng, limit, none, 1.0, 0.0, goal)
        lacking = variance(trial, work.hosts) - work.floor
        if trial.figures[0] <= limit and lacking <= 0:
            assign_state(X, trial)
            found(X.where.copy())
            again = 0
        else:
            hopeless = max(hopeless, limit + max(0, int(lacking * work.hosts / max(worth, 1e-12))))
            again += limit == X.figures[0] - 1
        limit = max(min(int(X.figures[0]) - 1, hopeless + 1), 0)
        if limit <= hopeless:
            again += 1


@kernel
def _take_back(P, X, limit):  # type: ignore[no-untyped-def]
    """Send servers home that do least good where they are, until at most ``limit`` have moved or none can go home.

    Returns what the last one took off n x variance.
    """
    n, worth = P.variance_hosts[0], 0.0
    while X.figures[0] > limit:
        best, server = 1e300, -1
        for i in range(len(P.movable)):
            s = P.movable[i]
            o = X.where[s]
            if o != P.start[s] and shift_legal(P, X, s, P.start[s]):
                shift(P, X, s, P.start[s])
                value = X.sums[0, 1] - X.sums[0, 0] ** 2 / n
                shift(P, X, s, o)
                if value < best:
                    best, server = value, s
        if server < 0:
            return worth
        worth = best - (X.sums[0, 1] - X.sums[0, 0] ** 2 / n)
        shift(P, X, server, P.start[server])
    return worth


def _costs(work: Task, X: State, stop: Stop, rng: np.random.Generator, threads: int) -> None:
    """Anneal the whole objective; where the spread comes first, only what is below the threshold counts.

    While annealing, the spread is priced at about twice what it costs to bring it down here: were it dearer, as it often is in truth, the
    search could not pass from one good placement to the next, all of which lie at the threshold.
    """
    moved = X.where != work.packed.start
    if not moved.any():
        return
    floor, now = work.floor, variance(X, work.hosts)
    limit, cost, truth = work.packed.max_moves, work.cost, work.weight
    if work.first:
        floor, truth = max(work.floor, now), _ENDLESS
        if work.fewest:
            limit, cost = int(moved.sum()), cost - cost[work.packed.movable].min()
    before = variance(new_state(work.packed, work.packed.start), work.hosts)
    price = 2.0 * float(work.cost[moved].sum()) / max(1e-12, before - now)
    weight = price if work.first else min(work.weight, price)
    trials = [copy_state(X) for _ in range(1 if work.first or moved.sum() > _MANY else _STARTS)]
    sources = rng.spawn(len(trials))
    with ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(lambda trial, source: _anneal(work, trial, stop, source, limit, cost, weight, floor, -1.0, truth), trials, sources))
    worth = [float(cost[t.where != work.packed.start].sum()) + work.weight * max(0.0, variance(t, work.hosts) - floor) for t in trials]
    assign_state(X, trials[int(np.argmin(worth))])


def _anneal(work: Task, X: State, stop: Stop, rng: np.random.Generator, limit: int, cost: Floats, weight: float, floor: float, goal: float,
            truth: float = 1.0) -> None:
    """Anneal weight x max(0, variance - floor) + cost from a state; ends early when the variance is at most ``goal``.

    The state becomes the one that is best when the spread is weighed by ``truth``; where that is endless, of those not above the floor.
    """
    P = work.packed._replace(max_moves=min(limit, work.packed.max_moves))
    active, cold_hosts = _promising(work, X)
    if not len(active):
        return
    most = _AT_MOST if not cost.any() or X.figures[0] <= _MANY else _AT_MOST // 4
    total = min(most, _PER_MOVE * max(8, min(limit, len(active))))
    now = variance(X, work.hosts)
    # What one move is worth: the hot start lets moves of a sixth of that pass, the cold end next to nothing.
    worth = weight * max(now, 1e-9) / max(8.0, float(X.figures[0])) if not cost.any() else float(cost[active].mean())
    best, least = X.where.copy(), np.array([_ENDLESS])
    moved, at = np.zeros(len(best), dtype=np.int32), np.zeros(len(best), dtype=np.int32)
    for begin in range(0, total, _CHUNK):
        if stop.remaining_s() <= 0:
            break
        hot = 0.15 * worth * (1e-3 ** (begin / total))
        cold = 0.15 * worth * (1e-3 ** (min(total, begin + _CHUNK) / total))
        refresh(P, X)
        if _anneal_kernel(P, X, best, least, moved, at, active, cold_hosts, cost, bool(cost.any()), weight, floor, goal, truth, _CHUNK, hot, cold,
                          int(rng.integers(2**31))):
            break
    assign_state(X, new_state(P, best))


def _promising(work: Task, X: State) -> tuple[Index, Index]:
    """(the servers that may be worth moving, the hosts that may be worth filling), each by far the most likely first choice.

    A server is, when leaving its host in the present cluster for the coldest one would take off a third of what the least useful move
    now made does.
    """
    P = work.packed
    home = P.start // np.int32(P.modes)
    share, heat = P.share[:, 0], P.heat[:, 0]
    level = np.bincount(home, weights=heat, minlength=len(share)) * share
    mean = level.sum() / work.hosts
    counted = share > 0
    own = heat * share[home]
    leave = own * (2 * (level[home] - mean) - own)
    coldest = mean - float(level[counted].min())
    # Of all sizes the one that fills the gap gains most.
    arrive = np.minimum(heat * share.max(), coldest)
    gain = leave + arrive * (2 * coldest - arrive)
    moved = np.flatnonzero(X.where != P.start)
    movable = P.movable[heat[P.movable] > 0]
    if not len(moved):
        return movable, np.flatnonzero(counted).astype(np.int32)
    return movable[gain[movable] >= gain[moved].min() / 3], np.flatnonzero(counted & (level < mean)).astype(np.int32)


@inlined
def _somewhere(H, M, cold_hosts):  # type: ignore[no-untyped-def]
    """A random place, nine times of ten on a cold host."""
    h = cold_hosts[np.random.randint(len(cold_hosts))] if len(cold_hosts) > 0 and np.random.random() < 0.9 else np.random.randint(H)
    return h * M + (np.random.randint(M) if M > 1 else 0)


@inlined
def _someone(P, active):  # type: ignore[no-untyped-def]
    return active[np.random.randint(len(active))] if np.random.random() < 0.9 else P.movable[np.random.randint(len(P.movable))]


@inlined
def _copy(source, target):  # type: ignore[no-untyped-def]
    for i in range(len(source)):
        target[i] = source[i]


@inlined
def _true_value(energy, paid, weight, truth):  # type: ignore[no-untyped-def]
    excess = (energy - paid) / weight
    return paid if excess <= 1e-12 else paid + truth * excess


@kernel
def _anneal_kernel(P, X, best, least, moved, at, active, cold_hosts, cost, priced, weight, floor, goal, truth, rounds, hot, cold, seed):  # type: ignore[no-untyped-def]
    """Anneal from X for so many rounds; the best placement goes to ``best``, its value to ``least``. True when the goal is met.

    ``moved`` and ``at`` (S) are room for a list of the servers that are not at home, and their places in it.
    """
    np.random.seed(seed)
    M, H, n, size = P.modes, len(X.count), P.variance_hosts[0], 0
    for s in range(len(P.start)):
        at[s] = -1
        if X.where[s] != P.start[s]:
            moved[size] = s
            at[s] = size
            size += 1
    paid = 0.0
    for i in range(size):
        paid += cost[moved[i]]
    energy = weight * max(0.0, X.sums[0, 1] / n - (X.sums[0, 0] / n) ** 2 - floor) + paid
    value = _true_value(energy, paid, weight, truth)
    if value < least[0]:
        least[0] = value
        _copy(X.where, best)
    cooling = (cold / hot) ** (1.0 / rounds)
    heat = hot
    for _ in range(rounds):
        heat *= cooling
        # s goes to p; before that ``a`` goes home (replace) or to where s was (exchange)
        s, p, a, a_to = -1, -1, -1, -1
        draw = np.random.random()
        if size < P.max_moves and (size == 0 or draw < (0.2 if priced else 0.5)):
            s = _someone(P, active)
            if at[s] >= 0:
                continue
            p = _somewhere(H, M, cold_hosts)
        elif size == 0:
            return False
        else:
            draw = np.random.random()
            if draw < 0.3:
                s = moved[np.random.randint(size)]
                p = _somewhere(H, M, cold_hosts)
            elif draw < 0.35 and priced:
                s = moved[np.random.randint(size)]
                p = P.start[s]
            elif draw < 0.8:
                a = moved[np.random.randint(size)]
                a_to = P.start[a]
                s = _someone(P, active)
                if at[s] >= 0:
                    continue
                p = X.where[a] if np.random.random() < 0.6 else _somewhere(H, M, cold_hosts)
            else:
                a, s = moved[np.random.randint(size)], moved[np.random.randint(size)]
                if a == s:
                    continue
                a_to, p = X.where[s], X.where[a]
        s_from = X.where[s]
        if s_from == p:
            continue
        a_from = -1
        if a >= 0:
            a_from = X.where[a]
            if a_to == P.start[a]:
                if not shift_legal(P, X, a, a_to):
                    continue
                shift(P, X, a, a_to)
                if not shift_legal(P, X, s, p):
                    shift(P, X, a, a_from)
                    continue
                shift(P, X, s, p)
            else:
                if not swap_legal(P, X, a, s):
                    continue
                swap(P, X, a, s)
        else:
            if not shift_legal(P, X, s, p):
                continue
            shift(P, X, s, p)
        change = 0.0
        if priced:
            change = cost[s] * (int(p != P.start[s]) - int(s_from != P.start[s]))
            if a >= 0:
                change += cost[a] * (int(a_to != P.start[a]) - int(a_from != P.start[a]))
        new = weight * max(0.0, X.sums[0, 1] / n - (X.sums[0, 0] / n) ** 2 - floor) + paid + change
        if new <= energy or np.random.random() < np.exp((energy - new) / heat):
            energy = new
            paid += change
            for k in range(2):
                t = s if k == 0 else a
                if t >= 0:
                    away = X.where[t] != P.start[t]
                    if away and at[t] < 0:
                        moved[size] = t
                        at[t] = size
                        size += 1
                    elif not away and at[t] >= 0:
                        size -= 1
                        moved[at[t]] = moved[size]
                        at[moved[size]] = at[t]
                        at[t] = -1
            value = _true_value(energy, paid, weight, truth)
            if value < least[0] - 1e-13:
                least[0] = value
                _copy(X.where, best)
                if goal >= 0.0 and X.sums[0, 1] / n - (X.sums[0, 0] / n) ** 2 <= goal:
                    return True
        elif a >= 0 and a_to != P.start[a]:
            swap(P, X, a, s)
        else:
            shift(P, X, s, s_from)
            if a >= 0:
                shift(P, X, a, a_from)
    return False

