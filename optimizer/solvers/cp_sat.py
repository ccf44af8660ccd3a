"""The exact solver: the whole problem, or a few hosts of it, as a CP-SAT model (OR-Tools).

One 0/1 variable for each movable server and host it may be on. Levels are solved one after the other, each with the
values of those before as constraints. Reference: https://developers.google.com/optimization/cp/cp_solver.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from ortools.sat.python import cp_model

from optimizer.arrays import Index, Mask
from optimizer.errors import PlacewrightError
from optimizer.objectives.base import Objective
from optimizer.objectives.elsewhere import Elsewhere
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.spread import Spread
from optimizer.problem import Level
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

_LARGEST = 10**18  # CP-SAT computes in 64 bits
_EXACT_TO = 10**15  # larger factors cost CP-SAT more time than exactness is worth
_MEET = 1e-9  # a value and its bound that are as near as this have met; so says optimizer.problem.better
_SQUARE_SCALE = 10**14  # so that sums of squares stay far below _LARGEST
_TANGENTS = 20
Expr = Any  # a CP-SAT linear expression or a whole number


class ModelError(RuntimeError):
    """CP-SAT rejects a model, or calls one infeasible that has a known solution: a defect, never the operator's fault."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What may change: ``servers`` (S) that may move, between ``hosts`` (H); all others stay where the incumbent has them."""

    servers: Mask
    hosts: Mask


@dataclass(frozen=True, slots=True)
class Answer:
    """Host of each server (S); for each level its proven lower bound, None where a level before it was not proven."""

    where: Index
    bounds: tuple[float | None, ...]
    proven: bool


@dataclass(frozen=True, slots=True)
class _Encoded:
    """An objective in whole numbers: value = ``sum`` / ``scale``, and ``sum`` is at most ``greatest``.

    ``above``: by how much rounding can make the sum exceed value x scale, in any placement no worse than the one known.
    """

    sum: Expr
    scale: float
    greatest: int
    above: float = 0.0


@dataclass
class _Model:
    """The model under construction: ``at[s]`` maps host -> 0/1 variable (or 1) for the servers in scope.

    ``most`` is what the value of the next term need not exceed, because a solution is known where it does not.
    """

    compiled: Compiled
    scope: Scope
    incumbent: Index
    cp: cp_model.CpModel = field(default_factory=cp_model.CpModel)
    at: dict[int, dict[int, Expr]] = field(default_factory=dict)
    here: dict[int, list[tuple[int, Expr]]] = field(default_factory=dict)
    most: float = math.inf

    def on(self, server: int, host: int) -> Expr:
        """1 when the server is on the host, as a variable or a constant."""
        if server in self.at:
            return self.at[server].get(host, 0)
        return int(self.incumbent[server] == host)

    def stays(self, server: int) -> Expr:
        """1 when the server is where the cluster has it."""
        return self.on(server, int(self.compiled.arrays.start[server]))

    @property
    def open_hosts(self) -> list[int]:
        return [int(h) for h in np.flatnonzero(self.scope.hosts)]

    @property
    def fixed(self) -> Index:
        """The servers outside the scope."""
        return np.flatnonzero(~self.scope.servers).astype(np.int32)


def size(compiled: Compiled) -> int:
    """How many 0/1 variables the whole problem needs."""
    arrays = compiled.arrays
    reach = arrays.eligible.sum(axis=1)
    return int((reach[arrays.server_class] + (reach[arrays.server_class] > 0)).sum())


