"""The search state and its kernels (numba): what a shift or a swap costs, whether it is legal, and carrying it out.

A *shift* puts one server in another place; a *swap* exchanges the places of two servers on different hosts. Kernels work on a
``Packed`` problem P and a ``State`` X, hold no Python object and release the interpreter lock.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Index, Ints
from optimizer.solvers.jit import inlined, kernel
from optimizer.solvers.packed import CROWDED, SCATTERED, Packed

TOGETHER, AT_MOST = 0, 1


class State(NamedTuple):
    """A placement and what follows from it, kept up to date move by move.

    ``where`` (S) places; ``free`` (H x D) room less what servers use and what those that left keep; ``excess`` (H x T) of the pieces;
    ``count`` (H) servers; ``apart`` (G x H) members; ``scatter`` and ``distinct``: members by domain, domains with a member; ``present``: members
    by domain; ``counted``, ``counted_domains`` and ``counted_needed``: of the groups that the objective speaks of, members by domain, domains with
    a member, and needed servers by domain; ``level`` (H x V) utilisation, ``sums`` (V x 2) its sum and sum of squares; ``moved``: servers of each
    group that are not on their start host; ``moved_of``: groups by that number; ``pooled``: what servers hold of each pool; ``figures``: servers
    not in their start place, the greatest number of ``moved``.
    """

    where: Index
    free: Ints
    excess: npt.NDArray[np.float64]
    count: Index  # type: ignore[assignment]
    apart: npt.NDArray[np.int16]
    scatter: Index
    distinct: Index
    present: Index
    counted: Index
    counted_domains: Index
    counted_needed: Index
    level: npt.NDArray[np.float64]
    sums: npt.NDArray[np.float64]
    moved: Index
    moved_of: Index
    pooled: Ints
    figures: Ints


def new_state(P: Packed, where: Index) -> State:
    """The state of a placement (places of S servers)."""
    hosts = len(P.room)
    largest = int(np.bincount(P.group[P.group >= 0]).max()) if P.groups and (P.group >= 0).any() else 0
    X = State(
        where=where.astype(np.int32).copy(), free=P.room.copy(), excess=P.rest.copy(),
        count=np.zeros(hosts, dtype=np.int32), apart=np.zeros((len(P.apart_limit), hosts), dtype=np.int16),
        scatter=np.zeros(int(P.scatter_base[-1]), dtype=np.int32), distinct=np.zeros(len(P.scatter_least), dtype=np.int32),
        present=np.zeros(int(P.present_base[-1]), dtype=np.int32), counted=np.zeros(int(P.counted_base[-1]), dtype=np.int32),
        counted_domains=np.zeros(len(P.counted_kind), dtype=np.int32), counted_needed=np.zeros(int(P.counted_base[-1]), dtype=np.int32),
        level=np.zeros(P.share.shape),
        sums=np.zeros((len(P.variance_weight), 2)),
        moved=np.zeros(max(1, P.groups), dtype=np.int32), moved_of=np.zeros(largest + 2, dtype=np.int32),
        pooled=np.zeros(len(P.pool_most), dtype=np.int64), figures=np.zeros(2, dtype=np.int64))
    if P.apart_held.shape[0] == len(P.apart_limit):
        X.apart[:] = P.apart_held
    X.moved_of[0] = P.groups
    _fill(P, X)
    return X


def copy_state(X: State) -> State:
    """A state of its own with the same content."""
    return State._make(part.copy() for part in X)


def assign_state(target: State, source: State) -> None:
    """Overwrite one state with another of the same problem."""
    for mine, theirs in zip(target, source, strict=True):
        np.copyto(mine, theirs)  # type: ignore[arg-type]


# Divisions are dear and mostly by 1.


@inlined
def host_of(P, p):
    """The host of a place."""
    return p if P.modes == 1 else p // P.modes


@inlined
def seat_of(P, p):
    """The seat of a place."""
    return 0 if P.modes == 1 else p % P.modes


@inlined
def row_of(P, s, p):
    """The row of ``demand`` and ``pull`` of a server in a place."""
    if P.home_rows > 0 and p == P.start[s]:
        return P.home_rows + s
    return s if P.modes == 1 else s * P.modes + p % P.modes


@kernel
def _fill(P, X):
    for s in range(len(X.where)):
        p = X.where[s]
        h = host_of(P, p)
        for d in range(P.demand.shape[1]):
            X.free[h, d] -= P.demand[row_of(P, s, p), d]
        X.count[h] += 1
        if p != P.start[s]:
            X.figures[0] += 1
            _keep(P, X, s, 1)
        count_groups(P, X, s, h, 1)
        for k in range(len(P.pool_most)):
            X.pooled[k] += P.pool_hosts[k, h] * P.pool_demand[s, k]
        if h != host_of(P, P.start[s]) and P.group[s] >= 0:
            _group_moves(P, X, P.group[s], 1)
    refresh(P, X)


@kernel
def refresh(P, X):
    """Compute the sums of fractions anew: adding and subtracting wears them."""
    for h in range(len(X.count)):  # element by element: slices would need memory
        for k in range(P.pull.shape[1]):
            X.excess[h, k] = P.rest[h, k]
        for v in range(P.heat.shape[1]):
            X.level[h, v] = 0.0
            X.sums[v, 0] = 0.0
            X.sums[v, 1] = 0.0
    for s in range(len(X.where)):
        h, row = host_of(P, X.where[s]), row_of(P, s, X.where[s])
        for k in range(P.pull.shape[1]):
            X.excess[h, k] += P.pull[row, k]
        for v in range(P.heat.shape[1]):
            X.level[h, v] += P.heat[s, v] * P.share[h, v]
    for h in range(len(X.count)):
        for v in range(P.heat.shape[1]):
            X.sums[v, 0] += X.level[h, v]
            X.sums[v, 1] += X.level[h, v] * X.level[h, v]


@kernel
def _keep(P, X, s, sign):
    """What a server keeps on the host it started on, added or taken back."""
    if P.any_kept:
        row = row_of(P, s, P.start[s])
        h = host_of(P, P.start[s])
        for d in range(len(P.kept)):
            if P.kept[d]:
                X.free[h, d] -= sign * P.demand[row, d]


@kernel
def _count(P, X, s, h, sign):
    """Count a server in (1) or out (-1) of the groups that the objective speaks of."""
    for i in range(P.counted_from[s], P.counted_from[s + 1]):
        g = P.counted_of[i]
        at = P.counted_base[g] + P.domains[P.counted_division[g], h]
        X.counted[at] += sign
        if sign > 0 and X.counted[at] == 1:
            X.counted_domains[g] += 1
        elif sign < 0 and X.counted[at] == 0:
            X.counted_domains[g] -= 1
    for i in range(P.counted_need_from[s], P.counted_need_from[s + 1]):
        g = P.counted_need[i]
        X.counted_needed[P.counted_base[g] + P.domains[P.counted_division[g], h]] += sign


@kernel
def count_groups(P, X, s, h, sign):
    """Count a server in (1) or out (-1) of its groups on a host."""
    for i in range(P.apart_from[s], P.apart_from[s + 1]):
        X.apart[P.apart[i], h] += sign
    for i in range(P.scatter_from[s], P.scatter_from[s + 1]):
        g = P.scatter[i]
        at = P.scatter_base[g] + P.domains[P.scatter_division[g], h]
        X.scatter[at] += sign
        if sign > 0 and X.scatter[at] == 1:
            X.distinct[g] += 1
        elif sign < 0 and X.scatter[at] == 0:
            X.distinct[g] -= 1
    for i in range(P.present_from[s], P.present_from[s + 1]):
        g = P.present[i]
        X.present[P.present_base[g] + P.domains[P.present_division[g], h]] += sign
    if P.any_counted:
        _count(P, X, s, h, sign)


@kernel
def _group_moves(P, X, g, change):
    n = X.moved[g]
    X.moved_of[n] -= 1
    X.moved_of[n + change] += 1
    X.moved[g] = n + change
    if n + change > X.figures[1]:
        X.figures[1] = n + change
    elif n == X.figures[1] and X.moved_of[n] == 0:
        X.figures[1] = n - 1


# ---- what a change costs


@inlined
def leave_change(P, X, h, out):
    """Change of the pieces and fragments of a host when the row ``out`` leaves."""
    total = 0.0
    for k in range(P.pull.shape[1]):
        before = X.excess[h, k]
        total += max(before - P.pull[out, k], 0.0) - max(before, 0.0)
    for k in range(len(P.fragment_quantity)):
        total += _fragment_change(P, X, h, k, P.demand[out, P.fragment_quantity[k]])
    return total


@inlined
def arrive_change(P, X, h, into):
    """Change of the pieces and fragments of a host when the row ``into`` arrives."""
    total = 0.0
    for k in range(P.pull.shape[1]):
        before = X.excess[h, k]
        total += max(before + P.pull[into, k], 0.0) - max(before, 0.0)
    for k in range(len(P.fragment_quantity)):
        total += _fragment_change(P, X, h, k, -P.demand[into, P.fragment_quantity[k]])
    return total


@inlined
def exchange_change(P, X, h, out, into):
    """Change of the pieces and fragments of a host when the row ``out`` leaves and the row ``into`` arrives."""
    total = 0.0
    for k in range(P.pull.shape[1]):
        before = X.excess[h, k]
        total += max(before - P.pull[out, k] + P.pull[into, k], 0.0) - max(before, 0.0)
    for k in range(len(P.fragment_quantity)):
        total += _fragment_change(P, X, h, k, P.demand[out, P.fragment_quantity[k]] - P.demand[into, P.fragment_quantity[k]])
    return total


@inlined
def _fragment_change(P, X, h, k, freed):
    if P.fragment_counts[k, h] == 0:
        return 0.0
    free = X.free[h, P.fragment_quantity[k]]
    return P.fragment_weight[k] * ((free + freed) % P.fragment_size[k] - free % P.fragment_size[k])


@inlined
def sitting(P, s, p):
    """What it costs that a server is in a place, whoever else is there."""
    start, h = P.start[s], host_of(P, p)
    cost = P.spot_cost[P.spot_class[s], h]
    if p != start:
        cost += P.move_cost[s]
        home = host_of(P, start)
        if h != home:
            cost += P.host_cost[s]
            if len(P.pair):
                cost += P.pair[home, h]
    return cost


@inlined
def _variance_change(P, X, h0, h1, s, t):
    """Change of the spread terms when server s goes from host h0 to h1 and t (-1: none) the opposite way."""
    total = 0.0
    for v in range(len(P.variance_weight)):
        amount = P.heat[s, v]
        if t >= 0:
            amount -= P.heat[t, v]
        x0, x1, n = X.level[h0, v], X.level[h1, v], P.variance_hosts[v]
        y0, y1 = x0 - amount * P.share[h0, v], x1 + amount * P.share[h1, v]
        one, two = X.sums[v, 0], X.sums[v, 1]
        before = two / n - (one / n) ** 2 - P.variance_floor[v]
        one += y0 - x0 + y1 - x1
        two += y0 * y0 - x0 * x0 + y1 * y1 - x1 * x1
        after = two / n - (one / n) ** 2 - P.variance_floor[v]
        total += P.variance_weight[v] * (max(after, 0.0) - max(before, 0.0))
    return total


@kernel
def _group_change(P, X, s, h, t, k):
    """Change of the greatest number of moved servers of a group when s goes to host h and t (-1: none) to host k."""
    g1, d1, g2, d2 = P.group[s], 0, -1, 0
    home = host_of(P, P.start[s])
    d1 = int(h != home) - int(host_of(P, X.where[s]) != home)
    if t >= 0:
        g2 = P.group[t]
        home = host_of(P, P.start[t])
        d2 = int(k != home) - int(host_of(P, X.where[t]) != home)
    if g1 < 0:
        g1, d1, g2, d2 = g2, d2, -1, 0
    if g1 >= 0 and g1 == g2:
        d1, g2, d2 = d1 + d2, -1, 0
    if g1 < 0 or (d1 == 0 and d2 == 0):
        return 0.0
    top = X.figures[1]
    m1 = X.moved[g1] + d1
    others = X.moved_of[top] - int(X.moved[g1] == top)
    new = m1
    if g2 >= 0:
        new = max(new, X.moved[g2] + d2)
        others -= int(X.moved[g2] == top)
    if others > 0:
        new = max(new, top)
    elif d1 == -2:  # both of one group go home: another group may have been one below
        new = max(new, top - 1 if X.moved_of[top - 1] > 0 else new)
    return P.group_weight * (max(new, 0) - top)


@inlined
def _off(P, g, count):
    """By how many domains a group is off that is in so many."""
    return max(P.counted_low[g] - count, 0) + max(count - P.counted_high[g], 0)


@inlined
def _amiss(P, g, members, needed):
    """How many members of a group are too many, or alone, in a domain with so many and so many of the needed."""
    if P.counted_kind[g] == CROWDED:
        return max(members - P.counted_high[g], 0)
    return members if needed == 0 else 0


@inlined
def _regrouped(P, X, g, a, b, members, needed):
    """Change of what is amiss with a group when some members and some of the needed go from one domain (its counts) to another."""
    before = _amiss(P, g, X.counted[a], X.counted_needed[a]) + _amiss(P, g, X.counted[b], X.counted_needed[b])
    return (_amiss(P, g, X.counted[a] - members, X.counted_needed[a] - needed)
            + _amiss(P, g, X.counted[b] + members, X.counted_needed[b] + needed) - before)


@kernel
def _counted_change(P, X, s, h0, h1):
    """Change of what the objective counts of groups when server s goes from host h0 to h1."""
    total = 0.0
    for i in range(P.counted_from[s], P.counted_from[s + 1]):
        g = P.counted_of[i]
        w, base = P.counted_division[g], P.counted_base[g]
        a, b = base + P.domains[w, h0], base + P.domains[w, h1]
        if a == b:
            continue
        if P.counted_kind[g] == SCATTERED:
            count = X.counted_domains[g]
            then = count - int(X.counted[a] == 1) + int(X.counted[b] == 0)
            total += P.counted_weight[g] * (_off(P, g, then) - _off(P, g, count))
        else:
            own = int(_in(P, P.counted_need_from, P.counted_need, s, g))
            total += P.counted_weight[g] * _regrouped(P, X, g, a, b, 1, own)
    for i in range(P.counted_need_from[s], P.counted_need_from[s + 1]):
        g = P.counted_need[i]
        w, base = P.counted_division[g], P.counted_base[g]
        a, b = base + P.domains[w, h0], base + P.domains[w, h1]
        if a != b and not _in(P, P.counted_from, P.counted_of, s, g):
            total += P.counted_weight[g] * _regrouped(P, X, g, a, b, 0, 1)
    return total


@kernel
def _counted_exchange(P, X, s, t, h0, h1):
    """The same when server t goes the opposite way."""
    total = _counted_change(P, X, s, h0, h1)
    _count(P, X, s, h0, -1)
    _count(P, X, s, h1, 1)
    total += _counted_change(P, X, t, h1, h0)
    _count(P, X, s, h1, -1)
    _count(P, X, s, h0, 1)
    return total


@inlined
def _drawn(P, k, h0, h1, s, t):
    """By how much a pool is used more when server s goes from host h0 to h1 and t (-1: none) the opposite way."""
    amount = P.pool_demand[s, k]
    if t >= 0:
        amount -= P.pool_demand[t, k]
    return (np.int64(P.pool_hosts[k, h1]) - np.int64(P.pool_hosts[k, h0])) * amount


@kernel
def _pools_change(P, X, h0, h1, s, t):
    """Change of what is drawn from pools beyond what is safe."""
    total = 0.0
    for k in range(len(P.pool_most)):
        if P.pool_weight[k] != 0.0:
            before = X.pooled[k] - P.pool_safe[k]
            after = before + _drawn(P, k, h0, h1, s, t)
            total += P.pool_weight[k] * (max(after, 0) - max(before, 0))
    return total


@kernel
def _pools_admit(P, X, h0, h1, s, t):
    """Whether no pool is drawn from beyond what it has."""
    for k in range(len(P.pool_most)):
        more = _drawn(P, k, h0, h1, s, t)
        if more > 0 and X.pooled[k] + more > P.pool_most[k]:
            return False
    return True


@kernel
def shift_cost(P, X, s, p):
    """Change of the objective when a server goes to a place."""
    o = X.where[s]
    h0, h1 = host_of(P, o), host_of(P, p)
    r0, r1 = row_of(P, s, o), row_of(P, s, p)
    cost = sitting(P, s, p) - sitting(P, s, o)
    if h0 == h1:
        return cost + exchange_change(P, X, h0, r0, r1)
    cost += leave_change(P, X, h0, r0) + arrive_change(P, X, h1, r1)
    if X.count[h0] == 1:
        cost -= P.use_cost[h0]
    if X.count[h1] == 0:
        cost += P.use_cost[h1]
    if len(P.variance_weight):
        cost += _variance_change(P, X, h0, h1, s, -1)
    if P.group_weight != 0.0:
        cost += _group_change(P, X, s, h1, -1, -1)
    if P.any_counted:
        cost += _counted_change(P, X, s, h0, h1)
    if len(P.pool_most):
        cost += _pools_change(P, X, h0, h1, s, -1)
    return cost


@kernel
def swap_cost(P, X, s, t):
    """Change of the objective when two servers on different hosts exchange places."""
    o, p = X.where[s], X.where[t]
    h0, h1 = host_of(P, o), host_of(P, p)
    s0, s1, t0, t1 = row_of(P, s, o), row_of(P, s, p), row_of(P, t, o), row_of(P, t, p)
    cost = sitting(P, s, p) - sitting(P, s, o) + sitting(P, t, o) - sitting(P, t, p)
    cost += exchange_change(P, X, h0, s0, t0) + exchange_change(P, X, h1, t1, s1)
    if len(P.variance_weight):
        cost += _variance_change(P, X, h0, h1, s, t)
    if P.group_weight != 0.0:
        cost += _group_change(P, X, s, h1, t, h0)
    if P.any_counted:
        cost += _counted_exchange(P, X, s, t, h0, h1)
    if len(P.pool_most):
        cost += _pools_change(P, X, h0, h1, s, t)
    return cost


# ---- whether a change is legal


@inlined
def _admits(P, s, p):
    """Whether a place takes a server, whoever else is there; its start always does."""
    return p == P.start[s] or (P.eligible[P.server_class[s], host_of(P, p)] != 0 and P.seats[s, seat_of(P, p)] != 0)


@inlined
def _room_for(P, X, s, p, t):
    """Whether everything a server needs fits in a place once server t (-1: none) has left that host."""
    o = X.where[s]
    h, row, home = host_of(P, p), row_of(P, s, p), p == P.start[s]
    same = host_of(P, o) == h
    gone = -1 if t < 0 else row_of(P, t, X.where[t])
    stays = t >= 0 and X.where[t] == P.start[t]
    for d in range(P.demand.shape[1]):
        need = P.demand[row, d]
        if need > 0:
            free = X.free[h, d]
            if P.kept[d]:
                if home:
                    free += need
                if same and o != P.start[s]:
                    free += P.demand[row_of(P, s, o), d]
                if gone >= 0 and not stays:
                    free += P.demand[gone, d]
            else:
                if same:
                    free += P.demand[row_of(P, s, o), d]
                if gone >= 0:
                    free += P.demand[gone, d]
            if need > free:
                return False
    return True


@kernel
def _in(P, groups_from, groups, t, g):
    if t >= 0:
        for i in range(groups_from[t], groups_from[t + 1]):
            if groups[i] == g:
                return True
    return False


@kernel
def _groups_admit(P, X, s, h0, h1, t):
    """Whether a server's groups let it go from one host to another while server t (-1: none) goes the opposite way."""
    for i in range(P.apart_from[s], P.apart_from[s + 1]):
        g = P.apart[i]
        if X.apart[g, h1] >= P.apart_limit[g] + int(_in(P, P.apart_from, P.apart, t, g)):
            return False
    for i in range(P.scatter_from[s], P.scatter_from[s + 1]):
        g = P.scatter[i]
        w, base = P.scatter_division[g], P.scatter_base[g]
        a, b = P.domains[w, h0], P.domains[w, h1]
        if a != b and not _in(P, P.scatter_from, P.scatter, t, g):
            domains = X.distinct[g] - int(X.scatter[base + a] == 1) + int(X.scatter[base + b] == 0)
            if domains < P.scatter_least[g] or domains > P.scatter_most[g]:
                return False
    return True


