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

    ``complete`` is whether every combination is there. ``span_size`` (U x K) is what spanning servers take, in units. ``idle``: some movable
    servers take nothing of the pools and are left where they are. ``tight`` are the quantities that may bind besides the pools:
    ``tight_demand`` (K x T x Q) and ``tight_span_demand`` (U x Q), ``tight_room`` (G x Q) left for movable servers. ``grouped`` (S): 1 for
    servers that rules on groups speak of. ``levels`` are those that have a cost here, from the first on, with rows of G instead of H.
    """

    kinds: tuple[Kind, ...]
    singles: int
    idle: bool
    hosts: tuple[Index, ...]
    shape: Shape
    relaxed: Shape
    span_size: Ints
    complete: bool
    tight: Index
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
    movable = arrays.movable
    found = list(_kinds(compiled, pools, movable))
    if not found or any(kind is None for kind in found):
        return None
    kinds = [kind for kind in found if kind is not None]
    singles = [kind for kind in kinds if any(seat >= 0 for seat in kind.seats)]
    kinds = [*singles, *(kind for kind in kinds if all(seat < 0 for seat in kind.seats) and kind.demand[0, pools].any())]
    if not kinds:
        return None
    return _Aggregation(compiled, pools, kinds, len(singles)).build()


def _kinds(compiled: Compiled, pools: list[int], movable: Any) -> Iterator[Kind | None]:
    """The kinds of movable servers; None for one whose seats do not each lie on one pool of its own, or on several without a choice."""
    arrays = compiled.arrays
    modes = arrays.modes
    costs = _costs_by_server(compiled)
    members: dict[tuple[Any, ...], list[int]] = {}
    for s in np.flatnonzero(movable).tolist():
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


@dataclass
class _Aggregation:
    """The work of aggregating: ``kinds`` with those on one pool first."""

    compiled: Compiled
    pools: list[int]
    kinds: list[Kind]
    singles: int

    def build(self) -> Aggregate | None:
        arrays, pools, modes = self.compiled.arrays, self.pools, self.compiled.arrays.modes
        hosts, count = len(arrays.room), len(pools)
        size = np.array([[kind.demand[kind.seats[k], pools[k]] if kind.seats[k] >= 0 else 0 for kind in self.kinds[:self.singles]]
                         for k in range(count)], dtype=np.int64).reshape(count, self.singles)
        span = np.array([kind.demand[0, pools] for kind in self.kinds[self.singles:]], dtype=np.int64).reshape(-1, count)
        unit = gcd(*size.ravel().tolist(), *span.ravel().tolist())
        have, span_have = np.zeros((hosts, count, self.singles), np.int64), np.zeros((hosts, len(span)), np.int64)
        tied, span_tied = np.zeros_like(have), np.zeros_like(span_have)
        bound = _grouped(arrays)
        counted = np.zeros(len(arrays.start), dtype=np.bool_)
        for t, kind in enumerate(self.kinds):
            counted[kind.members] = True
            for s in kind.members.tolist():
                place = int(arrays.start[s])
                if t < self.singles:
                    k = kind.seats.index(place % modes)
                    have[place // modes, k, t] += 1
                    tied[place // modes, k, t] += bound[s]
                else:
                    span_have[place // modes, t - self.singles] += 1
                    span_tied[place // modes, t - self.singles] += bound[s]
        base = np.zeros_like(arrays.room)
        rest = np.flatnonzero(~counted)
        np.add.at(base, arrays.home[rest], arrays.demand[arrays.rows(arrays.start)[rest]])
        room = arrays.room - base
        used = np.einsum("hkt,kt->hk", have, size) + span_have @ span
        cap = np.maximum(np.maximum(room[:, pools], 0) // unit, used // unit)
        tight, tight_room = self._tight(room, np.maximum(room[:, pools], used), size, span)
        levels = tuple(self._levels(room[:, pools], int(cap.max()), unit))
        combination, complete = _combinations(span // unit, cap.max(axis=0), span_have)
        steps = hosts * sum(int(cap[:, k].max()) ** 2 * unit // int(size[k, t]) for k in range(count) for t in range(self.singles) if size[k, t])
        if steps > _STEPS or len(combination) * hosts > _STEPS:
            return None
        open_to = np.stack([arrays.eligible[arrays.server_class[kind.members[0]]] for kind in self.kinds], axis=1)
        most = np.where((open_to[:, None, :self.singles]) & (size > 0), np.iinfo(np.int64).max // 4, have)
        span_most = np.where(open_to[:, self.singles:], np.iinfo(np.int64).max // 4, span_have)
        full = used > room[:, pools]
        strict_most = np.where(full[:, :, None], have, most)
        strict_span_most = np.where(full.astype(np.int64) @ (span > 0).T.astype(np.int64) > 0, span_have, span_most)
        parts = [cap, have, tied, span_have, span_tied, most, span_most, strict_most, strict_span_most, tight_room,
                 *(part for level in levels for part in (level.held, level.leave))]
        first, kind_of = _same([part.reshape(hosts, -1) for part in parts])
        pick = [np.ascontiguousarray(part[first]) for part in parts]
        free = np.zeros_like(pick[1]), np.zeros_like(pick[3])
        shape = Shape(pick[0], np.ascontiguousarray(size // unit), pick[1], pick[2], pick[7], pick[3], pick[4], pick[8],
                      combination, combination @ (span // unit))
        relaxed = shape._replace(least=free[0], span_least=free[1], most=pick[5], span_most=pick[6])
        rows = [replace(level, held=pick[10 + 2 * n], leave=pick[11 + 2 * n]) for n, level in enumerate(levels)]
        singles, spans = self.kinds[:self.singles], self.kinds[self.singles:]
        demand = np.zeros((count, len(singles), len(tight)), dtype=np.int64)
        for k in range(count):
            for t, kind in enumerate(singles):
                demand[k, t] = kind.demand[max(kind.seats[k], 0), tight]
        span_demand = np.array([kind.demand[0, tight] for kind in spans], dtype=np.int64).reshape(len(spans), len(tight))
        of_kind = tuple(np.flatnonzero(kind_of == g).astype(np.int32) for g in range(len(first)))
        idle = bool((arrays.movable & ~counted).any())
        return Aggregate(tuple(self.kinds), self.singles, idle, of_kind, shape, relaxed, span // unit, complete, tight, demand, span_demand,
                         pick[9], bound, tuple(rows))

    def _tight(self, room: Ints, cap: Ints, size: Ints, span: Ints) -> tuple[Index, Ints]:
        """The quantities (Q) that could be short where the pools are not, and the room (H x Q) in them.

        Whatever the pools hold, they hold at most their greatest share of another quantity per unit of room.
        """
        found = []
        for d in range(room.shape[1]):
            if d in self.pools:
                continue
            rate = np.zeros(len(self.pools))
            for t, kind in enumerate(self.kinds):
                for k in range(len(self.pools)):
                    if t < self.singles and size[k, t]:
                        rate[k] = max(rate[k], kind.demand[kind.seats[k], d] / size[k, t])
                    elif t >= self.singles and span[t - self.singles, k]:
                        rate[k] = max(rate[k], kind.demand[0, d] / span[t - self.singles].sum())
            if (cap @ rate > room[:, d] + 1e-6).any():
                found.append(d)
        return np.array(found, dtype=np.int32), room[:, found]

    def _levels(self, room: Ints, longest: int, unit: int) -> Iterator[LevelCost]:
        """The costs of the first levels, up to one with an objective that has none here."""
        for level in self.compiled.problem.levels:
            if not all(type(term.objective) in _COSTS for term in level):
                return
            costs = [(term.weight, _COSTS[type(term.objective)](self, term.objective, room, np.arange(longest + 1) * unit)) for term in level]
            yield _sum(costs) if len(costs) > 1 else replace(costs[0][1], unit=costs[0][0] * costs[0][1].unit)

    def nothing(self, longest: int) -> tuple[Floats, Floats]:
        """No cost at all, as ``held`` and ``leave``."""
        hosts = len(self.compiled.arrays.room)
        return np.zeros((hosts, len(self.pools), longest)), np.zeros((hosts, len(self.kinds)))


def _fragmentation(work: _Aggregation, objective: Fragmentation, room: Ints, used: Ints) -> LevelCost:
    """Slots that are free, and what servers bring along that come from hosts which do not count."""
    counts = work.compiled.available
    free = room[:, :, None] - used
    held, leave = work.nothing(len(used))
    held[counts] = -objective.size * (free[counts] // objective.size)
    taken = np.array([max(int(kind.demand[seat, work.pools].sum()) for seat in {max(s, 0) for s in kind.seats}) for kind in work.kinds])
    leave[~counts] = -taken
    from_outside = taken if (~counts).any() else taken[:0]
    return LevelCost(held, leave, 1 / work.compiled.free_now(objective), float(gcd(objective.size, *from_outside.tolist())))


def _moves(work: _Aggregation, objective: Moves, room: Ints, used: Ints) -> LevelCost:
    held, leave = work.nothing(len(used))
    return LevelCost(held, leave + 1, 1.0, 1.0)


def _move_cost(work: _Aggregation, objective: MoveCost, room: Ints, used: Ints) -> LevelCost:
    cost, whole = work.compiled.cost_parts
    return _leaving(work, used, cost, whole)


def _server_move_cost(work: _Aggregation, objective: ServerMoveCost, room: Ints, used: Ints) -> LevelCost:
    return _leaving(work, used, _costs_of(work.compiled, objective), 1)


def _leaving(work: _Aggregation, used: Ints, cost: Ints, whole: int) -> LevelCost:
    """The costs of servers that leave their host; those that change to another pool of it are counted as if they left."""
    held, leave = work.nothing(len(used))
    each = np.array([cost[kind.members[0]] for kind in work.kinds], dtype=np.int64)
    return LevelCost(held, leave + each, 1 / whole, float(gcd(*each.tolist())), exact=len(work.pools) == 1)


def _costs_of(compiled: Compiled, objective: ServerMoveCost) -> Ints:
    return np.array([objective.costs.get(server.id, 0) for server in compiled.problem.cluster.servers], dtype=np.int64)


_COSTS: Mapping[type[Objective], Callable[[_Aggregation, Any, Ints, Ints], LevelCost]] = {
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
            columns.append(_costs_of(compiled, term.objective))
    return np.stack(columns, axis=1)


def _grouped(arrays: Arrays) -> Ints:
    """1 for servers (S) that rules on groups speak of: they stay, and bounds look as if they could go anywhere."""
    grouped = np.zeros(len(arrays.start), dtype=np.int64)
    for members in [*(g.members for g in (*arrays.apart, *arrays.not_worse, *arrays.scattered, *arrays.inside)), *arrays.together,
                    *(part for near in arrays.near for part in (near.members, near.needs))]:
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


def _same(parts: list[Any]) -> tuple[Index, Index]:
    """(the first host of each kind, the kind of each host): hosts of a kind are equal in all parts."""
    number: dict[bytes, int] = {}
    first: list[int] = []
    kind_of = np.empty(len(parts[0]), dtype=np.int32)
    for h in range(len(kind_of)):
        key = b"".join(np.ascontiguousarray(part[h]).tobytes() for part in parts)
        if key not in number:
            number[key] = len(first)
            first.append(h)
        kind_of[h] = number[key]
    return np.array(first, dtype=np.int32), kind_of
