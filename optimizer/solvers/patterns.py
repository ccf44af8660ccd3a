"""The exact solver for levels that are sums over hosts of interchangeable servers: free slots, moves and their cost.

Hosts then have to do with each other in two ways only: servers of a kind that leave some must find places on others, and moves may
be few. So a solution is a pattern for each host (optimizer.solvers.pattern_kernel), and a linear programme chooses among patterns; those worth
choosing are generated at its prices (Dantzig-Wolfe decomposition; Gilmore and Gomory 1961). The bound is that of the programme over all patterns.
Since no more hosts are torn between patterns in it than there are kinds of servers and limits, whole numbers nearly always meet
the bound; HiGHS finds them among the patterns generated. One level after the other.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ortools.linear_solver import pywraplp
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, vstack

from optimizer.arrays import Index, Ints
from optimizer.solvers.cp_sat import Answer
from optimizer.solvers.pattern_kernel import Floats, Prices, Shape, best_patterns
from optimizer.solvers.pattern_model import Aggregate, aggregate, pools_of
from optimizer.solvers.pattern_moves import Contents, unroll
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

_WORTH = 1e-7
_SMOOTH = 0.5  # how far prices stay at those of the best bound; those of the programme alone swing
_ROUNDS = 6  # of more patterns where no solution meets the bound, and of other solutions where one has no order
_FEW = 2_000  # kinds of hosts x pools x kinds of servers
_VARIED = 20  # prices tried in such a round
_FEE = 0.1  # grains that all moves together cost
_SHARE = 0.5
_NODES = 10_000
_NEARLY = 0.01  # grains that count as nothing
_TOLL_STEPS = 14


def applies(compiled: Compiled) -> bool:
    """Whether the first level is of the kind that this solver knows."""
    return bool(pools_of(compiled))


def solve_patterns(compiled: Compiled, stop: Stop, seed: int, found: Callable[[Index], None]) -> Answer | None:
    """The best placement (from the present one), with bounds; ``found`` is told of each on the way. None where the problem cannot be aggregated."""
    model = aggregate(compiled)
    if model is None:
        return None
    search = _Search(compiled, model, stop, seed)
    values = compiled.problem.values(compiled.arrays.placement(compiled.arrays.start))
    bounds: list[float | None] = [None] * len(values)
    solution, proven = np.zeros(0), True
    for number, level in enumerate(model.levels):
        below = search.generate(number)
        if proven and math.isfinite(below) and level.exact:
            bounds[number] = max(0.0, values[number] + level.unit * below)
        chosen = search.choose(number, below, solution)
        if chosen is None:
            break
        solution = chosen
        search.reached.append(search.cost(number, solution))
        proven = proven and bounds[number] is not None and search.reached[-1] <= below + _WORTH
        found(search.places(solution)[0])
    where = search.ordered(solution, found) if search.reached else compiled.arrays.start
    reached = compiled.problem.values(compiled.arrays.placement(where))
    met = all(bound is not None and value <= bound + 1e-9 for value, bound in zip(reached, bounds, strict=True))
    return Answer(where, tuple(bounds), met)


@dataclass(frozen=True, slots=True)
class _Column:
    """A pattern for a kind of host: ``net`` (T+U) servers gained, ``moves`` away from it, the change of each level's cost.

    ``mixed`` is whether a pool both gives and takes: then there may be no order for the moves.
    """

    kind: int
    counts: Ints
    combination: int
    net: Ints
    moves: int
    costs: Floats
    mixed: bool


@dataclass(frozen=True, slots=True)
class _Duals:
    """What a place for each kind of server (T+U), a move, and a unit of the cost of each level before are worth."""

    place: Floats
    move: float
    earlier: Floats

    def towards(self, other: "_Duals", share: float) -> "_Duals":
        """A mixture of two sets of prices."""
        return _Duals((1 - share) * self.place + share * other.place, (1 - share) * self.move + share * other.move,
                      (1 - share) * self.earlier + share * other.earlier)


class _Search:
    """The patterns generated so far; ``reached`` is the cost of each level that is done. Costs are changes of what is now."""

    def __init__(self, compiled: Compiled, model: Aggregate, stop: Stop, seed: int) -> None:
        self.compiled, self.model, self.stop, self.random = compiled, model, stop, np.random.default_rng(seed)
        self.columns: list[_Column] = []
        self.reached: list[float] = []
        self.number = model.number
        most = sum(len(kind.members) for kind in model.kinds)
        self.limit = most if compiled.problem.max_moves is None else min(most, compiled.problem.max_moves)
        self.duals, self.best_value = _Duals(np.zeros(len(model.kinds)), 0.0, np.zeros(0)), 0.0
        shape, relaxed = model.shape, model.relaxed
        self.used_now = np.einsum("gkt,kt->gk", shape.have, shape.size) + shape.span_have @ shape.span_size
        overfull = self._tight_used(shape.have, shape.span_have) > model.tight_room
        changed = [(getattr(shape, name) != getattr(relaxed, name)).reshape(len(self.number), -1).any(axis=1)
                   for name in ("least", "span_least")]
        self.loose: Ints = np.flatnonzero(np.logical_or.reduce([overfull.any(axis=1), *changed]))
        self._combination = {counts.tobytes(): n for n, counts in enumerate(shape.combination)}
        self._known: set[tuple[int, bytes, int]] = set()
        self._cuts: list[tuple[list[int], float]] = []

    def cost(self, level: int, solution: Floats) -> float:
        """The cost of a solution (a number for each pattern) in a level."""
        return float(sum(x * column.costs[level] for x, column in zip(solution, self.columns, strict=False)))

    def fee(self, level: int) -> float:
        """What each move costs besides: so little that all of them are less than a grain, and enough to leave out needless ones."""
        return _FEE * self.model.levels[0].grain / max(1, self.limit) if level == 0 else 0.0

    # ---- which patterns are worth choosing

    def generate(self, level: int) -> float:
        """Generate patterns until none improves the linear programme; the bound on the level's cost, -inf where there is none."""
        if level == 0:
            self._single_changes()
        master = _Master(self, level)
        for column in self.columns:
            master.add(column)
        raw = master.solve()
        duals = self._first_duals() if level == 0 else raw
        best, center = -math.inf, duals
        while self.stop.remaining_s() > 0:
            bound, added = self._look(level, duals)
            if bound > best:
                best, center = bound, duals
            for column in added:
                master.add(column)
            if added:
                raw = master.solve()
                duals = raw.towards(center, _SMOOTH)
            elif duals is raw:
                break
            else:
                duals = raw
            if master.value - best <= _WORTH * max(1.0, abs(best)):
                break
        self.duals, self.best_value = raw, master.value
        grain = self.model.levels[level].grain
        if not self.model.complete:
            return -math.inf
        best -= self.fee(level) * self.limit
        return math.ceil(best / grain - 1e-6) * grain if grain and math.isfinite(best) else best

    def vary(self, level: int) -> None:
        """Generate more patterns, at prices near the right ones and at some far from them."""
        first = self._first_duals()
        for n in range(_VARIED):
            noise = self.random.uniform(0.7, 1.4, len(self.duals.place) + 1)
            near = _Duals(self.duals.place * noise[1:], self.duals.move * noise[0], self.duals.earlier)
            far = _Duals(first.place * self.random.uniform(0.0, 4.0, len(first.place)), self.duals.move * noise[0], self.duals.earlier)
            self._look(level, far if n % 2 else near)

    def _single_changes(self) -> None:
        """On few hosts, the patterns with one server more or less, or in another pool: prices alone seldom lead to them."""
        shape, pools = self.model.shape, len(self.model.shape.size)
        if len(self.number) * shape.have[0].size * pools > _FEW:
            return
        spots = np.argwhere(shape.size).tolist()
        steps = [[(k, t, more)] for k, t in spots for more in (-1, 1)]
        steps += [[(k, t, -1), (other, t, 1)] for k, t in spots for other in range(pools) if other != k]
        for g in range(len(self.number)):
            held = self._combination.get(shape.span_have[g].tobytes())
            if held is None:
                continue
            for step in steps:
                counts = shape.have[g].copy()
                for k, t, more in step:
                    counts[k, t] += more
                self._offer(g, counts, held)
            for n in np.flatnonzero(np.abs(shape.combination - shape.span_have[g]).sum(axis=1) == 1).tolist():
                self._offer(g, shape.have[g], n)

    def _offer(self, kind: int, counts: Ints, combination: int) -> None:
        """Take in a pattern if it is legal."""
        shape = self.model.shape
        spans = shape.combination[combination]
        used = (counts * shape.size).sum(axis=1) + shape.use[combination]
        spanned = np.maximum(spans - shape.span_have[kind], 0) @ shape.span_size > 0
        arrives = spanned | ((counts > shape.have[kind]) & (shape.size > 0)).any(axis=1)
        legal = (shape.least[kind] <= counts).all() and (counts <= shape.most[kind]).all() and (shape.span_least[kind] <= spans).all()
        if legal and (spans <= shape.span_most[kind]).all() and (used <= np.where(arrives, shape.limit[kind], shape.cap[kind])).all():
            every = shape.have.copy()
            every[kind] = counts
            if not len(self._short(every, np.where(np.arange(len(every)) == kind, combination, 0), np.array([kind]))):
                self._column(kind, counts, combination)

    def _first_duals(self) -> _Duals:
        """Prices to begin with: half of what a unit of room is worth at most, on the average."""
        held, size = self.model.levels[0].held, self.model.shape.size
        worth = float((held.max(axis=2) - held.min(axis=2)).max()) / max(1, int(self.model.shape.cap.max()))
        amounts = np.concatenate([size.max(axis=0), self.model.shape.span_size.sum(axis=1)])
        step = float(np.abs(np.diff(held, axis=2)).max(initial=0.0))
        return _Duals(0.5 * worth * amounts, 0.3 * step, np.zeros(0))

    def _look(self, level: int, duals: _Duals) -> tuple[float, list[_Column]]:
        """A bound from the best pattern of each kind of host, and those of the patterns that are new and would improve the programme."""
        model, everyone = self.model, np.arange(len(self.number))
        kernel = _Pricing(model, duals, level, self.used_now, self.fee(level))
        counts, chosen, value = kernel.best(model.shape, np.zeros(model.tight_room.shape), everyone)
        gain = value.copy()
        gain[self.loose] = kernel.best(model.relaxed, np.zeros(model.tight_room.shape), self.loose)[2][self.loose]
        short = self._short(counts, chosen, everyone)
        fits = np.setdiff1d(everyone, short)
        added = self._columns(kernel, counts, chosen, fits)
        if len(short):
            added += self._with_tolls(kernel, counts, chosen, short, gain)
        bound = -float(np.maximum(gain, 0.0) @ self.number)
        return bound - duals.move * self.limit - float(duals.earlier @ np.array(self.reached[:level])), added

    def _with_tolls(self, kernel: "_Pricing", counts: Ints, chosen: Ints, short: Ints, gain: Floats) -> list[_Column]:
        """Patterns for kinds of hosts whose best takes too much of another quantity: that gets a price of its own, found by bisection.

        Lowers ``gain`` where such a price proves less.
        """
        model, added = self.model, []
        firm = np.ones(len(gain), dtype=np.bool_)
        firm[self.loose] = False
        firm &= not model.idle
        added += self._columns(kernel, *self._trimmed(counts, chosen, short))
        over = self._tight_used(counts, model.shape.combination[chosen]) > model.tight_room
        toll = np.where(over, kernel.dearest(model.tight_room), 0.0)
        factor, low, high = np.full(len(gain), 0.02), np.zeros(len(gain)), np.full(len(gain), np.inf)
        for _ in range(_TOLL_STEPS):
            tolls = toll * factor[:, None]
            counts, chosen, value = kernel.best(model.shape, tolls, short)
            price = value[short] + (tolls[short] * model.tight_room[short]).sum(axis=1)
            gain[short] = np.where(firm[short], np.minimum(gain[short], price), gain[short])
            still = self._short(counts, chosen, short)
            fits = np.setdiff1d(short, still)
            added += self._columns(kernel, counts, chosen, fits)
            over = self._tight_used(counts, model.shape.combination[chosen]) > model.tight_room
            toll[still] = np.where(over[still], np.maximum(toll[still], kernel.dearest(model.tight_room)[still]), toll[still])
            low[still], high[fits] = factor[still], factor[fits]
            factor = np.where(np.isinf(high), 2 * factor, (low + high) / 2)
        return added

    def _trimmed(self, counts: Ints, chosen: Ints, kinds: Ints) -> tuple[Ints, Ints, Ints]:
        """The patterns without so many of the servers that arrive, the largest first, that the rest fits in the other quantities;
        and the kinds of hosts for which that is so."""
        model, shape = self.model, self.model.shape
        counts, chosen = counts.copy(), chosen.copy()
        for g in kinds.tolist():
            spans = shape.combination[chosen[g]].copy()
            while True:
                used = np.einsum("kt,ktq->q", counts[g], model.tight_demand) + spans @ model.tight_span_demand
                over = np.maximum(used - model.tight_room[g], 0) / np.maximum(1, model.tight_room[g])
                single = np.where(counts[g] > shape.have[g], model.tight_demand @ over, 0.0)
                span = np.where(spans > shape.span_have[g], model.tight_span_demand @ over, 0.0)
                if single.max(initial=0.0) == 0.0 and span.max(initial=0.0) == 0.0:
                    break
                if single.max(initial=0.0) >= span.max(initial=0.0):
                    counts[g][np.unravel_index(single.argmax(), single.shape)] -= 1
                else:
                    spans[span.argmax()] -= 1
            chosen[g] = self._combination.get(spans.tobytes(), -1)
        return counts, chosen, kinds[chosen[kinds] >= 0]

    def _columns(self, kernel: "_Pricing", counts: Ints, chosen: Ints, kinds: Ints) -> list[_Column]:
        """Those of the patterns of some kinds of hosts that are new and would improve the programme."""
        worth = kinds[kernel.worth_of(counts, chosen)[kinds] > _WORTH * max(1.0, kernel.spread)]
        return [column for g in worth.tolist() if (column := self._column(g, counts[g], int(chosen[g])))]

    def _tight_used(self, counts: Ints, spans: Ints) -> Ints:
        """What patterns take (G x Q) of the quantities that may bind besides the pools."""
        used: Ints = np.einsum("gkt,ktq->gq", counts, self.model.tight_demand) + spans @ self.model.tight_span_demand
        return used

    def _short(self, counts: Ints, chosen: Ints, kinds: Ints) -> Ints:
        """The kinds of hosts, of those given, whose patterns do not fit in those quantities although servers arrive."""
        model = self.model
        if not model.tight_room.shape[1]:
            return kinds[:0]
        spans = model.shape.combination[chosen]
        over = self._tight_used(counts, spans) > model.tight_room
        arrive = np.einsum("gkt,ktq->gq", np.maximum(counts - model.shape.have, 0), model.tight_demand)
        arrive += np.maximum(spans - model.shape.span_have, 0) @ model.tight_span_demand
        short: Ints = kinds[(over & (arrive > 0)).any(axis=1)[kinds]]
        return short

    def _column(self, kind: int, counts: Ints, combination: int) -> _Column | None:
        """The pattern as a column, unless it is known."""
        key = (kind, counts.tobytes(), combination)
        if key in self._known:
            return None
        self._known.add(key)
        shape = self.model.shape
        more, spans = counts - shape.have[kind], shape.combination[combination] - shape.span_have[kind]
        gone = np.concatenate([np.maximum(-more, 0).sum(axis=0), np.maximum(-spans, 0)])
        used = (counts * shape.size).sum(axis=1) + shape.use[combination]
        pools = np.arange(len(used))
        costs = [float((level.held[kind, pools, used] - level.held[kind, pools, self.used_now[kind]]).sum() + level.leave[kind] @ gone)
                 for level in self.model.levels]
        size = self.model.shape.span_size
        gives = (more < 0).any(axis=1) | (np.maximum(-spans, 0) @ size > 0)
        takes = (more > 0).any(axis=1) | (np.maximum(spans, 0) @ size > 0)
        self.columns.append(_Column(kind, counts.copy(), combination, np.concatenate([more.sum(axis=0), spans]), int(gone.sum()),
                                    np.array(costs), bool((gives & takes).any())))
        return self.columns[-1]

    # ---- which patterns are chosen

    def choose(self, level: int, below: float, known: Floats, tidy: bool = False) -> Floats | None:
        """How many hosts get each pattern: the best for a level among the patterns there are; None where time does not allow any.

        ``below`` is a bound and ``known`` a solution; while the bound is not met, more patterns take part: those that cost nothing at the
        prices of the linear programme, then those that a solution which meets the bound can use, then new ones and dearer ones. ``tidy``
        prefers patterns that never stand in the way of an order.
        """
        best = None if tidy else known
        grain = self.model.levels[level].grain or abs(self.best_value)
        for attempt in range(_ROUNDS):
            if best is not None and self.cost(level, best) <= below + _WORTH:
                break
            if self.stop.remaining_s() <= 0 or (tidy and attempt):
                break
            if attempt > 1:
                self.vary(level)
            most = math.inf if tidy or math.isinf(below) else _NEARLY * grain
            most += below - self.best_value + (attempt - 1) * grain if attempt else 0.0
            solution = self._whole_numbers(level, self._cheap(level, most), max(abs(self.cost(level, known)), abs(below)), tidy)
            if solution is not None and (best is None or self.cost(level, solution) < self.cost(level, best)):
                best = solution
        return best

    def _cheap(self, level: int, most: float) -> Ints:
        """The patterns that cost at most ``most`` more, at the prices of the linear programme, than the cheapest of their kind of host."""
        price = np.zeros(len(self.columns))
        for n, column in enumerate(self.columns):
            price[n] = (column.costs[level] + column.costs[:level] @ self.duals.earlier - self.duals.place @ column.net
                        + (self.duals.move + self.fee(level)) * column.moves)
        kind = np.array([column.kind for column in self.columns], dtype=np.int64)
        least = np.zeros(len(self.number))
        np.minimum.at(least, kind, price)
        cheap: Ints = np.flatnonzero(price - least[kind] <= most)
        return cheap

    def _whole_numbers(self, level: int, chosen: Ints, size: float, tidy: bool) -> Floats | None:
        """The best solution that uses the ``chosen`` patterns alone, by HiGHS; ``size`` is what the cost may be, either way."""
        columns, count = [self.columns[c] for c in chosen], len(self.number)
        if not columns:
            return None
        kind = np.array([column.kind for column in columns])
        costs = np.stack([column.costs for column in columns], axis=1)
        net = np.stack([column.net for column in columns], axis=1)
        moves = np.array([column.moves for column in columns])
        cuts = np.zeros((len(self._cuts), len(self.columns)))
        for row, (used, _) in enumerate(self._cuts):
            cuts[row, used] = 1
        limits = np.concatenate([net, moves[None], costs[:level], cuts[:, chosen]])
        one_each = coo_array((np.ones(len(kind)), (kind, np.arange(len(kind)))), shape=(count, len(kind)))
        low, high = np.full(count + len(limits), -np.inf), np.full(count + len(limits), np.inf)
        low[count:count + len(net)] = 0
        high[:count] = self.number
        high[count + len(net)] = self.limit
        high[count + len(net) + 1:] = [*(cost + _WORTH for cost in self.reached[:level]), *(most for _, most in self._cuts)]
        grain = self.model.levels[level].grain
        goal = (costs[level] + self.fee(level) * moves) / (grain or 1.0)
        gap = 0.0 if tidy or not grain or math.isinf(size) else 0.9 * grain / max(grain, size)  # what is less than a grain from the best is the best
        goal = goal + np.array([column.mixed for column in columns]) * (0.5 if tidy else _FEE) / (1 + self.number.sum())
        answer = milp(goal, integrality=np.ones(len(kind)), bounds=Bounds(0, self.number[kind]),
                      constraints=LinearConstraint(vstack([one_each, coo_array(limits)]).tocsr(), low, high),
                      options={"mip_rel_gap": gap, **self._effort()})
        if answer.x is None:
            return None
        solution = np.zeros(len(self.columns))
        solution[chosen] = np.round(answer.x)
        return solution

    def _effort(self) -> dict[str, float]:
        """How long HiGHS may take: half of the time, or without a limit of time a fixed amount of work."""
        left = self.stop.remaining_s()
        return {"time_limit": max(0.01, _SHARE * left)} if math.isfinite(left) else {"node_limit": _NODES}

    def ordered(self, solution: Floats, found: Callable[[Index], None]) -> Index:
        """Places of the servers (S): a solution of the same cost in the last level for whose moves there is an order, if one is found."""
        where, stuck = self.places(solution)
        for _ in range(_ROUNDS):
            if not stuck:
                break
            found(where)
            used = [c for c in range(len(solution)) if solution[c] and self.columns[c].kind in stuck]
            used = [c for c in used if self.columns[c].mixed] or used
            self._cuts.append((used, float(solution[used].sum()) - 1))
            other = self.choose(len(self.reached) - 1, -math.inf, np.zeros(0), tidy=True)
            if other is None:
                break
            solution = other
            where, stuck = self.places(solution)
        found(where)
        return where

    def places(self, solution: Floats) -> tuple[Index, set[int]]:
        """Places of the servers (S) after the moves that a solution asks for, and the kinds of hosts that block each other's rest."""
        contents: dict[int, Contents] = {}
        taken = [iter(hosts.tolist()) for hosts in self.model.hosts]
        kind_of: dict[int, int] = {}
        for x, column in zip(solution, self.columns, strict=False):
            for _ in range(int(x)):
                host = next(taken[column.kind])
                kind_of[host] = column.kind
                shape, g = self.model.shape, column.kind
                contents[host] = Contents(column.counts - shape.have[g], shape.combination[column.combination] - shape.span_have[g])
        where, blocked = unroll(self.compiled, self.model, contents)
        return where, {kind_of[host] for host in blocked}


