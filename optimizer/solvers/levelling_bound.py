"""How little moving can level the load: lower bounds by Lagrangian relaxation over what may happen on each host.

With x_h the utilisation of host h, n hosts, a_s = 1 when server s leaves its host and b_sh = 1 when it arrives on h, the problem is

    least  sum_s cost_s a_s   where   sum_h x_h^2 - (sum_h x_h)^2 / n <= n T   and   sum_h b_sh = a_s for every server.

Priced into the objective are the spread (alpha), each server's arrival (mu_s), and, while the sum of all x is held between two ends where
its square lies below a chord, that sum (beta). What is left falls apart by host: the best set of servers to leave and to arrive, found
exactly by dynamic programming over the load. Of the other rules it knows where each server may go, and that a server arriving on a host
that nobody leaves has to find room there. The prices are improved by subgradient steps (B. T. Polyak, "Minimization of unsmooth
functionals", 1969); servers that cannot move in any solution as cheap as the one looked for are taken out on the way.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Index, Ints, Mask
from optimizer.solvers.jit import allocating
from optimizer.solvers.levelling import Task, task
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

Floats = npt.NDArray[np.float64]
_CELLS = 100_000_000  # cells of one round of dynamic programming: beyond, the relaxation takes longer than it is worth
_STEPS = 40  # of the search for tangents
_ROUNDS = 2000
_LOOK = 25  # rounds between two looks for servers that cannot move
_NEAR = 0.992
_KEPT = 0.8  # share of the last direction that is kept in the next
_PATIENCE = 20  # rounds without a better bound until the steps become smaller
_EQUAL = 1e-9  # variances above the floor by less than this are taken to meet it
_MISSED = 1e-7  # a bound that is above a target by less than this is taken to meet it


class Shape(NamedTuple):
    """What the dynamic programming works on. Loads are in units of ``unit``; lists of lists are flat with pointers.

    ``load`` and ``cost`` (S); ``base`` and ``most`` (H): load of a host now and the most it may carry; ``share`` (H): utilisation by one unit;
    ``kind`` (H): hosts of one kind admit the same servers; ``comers`` by kind, ``leavers`` by host; ``fits`` (S x H), empty where not asked.
    """

    unit: int
    load: Ints
    cost: Floats
    base: Ints
    most: Ints
    share: Floats
    kind: Ints
    comers_from: Ints
    comers: Ints
    leavers_from: Ints
    leavers: Ints
    reach: int
    fits: Mask


@dataclass(frozen=True)
class _Prices:
    alpha: float
    beta: float
    mu: Floats


@dataclass(frozen=True)
class _Case:
    """A bound that is looked for: of sum cost + weight x max(0, variance - floor), ``weight`` infinite where the floor is a must.

    ``best``: what a known solution costs; ``target``: the search ends once the bound is above it.
    """

    compiled: Compiled
    shape: Shape
    home: Index
    admits: Mask
    hosts: float
    floor: float
    weight: float
    best: float
    target: float


def level_bounds(compiled: Compiled, where: Index, stop: Stop) -> tuple[float | None, ...]:
    """A bound for each level of a problem that optimizer.solvers.levelling takes, ``where`` being a good placement.

    That of the second level holds where the first is met in full; of levels after it nothing is known.
    """
    levels = compiled.problem.levels
    work = task(compiled)
    unknown: tuple[float | None, ...] = (None,) * (len(levels) - 1)
    if work is None:
        return (0.0, *unknown)
    if not work.first:
        return (least_objective(compiled, work, where, compiled.move_costs(levels[0]), stop), *unknown)
    if _variance(compiled, work, where) > work.floor + _EQUAL:
        return (least_objective(compiled, work, where, np.zeros(len(where)), stop), *unknown)
    if len(levels) == 1:
        return (0.0,)
    return (0.0, _least_moving(compiled, work, where, compiled.move_costs(levels[1]), stop), *unknown[1:])


def _least_moving(compiled: Compiled, work: Task, where: Index, cost: Floats, stop: Stop) -> float:
    """A bound on the cost of moving where the spread is below the threshold; by the number of moves where that comes first."""
    movable = np.sort(cost[compiled.able])
    moved = int((where != compiled.arrays.start).sum())
    if not moved or not len(movable) or float((movable - movable[0]).sum()) >= movable[0]:
        return least_cost(compiled, work, where, cost, float(cost[where != compiled.arrays.start].sum()), stop)
    fewer = least_cost(compiled, work, where, np.ones_like(cost), moved - 1.0, stop)
    fewest = moved if fewer >= moved - 1 else math.ceil(fewer - _MISSED)
    return float(movable[:fewest].sum())


def least_cost(compiled: Compiled, work: Task, where: Index, cost: Floats, target: float, stop: Stop) -> float:
    """A bound on the ``cost`` (S) of the servers that move in any placement whose variance is at most the floor.

    ``where`` is such a placement. The bound is never above ``target`` by more than rounding, and worked on until it gets there.
    """
    best = float(cost[where != compiled.arrays.start].sum())
    return _bound(compiled, work, where, cost, work.floor + _EQUAL, math.inf, best, target, stop)


def least_objective(compiled: Compiled, work: Task, where: Index, cost: Floats, stop: Stop) -> float:
    """A bound on weight x max(0, variance - floor) + ``cost`` (S) of the servers that move; ``where`` is a known placement.

    It is worked on until it is within a hundredth of what that placement costs.
    """
    best = float(cost[where != compiled.arrays.start].sum()) + work.weight * max(0.0, _variance(compiled, work, where) - work.floor)
    return _bound(compiled, work, where, cost, work.floor, work.weight, best, _NEAR * best, stop)


def _variance(compiled: Compiled, work: Task, where: Index) -> float:
    share = work.packed.share[:, 0]
    level = np.bincount(where // compiled.arrays.modes, weights=work.packed.heat[:, 0], minlength=len(share)) * share
    return float((level**2).sum() / work.hosts - (level.sum() / work.hosts) ** 2)


def _bound(compiled: Compiled, work: Task, where: Index, cost: Floats, floor: float, weight: float, best: float, target: float,
           stop: Stop) -> float:
    """The bound by the relaxation, or by tangents alone where that would take too long. Costs are in parts of the average one meanwhile."""
    movable = compiled.able
    if target <= 0 or not movable.any():
        return 0.0
    scale = float(cost[movable].mean()) if cost[movable].mean() > 0 else 1.0
    variance = floor if math.isinf(weight) else floor + best / weight
    shape = _shape(compiled, work, cost / scale, movable, variance)
    if shape is None:
        return 0.0
    hosts = where // np.int32(compiled.arrays.modes)
    case = _Case(compiled, shape, compiled.arrays.home, compiled.arrays.eligible, work.hosts, floor, weight / scale, best / scale, target / scale)
    if len(shape.comers) * shape.reach + int((np.diff(shape.leavers_from) * (shape.base // shape.unit + shape.reach)).sum()) > _CELLS:
        return max(0.0, min(target, scale * (_tangents(case, hosts) - _MISSED)))
    prices, middle = _first_prices(case, hosts)
    return max(0.0, min(target, scale * (_over_intervals(case, prices, middle, stop) - _MISSED)))


def _tangents(case: _Case, hosts: Index) -> float:
    """A bound by the squares' tangents alone: with any distances p that add up to 0, n x variance is at least sum 2 p_h x_h - p_h^2.

    Every move then takes off at most what it does on the way to the host where that is most, and the cheapest moves for what they take off
    bound the cost. p follows what could be reached for the cost of the known placement (``hosts``) if load were a liquid: what the most
    useful moves take away is poured over the coldest hosts.
    """
    shape, n = case.shape, case.hosts
    load = shape.load * shape.unit
    counted, servers = shape.share > 0, shape.leavers
    home, cost, kind = case.home[servers], shape.cost[servers], case.compiled.arrays.server_class[servers]
    start = shape.base * shape.share
    level = np.bincount(hosts, weights=load, minlength=len(start)) * shape.share
    best = 0.0
    for _step in range(_STEPS):
        p = np.where(counted, level - level.sum() / n, 0.0)
        slope = p * shape.share
        reach = np.where(case.admits & counted, slope, np.inf)
        gain = 2 * load[servers] * (slope[home] - reach.min(axis=1)[kind])
        need = float((2 * p * start - p**2).sum()) - n * case.floor
        best = max(best, _cheapest(gain[gain > 0], cost[gain > 0], need, case.weight / n))
        order = np.argsort(-gain / np.maximum(cost, 1e-300), kind="stable")
        went = order[np.cumsum(cost[order]) <= case.best]
        went = went[gain[went] > 0]
        end = start - np.bincount(home[went], weights=load[servers[went]], minlength=len(start)) * shape.share
        level += 0.3 * (_poured(shape.share, end, float(load[servers[went]].sum()), level.sum() / n) - level)
    return best


def _poured(share: Floats, level: Floats, amount: float, mean: float) -> Floats:
    """Utilisation after an amount of load was poured where it brings the variance down most: to one distance x share below the mean."""
    counted = share > 0
    low, high = 0.0, float(((mean - level) * share).max(initial=0.0))
    for _ in range(50):
        rest = (low + high) / 2
        filled = np.where(counted, np.maximum(level, mean - rest / np.maximum(share, 1e-300)), level)
        if float(((filled - level)[counted] / share[counted]).sum()) > amount:
            low = rest
        else:
            high = rest
    return np.where(counted, np.maximum(level, mean - high / np.maximum(share, 1e-300)), level)


def _cheapest(gain: Floats, cost: Floats, need: float, price: float) -> float:
    """The least cost of gains that add up to a need, in parts where need be; what is lacking costs ``price`` for each unit."""
    need -= 1e-12  # what rounding may have added is not to be paid for, least of all without end
    if need <= 0:
        return 0.0
    order = np.argsort(cost / gain, kind="stable")
    gain, cost = gain[order], cost[order]
    worth = cost / gain < price
    gain, cost = gain[worth], cost[worth]
    total = np.concatenate([[0.0], gain.cumsum()])
    full = int(np.searchsorted(total, need)) - 1
    if full >= len(gain):
        return float(cost.sum()) + ((need - float(total[-1])) * price if need > total[-1] else 0.0)
    return float(cost[:full].sum() + (need - total[full]) / gain[full] * cost[full])


def _shape(compiled: Compiled, work: Task, cost: Floats, movable: Mask, variance: float) -> Shape | None:
    """The problem in units of load; None where servers may go to hosts that do not count."""
    arrays = compiled.arrays
    balance = compiled.balance[work.spread.metric]
    unit = max(1, int(np.gcd.reduce(balance.load[movable])))
    base = np.bincount(arrays.home, weights=balance.load, minlength=len(arrays.room)).astype(np.int64)
    # Beyond some utilisation a host alone makes the variance greater than it may be.
    share = np.where(balance.counted, 1.0 / np.maximum(1, balance.capacity), 0.0)
    highest = int(base.sum()) * float(share.max()) / work.hosts + math.sqrt(work.hosts * variance)
    if arrays.eligible[:, ~balance.counted].any():
        return None  # what arrives on a host that does not count would vanish from the sums
    most = np.where(balance.counted, np.ceil(balance.capacity * highest), 0.0).astype(np.int64)
    name = f"load:{work.spread.metric}"
    if name in arrays.quantities:
        most = np.minimum(most, arrays.room[:, arrays.quantities.index(name)])
    used = np.unique(arrays.server_class)
    _, kind = np.unique(arrays.eligible[used].T, axis=0, return_inverse=True)
    reach = int(max(0, most.max()) // unit)
    none = np.zeros(0, dtype=np.int64)
    shape = Shape(unit=unit, load=balance.load // unit, cost=cost, base=base, most=np.maximum(most, base), share=share,
                  kind=kind.reshape(-1).astype(np.int64), comers_from=none, comers=none, leavers_from=none, leavers=none, reach=reach,
                  fits=_fits(compiled))
    return _listed(shape, compiled, movable)


def _fits(compiled: Compiled) -> Mask:
    """Where each server would find room if nobody left (S x H)."""
    arrays = compiled.arrays
    if arrays.modes > 1 or len(arrays.start) * len(arrays.room) > 10_000_000:
        return np.zeros((0, 0), dtype=np.bool_)
    free = arrays.room - arrays.used(arrays.start)
    fits = np.ones((len(arrays.start), len(arrays.room)), dtype=np.bool_)
    for d in range(arrays.demand.shape[1]):
        need = arrays.demand[:, d][:, None]
        fits &= (need <= 0) | (need <= free[:, d])
    for group in arrays.apart:
        here = np.bincount(arrays.home[group.members], minlength=len(arrays.room)) + group.held
        fits[group.members] &= here < group.limit
    return fits


def _listed(shape: Shape, compiled: Compiled, able: Mask) -> Shape:
    """The shape with lists of the servers that are ``able`` (S) to move."""
    arrays = compiled.arrays
    servers = np.flatnonzero(able)
    loaded = servers[shape.load[servers] > 0]
    comers = []
    for k in range(int(shape.kind.max()) + 1):
        host = int(np.flatnonzero(shape.kind == k)[0])
        comers.append(loaded[arrays.eligible[arrays.server_class[loaded], host]])
    counts = np.bincount(arrays.home[servers], minlength=len(arrays.room))
    return shape._replace(
        comers_from=np.concatenate([[0], np.cumsum([len(one) for one in comers])]).astype(np.int64), comers=np.concatenate(comers).astype(np.int64),
        leavers_from=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        leavers=servers[np.argsort(arrays.home[servers], kind="stable")].astype(np.int64))


def _first_prices(case: _Case, hosts: Index) -> tuple[_Prices, float]:
    """Prices read off a good solution, and the sum of utilisations there.

    An arrival is worth what the best host left would gain by it; the spread is worth what the best move left would cost for its gain.
    """
    shape, n = case.shape, case.hosts
    load = shape.load * shape.unit
    level = np.bincount(hosts, weights=load, minlength=len(shape.base)) * shape.share
    far = level - level.sum() / n
    arrays = case.compiled.arrays
    worth = np.zeros(len(load))
    open_hosts = shape.share > 0
    for s in np.unique(shape.comers).tolist():
        share = load[s] * shape.share
        gain = -share * (2 * far + share)
        mask = open_hosts & case.admits[arrays.server_class[s]]
        mask[hosts[s]] = False
        worth[s] = max(0.0, float(gain[mask].max())) if mask.any() else 0.0
    own = load * shape.share[hosts]
    gain = own * (2 * far[hosts] - own) + worth
    staying = np.zeros(len(load), dtype=np.bool_)
    staying[shape.comers] = True
    staying &= hosts == case.home
    rates = gain[staying] / np.maximum(shape.cost[staying], 1e-9)
    rate = float(rates.max()) if len(rates) and rates.max() > 0 else 1.0
    alpha = min(1.0 / rate, case.weight / n)
    return _Prices(alpha, 2 * alpha * float(level.sum()) / n, alpha * worth), float(level.sum())


def _over_intervals(case: _Case, prices: _Prices, middle: float, stop: Stop) -> float:
    """The least bound over all sums of utilisation: a narrow interval around the known solution's, then ever wider ones on both sides."""
    n, shape = case.hosts, case.shape
    total = float(shape.base.sum())
    ends = total * float(shape.share[shape.share > 0].min()), total * float(shape.share.max())
    # Within an interval of width w the chord is off by up to w^2 / 4n.
    half = math.sqrt(0.01 * n / max(prices.alpha, 1e-12))
    least, central = _in_interval(case, prices, middle - half, middle + half, stop)
    for sign, end in ((-1.0, ends[0]), (1.0, ends[1])):
        at, width, known = middle + sign * half, half, central
        while (end - at) * sign > 0 and least > 0:
            to = at + sign * width
            bound, known = _in_interval(case, known, min(at, to), max(at, to), stop, least)
            least, at, width = min(least, bound), to, 1.5 * width
    return least


