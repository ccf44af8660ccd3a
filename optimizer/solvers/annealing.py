"""Simulated annealing: random shifts, swaps and chains, worse ones accepted the less the later it is; several chains on as many threads.

Kirkpatrick, Gelatt, Vecchi, "Optimization by simulated annealing" (Science 220, 1983). The chains work on their own states without the interpreter
lock and meet at fixed shares of the budget, where those that are behind go on from the best.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Index
from optimizer.objectives.balance_cost import BalanceCost
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.load_cost import LoadCost
from optimizer.solvers.jit import inlined, kernel
from optimizer.solvers.kernel import (
    State,
    arrive_change,
    assign_state,
    copy_state,
    cost_of,
    exchange_change,
    host_of,
    leave_change,
    new_state,
    refresh,
    row_of,
    seat_of,
    shift,
    shift_cost,
    shift_legal,
    sitting,
    swap,
    swap_cost,
    swap_legal,
)
from optimizer.solvers.packed import Packed, pack
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

_MEETINGS = 40  # times that the chains compare what they have
_TOLD = 4  # meetings from one word on what was found to the next, and to the next time that those behind go on from the best
_SLICE_S = 0.05  # of work between two looks at the clock
_FIRST_SLICE = 20_000  # proposals
_HOT, _COLD = 1.0, 0.003  # temperature at the begin and the end, as a share of what moving a server typically changes
_FROZEN = 0.95  # share of the budget after which nothing worse is accepted
_SHIFTS, _CHAINS = 0.05, 0.5  # shares of the kinds of proposals; the rest are swaps
_PRICE = 1.0  # of the average server for what it keeps, in temperatures
_SMALL, _ON_LARGE = 0.3, 0.0  # a server whose size is below this many temperatures may be anywhere: so many proposals are about larger ones
_TARGETS = 8  # places that are tried for a server that is to be shifted


def applies(compiled: Compiled) -> bool:
    """Whether what hosts carry costs something everywhere, so that single changes show the way."""
    kinds = (LoadCost, BalanceCost, Fragmentation)
    return any(isinstance(term.objective, kinds) for level in compiled.problem.levels for term in level)


@dataclass
class _Chain:
    """One annealing process: its state, its source of chance, what it has found."""

    state: State
    rng: npt.NDArray[np.uint64]
    cost: float
    best: Index
    best_cost: float
    slice: int = _FIRST_SLICE
    tried: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))


def improve(compiled: Compiled, where: Index, stop: Stop, seed: int, threads: int, found: Callable[[Index], None]) -> Index:
    """Anneal from a legal placement (places) until the budget is spent; ``found`` gets each better placement at the meetings."""
    packed = pack(compiled)
    if not len(packed.movable):
        return where
    first = new_state(packed, where)
    scale = _typical_change(packed, first, seed)
    if scale <= 0:
        return where
    cost = float(cost_of(packed, first))
    chains = [_Chain(copy_state(first), np.array([(seed * 7919 + n + 1) * 0x9E3779B97F4A7C15 % 2**64 | 1], dtype=np.uint64), cost, where.copy(), cost)
              for n in range(max(1, threads))]
    best, begin, prices = cost, stop.spent(), _prices(packed)
    size = np.abs(packed.pull[packed.movable * packed.modes]).sum(axis=1)
    order = np.argsort(-size, kind="stable")
    servers, sizes = packed.movable[order], size[order]
    with ThreadPoolExecutor(len(chains)) as pool:
        for meeting in range(1, _MEETINGS + 1):
            until = begin + (1 - begin) * meeting / _MEETINGS
            list(pool.map(lambda chain, until=until: _run(packed, servers, sizes, prices, chain, stop, scale, begin, until), chains))  # type: ignore[misc]
            leader = min(chains, key=lambda chain: chain.best_cost)
            if meeting % _TOLD and stop.spent() < 1 and meeting < _MEETINGS:
                continue
            if leader.best_cost < best - 1e-9 * max(1.0, abs(best)):
                best, where = leader.best_cost, leader.best.copy()
                found(where)
            ahead = min(chains, key=lambda chain: chain.cost)
            for chain in chains:
                if chain is not ahead:
                    assign_state(chain.state, ahead.state)
                    chain.cost = ahead.cost
            if stop.spent() >= 1:
                break
    return where


def _run(packed: Packed, servers: Index, sizes: npt.NDArray[np.float64], prices: npt.NDArray[np.float64], chain: _Chain, stop: Stop, scale: float, begin: float, until: float) -> None:
    """Anneal one chain until a share of the budget is spent."""
    while (now := stop.spent()) < min(until, 1.0):
        share = (now - begin) / (1 - begin)
        temperature = 0.0 if share >= _FROZEN else scale * _HOT * (_COLD / _HOT) ** (share / _FROZEN)
        large = max(min(len(servers), 100), int(np.searchsorted(-sizes, -_SMALL * temperature, side="right")))
        left = stop.remaining_s()
        anneal(packed, chain.state, chain.rng, servers, large, prices, temperature, chain.slice, chain.tried)
        refresh(packed, chain.state)
        stop.count(chain.slice)
        if math.isfinite(left):
            took = max(1e-4, left - stop.remaining_s())
            chain.slice = int(min(max(1000, chain.slice * min(4.0, _SLICE_S / took)), 5_000_000))
        chain.cost = float(cost_of(packed, chain.state))
        if chain.cost < chain.best_cost:
            chain.best_cost = chain.cost
            np.copyto(chain.best, chain.state.where)


def _prices(packed: Packed) -> npt.NDArray[np.float64]:
    """What it costs each server (S), in temperatures, not to be in its start place.

    What servers that moved keep there is lost to all others. There are many more places elsewhere than the one at home, so at a temperature where any
    place is as good as the next nearly all would be away and fill the room with what they keep, needlessly. The logarithm of the number of places makes
    up for that; a server that keeps more of what is scarce pays more. The price fades with the temperature.
    """
    own = packed.demand[np.arange(len(packed.start)) * packed.modes + packed.start % packed.modes].astype(np.float64)
    kept = packed.kept.astype(bool)
    if not kept.any():
        return np.zeros(len(own))
    free = np.maximum(1.0, packed.room[:, kept].sum(axis=0) - own[:, kept].sum(axis=0))
    price: npt.NDArray[np.float64] = (own[:, kept] / free).sum(axis=1)
    return math.log(len(packed.room) * packed.modes) + price * (_PRICE / max(1e-300, float(price.mean())))


def _typical_change(packed: Packed, state: State, seed: int) -> float:
    """What shifting a random server to a random place typically changes, better or worse."""
    rng = np.random.default_rng(seed)
    places = len(packed.room) * packed.modes
    changes = [abs(float(shift_cost(packed, state, s, p))) for s, p in zip(rng.choice(packed.movable, 2000), rng.integers(0, places, 2000), strict=True)
               if p != state.where[s]]
    some = [change for change in changes if change > 0]
    return float(np.mean(some)) if some else 0.0


@inlined
def _next(rng):
    x = rng[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    rng[0] = x
    return x


@inlined
def _below(rng, n):
    return np.int64(((_next(rng) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@inlined
def _share(rng):
    return (np.float64(_next(rng) >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@inlined
def _priced(P, price, s, o, p):
    start = P.start[s]
    if o == start:
        return price[s]
    return -price[s] if p == start else 0.0


@kernel
def anneal(P, X, rng, servers, large, price, temperature, proposals, tried):
    """Make so many proposals at a temperature; the state stays legal."""
    places = len(X.count) * P.modes
    simple = len(P.variance_weight) == 0
    done = 0
    while done < proposals:
        done += 1
        among = large if _share(rng) < _ON_LARGE else len(servers)
        s = servers[_below(rng, among)]
        o = X.where[s]
        a = host_of(P, o)
        kind = _share(rng)
        if kind < _SHIFTS:
            out = 0.0
            if simple:
                out = leave_change(P, X, a, row_of(P, s, o)) - sitting(P, s, o)
                if X.count[a] == 1:
                    out -= P.use_cost[a]
            for _ in range(_TARGETS):
                done += 1
                p = _below(rng, places)
                b = host_of(P, p)
                if a == b and (P.modes == 1 or p == o):
                    continue
                limit = -temperature * math.log(_share(rng)) if temperature > 0 else 0.0
                if simple and a != b:
                    partial = out + arrive_change(P, X, b, row_of(P, s, p))
                    if partial > limit + temperature * price[s]:
                        continue
                limit -= _priced(P, price, s, o, p) * temperature
                if shift_cost(P, X, s, p) <= limit and shift_legal(P, X, s, p):
                    shift(P, X, s, p)
                    break
        elif kind < _SHIFTS + _CHAINS:
            t = servers[_below(rng, among)]
            p = X.where[t]
            b = host_of(P, p)
            if a == b:
                continue
            q = np.int64(P.start[t]) if p != P.start[t] and _share(rng) < 0.5 else _below(rng, places)
            c = host_of(P, q)
            if c == a or c == b or P.seats[s, seat_of(P, p)] == 0:
                continue
            limit = -temperature * math.log(_share(rng)) if temperature > 0 else 0.0
            limit -= (_priced(P, price, s, o, p) + _priced(P, price, t, p, q)) * temperature
            if simple:
                change = leave_change(P, X, a, row_of(P, s, o)) + exchange_change(P, X, b, row_of(P, t, p), row_of(P, s, p))
                change += arrive_change(P, X, c, row_of(P, t, q))
                if change > limit:  # what hosts cost decides first, it is seldom outweighed
                    continue
                change += sitting(P, s, p) - sitting(P, s, o) + sitting(P, t, q) - sitting(P, t, p)
                if change > limit:
                    continue
            first = shift_cost(P, X, t, q)
            if shift_legal(P, X, t, q):
                shift(P, X, t, q)
                if first + shift_cost(P, X, s, p) <= limit and shift_legal(P, X, s, p):
                    shift(P, X, s, p)
                else:
                    shift(P, X, t, p)
        else:
            t = servers[_below(rng, among)]
            if host_of(P, X.where[t]) == a:
                continue
            limit = -temperature * math.log(_share(rng)) if temperature > 0 else 0.0
            p = X.where[t]
            limit -= (_priced(P, price, s, o, p) + _priced(P, price, t, p, o)) * temperature
            if simple:
                change = exchange_change(P, X, a, row_of(P, s, o), row_of(P, t, o)) + exchange_change(P, X, host_of(P, p), row_of(P, t, p), row_of(P, s, p))
                if change > limit:
                    continue
            if swap_cost(P, X, s, t) <= limit and swap_legal(P, X, s, t):
                swap(P, X, s, t)
    tried[0] += done