@kernel
def _near_admits(P, X, s, h0, h1):
    """Whether whoever s needs is near h1, and whoever needs s near h0 has another."""
    for i in range(P.present_from[s], P.present_from[s + 1]):
        g = P.present[i]
        w = P.present_division[g]
        a, b = P.domains[w, h0], P.domains[w, h1]
        if a == b:
            continue
        for j in range(P.needs_from[g], P.needs_from[g + 1]):
            other = P.needs[j]
            if X.present[P.present_base[other] + b] == 0 and not _in(P, P.present_from, P.present, s, other):
                return False
        if X.present[P.present_base[g] + a] == 1:
            for j in range(P.needed_from[g], P.needed_from[g + 1]):
                other = P.needed[j]
                left = X.present[P.present_base[other] + a]
                if left > int(_in(P, P.present_from, P.present, s, other)):
                    return False
    return True


@kernel
def _present_shift(P, X, s, h0, h1):
    for i in range(P.present_from[s], P.present_from[s + 1]):
        g = P.present[i]
        w, base = P.present_division[g], P.present_base[g]
        X.present[base + P.domains[w, h0]] -= 1
        X.present[base + P.domains[w, h1]] += 1


@kernel
def _ties_admit(P, X, s, h1):
    """Whether groups that draw together, or must not get worse, let a server go to a host."""
    h0, home = host_of(P, X.where[s]), host_of(P, P.start[s])
    for i in range(P.tied_from[s], P.tied_from[s + 1]):
        g = P.tied[i]
        begin, end = P.member_from[g], P.member_from[g + 1]
        if P.tied_kind[g] == TOGETHER:
            stays_there, stays_here, guests = False, False, False
            for j in range(begin, end):
                m = P.member[j]
                if m != s:
                    here, start = host_of(P, X.where[m]), host_of(P, P.start[m])
                    if here == start:
                        stays_there = stays_there or here == h1
                        stays_here = stays_here or here == h0
                    elif here == h0:
                        guests = True
            if h1 != home and not stays_there:
                return False
            if h0 == home and guests and not stays_here:
                return False
        else:
            hosts = 0
            for j in range(begin, end):
                m = P.member[j]
                here = h1 if m == s else host_of(P, X.where[m])
                new = 1
                for k in range(begin, j):
                    other = P.member[k]
                    if (h1 if other == s else host_of(P, X.where[other])) == here:
                        new = 0
                        break
                hosts += new
            if P.tied_kind[g] == AT_MOST:
                if hosts > P.tied_hosts[g]:
                    return False
            elif hosts < P.tied_hosts[g]:
                return False
    return True