def _in_interval(case: _Case, prices: _Prices, low: float, high: float, stop: Stop, floor: float = math.inf) -> tuple[float, _Prices]:
    """(the bound where the sum of utilisations lies between two ends, its prices); ends early once above the target or ``floor``.

    A finite ``floor`` says that the prices are those of the interval next to this one: nearly right, so that a look for servers that
    cannot move pays at once.
    """
    shape, warm = case.shape, floor < math.inf
    enough = min(case.target, floor) + 2 * _MISSED
    best, known, now, step, idle = -math.inf, prices, prices, 0.4 if warm else 1.0, 0
    size = (0.3 * prices.alpha) ** 2
    last: tuple[float, float, Floats] = (0.0, 0.0, np.zeros(len(prices.mu)))
    for number in range(_ROUNDS):
        value, slopes, parts = _value(case, shape, now, low, high)
        if value > best + 1e-9:
            best, known, idle = value, now, 0
        else:
            idle += 1
        if best > enough or stop.remaining_s() <= 0:
            break
        if best > 0 and (number % _LOOK == _LOOK - 1 or (number == 1 and warm)):
            able = _still_able(case, shape, known, low, high)
            if not able.any():
                return _unmoved(case, shape), known
            shape = _listed(shape, case.compiled, able)
        if idle >= _PATIENCE:
            step, idle, now, last = 0.7 * step, 0, known, (0.0, 0.0, np.zeros(len(prices.mu)))
            if step < 0.02:
                break
            continue
        # Part of the last direction is kept: it dampens the zigzag between two sides of a ridge.
        one, two, each = slopes[0] + _KEPT * last[0], slopes[1] + _KEPT * last[1], parts + _KEPT * last[2]
        last = one, two, each
        norm = size * (one**2 + two**2) + float((each**2).sum())
        if norm <= 1e-15:
            break
        length = step * max(case.best - value, 0.003 * case.best) / norm
        alpha = min(max(1e-9, now.alpha + length * size * one), case.weight / case.hosts)
        now = _Prices(alpha, now.beta + length * size * two, now.mu + length * each)
    return best, known