def solve_cp_sat(compiled: Compiled, incumbent: Index, scope: Scope, stop: Stop, seed: int, threads: int,
                 limit_s: float | None = None) -> Answer:
    """The best placement within a scope, starting from a legal incumbent; ``limit_s`` bounds this call alone."""
    model = _build(compiled, incumbent, scope)
    where, proven, exact, spent = incumbent, True, True, 0.0
    bounds: list[float | None] = []
    for number, level in enumerate(compiled.problem.levels):
        goal = _goal(model, level, compiled.problem.values(compiled.arrays.placement(where))[number])
        model.cp.minimize(goal.sum)
        model.cp.clear_hints()  # type: ignore[no-untyped-call]
        for s, options in model.at.items():
            for h, variable in options.items():
                model.cp.add_hint(variable, int(where[s] == h))
        left = min(stop.remaining_s(), (limit_s or float("inf")) - spent)
        share = left if number == len(compiled.problem.levels) - 1 else left * 0.7
        solver = cp_model.CpSolver()
        solver.parameters.max_time_in_seconds = max(0.05, share)
        solver.parameters.random_seed = seed
        solver.parameters.num_workers = threads
        status = solver.solve(model.cp)
        spent += solver.wall_time
        if status in (cp_model.MODEL_INVALID, cp_model.INFEASIBLE):  # the incumbent is a solution, so neither can be
            raise ModelError(f"level {number}: {solver.status_name(status)} {model.cp.validate()}")
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            bounds += [None] * (len(compiled.problem.levels) - number)
            return Answer(where, tuple(bounds), False)
        where = where.copy()
        for s, options in model.at.items():
            where[s] = next(h for h, variable in options.items() if solver.value(variable))
        # Once a level was rounded, an equally good placement may be shut out of the next: nothing is known of all of them.
        bound = max(0.0, (solver.best_objective_bound - goal.above) / goal.scale) if proven and exact else None
        bounds.append(bound)
        proven = bound is not None and compiled.problem.values(compiled.arrays.placement(where))[number] - bound <= _MEET
        exact = exact and goal.above == 0
        model.cp.add(goal.sum <= solver.value(goal.sum))
    return Answer(where, tuple(bounds), proven)


def _goal(model: _Model, level: Level, known: float) -> _Encoded:
    """A level, of which a placement with the value ``known`` is known."""
    terms = []
    for term in level:
        model.most = known / term.weight if term.weight > 0 and all(other.weight >= 0 for other in level) else math.inf
        terms.append((term.weight, _TERMS[type(term.objective)](model, term.objective)))
    return _weighted(terms, known)


def _build(compiled: Compiled, incumbent: Index, scope: Scope) -> _Model:
    """Variables and constraints."""
    model = _Model(compiled, scope, incumbent)
    arrays = compiled.arrays
    for s in np.flatnonzero(scope.servers).tolist():
        reach = arrays.allowed(s) & scope.hosts
        hosts = {*np.flatnonzero(reach).tolist(), int(incumbent[s])}
        if scope.hosts[arrays.start[s]]:
            hosts.add(int(arrays.start[s]))
        model.at[s] = {h: model.cp.new_bool_var(f"{s}@{h}") for h in sorted(hosts)}
        model.cp.add_exactly_one(model.at[s].values())
        for h, variable in model.at[s].items():
            model.here.setdefault(h, []).append((s, variable))
    _packed(model)
    _apart(model)
    _together(model)
    _not_worse(model)
    if compiled.problem.max_moves is not None:
        model.cp.add(_moved(model) <= compiled.problem.max_moves)
    return model


def _moved(model: _Model) -> Expr:
    fixed = model.fixed
    already = int((model.incumbent[fixed] != model.compiled.arrays.start[fixed]).sum())
    return already + sum(1 - model.stays(s) for s in model.at)


def _packed(model: _Model) -> None:
    """What is on a host that receives fits; a host that is overfull may stay so as long as it receives nothing."""
    arrays, fixed = model.compiled.arrays, model.fixed
    elsewhere = arrays.used(np.where(model.scope.servers, 0, model.incumbent).astype(np.int32))
    scoped = np.flatnonzero(model.scope.servers)
    elsewhere[0] -= arrays.demand[scoped].sum(axis=0)
    at_start = arrays.used(arrays.start)
    arrived = fixed[model.incumbent[fixed] != arrays.start[fixed]]
    for h in model.open_hosts:
        for d in range(arrays.demand.shape[1]):
            here = [(s, int(arrays.demand[s, d]), v) for s, v in model.here.get(h, ()) if arrays.demand[s, d] > 0]
            room = int(arrays.room[h, d] - elsewhere[h, d])
            if sum(amount for _, amount, _ in here) <= room:
                continue
            load = sum(amount * variable for _, amount, variable in here)
            excess = int(at_start[h, d] - arrays.room[h, d])
            if excess <= 0 or (arrays.demand[arrived[model.incumbent[arrived] == h], d] > 0).any():
                model.cp.add(load <= room)
                continue
            receives = model.cp.new_bool_var(f"receives {d}@{h}")
            for s, _, variable in here:
                if arrays.start[s] != h:
                    model.cp.add_implication(variable, receives)
            model.cp.add(load <= room + excess * (1 - receives))


def _apart(model: _Model) -> None:
    arrays = model.compiled.arrays
    for group in arrays.apart:
        members = group.members.tolist()
        for h in model.open_hosts:
            count = sum(model.on(m, h) for m in members)
            if isinstance(count, int):
                continue
            held = int(group.held[h])
            newcomers = [model.on(m, h) for m in members if arrays.start[m] != h]
            excess = sum(int(arrays.start[m]) == h for m in members) + held - group.limit
            if excess <= 0 or any(isinstance(n, int) and n for n in newcomers):
                model.cp.add(count + held <= group.limit)
                continue
            for newcomer in newcomers:
                if not isinstance(newcomer, int):
                    model.cp.add(count + held <= group.limit).only_enforce_if(newcomer)