class _Pricing:
    """The kernel at given prices."""

    def __init__(self, model: Aggregate, duals: _Duals, level: int, used_now: Ints, fee: float) -> None:
        levels = [*zip([*duals.earlier, 1.0], model.levels[:level + 1], strict=True)]
        self.model, self.duals = model, duals
        self.worth: Floats = -sum((w * cost.held for w, cost in levels), np.zeros(1))
        self.leave: Floats = duals.move + fee + sum((w * cost.leave for w, cost in levels), np.zeros(1))
        self.spread = float((self.worth.max(axis=2) - self.worth.min(axis=2)).max())
        rows, pools = np.indices(used_now.shape)
        self.now = self.worth[rows, pools, used_now].sum(axis=1)

    def best(self, shape: Shape, tolls: Floats, kinds: Ints) -> tuple[Ints, Ints, Floats]:
        """(counts, combination, gain over the present) of the best pattern for each of the kinds of hosts; rows of others mean nothing."""
        model = self.model
        prices = Prices(self.worth, self.leave, self.duals.place, np.ascontiguousarray(np.einsum("gq,ktq->gkt", tolls, model.tight_demand)),
                        np.ascontiguousarray(tolls @ model.tight_span_demand.T.astype(np.float64)))
        counts, chosen, value = np.zeros_like(shape.have), np.zeros(len(self.now), dtype=np.int64), np.zeros(len(self.now))
        best_patterns(shape, prices, kinds.astype(np.int64), counts, chosen, value)
        return counts, chosen, value - self.now

    def dearest(self, room: Ints) -> Floats:
        """The most (G x Q) that a unit of each other quantity may be worth."""
        model = self.model
        demand = np.concatenate([model.tight_demand.max(axis=0), model.tight_span_demand]).astype(np.float64)
        rate = np.divide(self.duals.place[:, None], demand, out=np.zeros_like(demand), where=demand > 0).max(axis=0, initial=0.0)
        dearest: Floats = np.maximum(rate, self.spread / np.maximum(1, room))
        return dearest

    def worth_of(self, counts: Ints, chosen: Ints) -> Floats:
        """The gain of patterns over the present, tolls apart."""
        shape = self.model.shape
        spans, use = shape.combination[chosen], shape.use[chosen]
        more = np.concatenate([(counts - shape.have).sum(axis=1), spans - shape.span_have], axis=1)
        gone = np.concatenate([np.maximum(shape.have - counts, 0).sum(axis=1), np.maximum(shape.span_have - spans, 0)], axis=1)
        used = np.einsum("gkt,kt->gk", counts, shape.size) + use
        rows, pools = np.indices(used.shape)
        inside = np.minimum(used, self.worth.shape[2] - 1)
        gain: Floats = self.worth[rows, pools, inside].sum(axis=1) - self.now + more @ self.duals.place - (gone * self.leave).sum(axis=1)
        return gain


