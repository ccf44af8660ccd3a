"""Interchangeable servers and hosts as one: the form of a problem that the pattern solver works on.

Servers of the same class, demands and move costs are of one *kind*; hosts with the same room and the same servers by kind are too. The room
that the objective is about lies in *pools*: one a host, or one a NUMA node. Only the number of servers of a kind that each pool holds counts.
G kinds of hosts, K pools a host, T kinds of servers on one pool at a time, U kinds that span pools.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np

from optimizer.arrays import Arrays, Index, Ints
from optimizer.objectives.base import Objective
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.solvers.pattern_kernel import Floats, Shape
from optimizer.solvers.terms import Compiled

_COMBINATIONS = 20_000  # of servers that span pools
_STEPS = 2_000_000_000  # of the kernel, for one look at every kind of host


@dataclass(frozen=True, slots=True)
class Kind:
    """Servers that are interchangeable: ``seats[k]`` is the seat that takes room in pool k alone, -1 for none; ``demand`` (M x D) by seat."""

    members: Index
    seats: tuple[int, ...]
    demand: Ints


@dataclass(frozen=True, slots=True)
class LevelCost:
    """The cost of a level as a sum over hosts: ``held`` (H x K x used) of a pool, ``leave`` (H x T+U) of a server that leaves it.

    The level's value is that cost x ``unit`` + a constant, and the cost is a multiple of ``grain`` away from what it is now (0: any amount).
    Where not ``exact``, the value may be lower.
    """

    held: Floats
    leave: Floats
    unit: float
    grain: float
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A problem in terms of kinds: hosts of each kind, ``shape`` for what surely is legal, ``relaxed`` for what bounds have to allow.

    ``complete`` is whether every combination is there. ``idle``: some movable servers take nothing of the pools and are left where they are.
    Of the quantities that may bind besides the pools: ``tight_demand`` (K x T x Q) and ``tight_span_demand`` (U x Q), ``tight_room`` (G x Q)
    left for movable servers. ``grouped`` (S): 1 for servers that rules on groups speak of. ``levels`` are those that have a cost here, from
    the first on, with rows of G instead of H.
    """

    kinds: tuple[Kind, ...]
    singles: int
    idle: bool
    hosts: tuple[Index, ...]
    shape: Shape
    relaxed: Shape
    complete: bool
    tight_demand: Ints
    tight_span_demand: Ints
    tight_room: Ints
    grouped: Ints
    levels: tuple[LevelCost, ...]

    @property
    def number(self) -> Ints:
        """How many hosts (G) there are of each kind."""
        return np.array([len(hosts) for hosts in self.hosts], dtype=np.int64)


def pools_of(compiled: Compiled) -> list[int]:
    """The quantities whose free pieces the first level is about; empty where that is not all it is about."""
    levels, arrays = compiled.problem.levels, compiled.arrays
    terms = [term.objective for term in levels[0] if isinstance(term.objective, Fragmentation)] if levels else []
    if len(terms) != 1 or arrays.kept.any() or not all(type(term.objective) in _COSTS for term in levels[0]):
        return []
    return compiled.pools(terms[0])


def aggregate(compiled: Compiled) -> Aggregate | None:
    """The aggregated form; None where servers or hosts are of too many kinds, or share room in ways that it does not know."""
    arrays, pools = compiled.arrays, pools_of(compiled)
    if not pools or arrays.eligible[:, ~compiled.available].any():
        return None
    found = list(_kinds(compiled, pools))
    if not found or any(kind is None for kind in found):
        return None
    kinds = [kind for kind in found if kind is not None]
    singles = [kind for kind in kinds if any(seat >= 0 for seat in kind.seats)]
    kinds = [*singles, *(kind for kind in kinds if all(seat < 0 for seat in kind.seats) and kind.demand[0, pools].any())]
    if not kinds:
        return None
    return _Aggregation(compiled, pools, kinds, len(singles)).build()