def _together(model: _Model) -> None:
    """Whoever moves goes where another member stays."""
    arrays = model.compiled.arrays
    for members in arrays.together:
        for m in members.tolist():
            for h in (model.at[m] if m in model.at else [int(model.incumbent[m])]):
                if h != arrays.start[m]:
                    stayers = sum(model.stays(o) for o in members.tolist() if o != m and arrays.start[o] == h)
                    model.cp.add(model.on(m, h) <= stayers)


def _not_worse(model: _Model) -> None:
    for group in model.compiled.arrays.not_worse:
        present: list[Expr] = []
        for h in range(len(model.compiled.arrays.room)):
            members = [model.on(m, h) for m in group.members.tolist()]
            if any(isinstance(m, int) and m for m in members):
                present.append(1)
                continue
            open_members = [m for m in members if not isinstance(m, int)]
            if not open_members:
                continue
            used = model.cp.new_bool_var(f"group@{h}")
            present.append(used)
            if group.together:
                for member in open_members:
                    model.cp.add_implication(member, used)
            else:
                model.cp.add_bool_or(*open_members, used.negated())
        if group.together:
            model.cp.add(sum(present) <= group.hosts)
        else:
            model.cp.add(sum(present) >= group.hosts)


def _weighted(terms: list[tuple[float, _Encoded]], known: float) -> _Encoded:
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
    return _Encoded(total, scale, math.ceil(reach * scale), above)


def _move_cost(model: _Model, objective: MoveCost) -> _Encoded:
    cost, whole = model.compiled.cost_parts
    fixed = model.fixed
    already = int(cost[fixed[model.incumbent[fixed] != model.compiled.arrays.start[fixed]]].sum())
    return _Encoded(already + sum(int(cost[s]) * (1 - model.stays(s)) for s in model.at), whole, int(cost.sum()))


def _remaining(model: _Model, objective: Remaining) -> _Encoded:
    host, count = model.compiled.host_index[objective.host], len(model.incumbent)
    return _Encoded(sum(model.on(s, host) for s in range(count)), max(1, count), count)


def _elsewhere(model: _Model, objective: Elsewhere) -> _Encoded:
    index, start, count = model.compiled.host_index, model.compiled.arrays.start, len(model.incumbent)
    gone = [s for s in range(count) if start[s] == index[objective.source]]
    fine = {index[objective.source], index[objective.preferred]}
    return _Encoded(sum(1 - sum(model.on(s, h) for h in fine) for s in gone), max(1, count), count)


def _hosts_in_use(model: _Model, objective: HostsInUse) -> _Encoded:
    compiled = model.compiled
    used: list[Expr] = []
    fixed = np.bincount(model.incumbent[model.fixed], minlength=len(compiled.available))
    for h in np.flatnonzero(compiled.available).tolist():
        variables = [variable for _, variable in model.here.get(h, ())]
        if compiled.bound[h] or fixed[h]:
            used.append(1)
        elif variables:
            busy = model.cp.new_bool_var(f"busy@{h}")
            used.append(busy)
            for variable in variables:
                model.cp.add_implication(variable, busy)
            for d in range(compiled.arrays.demand.shape[1]):
                here = [(int(compiled.arrays.demand[s, d]), v) for s, v in model.here[h]]
                room = max(int(compiled.arrays.room[h, d]), sum(a for (a, _), (s, _) in zip(here, model.here[h], strict=True)
                                                              if compiled.arrays.start[s] == h))
                model.cp.add(sum(amount * variable for amount, variable in here) <= room * busy)
    available = max(1, int(compiled.available.sum()))
    return _Encoded(sum(used), available, available)