@kernel
def shift_legal(P, X, s, p):
    """Whether a server may go to a place now."""
    o = X.where[s]
    if o == p or not _admits(P, s, p) or not _room_for(P, X, s, p, -1):
        return False
    if o == P.start[s] and X.figures[0] >= P.max_moves:
        return False
    h0, h1 = host_of(P, o), host_of(P, p)
    return h0 == h1 or (_pools_admit(P, X, h0, h1, s, -1) and _groups_admit(P, X, s, h0, h1, -1) and _near_admits(P, X, s, h0, h1)
                        and _ties_admit(P, X, s, h1))


@kernel
def swap_legal(P, X, s, t):
    """Whether two servers may exchange places now; servers whose groups are tied may not, shifts serve them."""
    o, p = X.where[s], X.where[t]
    h0, h1 = host_of(P, o), host_of(P, p)
    if h0 == h1 or P.tied_from[s] < P.tied_from[s + 1] or P.tied_from[t] < P.tied_from[t + 1]:
        return False
    if not _admits(P, s, p) or not _admits(P, t, o) or not _room_for(P, X, s, p, t) or not _room_for(P, X, t, o, s):
        return False
    moves = int(p != P.start[s]) - int(o != P.start[s]) + int(o != P.start[t]) - int(p != P.start[t])
    if moves > 0 and X.figures[0] + moves > P.max_moves:
        return False
    if not _pools_admit(P, X, h0, h1, s, t):
        return False
    if not _groups_admit(P, X, s, h0, h1, t) or not _groups_admit(P, X, t, h1, h0, s) or not _near_admits(P, X, s, h0, h1):
        return False
    if P.present_from[t] == P.present_from[t + 1]:
        return True
    _present_shift(P, X, s, h0, h1)
    fine = _near_admits(P, X, t, h1, h0)
    _present_shift(P, X, s, h1, h0)
    return fine