def _unmoved(case: _Case, shape: Shape) -> float:
    """The cost where nobody moves: none, and what the spread then costs; infinite where the floor is a must and not met."""
    level = shape.base * shape.share
    excess = float((level**2).sum() / case.hosts - (level.sum() / case.hosts) ** 2) - case.floor
    return 0.0 if excess <= 0 else case.weight * excess


def _value(case: _Case, shape: Shape, prices: _Prices, low: float, high: float) -> tuple[float, tuple[float, float], Floats]:
    """(the bound at some prices, its slopes in alpha and beta, those in mu)."""
    n = case.hosts
    left, came, totals, _ = _hosts(shape, prices.alpha, prices.beta, prices.mu)
    ends = [(prices.beta * end - prices.alpha * end**2 / n, end) for end in (low, high)]
    chord, end = min(ends)
    value = float(totals[0] + chord - prices.alpha * n * case.floor)
    parts = np.where(shape.load > 0, came - left, 0).astype(np.float64)
    return value, (float(totals[1] - end**2 / n - n * case.floor), float(end - totals[2])), parts


def _still_able(case: _Case, shape: Shape, prices: _Prices, low: float, high: float) -> Mask:
    """The servers (S) that may move in a solution whose cost does not exceed the target."""
    value, _, _ = _value(case, shape, prices, low, high)
    each = _hosts(shape, prices.alpha, prices.beta, prices.mu)[3]
    listed = np.zeros(len(shape.load), dtype=np.bool_)
    listed[shape.leavers] = True
    return np.asarray(listed & (value + _forced(shape, prices.alpha, prices.beta, prices.mu, each) <= case.target + _MISSED))


