"""A problem, or a part of it, as a CP-SAT model: its variables and its rules.

One 0/1 variable for each movable server and place it may be in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ortools.sat.python import cp_model

from optimizer.arrays import Index, Ints, Mask
from optimizer.solvers.terms import Compiled

Expr = Any  # a CP-SAT linear expression or a whole number


@dataclass(frozen=True, slots=True)
class Scope:
    """What may change: ``servers`` (S) that may move, between ``hosts`` (H); all others stay where the incumbent has them."""

    servers: Mask
    hosts: Mask


def everything(compiled: Compiled) -> Scope:
    """Every server that can move, on every host."""
    return Scope(compiled.arrays.movable, np.ones(len(compiled.arrays.room), dtype=np.bool_))


@dataclass(frozen=True, slots=True)
class Encoded:
    """An objective in whole numbers: value = ``sum`` / ``scale``, and ``sum`` is at most ``greatest``.

    ``above``: by how much rounding can make the sum exceed value x scale, in any placement no worse than the one known.
    """

    sum: Expr
    scale: float
    greatest: int
    above: float = 0.0


@dataclass
class Model:
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


def build(compiled: Compiled, incumbent: Index, scope: Scope) -> Model:
    """Variables and constraints."""
    model = Model(compiled, scope, incumbent)
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
    _pools(model)
    if compiled.problem.max_moves is not None:
        model.cp.add(moved(model) <= compiled.problem.max_moves)
    return model


def moved(model: Model) -> Expr:
    fixed = model.fixed
    already = int((model.incumbent[fixed] != model.compiled.arrays.start[fixed]).sum())
    return already + sum(1 - model.stays(s) for s in model.at)


def _packed(model: Model) -> None:
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


def _apart(model: Model) -> None:
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


def _scattered(model: Model) -> None:
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
                for variable in variables if group.most < len(group.members) else ():
                    model.cp.add_implication(variable, present[-1])
        model.cp.add(len(fixed) + sum(present) >= group.least)
        model.cp.add(len(fixed) + sum(present) <= group.most)


def _near(model: Model) -> None:
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


def _inside(model: Model) -> None:
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


def _pools(model: Model) -> None:
    for pool in model.compiled.arrays.pools:
        fixed = model.fixed[pool.hosts[model.held_hosts[model.fixed]]]
        free = [(int(pool.demand[s]), model.among(s, pool.hosts)) for s in model.at if pool.demand[s]]
        model.cp.add(int(pool.demand[fixed].sum()) + sum(amount * inside for amount, inside in free) <= pool.most)


def _together(model: Model) -> None:
    """Whoever moves goes where another member stays."""
    arrays = model.compiled.arrays
    for members in arrays.together:
        for m in members.tolist():
            for h in sorted({p // arrays.modes for p in model.at[m]}) if m in model.at else [int(model.held_hosts[m])]:
                if h != arrays.home[m]:
                    stayers = sum(model.at_home(o) for o in members.tolist() if o != m and arrays.home[o] == h)
                    model.cp.add(model.on(m, h) <= stayers)


def _not_worse(model: Model) -> None:
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