# ---- carrying it out


@kernel
def shift(P, X, s, p):
    """Put a server in a place; legality is the caller's care."""
    o = X.where[s]
    h0, h1 = host_of(P, o), host_of(P, p)
    r0, r1 = row_of(P, s, o), row_of(P, s, p)
    for v in range(P.heat.shape[1]):
        if h0 != h1:
            for h, change in ((h0, -P.heat[s, v]), (h1, P.heat[s, v])):
                x = X.level[h, v]
                y = x + change * P.share[h, v]
                X.level[h, v] = y
                X.sums[v, 0] += y - x
                X.sums[v, 1] += y * y - x * x
    for k in range(P.pull.shape[1]):
        X.excess[h0, k] -= P.pull[r0, k]
        X.excess[h1, k] += P.pull[r1, k]
    for d in range(P.demand.shape[1]):
        X.free[h0, d] += P.demand[r0, d]
        X.free[h1, d] -= P.demand[r1, d]
    start = P.start[s]
    if o == start:
        X.figures[0] += 1
        _keep(P, X, s, 1)
    elif p == start:
        X.figures[0] -= 1
        _keep(P, X, s, -1)
    X.where[s] = p
    if h0 != h1:
        X.count[h0] -= 1
        X.count[h1] += 1
        count_groups(P, X, s, h0, -1)
        count_groups(P, X, s, h1, 1)
        for k in range(len(P.pool_most)):
            X.pooled[k] += _drawn(P, k, h0, h1, s, -1)
        g, home = P.group[s], host_of(P, start)
        if g >= 0:
            if h0 == home:
                _group_moves(P, X, g, 1)
            elif h1 == home:
                _group_moves(P, X, g, -1)


