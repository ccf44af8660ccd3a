"""The kernel of the pattern solver: the best pattern of every kind of host at given prices (numba).

A *pattern* is what a host holds: how many servers of each kind sit on each of its pools, and which *combination* of servers that span
pools. With those fixed the pools are independent of each other, and each is a knapsack that is solved by dynamic programming over what is used.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Ints
from optimizer.solvers.jit import allocating

Floats = npt.NDArray[np.float64]
_NEVER = -1e300


class Shape(NamedTuple):
    """What hosts may hold, in units of room. G kinds of hosts, K pools, T kinds of servers on one pool, U that span pools, N combinations."""

    cap: Ints  # G x K, the most that a pool may hold: its room, or what it holds now where that is more
    limit: Ints  # G x K, the most where a server arrives; -1 where nothing is little enough
    size: Ints  # K x T
    have: Ints  # G x K x T, now
    least: Ints  # G x K x T
    most: Ints  # G x K x T
    span_have: Ints  # G x U
    span_least: Ints  # G x U
    span_most: Ints  # G x U
    combination: Ints  # N x U
    span_size: Ints  # U x K
    use: Ints  # N x K


class Prices(NamedTuple):
    """What a pattern is worth: ``worth`` (G x K x used) of the pools, less ``leave`` (G x T+U) for each server that leaves,
    ``place`` (T+U) for a place offered or asked for, and ``toll`` (G x K x T) and ``span_toll`` (G x U) for each server held."""

    worth: Floats
    leave: Floats
    place: Floats
    toll: Floats
    span_toll: Floats


@allocating
def best_patterns(shape, prices, kinds, counts, chosen, value):
    """Fill ``counts`` (G x K x T), ``chosen`` combination (G) and ``value`` (G) for the kinds of hosts in ``kinds``."""
    pools, types = shape.size.shape
    spans, longest = shape.combination.shape[1], shape.cap.max() + 1
    # An overfull pool may keep what it holds or less of it, or take servers in when enough have left: the second index is 0 or 1 for that.
    best = np.empty((pools, 2, longest))
    at = np.zeros((pools, 2, longest), np.int64)
    choice = np.zeros((pools, 2, types, longest), np.int64)
    reached = np.empty((types + 1, longest))
    way, chosen_way = np.zeros(pools, np.int64), np.zeros(pools, np.int64)
    for g in kinds:
        for k in range(pools):
            for arrive in range(2):
                cap = shape.limit[g, k] if arrive else shape.cap[g, k]
                if not arrive and shape.limit[g, k] == cap:
                    cap = -1
                for taken in range(longest):
                    best[k, arrive, taken] = _NEVER
                if cap >= 0:
                    _knapsack(shape, prices, g, k, cap, arrive, reached, choice[k, arrive])
                for taken in range(cap + 1):
                    for u in range(cap - taken + 1):
                        amount = reached[types, u] + prices.worth[g, k, u + taken]
                        if amount > best[k, arrive, taken]:
                            best[k, arrive, taken] = amount
                            at[k, arrive, taken] = u
        value[g] = _NEVER
        chosen[g] = -1
        for n in range(len(shape.combination)):
            total = 0.0
            for j in range(spans):
                count, more = shape.combination[n, j], shape.combination[n, j] - shape.span_have[g, j]
                if count < shape.span_least[g, j] or count > shape.span_most[g, j]:
                    total = _NEVER
                    break
                total += more * prices.place[types + j] + min(more, 0) * prices.leave[g, types + j] - count * prices.span_toll[g, j]
            for k in range(pools):
                use = shape.use[n, k]
                if total <= _NEVER or use > shape.cap[g, k]:
                    total = _NEVER
                    break
                way[k] = 1
                if best[k, 0, use] > best[k, 1, use]:
                    way[k] = 0
                    for j in range(spans):
                        if shape.combination[n, j] > shape.span_have[g, j] and shape.span_size[j, k] > 0:
                            way[k] = 1
                total += best[k, way[k], use]
            if total > value[g]:
                value[g] = total
                chosen[g] = n
                chosen_way[:] = way
        for k in range(pools if chosen[g] >= 0 else 0):
            arrive = chosen_way[k]
            u = at[k, arrive, shape.use[chosen[g], k]]
            for t in range(types - 1, -1, -1):
                counts[g, k, t] = choice[k, arrive, t, u]
                u -= choice[k, arrive, t, u] * shape.size[k, t]


@allocating
def _knapsack(shape, prices, g, k, cap, arrive, reached, choice):
    """``reached[T, u]``: the most that servers which use u in all are worth; ``choice[t, u]``: how many of kind t are among the first t + 1."""
    for u in range(cap + 1):
        reached[0, u] = _NEVER
    reached[0, 0] = 0.0
    for t in range(shape.size.shape[1]):
        size, have = shape.size[k, t], shape.have[g, k, t]
        most = shape.most[g, k, t] if arrive else have
        for u in range(cap + 1):
            reached[t + 1, u] = _NEVER
        for u in range(cap + 1):
            if reached[t, u] == _NEVER:
                continue
            count = shape.least[g, k, t]
            while count <= most and u + count * size <= cap:
                more = count - have
                amount = (reached[t, u] + more * prices.place[t] + min(more, 0) * prices.leave[g, t]
                          - count * prices.toll[g, k, t])
                if amount > reached[t + 1, u + count * size]:
                    reached[t + 1, u + count * size] = amount
                    choice[t, u + count * size] = count
                count += 1
