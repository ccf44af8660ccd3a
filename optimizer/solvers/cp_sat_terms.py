"""The objectives in whole numbers, as terms of a CP-SAT model."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from optimizer.arrays import Index, Ints
from optimizer.growth import NOT_RUNNING
from optimizer.objectives.balance_cost import BalanceCost
from optimizer.objectives.base import Objective
from optimizer.objectives.broken import Broken
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.elsewhere import Elsewhere
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.group_move_cost import GroupMoveCost
from optimizer.objectives.host_cost import HostCost
from optimizer.objectives.host_pair_cost import HostPairCost
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.lonely import Lonely
from optimizer.objectives.misplaced import Misplaced
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.overdrawn import Overdrawn
from optimizer.objectives.overload import Overload
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.scattering import Scattering
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.objectives.spread import Spread
from optimizer.solvers.cp_sat_model import Encoded, Expr, Model, moved
from optimizer.solvers.terms import ENDLESS

_LARGEST = 10**18  # CP-SAT computes in 64 bits
_EXACT_TO = 10**15  # larger factors cost CP-SAT more time than exactness is worth
_SQUARE_SCALE = 10**14  # so that sums of squares stay far below _LARGEST
_TANGENTS = 20


def weighted(terms: list[tuple[float, Encoded]], known: float) -> Encoded:
    """The weighted sum: exact where the weights are simple fractions and the numbers stay small, else with rounded factors."""
    if len(terms) == 1 and terms[0][0] == 1:
        return terms[0][1]
    reach = max(1e-9, sum(weight * term.greatest / term.scale for weight, term in terms))
    shares = [Fraction(weight).limit_denominator(10**4) / Fraction(term.scale) for weight, term in terms]
    whole = math.lcm(*(share.denominator for share in shares))
    if whole * reach <= _EXACT_TO and all(math.isclose(share * Fraction(term.scale), weight, rel_tol=1e-15)
                                          for share, (weight, term) in zip(shares, terms, strict=True)):
        scale, factors = float(whole), [int(share * whole) for share in shares]
    else:
        scale = min(max(term.scale for _, term in terms) * 1e6, _LARGEST / reach)
        factors = [round(weight * scale / term.scale) for weight, term in terms]
    above = 0.0
    for factor, (weight, term) in zip(factors, terms, strict=True):
        drift = factor * term.scale - weight * scale
        above += factor * term.above + (drift * known / weight if drift > weight * scale * 1e-14 else 0.0)
    total = sum(factor * term.sum for factor, (_, term) in zip(factors, terms, strict=True))
    return Encoded(total, scale, math.ceil(reach * scale), above)


def _move_cost(model: Model, objective: MoveCost) -> Encoded:
    cost, whole = model.compiled.cost_parts
    return _moved_cost(model, cost, whole)


def _moved_cost(model: Model, cost: Ints, scale: float) -> Encoded:
    """The costs (S) of the servers that change host."""
    fixed = model.fixed
    already = int(cost[fixed[model.held_hosts[fixed] != model.compiled.arrays.home[fixed]]].sum())
    return Encoded(already + sum(int(cost[s]) * (1 - model.at_home(s)) for s in model.at if cost[s]), scale, int(cost.sum()))


def _moves(model: Model, objective: Moves) -> Encoded:
    return Encoded(moved(model), 1, len(model.incumbent))


def _server_move_cost(model: Model, objective: ServerMoveCost) -> Encoded:
    return _moved_cost(model, model.compiled.server_costs(objective), 1)


def _host_pair_cost(model: Model, objective: HostPairCost) -> Encoded:
    home, costs, modes, fixed = model.compiled.arrays.home, objective.costs, model.compiled.arrays.modes, model.fixed
    changed = fixed[home[fixed] != model.held_hosts[fixed]]
    already = int(costs[home[changed], model.held_hosts[changed]].sum())
    terms = [(int(costs[home[s], p // modes]), v) for s, places in model.at.items() for p, v in places.items() if p // modes != home[s]]
    return Encoded(already + sum(cost * v for cost, v in terms if cost), 1, int(costs.max(axis=1)[home].sum()) if len(home) else 0)


def _group_move_cost(model: Model, objective: GroupMoveCost) -> Encoded:
    number = model.compiled.server_index
    members = [np.array([number[m] for m in group if m in number], dtype=np.int32) for group in objective.groups]
    largest = max((len(group) for group in members), default=0)
    group_of = np.full(len(model.incumbent), -1, dtype=np.int64)
    for g, group in enumerate(members):
        group_of[group] = g
    away = model.fixed[(model.held_hosts[model.fixed] != model.compiled.arrays.home[model.fixed]) & (group_of[model.fixed] >= 0)]
    moved = np.bincount(group_of[away], minlength=len(members) or 1)
    most = model.cp.new_int_var(int(moved.max()), max(largest, int(moved.max())), "moved of one group")
    scoped: dict[int, list[int]] = {}
    for s in model.at:
        scoped.setdefault(int(group_of[s]), []).append(s)
    for g, servers in scoped.items():
        if g >= 0 and moved[g] + len(servers) > moved.max():
            model.cp.add(int(moved[g]) + sum(1 - model.at_home(s) for s in servers) <= most)
    return Encoded(most, 1, largest)


def _resource(model: Model, name: str) -> Ints:
    """What each server (S) holds of a resource class."""
    return np.array([server.resources.get(name, 0) for server in model.compiled.problem.cluster.servers], dtype=np.int64)


def _load_cost(model: Model, objective: LoadCost) -> Encoded:
    amounts = _resource(model, objective.resource)
    safe = {h: objective.safety[host.name] for h, host in enumerate(model.compiled.problem.cluster.hosts) if host.name in objective.safety}
    return Encoded(_beyond(model, amounts, safe, objective.resource), 1, int(amounts.sum()))


def _overload(model: Model, objective: Overload) -> Encoded:
    balance = model.compiled.balance[objective.metric]
    safe = {h: limit for h, host in enumerate(model.compiled.problem.cluster.hosts) if (limit := objective.limit(host)) is not None}
    return Encoded(_beyond(model, balance.load, safe, f"load:{objective.metric}"), max(1, int(balance.capacity.sum())), int(balance.load.sum()))


def _beyond(model: Model, amounts: Ints, safe: Mapping[int, int], name: str) -> Expr:
    """The sum over the hosts (of ``safe``: host -> amount) of what servers that hold ``amounts`` (S) use beyond."""
    outside = model.outside(amounts)
    total: list[Expr] = []
    for h, most in safe.items():
        low = int(outside[h]) - most
        here = [(int(amounts[s]), v) for s, _, v in model.here.get(h, ()) if amounts[s]]
        high = low + sum(amount for amount, _ in here)
        if not here or high <= 0:
            total.append(max(0, low))
        elif low >= 0:
            total.append(low + sum(amount * v for amount, v in here))
        else:
            over = model.cp.new_int_var(0, high, f"over {name}@{h}")
            model.cp.add(over >= low + sum(amount * v for amount, v in here))
            total.append(over)
    return sum(total)


def _broken(model: Model, objective: Broken) -> Encoded:
    index, numbers = model.compiled.host_index, model.compiled.server_index
    terms: list[tuple[float, Encoded]] = []
    for need in model.compiled.needs(objective):
        room = {h: int(amount) for h, amount in enumerate(need.room) if amount < ENDLESS}
        greatest = int(need.demand.sum()) + sum(max(0, -amount) for amount in room.values())
        terms.append((1.0, Encoded(_beyond(model, need.demand, room, need.quantity), need.unit, greatest)))
    wanted = [numbers[s] for s in objective.must_run if s in numbers]
    stopped = sum(model.on(s, index[NOT_RUNNING]) for s in wanted) if NOT_RUNNING in index else 0
    return weighted([*terms, (1.0, Encoded(stopped, 1, len(wanted)))], model.most)


def _balance_cost(model: Model, objective: BalanceCost) -> Encoded:
    amounts = _resource(model, objective.second) - objective.target * _resource(model, objective.first)
    outside = model.outside(amounts)
    total: list[Expr] = []
    greatest = 0
    for h, host in enumerate(model.compiled.problem.cluster.hosts):
        first, second = (host.inventory[name].capacity if name in host.inventory else 0 for name in (objective.first, objective.second))
        low = objective.target * first - second + int(outside[h])
        here = [(int(amounts[s]), v) for s, _, v in model.here.get(h, ()) if amounts[s]]
        high = low + sum(max(0, amount) for amount, _ in here)
        greatest += max(0, high)
        if not here or high <= 0:
            total.append(max(0, low))
        else:
            lack = model.cp.new_int_var(0, high, f"lack {objective.second}@{h}")
            model.cp.add(lack >= low + sum(amount * v for amount, v in here))
            total.append(lack)
    return Encoded(sum(total), 1, greatest)


def _remaining(model: Model, objective: Remaining) -> Encoded:
    host, count = model.compiled.host_index[objective.host], len(model.incumbent)
    return Encoded(sum(model.on(s, host) for s in range(count)), max(1, count), count)


def _elsewhere(model: Model, objective: Elsewhere) -> Encoded:
    index, home, count = model.compiled.host_index, model.compiled.arrays.home, len(model.incumbent)
    gone = [s for s in range(count) if home[s] == index[objective.source]]
    fine = {index[objective.source], index[objective.preferred]}
    return Encoded(sum(1 - sum(model.on(s, h) for h in fine) for s in gone), max(1, count), count)


def _hosts_in_use(model: Model, objective: HostsInUse) -> Encoded:
    available = max(1, int(model.compiled.available.sum()))
    return Encoded(sum(busy for _, busy in _busy(model)), available, available)


def _host_cost(model: Model, objective: HostCost) -> Encoded:
    costs = [objective.costs.get(host.name, 0.0) for host in model.compiled.problem.cluster.hosts]
    share = [Fraction(cost).limit_denominator(10**4) for cost in costs]
    scale = math.lcm(*(one.denominator for one in share)) if share else 1
    scale = min(scale, 10**6)
    whole = [round(cost * scale) for cost in costs]
    above = sum(max(0.0, amount - cost * scale) for amount, cost in zip(whole, costs, strict=True))
    return Encoded(sum(whole[h] * busy for h, busy in _busy(model)), scale, sum(whole), 0.0 if above < 1e-6 else above)


def _busy(model: Model) -> list[tuple[int, Expr]]:
    """Available hosts, and 1 for those that are in use."""
    compiled, modes = model.compiled, model.compiled.arrays.modes
    used: list[tuple[int, Expr]] = []
    fixed = np.bincount(model.held_hosts[model.fixed], minlength=len(compiled.available))
    for h in np.flatnonzero(compiled.available).tolist():
        here = model.here.get(h, [])
        if compiled.bound[h] or fixed[h]:
            used.append((h, 1))
        elif here:
            if h not in model.busy:
                busy = model.busy[h] = model.cp.new_bool_var(f"busy@{h}")
                for _, _, variable in here:
                    model.cp.add_implication(variable, busy)
                for d in range(compiled.arrays.demand.shape[1]):
                    amounts = [(int(compiled.arrays.demand[s * modes + p % modes, d]), s, v) for s, p, v in here]
                    room = max(int(compiled.arrays.room[h, d]), sum(a for a, s, _ in amounts if compiled.arrays.home[s] == h))
                    model.cp.add(sum(amount * variable for amount, _, variable in amounts) <= room * busy)
            used.append((h, model.busy[h]))
    return used


def _spread(model: Model, objective: Spread) -> Encoded:
    """Squared distances of the hosts from their mean, in whole numbers: distance = n u_h - sum of all u, u_h = load_h R / capacity_h.

    u is exact where R, the capacities' least common multiple, is not too large; else R / capacity is rounded to six digits. Where the
    squares would not fit in 64 bits, distances are rounded to ``unit``. Hosts out of scope share one square, that of the mean.
    """
    balance = model.compiled.balance[objective.metric]
    counted = np.flatnonzero(balance.counted).tolist()
    if not counted:
        return Encoded(0, 1, 0)
    capacity = {h: int(balance.capacity[h]) for h in counted}
    n, whole = len(counted), math.lcm(*capacity.values())
    if whole > 1000 * max(capacity.values()):
        whole = 10**6 * max(capacity.values())
    factor = {h: (2 * whole + size) // (2 * size) for h, size in capacity.items()}
    unit = max(1, math.ceil(n * whole / math.isqrt(_SQUARE_SCALE // n)))
    scale = n * (n * whole) ** 2 / unit**2
    outside = model.outside(balance.load)
    here = {h: [(int(balance.load[s]), v) for s, _, v in model.here.get(h, ()) if balance.load[s]] for h in counted}
    most = {h: int(outside[h]) + sum(amount for amount, _ in on) for h, on in here.items()}
    error = _share_error(n, whole, unit, capacity, factor, most)
    root = math.sqrt((model.most + objective.threshold**2) * scale) + error + 1
    base = sum(factor[h] * int(outside[h]) for h in counted)
    total = model.cp.new_int_var(base, sum(factor[h] * most[h] for h in counted), "sum of utilisation")
    model.cp.add(total == base + sum(factor[h] * amount * v for h, on in here.items() for amount, v in on))
    terms: list[Expr] = []
    greatest = 0
    for h, on in here.items():
        if on:
            low = n * factor[h] * int(outside[h])
            inside = low + sum(n * factor[h] * amount * v for amount, v in on)
            ends = low - sum(factor[k] * m for k, m in most.items()), n * factor[h] * most[h] - base
            _, square, top = _distance(model, inside - total, ends, unit, root, n * whole // (_TANGENTS * unit), f"distance@{h}")
            terms.append(square)
            greatest += top**2
    fixed = [n * factor[h] * most[h] for h, on in here.items() if not on]
    if fixed:
        now = sum(factor[h] * int(a) for h, a in zip(counted, _loads(model, balance.load)[counted], strict=True))
        far = [(amount - now + unit // 2) // unit for amount in fixed]
        ends = base - now, sum(factor[h] * m for h, m in most.items()) - now
        shift, square, top = _distance(model, total - now, ends, unit, math.inf, max(1, n * whole // (_TANGENTS * unit)), "shift of the mean")
        terms.append(sum(d**2 for d in far) - 2 * sum(far) * shift + len(far) * square)
        greatest += sum((abs(d) + top) ** 2 for d in far)
    known = min((model.most + objective.threshold**2) * scale, greatest)
    rounding = (math.sqrt(known) + error) ** 2 - known if error else 0.0
    greatest = greatest if math.isinf(root) else min(greatest, math.ceil(n * root**2))
    # What the threshold allows is seldom whole; parts that are small enough make it so.
    share = Fraction(objective.threshold).limit_denominator(10**4)
    allowed = Fraction(scale) * (share if math.isclose(share, objective.threshold, rel_tol=1e-15) else Fraction(objective.threshold)) ** 2
    parts = allowed.denominator if allowed.denominator * scale <= _SQUARE_SCALE else 1
    excess = model.cp.new_int_var(0, parts * greatest, "excess")
    model.cp.add(excess >= parts * sum(terms) - math.floor(parts * allowed))
    cut = float(parts * allowed - math.floor(parts * allowed))
    return Encoded(excess, parts * scale, parts * greatest, parts * rounding + cut)


def _loads(model: Model, load: Ints) -> Ints:
    """The load (H) of the hosts in the incumbent."""
    total = np.zeros(len(model.scope.hosts), dtype=np.int64)
    np.add.at(total, model.held_hosts, load)
    return total


def _share_error(n: int, whole: int, unit: int, capacity: Mapping[int, int], factor: Mapping[int, int], most: Mapping[int, int]) -> float:
    """The root of the sum over the hosts of the square of how far rounding can carry a distance, in units."""
    off = {h: most[h] * abs(factor[h] - whole / size) for h, size in capacity.items()}
    together = sum(off.values())
    return math.sqrt(sum(((n * one + together) / unit + (1 if unit > 1 else 0)) ** 2 for one in off.values()))


def _distance(model: Model, distance: Expr, ends: tuple[int, int], unit: int, reach: float, step: int, name: str) -> tuple[Expr, Expr, int]:
    """(a distance in units, its square, its greatest size), with tangents every ``step``; its size is at most ``reach``."""
    low, high = (ends[0] + unit // 2) // unit, (ends[1] + unit // 2) // unit
    if math.isfinite(reach):
        low, high = max(low, -math.ceil(reach)), min(high, math.ceil(reach))
    top = max(abs(low), abs(high))
    rounded = model.cp.new_int_var(low, high, name)
    if unit == 1:
        model.cp.add(rounded == distance)
    else:
        model.cp.add(unit * rounded <= distance + unit // 2)
        model.cp.add(unit * rounded >= distance + unit // 2 - unit + 1)
    square = model.cp.new_int_var(0, top**2, f"square of {name}")
    model.cp.add_multiplication_equality(square, [rounded, rounded])
    for number in range(-_TANGENTS, _TANGENTS + 1):  # the linear part of the solver knows little of squares: tangents teach it
        point = number * step
        if -top <= point <= top:
            model.cp.add(square >= 2 * point * rounded - point**2)
    return rounded, square, top


def _fragmentation(model: Model, objective: Fragmentation) -> Encoded:
    """Free room less the slots that are cut from it, over the available hosts."""
    arrays, modes, size = model.compiled.arrays, model.compiled.arrays.modes, objective.size
    pieces: list[Expr] = []
    scale = model.compiled.free_now(objective)
    pools = model.compiled.pools(objective)
    if not pools:  # no server takes of it, so nothing changes
        same = round(scale * objective.value(arrays.cluster, arrays.placement(model.incumbent)))
        return Encoded(same, scale, same)
    for d in pools:
        outside = model.outside(arrays.demand[model.rows, d])
        for h in np.flatnonzero(model.compiled.available).tolist():
            free = int(arrays.room[h, d] - outside[h])
            here = [(int(arrays.demand[s * modes + p % modes, d]), v) for s, p, v in model.here.get(h, ())]
            here = [(amount, v) for amount, v in here if amount]
            if not here:
                pieces.append(free % size)
                continue
            slots = model.cp.new_int_var((free - sum(amount for amount, _ in here)) // size, free // size, f"slots {d}@{h}")
            left = free - sum(amount * v for amount, v in here)
            model.cp.add(size * slots <= left)
            pieces.append(left - size * slots)
    return Encoded(sum(pieces), scale, (size - 1) * len(pieces))


def _misplaced(model: Model, objective: Misplaced) -> Encoded:
    classes, broken = model.compiled.misplaced(objective)
    modes, fixed = model.compiled.arrays.modes, model.fixed
    already = int(broken[classes[fixed], model.held_hosts[fixed]].sum())
    costs = [(int(broken[classes[s], p // modes]), v) for s, places in model.at.items() if classes[s] for p, v in places.items()]
    return Encoded(already + sum(cost * v for cost, v in costs if cost), 1, int(broken.max(axis=1)[classes].sum()) if len(classes) else 0)


def _by_domain(model: Model, members: Index, domain: Index) -> tuple[dict[int, int], dict[int, list[Expr]]]:
    """By the number of a domain: how many members outside the scope are in it, and 1 for each member that may be."""
    modes = model.compiled.arrays.modes
    fixed: dict[int, int] = {}
    free: dict[int, list[Expr]] = {}
    for m in members.tolist():
        if m not in model.at:
            d = int(domain[model.held_hosts[m]])
            fixed[d] = fixed.get(d, 0) + 1
        for p, variable in model.at.get(m, {}).items():
            free.setdefault(int(domain[p // modes]), []).append(variable)
    return fixed, free


def _crowded(model: Model, objective: Crowded) -> Encoded:
    members = model.compiled.members(objective.members)
    fixed, free = _by_domain(model, members, model.compiled.alone)
    total: list[Expr] = [max(0, count - objective.max_per_host) for h, count in fixed.items() if h not in free]
    for h, here in free.items():
        low = fixed.get(h, 0) - objective.max_per_host
        if low + len(here) <= 0:
            continue
        over = model.cp.new_int_var(0, low + len(here), f"crowded@{h}")
        model.cp.add(over >= low + sum(here))
        total.append(over)
    return Encoded(sum(total), 1, len(members))


def _scattering(model: Model, objective: Scattering) -> Encoded:
    members = model.compiled.members(objective.members)
    if not len(members):
        return Encoded(0, 1, 0)
    fixed, free = _by_domain(model, members, model.compiled.domain(objective.domains))
    count: list[Expr] = [len(fixed)]
    for d, here in free.items():
        if d not in fixed:
            present = model.cp.new_bool_var(f"present@{d}")
            model.cp.add_bool_or(*here, present.negated())
            for variable in here:
                model.cp.add_implication(variable, present)
            count.append(present)
    greatest = max(objective.at_least, len(members))
    off = model.cp.new_int_var(0, greatest, "domains too few or too many")
    model.cp.add(off >= objective.at_least - sum(count))
    if objective.at_most is not None:
        model.cp.add(off >= sum(count) - objective.at_most)
    return Encoded(off, 1, greatest)


def _lonely(model: Model, objective: Lonely) -> Encoded:
    members, domain = model.compiled.members(objective.members), model.compiled.domain(objective.domains)
    fixed, free = _by_domain(model, members, domain)
    supplied, supply = _by_domain(model, model.compiled.members(objective.needs), domain)
    total: list[Expr] = []
    for d in sorted({*fixed, *free} - supplied.keys()):
        here: Expr = fixed.get(d, 0) + sum(free.get(d, []))
        if d in supply:
            lonely = model.cp.new_int_var(0, len(members), f"lonely@{d}")
            model.cp.add(lonely >= here - len(members) * sum(supply[d]))
            total.append(lonely)
        else:
            total.append(here)
    return Encoded(sum(total), 1, len(members))


def _overdrawn(model: Model, objective: Overdrawn) -> Encoded:
    hosts, demand = model.compiled.pool(objective)
    fixed = model.fixed[hosts[model.held_hosts[model.fixed]]]
    low = int(demand[fixed].sum()) - objective.most
    free = [(int(demand[s]), model.among(s, hosts)) for s in model.at if demand[s]]
    high = max(0, low + sum(amount for amount, _ in free))
    over = model.cp.new_int_var(0, high, "overdrawn")
    model.cp.add(over >= low + sum(amount * inside for amount, inside in free))
    return Encoded(over, 1, high)


TERMS: Mapping[type[Objective], Callable[[Model, Any], Encoded]] = {
    Overload: _overload, MoveCost: _move_cost, Remaining: _remaining, Elsewhere: _elsewhere, HostsInUse: _hosts_in_use, Spread: _spread,
    Moves: _moves,
    ServerMoveCost: _server_move_cost, HostPairCost: _host_pair_cost, GroupMoveCost: _group_move_cost, LoadCost: _load_cost,
    BalanceCost: _balance_cost, HostCost: _host_cost, Broken: _broken, Fragmentation: _fragmentation, Misplaced: _misplaced, Crowded: _crowded,
    Scattering: _scattering, Lonely: _lonely, Overdrawn: _overdrawn,
}
"""The one table that joins each objective with its encoding."""