def _spread(model: _Model, objective: Spread) -> _Encoded:
    """Squares by multiplication, weighted by the inverse square of the host's capacity.

    The weights are exact where the capacities have a common multiple that is not too large, else rounded to three digits or
    better. Where the squares would not fit in 64 bits (memory of many or large hosts), distances are rounded to ``unit``.
    """
    balance = model.compiled.balance[objective.metric]
    counted = np.flatnonzero(balance.counted)
    if not len(counted):
        return _Encoded(0, 1, 0)
    capacity = {h: int(balance.capacity[h]) for h in counted.tolist()}
    largest = max(capacity.values())
    precision = (math.lcm(*capacity.values()) // largest) ** 2
    if precision * len(counted) * largest**2 > _SQUARE_SCALE and precision > 1:
        precision = 1000
    unit = max(1, math.ceil(largest / math.isqrt(_SQUARE_SCALE // (precision * len(counted)))))
    scale = precision * len(counted) * largest**2 / unit**2
    weights = {h: round(precision * largest**2 / size**2) for h, size in capacity.items()}
    stretch = max(1.0, *(weight * capacity[h] ** 2 / (precision * largest**2) for h, weight in weights.items()))
    # Roots add up: that of the known squares, weights rounded, and that of half a unit on each host.
    halves = math.sqrt(sum(weights.values())) / 2 if unit > 1 else 0.0
    root = math.sqrt(stretch * (model.most + objective.threshold**2) * scale) + halves + 1
    fixed = model.fixed
    elsewhere = np.bincount(model.incumbent[fixed], weights=balance.load[fixed], minlength=len(balance.capacity)).astype(np.int64)
    terms: list[Expr] = []
    greatest = 0
    for h, weight in weights.items():
        here = [(int(balance.load[s]), variable) for s, variable in model.here.get(h, ()) if balance.load[s]]
        low = int(elsewhere[h] - balance.level[h]) + unit // 2
        if not here:
            terms.append(weight * (low // unit) ** 2)
            greatest += weight * (low // unit) ** 2
            continue
        distance, square, top = _distance(model, h, here, low, unit, root / math.sqrt(weight))
        for step in range(-_TANGENTS, _TANGENTS + 1):  # the linear part of the solver knows little of squares: tangents teach it
            point = int(balance.capacity[h]) * step // (_TANGENTS * unit)
            if -top <= point <= top:
                model.cp.add(square >= 2 * point * distance - point**2)
        terms.append(weight * square)
        greatest += weight * top**2
    known = min((model.most + objective.threshold**2) * scale, greatest)
    rounding = (math.sqrt(stretch * known) + halves) ** 2 - known if stretch > 1 or unit > 1 else 0.0
    greatest = greatest if math.isinf(root) else min(greatest, math.ceil(root**2))
    # What the threshold allows is seldom whole; parts that are small enough make it so.
    share = Fraction(objective.threshold).limit_denominator(10**4)
    allowed = Fraction(scale) * (share if math.isclose(share, objective.threshold, rel_tol=1e-15) else Fraction(objective.threshold)) ** 2
    parts = allowed.denominator if allowed.denominator * scale <= _SQUARE_SCALE else 1
    excess = model.cp.new_int_var(0, parts * greatest, "excess")
    model.cp.add(excess >= parts * sum(terms) - math.floor(parts * allowed))
    cut = float(parts * allowed - math.floor(parts * allowed))
    return _Encoded(excess, parts * scale, parts * greatest, parts * rounding + cut)


def _distance(model: _Model, host: int, here: list[tuple[int, Expr]], low: int, unit: int,
              reach: float) -> tuple[Expr, Expr, int]:
    """(``low`` plus the load of the servers ``here``, in units, its square, its greatest size); its size is at most ``reach``."""
    high = low + sum(load for load, _ in here)
    ends = low // unit, high // unit
    if math.isfinite(reach):
        ends = max(ends[0], -math.ceil(reach)), min(ends[1], math.ceil(reach))
    top = max(abs(ends[0]), abs(ends[1]))
    distance = model.cp.new_int_var(*ends, f"distance@{host}")
    load = low + sum(amount * variable for amount, variable in here)
    model.cp.add(unit * distance <= load)
    model.cp.add(unit * distance >= load - unit + 1)
    square = model.cp.new_int_var(0, top**2, f"square@{host}")
    model.cp.add_multiplication_equality(square, [distance, distance])
    return distance, square, top


_TERMS: Mapping[type[Objective], Callable[[_Model, Any], _Encoded]] = {
    MoveCost: _move_cost, Remaining: _remaining, Elsewhere: _elsewhere, HostsInUse: _hosts_in_use, Spread: _spread,
}
"""The one table that joins each objective with its encoding."""


def check_objectives(compiled: Compiled) -> None:
    """Raise PlacewrightError for an objective that has no encoding."""
    for level in compiled.problem.levels:
        for term in level:
            if type(term.objective) not in _TERMS:
                known = ", ".join(sorted(kind.name for kind in _TERMS))
                raise PlacewrightError(f"objective {term.objective.name} has no solver encoding; there are encodings for {known}")
