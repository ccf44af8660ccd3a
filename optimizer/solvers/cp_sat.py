"""The exact solver: the whole problem, or a few hosts of it, as a CP-SAT model (OR-Tools).

One 0/1 variable for each movable server and host it may be on. Levels are solved one after the other, each with the
values of those before as constraints. Reference: https://developers.google.com/optimization/cp/cp_solver.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from ortools.sat.python import cp_model

from optimizer.arrays import Index, Ints, Mask
from optimizer.errors import PlacewrightError
from optimizer.growth import NOT_RUNNING
from optimizer.load import load_limit
from optimizer.objectives.balance_cost import BalanceCost
from optimizer.objectives.base import Objective
from optimizer.objectives.broken import Broken
from optimizer.objectives.elsewhere import Elsewhere
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.group_move_cost import GroupMoveCost
from optimizer.objectives.host_cost import HostCost
from optimizer.objectives.host_pair_cost import HostPairCost
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.overload import Overload
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.objectives.spread import Spread
from optimizer.problem import Level
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import ENDLESS, Compiled

_LARGEST = 10**18  # CP-SAT computes in 64 bits
_EXACT_TO = 10**15  # larger factors cost CP-SAT more time than exactness is worth
_MEET = 1e-9  # a value and its bound that are as near as this have met; so says optimizer.problem.better
_SQUARE_SCALE = 10**14  # so that sums of squares stay far below _LARGEST
_TANGENTS = 20
_WORK = 10.0  # of a model when iterations are counted, in CP-SAT's deterministic seconds
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
    """The model under construction: ``at[s]`` maps place -> 0/1 variable for the servers in scope, ``here[h]`` lists (server, place, variable).

    ``most`` is what the value of the next term need not exceed, because a solution is known where it does not.
    """

    compiled: Compiled
    scope: Scope
    incumbent: Index
    cp: cp_model.CpModel = field(default_factory=cp_model.CpModel)
    at: dict[int, dict[int, Expr]] = field(default_factory=dict)
    here: dict[int, list[tuple[int, int, Expr]]] = field(default_factory=dict)
    most: float = math.inf
    busy: dict[int, Expr] = field(default_factory=dict)

    def on(self, server: int, host: int) -> Expr:
        """1 when the server is on the host, as an expression or a constant."""
        modes = self.compiled.arrays.modes
        if server in self.at:
            seats = [self.at[server][p] for p in range(host * modes, host * modes + modes) if p in self.at[server]]
            return sum(seats[1:], start=seats[0]) if seats else 0
        return int(self.incumbent[server] // modes == host)

    def among(self, server: int, hosts: Mask) -> Expr:
        """1 when the server is on one of the hosts (H), as an expression or a constant."""
        modes = self.compiled.arrays.modes
        if server in self.at:
            return sum(variable for p, variable in self.at[server].items() if hosts[p // modes])
        return int(hosts[self.incumbent[server] // modes])

    def stays(self, server: int) -> Expr:
        """1 when the server is in the place where the cluster has it."""
        start = int(self.compiled.arrays.start[server])
        return self.at[server].get(start, 0) if server in self.at else int(self.incumbent[server] == start)

    def at_home(self, server: int) -> Expr:
        """1 when the server is on the host where the cluster has it."""
        return self.on(server, int(self.compiled.arrays.home[server]))

    @property
    def open_hosts(self) -> list[int]:
        return [int(h) for h in np.flatnonzero(self.scope.hosts)]

    @cached_property
    def fixed(self) -> Index:
        """The servers outside the scope."""
        return np.flatnonzero(~self.scope.servers).astype(np.int32)

    @cached_property
    def rows(self) -> Index:
        """The row of ``demand`` (S) of each server where the incumbent has it."""
        return self.compiled.arrays.rows(self.incumbent)

    @cached_property
    def held_hosts(self) -> Index:
        """The host (S) of each server where the incumbent has it."""
        held: Index = self.incumbent // np.int32(self.compiled.arrays.modes)
        return held

    def outside(self, amounts: Ints) -> Ints:
        """The sum by host (H) of ``amounts`` (S) of the servers outside the scope."""
        total = np.zeros(len(self.scope.hosts), dtype=np.int64)
        np.add.at(total, self.held_hosts[self.fixed], amounts[self.fixed])
        return total

    def touched(self, groups: Sequence[Index]) -> list[int]:
        """The numbers of the groups with a member in scope."""
        if not groups:
            return []
        sizes = np.array([len(group) for group in groups])
        number = np.repeat(np.arange(len(groups)), sizes)
        return sorted(set(number[self.scope.servers[np.concatenate(groups)]].tolist()))


def size(compiled: Compiled) -> int:
    """How many 0/1 variables the whole problem needs."""
    arrays = compiled.arrays
    reach = arrays.eligible.sum(axis=1)[arrays.server_class] * arrays.seats.sum(axis=1)
    return int((reach + (reach > 0)).sum())


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
        if math.isinf(stop.remaining_s()):  # iterations count, not time: the same amount of work, in the same order, each time
            solver.parameters.max_deterministic_time = _WORK if limit_s is None else limit_s
            solver.parameters.interleave_search = True
        else:
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
    modes = arrays.modes
    for s in np.flatnonzero(scope.servers).tolist():
        hosts = np.flatnonzero(arrays.allowed(s) & scope.hosts).tolist()
        places = {*(h * modes + m for h in hosts for m in np.flatnonzero(arrays.seats[s]).tolist()), int(incumbent[s])}
        if scope.hosts[arrays.home[s]]:
            places.add(int(arrays.start[s]))
        model.at[s] = {p: model.cp.new_bool_var(f"{s}@{p}") for p in sorted(places)}
        model.cp.add_exactly_one(model.at[s].values())
        for p, variable in model.at[s].items():
            model.here.setdefault(p // modes, []).append((s, p, variable))
    _packed(model)
    _apart(model)
    _together(model)
    _not_worse(model)
    _scattered(model)
    _near(model)
    _inside(model)
    if compiled.problem.max_moves is not None:
        model.cp.add(_moved(model) <= compiled.problem.max_moves)
    return model


def _moved(model: _Model) -> Expr:
    fixed = model.fixed
    already = int((model.incumbent[fixed] != model.compiled.arrays.start[fixed]).sum())
    return already + sum(1 - model.stays(s) for s in model.at)


def _packed(model: _Model) -> None:
    """What is on a host that receives fits; a host that is overfull may stay so as long as it receives nothing."""
    arrays, fixed, modes = model.compiled.arrays, model.fixed, model.compiled.arrays.modes
    demand = arrays.demand[model.rows]
    elsewhere = np.stack([model.outside(demand[:, d]) for d in range(demand.shape[1])], axis=1)
    if arrays.kept.any():
        elsewhere += arrays.away(np.where(model.scope.servers, arrays.start, model.incumbent).astype(np.int32))
        at_home = np.zeros_like(elsewhere)
        scoped = np.flatnonzero(model.scope.servers)
        np.add.at(at_home, arrays.home[scoped], arrays.demand[arrays.rows(arrays.start)[scoped]])
        elsewhere += np.where(arrays.kept, at_home, 0)
    at_start = arrays.used(arrays.start)
    arrived = fixed[model.held_hosts[fixed] != arrays.home[fixed]]
    for h in model.open_hosts:
        for d in range(arrays.demand.shape[1]):
            here = [(s, p, int(arrays.demand[s * modes + p % modes, d]), v) for s, p, v in model.here.get(h, ())
                    if not (arrays.kept[d] and p == arrays.start[s])]
            here = [(s, p, amount, v) for s, p, amount, v in here if amount > 0]
            room = int(arrays.room[h, d] - elsewhere[h, d])
            if sum(amount for _, _, amount, _ in here) <= room:
                continue
            load = sum(amount * variable for _, _, amount, variable in here)
            excess = int(at_start[h, d] - arrays.room[h, d])
            if excess <= 0 or (demand[arrived[model.held_hosts[arrived] == h], d] > 0).any():
                model.cp.add(load <= room)
                continue
            receives = model.cp.new_bool_var(f"receives {d}@{h}")
            for s, p, _, variable in here:
                if arrays.start[s] != p:
                    model.cp.add_implication(variable, receives)
            model.cp.add(load <= room + excess * (1 - receives))


def _apart(model: _Model) -> None:
    arrays = model.compiled.arrays
    for number in model.touched([group.members for group in arrays.apart]):
        group = arrays.apart[number]
        members = group.members.tolist()
        scoped = [m for m in members if m in model.at]
        for h in sorted({p // arrays.modes for m in scoped for p in model.at[m]}):
            held = int(group.held[h])
            if len(members) + held <= group.limit:
                continue
            count = sum(model.on(m, h) for m in members)
            newcomers = [model.on(m, h) for m in members if arrays.home[m] != h]
            excess = sum(int(arrays.home[m]) == h for m in members) + held - group.limit
            if excess <= 0 or any(isinstance(n, int) and n for n in newcomers):
                model.cp.add(count + held <= group.limit)
                continue
            for newcomer in newcomers:
                if not isinstance(newcomer, int):
                    receives = model.cp.new_bool_var(f"group {number} receives @{h}")
                    model.cp.add(newcomer <= receives)
                    model.cp.add(count + held <= group.limit).only_enforce_if(receives)


def _scattered(model: _Model) -> None:
    arrays = model.compiled.arrays
    for number in model.touched([group.members for group in arrays.scattered]):
        group = arrays.scattered[number]
        fixed = {int(group.domain[model.held_hosts[m]]) for m in group.members.tolist() if m not in model.at}
        open_domains: dict[int, list[Expr]] = {}
        for m in group.members.tolist():
            for p, variable in model.at.get(m, {}).items():
                open_domains.setdefault(int(group.domain[p // arrays.modes]), []).append(variable)
        present: list[Expr] = []
        for domain, variables in open_domains.items():
            if domain not in fixed:
                present.append(model.cp.new_bool_var(f"scattered {number}@{domain}"))
                model.cp.add_bool_or(*variables, present[-1].negated())
        model.cp.add(len(fixed) + sum(present) >= group.least)


def _near(model: _Model) -> None:
    arrays, near = model.compiled.arrays, model.compiled.arrays.near
    for number in sorted({*model.touched([group.members for group in near]), *model.touched([group.needs for group in near])}):
        group = near[number]
        members, domain = group.members.tolist(), group.domain
        supply: dict[int, list[Expr]] = {}
        supplied = {int(domain[model.held_hosts[n]]) for n in group.needs.tolist() if n not in model.at}
        for n in group.needs.tolist():
            for p, variable in model.at.get(n, {}).items():
                supply.setdefault(int(domain[p // arrays.modes]), []).append(variable)
        now = set(domain[arrays.home[group.needs]].tolist())
        for m in members:
            home = int(domain[arrays.home[m]])
            options = model.at[m].items() if m in model.at else [(int(model.incumbent[m]), None)]
            for p, variable in options:
                here = int(domain[p // arrays.modes])
                if here in supplied or (here == home and home not in now):
                    continue
                clause = supply.get(here, [])
                if variable is not None:
                    model.cp.add_bool_or(*clause, variable.negated())
                else:
                    model.cp.add_bool_or(*clause)


def _inside(model: _Model) -> None:
    """One part holds where members go and where the others come from, as soon as one of them moves."""
    arrays = model.compiled.arrays
    for number in model.touched([group.members for group in arrays.inside]):
        group, members = arrays.inside[number], arrays.inside[number].members.tolist()
        in_part = np.array(group.parts, dtype=np.bool_).reshape(len(group.parts), len(arrays.room))
        counted = [m for m in members if in_part[:, arrays.home[m]].any()]
        chosen = [model.cp.new_bool_var(f"group {number} inside {q}") for q in range(len(group.parts))]
        model.cp.add_at_most_one(chosen)
        for m in members:
            others = in_part[:, arrays.home[[o for o in counted if o != m]]].all(axis=1)
            for place, variable in model.at[m].items() if m in model.at else [(int(model.incumbent[m]), 1)]:
                if place // arrays.modes != arrays.home[m]:
                    parts = np.flatnonzero(others & in_part[:, place // arrays.modes]).tolist()
                    model.cp.add(sum(chosen[q] for q in parts) >= variable)


def _together(model: _Model) -> None:
    """Whoever moves goes where another member stays."""
    arrays = model.compiled.arrays
    for members in arrays.together:
        for m in members.tolist():
            for h in sorted({p // arrays.modes for p in model.at[m]}) if m in model.at else [int(model.held_hosts[m])]:
                if h != arrays.home[m]:
                    stayers = sum(model.at_home(o) for o in members.tolist() if o != m and arrays.home[o] == h)
                    model.cp.add(model.on(m, h) <= stayers)


def _not_worse(model: _Model) -> None:
    for group in model.compiled.arrays.not_worse:
        present: list[Expr] = []
        for h in range(len(model.compiled.arrays.room)):
            members = [model.on(m, h) for m in group.members.tolist()]
            if any(isinstance(m, int) and m > 0 for m in members):
                present.append(1)
                continue
            open_members = [m for m in members if not isinstance(m, int)]
            if not open_members:
                continue
            used = model.cp.new_bool_var(f"group@{h}")
            present.append(used)
            if group.together:
                for member in open_members:
                    model.cp.add(member <= used)
            else:
                model.cp.add(sum(open_members) >= used)
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
    return _moved_cost(model, cost, whole)


def _moved_cost(model: _Model, cost: Ints, scale: float) -> _Encoded:
    """The costs (S) of the servers that change host."""
    fixed = model.fixed
    already = int(cost[fixed[model.held_hosts[fixed] != model.compiled.arrays.home[fixed]]].sum())
    return _Encoded(already + sum(int(cost[s]) * (1 - model.at_home(s)) for s in model.at if cost[s]), scale, int(cost.sum()))


def _moves(model: _Model, objective: Moves) -> _Encoded:
    return _Encoded(_moved(model), 1, len(model.incumbent))


def _server_move_cost(model: _Model, objective: ServerMoveCost) -> _Encoded:
    cost = np.array([objective.costs.get(server.id, 0) for server in model.compiled.problem.cluster.servers], dtype=np.int64)
    return _moved_cost(model, cost, 1)


def _host_pair_cost(model: _Model, objective: HostPairCost) -> _Encoded:
    home, costs, modes, fixed = model.compiled.arrays.home, objective.costs, model.compiled.arrays.modes, model.fixed
    changed = fixed[home[fixed] != model.held_hosts[fixed]]
    already = int(costs[home[changed], model.held_hosts[changed]].sum())
    terms = [(int(costs[home[s], p // modes]), v) for s, places in model.at.items() for p, v in places.items() if p // modes != home[s]]
    return _Encoded(already + sum(cost * v for cost, v in terms if cost), 1, int(costs.max(axis=1)[home].sum()) if len(home) else 0)


def _group_move_cost(model: _Model, objective: GroupMoveCost) -> _Encoded:
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
    return _Encoded(most, 1, largest)


def _resource(model: _Model, name: str) -> Ints:
    """What each server (S) holds of a resource class."""
    return np.array([server.resources.get(name, 0) for server in model.compiled.problem.cluster.servers], dtype=np.int64)


def _load_cost(model: _Model, objective: LoadCost) -> _Encoded:
    amounts = _resource(model, objective.resource)
    safe = {h: objective.safety[host.name] for h, host in enumerate(model.compiled.problem.cluster.hosts) if host.name in objective.safety}
    return _Encoded(_beyond(model, amounts, safe, objective.resource), 1, int(amounts.sum()))


def _overload(model: _Model, objective: Overload) -> _Encoded:
    balance = model.compiled.balance[objective.metric]
    safe = {h: load_limit(host, objective.metric, objective.max_percent) for h, host in enumerate(model.compiled.problem.cluster.hosts)}
    return _Encoded(_beyond(model, balance.load, safe, f"load:{objective.metric}"), max(1, int(balance.capacity.sum())), int(balance.load.sum()))


def _beyond(model: _Model, amounts: Ints, safe: Mapping[int, int], name: str) -> Expr:
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


def _broken(model: _Model, objective: Broken) -> _Encoded:
    index, numbers = model.compiled.host_index, model.compiled.server_index
    terms: list[tuple[float, _Encoded]] = []
    for need in model.compiled.needs(objective):
        room = {h: int(amount) for h, amount in enumerate(need.room) if amount < ENDLESS}
        greatest = int(need.demand.sum()) + sum(max(0, -amount) for amount in room.values())
        terms.append((1.0, _Encoded(_beyond(model, need.demand, room, need.quantity), need.unit, greatest)))
    wanted = [numbers[s] for s in objective.must_run if s in numbers]
    stopped = sum(model.on(s, index[NOT_RUNNING]) for s in wanted) if NOT_RUNNING in index else 0
    return _weighted([*terms, (1.0, _Encoded(stopped, 1, len(wanted)))], model.most)


def _balance_cost(model: _Model, objective: BalanceCost) -> _Encoded:
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
    return _Encoded(sum(total), 1, greatest)


def _remaining(model: _Model, objective: Remaining) -> _Encoded:
    host, count = model.compiled.host_index[objective.host], len(model.incumbent)
    return _Encoded(sum(model.on(s, host) for s in range(count)), max(1, count), count)


def _elsewhere(model: _Model, objective: Elsewhere) -> _Encoded:
    index, home, count = model.compiled.host_index, model.compiled.arrays.home, len(model.incumbent)
    gone = [s for s in range(count) if home[s] == index[objective.source]]
    fine = {index[objective.source], index[objective.preferred]}
    return _Encoded(sum(1 - sum(model.on(s, h) for h in fine) for s in gone), max(1, count), count)


def _hosts_in_use(model: _Model, objective: HostsInUse) -> _Encoded:
    available = max(1, int(model.compiled.available.sum()))
    return _Encoded(sum(busy for _, busy in _busy(model)), available, available)


def _host_cost(model: _Model, objective: HostCost) -> _Encoded:
    costs = [objective.costs.get(host.name, 0.0) for host in model.compiled.problem.cluster.hosts]
    share = [Fraction(cost).limit_denominator(10**4) for cost in costs]
    scale = math.lcm(*(one.denominator for one in share)) if share else 1
    scale = min(scale, 10**6)
    whole = [round(cost * scale) for cost in costs]
    above = sum(max(0.0, amount - cost * scale) for amount, cost in zip(whole, costs, strict=True))
    return _Encoded(sum(whole[h] * busy for h, busy in _busy(model)), scale, sum(whole), 0.0 if above < 1e-6 else above)


def _busy(model: _Model) -> list[tuple[int, Expr]]:
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


def _spread(model: _Model, objective: Spread) -> _Encoded:
    """Squared distances of the hosts from their mean, in whole numbers: distance = n u_h - sum of all u, u_h = load_h R / capacity_h.

    u is exact where R, the capacities' least common multiple, is not too large; else R / capacity is rounded to six digits. Where the
    squares would not fit in 64 bits, distances are rounded to ``unit``. Hosts out of scope share one square, that of the mean.
    """
    balance = model.compiled.balance[objective.metric]
    counted = np.flatnonzero(balance.counted).tolist()
    if not counted:
        return _Encoded(0, 1, 0)
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
    return _Encoded(excess, parts * scale, parts * greatest, parts * rounding + cut)


def _loads(model: _Model, load: Ints) -> Ints:
    """The load (H) of the hosts in the incumbent."""
    total = np.zeros(len(model.scope.hosts), dtype=np.int64)
    np.add.at(total, model.held_hosts, load)
    return total


def _share_error(n: int, whole: int, unit: int, capacity: Mapping[int, int], factor: Mapping[int, int], most: Mapping[int, int]) -> float:
    """The root of the sum over the hosts of the square of how far rounding can carry a distance, in units."""
    off = {h: most[h] * abs(factor[h] - whole / size) for h, size in capacity.items()}
    together = sum(off.values())
    return math.sqrt(sum(((n * one + together) / unit + (1 if unit > 1 else 0)) ** 2 for one in off.values()))


def _distance(model: _Model, distance: Expr, ends: tuple[int, int], unit: int, reach: float, step: int, name: str) -> tuple[Expr, Expr, int]:
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


def _fragmentation(model: _Model, objective: Fragmentation) -> _Encoded:
    """Free room less the slots that are cut from it, over the available hosts."""
    arrays, modes, size = model.compiled.arrays, model.compiled.arrays.modes, objective.size
    pieces: list[Expr] = []
    pools = model.compiled.pools(objective)
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
    return _Encoded(sum(pieces), model.compiled.free_now(objective), (size - 1) * len(pieces))


_TERMS: Mapping[type[Objective], Callable[[_Model, Any], _Encoded]] = {
    Overload: _overload, MoveCost: _move_cost, Remaining: _remaining, Elsewhere: _elsewhere, HostsInUse: _hosts_in_use, Spread: _spread,
    Moves: _moves,
    ServerMoveCost: _server_move_cost, HostPairCost: _host_pair_cost, GroupMoveCost: _group_move_cost, LoadCost: _load_cost,
    BalanceCost: _balance_cost, HostCost: _host_cost, Broken: _broken, Fragmentation: _fragmentation,
}
"""The one table that joins each objective with its encoding."""


def check_objectives(compiled: Compiled) -> None:
    """Raise PlacewrightError for an objective that has no encoding."""
    for level in compiled.problem.levels:
        for term in level:
            if type(term.objective) not in _TERMS:
                known = ", ".join(sorted(kind.name for kind in _TERMS))
                raise PlacewrightError(f"objective {term.objective.name} has no solver encoding; there are encodings for {known}")
