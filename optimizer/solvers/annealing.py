"""Simulated annealing: random shifts, swaps and chains, worse ones accepted the less the later it is; several chains on as many threads.

Kirkpatrick, Gelatt, Vecchi, "Optimization by simulated annealing" (Science 220, 1983). The chains work on their own states without the interpreter
lock and meet at fixed shares of the budget, where those that are behind go on from the best.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Index
from optimizer.objectives.balance_cost import BalanceCost
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.load_cost import LoadCost
from optimizer.solvers import relaxation
from optimizer.solvers.annealing_kernel import anneal
from optimizer.solvers.kernel import State, assign_state, copy_state, cost_of, new_state, refresh, shift_cost
from optimizer.solvers.packed import Packed, pack
from optimizer.solvers.stop import Part, Stop
from optimizer.solvers.terms import Compiled

_MEETINGS = 40  # times that the chains compare what they have
_TOLD = 4  # meetings from one word on what was found to the next, and to the next time that those behind go on from the best
_SLICE_S = 0.05  # of work between two looks at the clock
_FIRST_SLICE = 20_000  # proposals
_HOT, _COLD = 1.0, 0.0008  # temperature at the begin and the end, as a share of what moving a server typically changes
_USUAL, _LEAST = 60_000, 0.2  # proposals for each server: with fewer the begin is cooler in proportion, to this share of it at least;
_COLDER = 1.0  # with more the end is colder, by their ratio to this power
_COLDEST = 1e-4  # of the usual end
_SPEED = 8e6  # proposals in a second, about
_PLENTY = 100_000  # proposals for each server from which on annealing begins with room as a price
_TRIAL = 0.06  # share of the budget for either on trial
_RELAXED = 0.9  # share of the budget for that
_FROZEN = 0.95  # share of the budget after which nothing worse is accepted
_PRICE = 1.0  # of the average server for what it keeps, in temperatures


def applies(compiled: Compiled) -> bool:
    """Whether what hosts carry costs something everywhere, so that single changes show the way."""
    everywhere = len(compiled.problem.cluster.hosts)
    return any(isinstance(one, BalanceCost | Fragmentation) or (isinstance(one, LoadCost) and len(one.safety) == everywhere)
               for level in compiled.problem.levels for one in (term.objective for term in level))


@dataclass
class _Chain:
    """One annealing process: its state, its source of chance, what it has found."""

    state: State
    rng: npt.NDArray[np.uint64]
    cost: float
    best: Index
    best_cost: float
    slice: int = _FIRST_SLICE
    tried: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))


@dataclass(frozen=True)
class _Task:
    """What all chains have in common; ``scale`` is what moving a server typically changes, ``begin`` the share of the budget at the start."""

    packed: Packed
    prices: npt.NDArray[np.float64]
    scale: float
    stop: Stop
    begin: float
    cooled: bool = False

    def progress(self, spent: float) -> float:
        """How far annealing has come when so much of the budget is spent, 0 to 1."""
        return (spent - self.begin) / max(1e-12, 1 - self.begin)

    def temperature(self, progress: float, tried: int) -> float:
        """The temperature at some progress; cooler from the begin where few proposals can be made (``tried`` until now)."""
        if progress >= _FROZEN:
            return 0.0
        if self.cooled:
            return self.scale * relaxation.COLD * (1 - progress / _FROZEN)
        outlook = tried / progress / len(self.packed.movable) if progress > 0 and tried else math.inf
        hot = _HOT * min(1.0, max(_LEAST, outlook / _USUAL))
        cold = _COLD * max(_COLDEST, min(1.0, (_USUAL / outlook) ** _COLDER))
        return self.scale * hot * math.pow(cold / hot, progress / _FROZEN)


def improve(compiled: Compiled, where: Index, stop: Stop, seed: int, threads: int, found: Callable[[Index], None]) -> Index:
    """Anneal from a legal placement (places) until the budget is spent; ``found`` gets each better placement at the meetings.

    With many proposals for each server, a first part of the budget goes to annealing as such and as much to annealing with room as a price
    (relaxation.py); the rest to what did better.
    """
    packed = pack(compiled)
    if not len(packed.movable):
        return where
    scale = _typical_change(packed, new_state(packed, where), seed)
    if scale <= 0:
        return where
    if not relaxation.applies(packed, where) or _outlook(packed, stop, threads) < _PLENTY:
        return _anneal(packed, where, scale, stop, seed, threads, found)
    strict = _anneal(packed, where, scale, Part(stop, _TRIAL), seed, threads, found)
    relaxed = relaxation.improve(packed, where, scale, Part(stop, _TRIAL / (1 - _TRIAL)), seed, threads, found)
    if _cost(packed, strict) <= _cost(packed, relaxed):
        return _anneal(packed, strict, scale, stop, seed + 1, threads, found)
    relaxed = relaxation.improve(packed, relaxed, scale, Part(stop, _RELAXED), seed + 1, threads, found)
    return _anneal(packed, relaxed, scale, stop, seed + 1, threads, found, cooled=True)


def _cost(packed: Packed, where: Index) -> float:
    cost: float = cost_of(packed, new_state(packed, where))
    return cost


def _anneal(packed: Packed, where: Index, scale: float, stop: Stop, seed: int, threads: int, found: Callable[[Index], None], *,
            cooled: bool = False) -> Index:
    """Anneal with all rules kept; where ``cooled``, from the temperature that relaxation ends with."""
    first = new_state(packed, where)
    best = float(cost_of(packed, first))
    chains = [_Chain(copy_state(first), np.array([(seed * 7919 + n + 1) * 0x9E3779B97F4A7C15 % 2**64 | 1], dtype=np.uint64), best, where.copy(), best)
              for n in range(max(1, threads))]
    task = _Task(packed, _prices(packed), scale, stop, stop.spent(), cooled)
    with ThreadPoolExecutor(len(chains)) as pool:
        for meeting in range(1, _MEETINGS + 1):
            _until(task, chains, pool, meeting)
            if meeting % _TOLD and meeting < _MEETINGS and stop.spent() < 1:
                continue
            leader = min(chains, key=lambda chain: chain.best_cost)
            if leader.best_cost < best - 1e-9 * max(1.0, abs(best)):
                best, where = leader.best_cost, leader.best.copy()
                found(where)
            if stop.spent() >= 1:
                break
            ahead = min(chains, key=lambda chain: chain.cost)
            for chain in chains:
                if chain is not ahead:
                    assign_state(chain.state, ahead.state)
                    chain.cost = ahead.cost
    return where


def _until(task: _Task, chains: list[_Chain], pool: ThreadPoolExecutor, meeting: int) -> None:
    """Anneal all chains at once until a meeting: for a share of the time, or for a number of proposals where those count."""
    left = task.stop.iterations_left()
    if left is None:
        end = task.begin + (1 - task.begin) * meeting / _MEETINGS
        list(pool.map(lambda chain: _for_time(task, chain, end), chains))
        return
    quota = max(1, left // ((_MEETINGS - meeting + 1) * len(chains)))
    list(pool.map(lambda chain: _for_proposals(task, chain, quota, (meeting - 1) / _MEETINGS), chains))
    task.stop.count(quota * len(chains))


def _for_time(task: _Task, chain: _Chain, end: float) -> None:
    while (spent := task.stop.spent()) < min(end, 1.0):
        left = task.stop.remaining_s()
        _slice(task, chain, chain.slice, task.progress(spent))
        took = max(1e-4, left - task.stop.remaining_s())
        chain.slice = int(min(max(1000, chain.slice * min(4.0, _SLICE_S / took)), 5_000_000))


def _for_proposals(task: _Task, chain: _Chain, quota: int, progress: float) -> None:
    for done in range(0, quota, _FIRST_SLICE):
        _slice(task, chain, min(_FIRST_SLICE, quota - done), progress + done / quota / _MEETINGS)


def _slice(task: _Task, chain: _Chain, proposals: int, progress: float) -> None:
    """A number of proposals at one temperature."""
    temperature = task.temperature(progress, int(chain.tried[0]))
    anneal(task.packed, chain.state, chain.rng, task.packed.movable, task.prices, temperature, proposals, chain.tried)
    refresh(task.packed, chain.state)
    chain.cost = float(cost_of(task.packed, chain.state))
    if chain.cost < chain.best_cost:
        chain.best_cost = chain.cost
        np.copyto(chain.best, chain.state.where)


def _outlook(packed: Packed, stop: Stop, threads: int) -> float:
    """About how many proposals each chain can make for each server."""
    left = stop.iterations_left()
    return (stop.remaining_s() * _SPEED if left is None else left / max(1, threads)) / len(packed.movable)


def _prices(packed: Packed) -> npt.NDArray[np.float64]:
    """What it costs each server (S), in temperatures, not to be in its start place.

    What servers that moved keep there is lost to all others. There are many more places elsewhere than the one at home, so at a temperature
    where any place is as good as the next nearly all would be away and fill the room with what they keep, needlessly. The logarithm of the number
    of places makes up for that; a server that keeps more of what is scarce pays more. The price fades with the temperature.
    """
    own = packed.demand[np.arange(len(packed.start)) * packed.modes + packed.start % packed.modes].astype(np.float64)
    kept = packed.kept.astype(bool)
    if not kept.any():
        return np.zeros(len(own))
    free = np.maximum(1.0, packed.room[:, kept].sum(axis=0) - own[:, kept].sum(axis=0))
    price: npt.NDArray[np.float64] = (own[:, kept] / free).sum(axis=1)
    return math.log(len(packed.room) * packed.modes) + price * (_PRICE / max(1e-300, float(price.mean())))


def _typical_change(packed: Packed, state: State, seed: int) -> float:
    """What shifting a random server to a random place typically changes, better or worse."""
    rng = np.random.default_rng(seed)
    places = len(packed.room) * packed.modes
    some_servers, some_places = rng.choice(packed.movable, 2000), rng.integers(0, places, 2000)
    changes = [abs(float(shift_cost(packed, state, s, p))) for s, p in zip(some_servers, some_places, strict=True) if p != state.where[s]]
    some = [change for change in changes if change > 0]
    return float(np.mean(some)) if some else 0.0