@allocating
def _arrivals(shape, items, mu, host, sums, taken):  # type: ignore[no-untyped-def]
    """The least price of arrivals by total load, and who is in them; ``host`` (-1: any) takes only those it has room for. Returns the reach."""
    sums[:] = np.inf
    sums[0] = 0.0
    top = 0
    for i in range(len(items)):
        s = items[i]
        load, price = shape.load[s], mu[s]
        if host >= 0 and not shape.fits[s, host]:
            taken[i, :] = False
            continue
        top = min(shape.reach, top + load)
        taken[i, :] = False
        for t in range(top, load - 1, -1):
            value = sums[t - load] + price
            if value < sums[t]:
                sums[t] = value
                taken[i, t] = True
    return top


@allocating
def _best_total(shape, h, sums, top, below, alpha, beta):  # type: ignore[no-untyped-def]
    """(the least of price + alpha x^2 - beta x, at which index) where index i stands for the load base + unit (i - below)."""
    best, at = np.inf, -1
    last = min(top, below + (shape.most[h] - shape.base[h]) // shape.unit)
    for i in range(last + 1):
        if sums[i] < np.inf:
            x = (shape.base[h] + shape.unit * (i - below)) * shape.share[h]
            value = sums[i] + alpha * x * x - beta * x
            if value < best:
                best, at = value, i
    return best, at


@allocating
def _cleared(shape, h, top, whole):  # type: ignore[no-untyped-def]
    """Make the prices of all changes of load on host h endless. Returns the load of all who may leave, where no change stands."""
    below = 0
    for i in range(shape.leavers_from[h], shape.leavers_from[h + 1]):
        below += shape.load[shape.leavers[i]]
    whole[:below + top + 1] = np.inf
    return below


@allocating
def _leaving(shape, h, mu, sums, top, whole, choice):  # type: ignore[no-untyped-def]
    """Prices by total change of load when one or more leave host h after arrivals priced ``sums``; index i stands for a change of i - below.

    ``choice`` tells who leaves: 2 the first, 1 others. Returns below.
    """
    begin, end = shape.leavers_from[h], shape.leavers_from[h + 1]
    below = _cleared(shape, h, top, whole)
    size = below + top + 1
    for i in range(begin, end):
        s = shape.leavers[i]
        load, price = shape.load[s], shape.cost[s] - mu[s]
        choice[i - begin, :size] = 0
        for t in range(size - load):
            one = whole[t + load] + price
            if one < whole[t]:
                whole[t] = one
                choice[i - begin, t] = 1
            k = t + load - below
            if k >= 0:
                first = sums[k] + price
                if first < whole[t]:
                    whole[t] = first
                    choice[i - begin, t] = 2
    return below


@allocating
def _sizes(shape):  # type: ignore[no-untyped-def]
    """(the greatest load that can leave a host, the greatest number of leavers)."""
    widest, number = 0, 0
    for h in range(len(shape.base)):
        below = 0
        for i in range(shape.leavers_from[h], shape.leavers_from[h + 1]):
            below += shape.load[shape.leavers[i]]
        widest = max(widest, below)
        number = max(number, shape.leavers_from[h + 1] - shape.leavers_from[h])
    return widest, number


@allocating
def _hosts(shape, alpha, beta, mu):  # type: ignore[no-untyped-def]
    """The best that can happen on every host: who leaves (S), who comes (S, how often), (value, sum of x^2, sum of x), value by host."""
    left, came = np.zeros(len(shape.load), dtype=np.int64), np.zeros(len(shape.load), dtype=np.int64)
    totals, each = np.zeros(3), np.zeros(len(shape.base))
    widest, most_leavers = _sizes(shape)
    sums, own = np.empty(shape.reach + 1), np.empty(shape.reach + 1)
    whole = np.empty(widest + shape.reach + 1)
    choice = np.zeros((most_leavers, widest + shape.reach + 1), dtype=np.int8)
    narrow = shape.fits.shape[0] > 0
    for k in range(len(shape.comers_from) - 1):
        items = shape.comers[shape.comers_from[k]:shape.comers_from[k + 1]]
        taken = np.zeros((len(items), shape.reach + 1), dtype=np.bool_)
        top = _arrivals(shape, items, mu, -1, sums, taken)
        mine = np.zeros((len(items) if narrow else 0, shape.reach + 1), dtype=np.bool_)
        for h in range(len(shape.base)):
            if shape.kind[h] != k:
                continue
            below = _leaving(shape, h, mu, sums, top, whole, choice)
            best, at = _best_total(shape, h, whole, below + top, below, alpha, beta)
            value, stay_at = _best_total(shape, h, sums, top, 0, alpha, beta)
            used, limit = taken, -1
            if value < best and narrow:
                t = stay_at
                for i in range(len(items) - 1, -1, -1):
                    if taken[i, t]:
                        if not shape.fits[items[i], h]:
                            limit = h
                            break
                        t -= shape.load[items[i]]
                if limit >= 0:
                    reached = _arrivals(shape, items, mu, h, own, mine)
                    value, stay_at = _best_total(shape, h, own, reached, 0, alpha, beta)
                    used = mine
            if value <= best:
                best, t = value, stay_at
                x = (shape.base[h] + shape.unit * stay_at) * shape.share[h]
            else:
                used = taken
                x = (shape.base[h] + shape.unit * (at - below)) * shape.share[h]
                t = at
                begin = shape.leavers_from[h]
                for i in range(shape.leavers_from[h + 1] - begin - 1, -1, -1):
                    if choice[i, t] > 0:
                        s = shape.leavers[begin + i]
                        left[s] += 1
                        first = choice[i, t] == 2
                        t += shape.load[s]
                        if first:
                            break
                t -= below
            for i in range(len(items) - 1, -1, -1):
                if used[i, t]:
                    came[items[i]] += 1
                    t -= shape.load[items[i]]
            each[h] = best
            totals[0] += best
            totals[1] += x * x
            totals[2] += x
    return left, came, totals, each


@allocating
def _forced(shape, alpha, beta, mu, each):  # type: ignore[no-untyped-def]
    """By how much the bound rises when a server (S) has to leave its host; 0 for servers that are not listed."""
    leaving = np.zeros(len(shape.load))
    sums = np.empty(shape.reach + 1)
    whole = np.empty(_sizes(shape)[0] + shape.reach + 1)
    for k in range(len(shape.comers_from) - 1):
        items = shape.comers[shape.comers_from[k]:shape.comers_from[k + 1]]
        taken = np.zeros((len(items), shape.reach + 1), dtype=np.bool_)
        top = _arrivals(shape, items, mu, -1, sums, taken)
        for h in range(len(shape.base)):
            if shape.kind[h] != k:
                continue
            for i in range(shape.leavers_from[h], shape.leavers_from[h + 1]):
                s = shape.leavers[i]
                below = _one_leaves(shape, h, mu, sums, top, whole, s)
                best, _ = _best_total(shape, h, whole, below + top, below, alpha, beta)
                leaving[s] = max(0.0, best - each[h])
    return leaving


@allocating
def _one_leaves(shape, h, mu, sums, top, whole, one):  # type: ignore[no-untyped-def]
    """The least prices by change of load where server ``one`` leaves and any others may. Returns below."""
    begin, end = shape.leavers_from[h], shape.leavers_from[h + 1]
    below = _cleared(shape, h, top, whole)
    size = below + top + 1
    gone, price = shape.load[one], shape.cost[one] - mu[one]
    for k in range(top + 1):
        if below + k - gone >= 0:
            whole[below + k - gone] = sums[k] + price
    for i in range(begin, end):
        s = shape.leavers[i]
        if s != one:
            load, price = shape.load[s], shape.cost[s] - mu[s]
            for t in range(size - load):
                value = whole[t + load] + price
                if value < whole[t]:
                    whole[t] = value
    return below
