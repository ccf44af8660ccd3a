"""Annealing in which too much on a host costs instead of being forbidden: where hosts are full, the way leads through placements that do not fit.

The price follows the search, as in strategic oscillation (Glover, "Heuristics for integer programming using surrogate constraints", Decision
Sciences 8, 1977): a quantity of which some host has too much gets dearer, one for which all hosts have room gets cheaper. A placement
in which everything fits is remembered when it is the best of its kind. All other rules hold throughout.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Index
from optimizer.solvers.annealing_kernel import anneal
from optimizer.solvers.kernel import assign_state, cost_of, new_state, refresh
from optimizer.solvers.packed import Packed
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import ENDLESS

_HOT, COLD = 1.0, 0.0005  # temperature at the begin and the end, as a share of what moving a server typically changes
_FIRST = 0.3  # price at the begin of too much by an average demand of every quantity, as a share of the same
_LEAST = 8.0  # temperatures that too much by an average demand of one quantity always costs
_MOST = 1e6  # the highest price of the same, as a share of what moving a server typically changes; more would not be felt
_DEARER, _CHEAPER = 1.1, 0.9
_RISING = 0.9  # share of the budget after which no price falls, so that everything fits in the end
_BLOCK, _SMALLEST = 50, 10_000  # proposals for each server, and at least, from one change of the prices to the next
_AWAY = 2.0  # temperatures that it costs not to be in the start place, where servers that left keep something there
_MEETINGS = 40  # times that the chains compare what they have
_TURNS = 2  # chains of each thread, in turn
_LEFT = 4  # of so many chains one is given up at each meeting and goes on from the best


def applies(packed: Packed, where: Index) -> bool:
    """Whether what a host has too much of can be priced: everything fits now (places of S servers), and nothing counts pieces of free room."""
    return not len(packed.fragment_quantity) and bool((new_state(packed, where).free >= 0).all())


def improve(packed: Packed, where: Index, scale: float, stop: Stop, seed: int, threads: int, found: Callable[[Index], None]) -> Index:
    """The best placement (places of S servers) where everything fits that was met from a legal one on; ``found`` is told in between.

    ``scale`` is what moving a server typically changes. Each thread has some chains, each of which anneals once, from hot to cold; at the
    meetings those that are furthest behind go on from the best ("go with the winners", Aldous and Vazirani, FOCS 1994).
    """
    count = max(1, threads) * _TURNS
    quota = None if (left := stop.iterations_left()) is None else max(1, left // count)
    block = max(_SMALLEST, _BLOCK * len(where))
    block = block if quota is None else max(1, min(block, quota // _MEETINGS))
    chains = [_Chain(packed, where, scale, seed * 7919 + n, block) for n in range(count)]
    best, begin = chains[0].best_cost, stop.spent()

    def lap(meeting: int, worker: int) -> None:
        """Each chain of a thread in turn from the last meeting to this one."""
        for turn, chain in enumerate(chains[worker * _TURNS:(worker + 1) * _TURNS]):
            chain.until(meeting / _MEETINGS, _progress(chain, stop, begin, quota, meeting, turn))

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for meeting in range(1, _MEETINGS + 1):
            list(pool.map(partial(lap, meeting), range(max(1, threads))))
            leader = min(chains, key=lambda chain: chain.best_cost)
            if leader.best_cost < best - 1e-9 * max(1.0, abs(best)):
                best, where = leader.best_cost, leader.best.copy()
                found(where)
            chains.sort(key=lambda chain: chain.cost)
            few = len(chains) // _LEFT
            for behind, ahead in zip(chains[len(chains) - few:], chains[:few], strict=True):
                behind.go_on_from(ahead)
    if quota is not None:
        stop.count(sum(chain.done for chain in chains))
    return where


def _progress(chain: "_Chain", stop: Stop, begin: float, quota: int | None, meeting: int, turn: int) -> Callable[[], float]:
    """How far a chain has come, 0 to 1: by its proposals where those count, else by the time of its turn before a meeting."""
    if quota is not None:
        return lambda: chain.done / quota
    length = (1 - begin) / (_MEETINGS * _TURNS)
    first = begin + length * ((meeting - 1) * _TURNS + turn)
    return lambda: (meeting - 1 + (stop.spent() - first) / length) / _MEETINGS if length > 0 else 1.0


class _Chain:
    """One annealing process with prices of its own."""

    def __init__(self, packed: Packed, where: Index, scale: float, seed: int, block: int) -> None:
        self.finite = np.flatnonzero((packed.room < ENDLESS).all(axis=0) & packed.demand.any(axis=0))
        self.mean = np.maximum(1e-9, packed.demand[:, self.finite].mean(axis=0))
        self.price = _FIRST * scale / self.mean / max(1, len(self.finite))
        self.packed, self.pull, self.rest = _relaxed(packed, self.finite)
        self.state = new_state(self.packed, where)
        self.scale, self.pieces = scale, packed.pull.shape[1]
        self.away = np.full(len(where), _AWAY if packed.any_kept else 0.0)
        self.rng = np.array([(seed + 1) * 0x9E3779B97F4A7C15 % 2**64 | 1], dtype=np.uint64)
        self.tried = np.zeros(1, dtype=np.int64)
        self.done, self.block = 0, block
        self._charge()
        self.best, self.best_cost = where.copy(), float(cost_of(self.packed, self.state))

    @property
    def cost(self) -> float:
        """What the placement costs, what does not fit included."""
        cost: float = cost_of(self.packed, self.state)
        return cost

    def go_on_from(self, other: "_Chain") -> None:
        """Take over the placement and the prices of another."""
        assign_state(self.state, other.state)
        self.price[:] = other.price
        self._charge()

    def until(self, end: float, progress: Callable[[], float]) -> None:
        """Anneal until a share of the budget is spent."""
        while (now := progress()) < end:
            temperature = self.scale * _HOT * (COLD / _HOT) ** now
            anneal(self.packed, self.state, self.rng, self.packed.movable, self.away, temperature, self.block, self.tried)
            self.done += self.block
            much = np.maximum(0.0, self.state.excess[:, self.pieces:]).sum(axis=0) / self.price
            if (much < 0.5).all() and (cost := float(cost_of(self.packed, self.state))) < self.best_cost:  # quantities are whole numbers
                self.best_cost = cost
                np.copyto(self.best, self.state.where)
            self.price *= np.where(much >= 0.5, _DEARER, _CHEAPER if now < _RISING else 1.0)
            np.clip(self.price, _LEAST * temperature / self.mean, _MOST * self.scale / self.mean, out=self.price)
            self._charge()

    def _charge(self) -> None:
        """Let the prices count."""
        np.multiply(self.pull, self.price, out=self.packed.pull[:, self.pieces:])
        np.multiply(self.rest, self.price, out=self.packed.rest[:, self.pieces:])
        refresh(self.packed, self.state)


def _relaxed(packed: Packed, finite: npt.NDArray[np.int64]) -> tuple[Packed, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The problem with a piece of the objective for each of some quantities in place of its room; what its servers and hosts weigh there, unpriced.

    Servers have a row of their own for their start place: what they keep there is counted with the host, wherever they are.
    """
    servers, modes = len(packed.start), packed.modes
    at_home = np.arange(servers) * modes + packed.start % modes
    own, kept = packed.demand[at_home][:, finite].astype(np.float64), packed.kept[finite].astype(bool)
    held = np.zeros((len(packed.room), len(finite)))
    np.add.at(held, packed.start // modes, own * kept)
    pull = np.concatenate([packed.demand[:, finite].astype(np.float64), own * ~kept])
    rest = held - packed.room[:, finite]
    rows = servers * modes
    relaxed = packed._replace(
        home_rows=rows, demand=np.zeros((rows + servers, 0), dtype=np.int64), room=np.zeros((len(packed.room), 0), dtype=np.int64),
        kept=np.zeros(0, dtype=np.uint8), any_kept=False, pull=np.concatenate([np.concatenate([packed.pull, packed.pull[at_home]]), pull], axis=1),
        rest=np.concatenate([packed.rest, rest], axis=1))
    return relaxed, pull, rest