@kernel
def swap(P, X, s, t):
    """Exchange the places of two servers; legality is the caller's care."""
    o, p = X.where[s], X.where[t]
    shift(P, X, s, p)
    shift(P, X, t, o)


@kernel
def cost_of(P, X):
    """The whole objective."""
    total = P.group_weight * X.figures[1]
    for s in range(len(X.where)):
        total += sitting(P, s, X.where[s])
    for h in range(len(X.count)):
        if X.count[h]:
            total += P.use_cost[h]
        for k in range(P.pull.shape[1]):
            total += max(0.0, X.excess[h, k])
        for k in range(len(P.fragment_quantity)):
            if P.fragment_counts[k, h]:
                total += P.fragment_weight[k] * (X.free[h, P.fragment_quantity[k]] % P.fragment_size[k])
    for g in range(len(P.counted_kind)):
        if P.counted_kind[g] == SCATTERED:
            total += P.counted_weight[g] * _off(P, g, X.counted_domains[g])
        else:
            for d in range(P.counted_base[g], P.counted_base[g + 1]):
                total += P.counted_weight[g] * _amiss(P, g, X.counted[d], X.counted_needed[d])
    for k in range(len(P.pool_most)):
        total += P.pool_weight[k] * max(0, X.pooled[k] - P.pool_safe[k])
    for v in range(len(P.variance_weight)):
        n = P.variance_hosts[v]
        total += P.variance_weight[v] * max(0.0, X.sums[v, 1] / n - (X.sums[v, 0] / n) ** 2 - P.variance_floor[v])
    return total


@kernel
def tables(P, X, rows, legal, cost):
    """Fill ``legal`` and ``cost`` (R x places) for the servers ``rows``: whether each may go to each place, and what it costs."""
    for r in range(len(rows)):
        for p in range(legal.shape[1]):
            legal[r, p] = shift_legal(P, X, rows[r], p)
            cost[r, p] = shift_cost(P, X, rows[r], p) if p != X.where[rows[r]] else 0.0
