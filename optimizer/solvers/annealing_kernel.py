"""The kernel of simulated annealing (numba): random proposals at one temperature."""

import math

import numpy as np

from optimizer.solvers.jit import inlined, kernel
from optimizer.solvers.kernel import (
    arrive_change,
    exchange_change,
    host_of,
    leave_change,
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

_SHIFTS, _CHAINS = 0.05, 0.5  # shares of the kinds of proposals; the rest are swaps
_BACK = 0.05  # share of targets that are the start place of a server that is away
_TARGETS = 8  # places that are tried for a server that is to be shifted
_HOME = 0.5  # share of chains in which the server that makes room goes home, if it is not there


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
def anneal(P, X, rng, servers, price, temperature, proposals, tried):
    """Make so many proposals at a temperature; the state stays legal."""
    places = len(X.count) * P.modes
    simple = len(P.variance_weight) == 0
    done = 0
    while done < proposals:
        done += 1
        s = servers[_below(rng, len(servers))]
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
                p = np.int64(P.start[s]) if o != P.start[s] and _share(rng) < _BACK else _below(rng, places)
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
            t = servers[_below(rng, len(servers))]
            p = X.where[t]
            b = host_of(P, p)
            if a == b:
                continue
            q = np.int64(P.start[t]) if p != P.start[t] and _share(rng) < _HOME else _below(rng, places)
            c = host_of(P, q)
            if c in (a, b) or P.seats[s, seat_of(P, p)] == 0:
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
            t = servers[_below(rng, len(servers))]
            if host_of(P, X.where[t]) == a:
                continue
            limit = -temperature * math.log(_share(rng)) if temperature > 0 else 0.0
            p = X.where[t]
            limit -= (_priced(P, price, s, o, p) + _priced(P, price, t, p, o)) * temperature
            if simple:
                change = exchange_change(P, X, a, row_of(P, s, o), row_of(P, t, o))
                change += exchange_change(P, X, host_of(P, p), row_of(P, t, p), row_of(P, s, p))
                if change > limit:
                    continue
            if swap_cost(P, X, s, t) <= limit and swap_legal(P, X, s, t):
                swap(P, X, s, t)
    tried[0] += done
