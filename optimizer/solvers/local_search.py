"""Local search without chance: single moves by steepest descent, and hosts emptied as a whole.

Fast and without proof; its placements are legal at every step and start the other solvers.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Index, Ints, Mask
from optimizer.objectives.base import Objective
from optimizer.problem import Term
from optimizer.solvers import kernel
from optimizer.solvers.kernel import new_state
from optimizer.solvers.packed import Packed, pack
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

Floats = npt.NDArray[np.float64]
_CHUNK = 2_000_000  # cells of one (servers x places) table; bounds memory at 18 MB a table
_WORTH = 1e-12  # smaller changes are rounding


class State:
    """A legal placement and what follows from it, kept up to date move by move (places: optimizer.arrays)."""

    def __init__(self, compiled: Compiled, where: Index) -> None:
        """Take over a legal placement."""
        self.compiled, self.packed = compiled, pack(compiled)
        self.now = new_state(self.packed, where)
        self._single: dict[int, tuple[Packed, kernel.State]] = {}  # by identity: objectives may hold mappings

    @property
    def where(self) -> Index:
        """The host of each server (S)."""
        where: Index = self.now.where // np.int32(self.packed.modes)
        return where

    @property
    def count(self) -> Index:
        """Servers on each host (H)."""
        return self.now.count

    @property
    def moves(self) -> int:
        """Servers that are not where the cluster has them."""
        return int(self.now.figures[0])

    @property
    def used(self) -> Ints:
        """What the rules count on each host (H x D)."""
        return self.compiled.arrays.used(self.now.where)

    @property
    def load(self) -> Mapping[str, Ints]:
        """Load of each host (H) by metric."""
        return {metric: np.bincount(self.where, weights=balance.load, minlength=len(self.count)).astype(np.int64)
                for metric, balance in self.compiled.balance.items()}

    def move(self, server: int, place: int) -> None:
        """Put a server in another place; legality is the caller's care."""
        for packed, state in ((self.packed, self.now), *self._single.values()):
            kernel.shift(packed, state, server, place)

    def tables(self, rows: Index) -> tuple[Mask, Floats]:
        """(where each server of ``rows`` may go now, how that changes the objective): both R x places, its own place excluded."""
        shape = len(rows), len(self.count) * self.packed.modes
        legal, cost = np.zeros(shape, dtype=np.bool_), np.zeros(shape)
        kernel.tables(self.packed, self.now, rows, legal, cost)
        return legal, cost

    def legal(self, rows: Index) -> Mask:
        """Where each server of ``rows`` may go now, its own place excluded (R x places)."""
        return self.tables(rows)[0]

    def gain(self, rows: Index) -> Floats:
        """How all levels together change when a server of ``rows`` goes to each place (R x places)."""
        return self.tables(rows)[1]

    def delta(self, objective: Objective, rows: Index) -> Floats:
        """How the value of one objective changes when a server of ``rows`` goes to each place (R x places)."""
        if id(objective) not in self._single:
            packed = pack(self.compiled, ((Term(objective),),))
            self._single[id(objective)] = packed, new_state(packed, self.now.where)
        packed, state = self._single[id(objective)]
        cost = np.zeros((len(rows), len(self.count) * packed.modes))
        kernel.tables(packed, state, rows, np.zeros(cost.shape, dtype=np.bool_), cost)
        return cost


def descend(state: State, stop: Stop) -> None:
    """Make the single move that helps most, again and again, until none helps or time is up."""
    movable = state.packed.movable
    rows_at_once = max(1, _CHUNK // max(1, len(state.count) * state.packed.modes))
    while stop.remaining_s() > 0:
        order = movable
        if len(movable) > rows_at_once:  # look at the hottest hosts first and take the best move of the first table that has one
            order = movable[np.argsort(-_heat(state)[state.where[movable]], kind="stable")]
        for begin in range(0, len(order), rows_at_once):
            if stop.remaining_s() <= 0:
                return
            rows = order[begin:begin + rows_at_once]
            legal, cost = state.tables(rows)
            gain = np.where(legal, cost, np.inf)
            best = int(gain.argmin())
            if gain.flat[best] < -_WORTH:
                state.move(int(rows[best // gain.shape[1]]), best % gain.shape[1])
                break
        else:
            return


def _heat(state: State) -> Floats:
    """How far each host is above the balanced level (H); 0 without a load."""
    heat = np.zeros(len(state.count))
    load = state.load
    for metric, balance in state.compiled.balance.items():
        heat = np.maximum(heat, (load[metric] - balance.level) / np.maximum(1, balance.capacity))
    return heat


def evacuate(state: State, stop: Stop) -> None:
    """Empty whole hosts, the cheapest first, wherever the levels become better by it."""
    arrays = state.compiled.arrays
    stuck = np.bincount(state.where[~arrays.movable], minlength=len(state.count)) > 0
    cost = np.bincount(state.where, weights=state.compiled.move_cost, minlength=len(state.count))
    for host in np.argsort(cost, kind="stable").tolist():
        if stop.remaining_s() <= 0:
            return
        if state.count[host] and not stuck[host] and state.compiled.available[host] and not state.compiled.bound[host]:
            _evacuate_one(state, host)


def _evacuate_one(state: State, host: int) -> None:
    """Move everything off a host to the fullest hosts that take it; undo it all when the levels do not become better."""
    arrays, modes = state.compiled.arrays, state.packed.modes
    servers = np.flatnonzero(state.where == host).astype(np.int32)
    room = np.maximum(1, arrays.room.max(axis=0))
    size = (arrays.demand[arrays.rows(state.now.where)[servers]] / room).max(axis=1)
    done, total = [], 0.0
    for s in servers[np.argsort(-size, kind="stable")].tolist():
        legal, gain = (table[0] for table in state.tables(np.array([s], dtype=np.int32)))
        legal &= np.repeat((state.count > 0) | state.compiled.bound, modes)
        legal[host * modes:host * modes + modes] = False
        left = np.repeat((arrays.room - state.used) / np.maximum(1, arrays.room), modes, axis=0)
        score = np.where(legal, gain + 1e-6 * left.min(axis=1), np.inf)
        target = int(score.argmin())
        if not np.isfinite(score[target]):
            total = np.inf
            break
        total += gain[target]
        done.append((s, int(state.now.where[s])))
        state.move(s, target)
    if total >= -_WORTH:
        for s, place in reversed(done):
            state.move(s, place)