def _kinds(compiled: Compiled, pools: list[int]) -> Iterator[Kind | None]:
    """The kinds of movable servers; None for one whose seats do not each lie on one pool of its own, or on several without a choice."""
    arrays = compiled.arrays
    modes = arrays.modes
    costs = _costs_by_server(compiled)
    members: dict[tuple[Any, ...], list[int]] = {}
    for s in np.flatnonzero(arrays.movable).tolist():
        key = (int(arrays.server_class[s]), arrays.seats[s].tobytes(), arrays.demand[s * modes:s * modes + modes].tobytes(), costs[s].tobytes())
        members.setdefault(key, []).append(s)
    for servers in members.values():
        s = servers[0]
        demand = arrays.demand[s * modes:s * modes + modes]
        takes = (demand[:, pools] > 0) & arrays.seats[s][:, None]
        seats = [int(np.flatnonzero(takes[:, k])[0]) if takes[:, k].any() else -1 for k in range(len(pools))]
        if (takes.sum(axis=1)[arrays.seats[s]] == 1).all() and (takes.sum(axis=0) <= 1).all():
            yield Kind(np.array(servers, dtype=np.int32), tuple(seats), demand)
        elif arrays.seats[s].sum() == 1:
            yield Kind(np.array(servers, dtype=np.int32), (-1,) * len(pools), demand)
        else:
            yield None