class _Master:
    """The linear programme over the patterns generated so far (GLOP, kept between calls)."""

    def __init__(self, search: _Search, level: int) -> None:
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        endless = self.solver.infinity()
        self.level, self.value, self.fee = level, 0.0, search.fee(level)
        self.hosts = [self.solver.Constraint(-endless, float(n)) for n in search.number]
        self.kinds = [self.solver.Constraint(0.0, endless) for _ in search.model.kinds]
        self.moves = self.solver.Constraint(-endless, float(search.limit))
        self.earlier = [self.solver.Constraint(-endless, cost + _WORTH) for cost in search.reached[:level]]
        self.goal = self.solver.Objective()
        self.goal.SetMinimization()

    def add(self, column: _Column) -> None:
        """Add a pattern."""
        variable = self.solver.NumVar(0.0, self.solver.infinity(), "")
        self.goal.SetCoefficient(variable, float(column.costs[self.level] + self.fee * column.moves))
        self.hosts[column.kind].SetCoefficient(variable, 1.0)
        self.moves.SetCoefficient(variable, float(column.moves))
        for kind in np.flatnonzero(column.net).tolist():
            self.kinds[kind].SetCoefficient(variable, float(column.net[kind]))
        for row, cost in zip(self.earlier, column.costs, strict=False):
            row.SetCoefficient(variable, float(cost))

    def solve(self) -> _Duals:
        """Solve it; ``value`` is its value then."""
        self.solver.Solve()
        self.value = self.goal.Value()
        return _Duals(np.array([max(0.0, row.dual_value()) for row in self.kinds]), max(0.0, -self.moves.dual_value()),
                      np.array([max(0.0, -row.dual_value()) for row in self.earlier]))