class _Aggregation:
    """The work of aggregating, by host (H): ``kinds`` with those on one pool first; amounts in the units of the resource."""

    def __init__(self, compiled: Compiled, pools: list[int], kinds: list[Kind], singles: int) -> None:
        self.compiled, self.pools, self.kinds, self.singles = compiled, pools, kinds, singles
        arrays, count = compiled.arrays, len(pools)
        self.size = np.zeros((count, singles), dtype=np.int64)
        for t, kind in enumerate(kinds[:singles]):
            for k, seat in enumerate(kind.seats):
                self.size[k, t] = kind.demand[seat, pools[k]] if seat >= 0 else 0
        self.span = np.array([kind.demand[0, pools] for kind in kinds[singles:]], dtype=np.int64).reshape(len(kinds) - singles, count)
        self.unit = gcd(*self.size.ravel().tolist(), *self.span.ravel().tolist())
        self.grouped = _grouped(arrays)
        self.have, self.span_have = self._counts(np.ones_like(self.grouped))
        self.tied, self.span_tied = self._counts(self.grouped)
        rest = np.ones(len(arrays.start), dtype=np.bool_)
        rest[np.concatenate([kind.members for kind in kinds])] = False
        self.idle = bool((arrays.movable & rest).any())
        base = np.zeros_like(arrays.room)
        np.add.at(base, arrays.home[rest], arrays.demand[arrays.rows(arrays.start)[rest]])
        self.room: Ints = arrays.room - base
        self.used: Ints = np.einsum("hkt,kt->hk", self.have, self.size) + self.span_have @ self.span
        self.cap: Ints = np.maximum(np.maximum(self.room[:, pools], 0), self.used) // self.unit
        self.limit: Ints = np.maximum(self.room[:, pools] // self.unit, -1)

    def _counts(self, weight: Ints) -> tuple[Ints, Ints]:
        """How many servers of each kind are on each pool (H x K x T) and span those of each host (H x U); a server counts its weight."""
        arrays, hosts = self.compiled.arrays, len(self.compiled.arrays.room)
        single = np.zeros((hosts, len(self.pools), self.singles), dtype=np.int64)
        span = np.zeros((hosts, len(self.kinds) - self.singles), dtype=np.int64)
        for t, kind in enumerate(self.kinds):
            home = arrays.home[kind.members]
            if t >= self.singles:
                np.add.at(span[:, t - self.singles], home, weight[kind.members])
            else:
                pool_of = {seat: k for k, seat in enumerate(kind.seats)}
                pool = np.array([pool_of[seat] for seat in (arrays.start[kind.members] % arrays.modes).tolist()], dtype=np.int32)
                np.add.at(single[:, :, t], (home, pool), weight[kind.members])
        return single, span

    def build(self) -> Aggregate | None:
        """The aggregated form; None where it is too large for the kernel."""
        combination, complete = _combinations(self.span // self.unit, self.cap.max(axis=0), self.span_have)
        hosts, widest = len(self.cap), self.cap.max(axis=0)
        steps = sum(int(widest[k]) ** 2 * self.unit // int(self.size[k, t]) for k, t in np.argwhere(self.size).tolist())
        if hosts * max(steps, len(combination)) > _STEPS:
            return None
        tight = self._tight()
        levels = tuple(self._levels())
        parts: list[Any] = [self.cap, self.limit, self.have, self.tied, self.span_have, self.span_tied, *self._most(), self.room[:, tight],
                 *(part for level in levels for part in (level.held, level.leave))]
        first, hosts_of = _same([part.reshape(hosts, -1) for part in parts])
        cap, room, have, tied, span_have, span_tied, most, span_most, tight_room, *costs = (np.ascontiguousarray(part[first]) for part in parts)
        span = self.span // self.unit
        shape = Shape(cap, room, self.size // self.unit, have, tied, most, span_have, span_tied, span_most, combination, span, combination @ span)
        relaxed = shape._replace(least=np.zeros_like(have), span_least=np.zeros_like(span_have))
        demand = np.zeros((len(self.pools), self.singles, len(tight)), dtype=np.int64)
        for k, t in np.argwhere(self.size).tolist():
            demand[k, t] = self.kinds[t].demand[self.kinds[t].seats[k], tight]
        span_demand = np.array([kind.demand[0, tight] for kind in self.kinds[self.singles:]], dtype=np.int64).reshape(len(self.span), len(tight))
        return Aggregate(tuple(self.kinds), self.singles, self.idle, hosts_of, shape, relaxed, complete, demand, span_demand,
                         tight_room, self.grouped, tuple(replace(level, held=held, leave=leave) for level, held, leave
                                                         in zip(levels, costs[::2], costs[1::2], strict=True)))

    def _most(self) -> tuple[Ints, Ints]:
        """The most that rules on single servers allow of each kind, on one pool and spanning."""
        arrays, endless = self.compiled.arrays, np.iinfo(np.int64).max // 4
        eligible = np.stack([arrays.eligible[arrays.server_class[kind.members[0]]] for kind in self.kinds], axis=1)
        return (np.where(eligible[:, None, :self.singles] & (self.size > 0), endless, self.have),
                np.where(eligible[:, self.singles:], endless, self.span_have))

    def _tight(self) -> list[int]:
        """The quantities that could be short where the pools are not: pools hold at most their greatest share of another per unit of room."""
        room, cap = self.room, np.maximum(self.room[:, self.pools], self.used)
        found = []
        for d in [d for d in range(room.shape[1]) if d not in self.pools]:
            rate = np.zeros(len(self.pools))
            for k, t in np.argwhere(self.size).tolist():
                rate[k] = max(rate[k], self.kinds[t].demand[self.kinds[t].seats[k], d] / self.size[k, t])
            for kind, span in zip(self.kinds[self.singles:], self.span, strict=True):
                rate = np.where(span > 0, np.maximum(rate, kind.demand[0, d] / span.sum()), rate)
            if (cap @ rate > room[:, d] + 1e-6).any():
                found.append(d)
        return found

    def _levels(self) -> Iterator[LevelCost]:
        """The costs of the first levels, up to one with an objective that has none here."""
        for level in self.compiled.problem.levels:
            if not all(type(term.objective) in _COSTS for term in level):
                return
            costs = [(term.weight, _COSTS[type(term.objective)](self, term.objective)) for term in level]
            yield _sum(costs) if len(costs) > 1 else replace(costs[0][1], unit=costs[0][0] * costs[0][1].unit)

    def nothing(self) -> tuple[Floats, Floats]:
        """No cost at all, as ``held`` and ``leave``."""
        hosts = len(self.room)
        return np.zeros((hosts, len(self.pools), int(self.cap.max()) + 1)), np.zeros((hosts, len(self.kinds)))


def _fragmentation(work: _Aggregation, objective: Fragmentation) -> LevelCost:
    """Slots that are free, and what servers bring along that come from hosts which do not count."""
    counts = work.compiled.available
    held, leave = work.nothing()
    free = work.room[:, work.pools, None] - np.arange(held.shape[2]) * work.unit
    held[counts] = -objective.size * (free[counts] // objective.size)
    taken = np.concatenate([work.size.max(axis=0), work.span.sum(axis=1)])
    leave[~counts] = -taken
    outside = np.concatenate([work.have[~counts].sum(axis=(0, 1)), work.span_have[~counts].sum(axis=0)]) > 0
    grain = gcd(objective.size, *taken[outside].tolist())
    return LevelCost(held, leave, 1 / work.compiled.free_now(objective), float(grain))


def _moves(work: _Aggregation, objective: Moves) -> LevelCost:
    held, leave = work.nothing()
    return LevelCost(held, leave + 1, 1.0, 1.0)


def _move_cost(work: _Aggregation, objective: MoveCost) -> LevelCost:
    cost, whole = work.compiled.cost_parts
    return _leaving(work, cost, whole)


def _server_move_cost(work: _Aggregation, objective: ServerMoveCost) -> LevelCost:
    return _leaving(work, work.compiled.server_costs(objective), 1)


def _leaving(work: _Aggregation, cost: Ints, whole: int) -> LevelCost:
    """The costs of servers that leave their host; those that change to another pool of it are counted as if they left."""
    held, leave = work.nothing()
    each = np.array([cost[kind.members[0]] for kind in work.kinds], dtype=np.int64)
    return LevelCost(held, leave + each, 1 / whole, float(gcd(*each.tolist())), exact=len(work.pools) == 1)


_COSTS: Mapping[type[Objective], Callable[[_Aggregation, Any], LevelCost]] = {
    Fragmentation: _fragmentation, Moves: _moves, MoveCost: _move_cost, ServerMoveCost: _server_move_cost,
}
"""The one table that joins each objective with its cost by host."""


def _sum(costs: list[tuple[float, LevelCost]]) -> LevelCost:
    """The weighted sum, in units of the largest part."""
    weights = [weight * cost.unit for weight, cost in costs]
    unit = max(weights) or 1.0
    held = sum((w / unit * cost.held for w, (_, cost) in zip(weights, costs, strict=True)), np.zeros(1))
    leave = sum((w / unit * cost.leave for w, (_, cost) in zip(weights, costs, strict=True)), np.zeros(1))
    return LevelCost(held, leave, unit, 0.0, all(cost.exact for _, cost in costs))


def _costs_by_server(compiled: Compiled) -> Ints:
    """What makes servers (S x objectives) of one demand different: what it costs to move them."""
    columns = [np.zeros(len(compiled.arrays.start), dtype=np.int64)]
    for term in (term for level in compiled.problem.levels for term in level):
        if isinstance(term.objective, MoveCost):
            columns.append(compiled.cost_parts[0])
        if isinstance(term.objective, ServerMoveCost):
            columns.append(compiled.server_costs(term.objective))
    return np.stack(columns, axis=1)


def _grouped(arrays: Arrays) -> Ints:
    """1 for servers (S) that rules on groups speak of: they stay, and bounds look as if they could go anywhere."""
    groups = [group.members for group in arrays.apart] + [group.members for group in arrays.not_worse] + list(arrays.together)
    groups += [group.members for group in arrays.scattered] + [group.members for group in arrays.inside]
    groups += [part for near in arrays.near for part in (near.members, near.needs)]
    grouped = np.zeros(len(arrays.start), dtype=np.int64)
    for members in groups:
        grouped[members] = 1
    return grouped


def _combinations(span: Ints, cap: Ints, have: Ints) -> tuple[Ints, bool]:
    """All combinations (N x U) of servers that span pools and fit the largest host; False with those that are at most one
    server away from what some host holds now, if there are too many."""
    found: list[tuple[int, ...]] = []

    def extend(counts: tuple[int, ...], left: Ints) -> None:
        if len(counts) == len(span):
            found.append(counts)
            return
        more = 0
        while (left >= 0).all() and len(found) <= _COMBINATIONS:
            extend((*counts, more), left)
            left, more = left - span[len(counts)], more + 1

    extend((), cap)
    if len(found) > _COMBINATIONS:
        steps = np.concatenate([np.zeros((1, len(span)), np.int64), np.eye(len(span), dtype=np.int64), -np.eye(len(span), dtype=np.int64)])
        near = np.unique((np.unique(have, axis=0)[:, None] + steps).reshape(-1, len(span)), axis=0)
        return np.ascontiguousarray(near[(near >= 0).all(axis=1)]), False
    return np.array(found, dtype=np.int64).reshape(len(found), len(span)), True


def _same(parts: list[Ints]) -> tuple[Index, tuple[Index, ...]]:
    """(the first host of each kind, the hosts of each kind): hosts of a kind are equal in all parts."""
    members: dict[bytes, list[int]] = {}
    for h in range(len(parts[0])):
        members.setdefault(b"".join(np.ascontiguousarray(part[h]).tobytes() for part in parts), []).append(h)
    return np.array([hosts[0] for hosts in members.values()], dtype=np.int32), tuple(np.array(hosts, dtype=np.int32) for hosts in members.values())
