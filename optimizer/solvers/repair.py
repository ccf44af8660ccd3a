"""Repair: what is broken (optimizer.objectives.broken) is put right with few moves.

From each host that lacks room the fewest servers that have to leave are chosen, by a small enumeration. Difficult ones first, each goes
where it fits best; a host that lacks room takes nobody as long as another one does, so nearly all moves can run at once. Where no host
takes a server, another server makes room for it by moving on (an ejection).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Apart, Index, Ints, Mask
from optimizer.growth import NOT_RUNNING
from optimizer.objectives.broken import Broken
from optimizer.solvers.kernel import State, new_state, shift, shift_legal
from optimizer.solvers.packed import Packed, pack, part_of, pinned
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import ENDLESS, Compiled

Floats = npt.NDArray[np.float64]
_ENUMERATED = 20_000  # sets of one host's servers that are looked at
_TRIED = 60  # sets that are tried before other ways are
_EJECTIONS = 1_000  # servers that are asked to make room for one other
_MORE = 2  # servers more than the fewest that are tried


def applies(compiled: Compiled) -> bool:
    """Whether repairing what is broken is the first thing the problem asks for."""
    return any(isinstance(term.objective, Broken) for level in compiled.problem.levels[:1] for term in level)


@dataclass(frozen=True, slots=True)
class Job:
    """Something broken: a host that lacks room (or the one that stands for not running), and sets of servers whose leaving repairs it.

    ``least``: no fewer servers do.
    """

    host: int
    least: int
    sets: tuple[tuple[int, ...], ...]


def jobs(compiled: Compiled, where: Index, extra: int = 0) -> list[Job]:
    """All that is broken in a placement (places); a host that no leaving repairs is left out.

    With ``extra`` the sets are of so many more servers than the fewest.
    """
    arrays = compiled.arrays
    hosts = where // arrays.modes
    by_host = np.argsort(hosts, kind="stable")
    first = np.searchsorted(hosts[by_host], np.arange(len(arrays.room) + 1))
    found: list[Job] = []
    for objective, needs in compiled.broken:
        demand = np.array([need.demand for need in needs], dtype=np.int64).reshape(len(needs), len(hosts)).T
        room = np.array([need.room for need in needs], dtype=np.int64).reshape(len(needs), len(arrays.room)).T
        used = np.zeros(room.shape, dtype=np.int64)
        np.add.at(used, hosts, demand)
        for h in np.flatnonzero((used > room).any(axis=1)).tolist():
            servers = by_host[first[h]:first[h + 1]]
            servers = servers[arrays.movable[servers]]
            least, sets = fewest(used[h] - room[h], demand[servers], extra)
            if sets:
                found.append(Job(h, least, tuple(tuple(servers[list(one)].tolist()) for one in sets)))
        stopped = compiled.host_index.get(NOT_RUNNING, -1)
        numbers = (compiled.server_index[name] for name in objective.must_run if name in compiled.server_index)
        found += [Job(stopped, 1, ((s,),)) for s in numbers if hosts[s] == stopped]
    return found


def fewest_moves(compiled: Compiled) -> int:
    """A number of moves that no placement goes below that leaves nothing broken."""
    leaving: dict[int, int] = {}
    starting: set[tuple[int, ...]] = set()
    for job in jobs(compiled, compiled.arrays.start):
        if job.host == compiled.host_index.get(NOT_RUNNING):
            starting.update(job.sets)
        else:
            leaving[job.host] = max(job.least, leaving.get(job.host, 0))
    return sum(leaving.values()) + len(starting)


def fewest(excess: Ints, demand: Ints, extra: int = 0) -> tuple[int, list[tuple[int, ...]]]:
    """A number of rows of ``demand`` (n x T) below which none reach ``excess`` (T) together, and sets that do, smallest demand first.

    Where there are not too many to look at, the sets are all those of just so many rows, or of ``extra`` more; else one set
    that may be larger. (0, []) when all rows together do not reach the excess.
    """
    if (demand.sum(axis=0) < excess).any():
        return 0, []
    lacking = excess > 0
    excess, demand = excess[lacking], demand[:, lacking]
    falling = np.sort(demand, axis=0)[::-1].cumsum(axis=0)
    least = int((falling < excess).sum(axis=0).max()) + 1
    for size in range(least, len(demand) + 1):
        if comb(len(demand), size + extra) > _ENUMERATED:
            return size, [_greedy(excess, demand)]
        if sets := _reaching(excess, demand, size):
            return size, _reaching(excess, demand, size + extra) if extra else sets
    raise AssertionError("all rows together reach the excess")


def _reaching(excess: Ints, demand: Ints, size: int) -> list[tuple[int, ...]]:
    """All sets of ``size`` rows that reach the excess, smallest demand first."""
    sets = np.array(list(combinations(range(len(demand)), size)), dtype=np.int64).reshape(-1, size)
    sums = demand[sets].sum(axis=1)
    enough = (sums >= excess).all(axis=1)
    order = np.argsort((sums[enough] / excess).sum(axis=1), kind="stable")
    return [tuple(one) for one in sets[enough][order].tolist()]


def _greedy(excess: Ints, demand: Ints) -> tuple[int, ...]:
    """Rows that together reach the excess: again and again the one that brings most, then without those that are not needed."""
    left, chosen = excess.astype(np.int64), list[int]()
    while (left > 0).any():
        gain = (np.minimum(demand, left.clip(min=0)) / excess).sum(axis=1)
        gain[chosen] = -1.0
        chosen.append(int(gain.argmax()))
        left = left - demand[chosen[-1]]
    for one in sorted(chosen, key=lambda row: float((demand[row] / excess).sum())):
        if (left + demand[one] <= 0).all():
            left = left + demand[one]
            chosen.remove(one)
    return tuple(chosen)


def improve(compiled: Compiled, where: Index, stop: Stop, found: Callable[[Index], None]) -> Index:
    """Repair a legal placement as far as it can be within the time; ``found`` gets the placement when something was repaired."""
    todo = jobs(compiled, where)
    if not todo:
        return where
    work = _Work(compiled, where)
    todo.sort(key=work.difficulty, reverse=True)
    closed = np.zeros(len(compiled.arrays.room), dtype=np.bool_)
    closed[[job.host for job in todo]] = True
    open_to_all = np.zeros_like(closed)
    for way in (lambda job: work.move_away(job, closed), lambda job: work.move_away(job, open_to_all), work.make_room):
        todo = [job for job in todo if work.stands(job) and (stop.remaining_s() <= 0 or not way(job))]
    for extra in range(1, _MORE + 1) if todo else ():
        for job in jobs(compiled, work.where, extra):
            if stop.remaining_s() > 0 and work.stands(job):
                work.move_away(job, open_to_all)
    if not np.array_equal(work.where, where):
        where = work.where.copy()
        found(where)
    return where


class _Work:
    """The placement under repair, on numpy arrays: nothing has to be compiled for it.

    ``demand`` (S·M x D'), ``room`` and ``used`` (H x D'): what the rules count, and what Broken does, one behind the other. Rules that are
    about more than room, groups kept apart and sets of hosts are left to the kernels, which are only called where there are such.
    """

    def __init__(self, compiled: Compiled, where: Index) -> None:
        self.arrays = arrays = compiled.arrays
        self.modes = arrays.modes
        self.where = where.copy()
        self.stopped = compiled.host_index.get(NOT_RUNNING, -1)
        needs = [need for _, some in compiled.broken for need in some]
        self.demand: Ints = np.concatenate([arrays.demand, *(np.repeat(need.demand, self.modes)[:, None] for need in needs)], axis=1)
        self.room: Ints = np.concatenate([arrays.room, *(need.room[:, None] for need in needs)], axis=1)
        self.kept: Mask = np.concatenate([arrays.kept, np.zeros(len(needs), dtype=np.bool_)])
        self.used: Ints = np.zeros_like(self.room)
        np.add.at(self.used, where // self.modes, self.demand[arrays.rows(where)])
        self.used[:, :len(arrays.kept)] += arrays.away(where)
        limited = self.room < ENDLESS
        self.scale: Floats = np.where(limited.any(axis=0), 1.0 / np.maximum(1, np.where(limited, self.room, 0).max(axis=0)), 0.0)
        self.size: Floats = (self.demand * self.scale).max(axis=1).reshape(-1, self.modes).max(axis=1)
        self.groups: dict[int, list[Apart]] = {}
        for group in arrays.apart:
            for s in group.members.tolist():
                self.groups.setdefault(s, []).append(group)
        self.eligible, self.server_class = pinned(compiled, self._parts())
        self.others: tuple[Packed, State] | None = None
        if arrays.together or arrays.not_worse or arrays.scattered or arrays.near or compiled.problem.max_moves is not None:
            packed = pack(compiled, compiled.problem.levels[:1])._replace(eligible=self.eligible, server_class=self.server_class)
            self.others = packed, new_state(packed, where)

    def _parts(self) -> dict[int, int]:
        """The groups of which nobody is in any part at home get the part they are in by now, or the one with most room, one after the other."""
        arrays, parts, hosts = self.arrays, dict[int, int](), self.where // self.modes
        free = ((self.room - self.used) * self.scale).min(axis=1, where=self.scale > 0, initial=1.0).clip(min=0.0)
        taken: dict[tuple[int, int], float] = {}
        for g, group in enumerate(arrays.inside):
            if part_of(group, arrays.home) >= 0 or any(part[arrays.home[group.members]].any() for part in group.parts):
                continue
            left = [float(free[part].sum()) - taken.get((id(group.parts), p), 0.0) for p, part in enumerate(group.parts)]
            now = part_of(group, hosts)
            parts[g] = now if now >= 0 else int(np.argmax(left)) if left else -1
            key = (id(group.parts), parts[g])
            taken[key] = taken.get(key, 0.0) + float(self.size[group.members].sum())
        return parts

    def stands(self, job: Job) -> bool:
        """Whether what a job is about is still broken."""
        if job.host == self.stopped:
            return all(self.where[s] // self.modes == job.host for s in job.sets[0])
        needs = slice(len(self.arrays.kept), None)
        return bool((self.used[job.host, needs] > self.room[job.host, needs]).any())

    def difficulty(self, job: Job) -> float:
        """The size of the largest server in the easiest set."""
        return min(float(self.size[list(one)].max()) for one in job.sets)

    def by_size(self, job: Job) -> Iterator[list[int]]:
        """The sets of a job, those of small servers first, each with its largest server first."""
        order = sorted(job.sets, key=lambda one: (float(self.size[list(one)].max()), float(self.size[list(one)].sum())))
        return (sorted(one, key=lambda s: -self.size[s]) for one in islice(order, _TRIED))

    def move_away(self, job: Job, closed: Mask) -> bool:
        """Move one set of a job to hosts that are not closed; False, and nothing changed, when none can be."""
        return any(self._all_of(servers, lambda s: self._go(s, closed)) for servers in self.by_size(job))

    def make_room(self, job: Job) -> bool:
        """Move one set of a job where others make room for it; False, and nothing changed, when none can be."""
        closed = np.zeros(len(self.room), dtype=np.bool_)
        closed[job.host] = True
        return any(self._all_of(servers, lambda s: self._go(s, closed) or self._eject(s, closed)) for servers in islice(self.by_size(job), 3))

    def _all_of(self, servers: Sequence[int], move: Callable[[int], bool]) -> bool:
        before = self.where.copy()
        if all(map(move, servers)):
            return True
        for s in np.flatnonzero(np.not_equal(self.where, before)).tolist():
            self._shift(s, int(before[s]))
        return False

    def _go(self, server: int, closed: Mask) -> bool:
        """Put a server in the tightest place."""
        here = self.where[server] // self.modes
        for place in self._places(server, closed):
            if place // self.modes != here and self._legal(server, place):
                self._shift(server, place)
                return True
        return False

    def _eject(self, server: int, closed: Mask) -> bool:
        """Put a server on a host where another one makes room by going elsewhere, small ones asked first."""
        hosts = self.where // self.modes
        seated = self.demand[self.arrays.rows(self.where)]
        open_to = ~closed & (hosts[server] != np.arange(len(closed))) & (self.eligible[self.server_class[server]] > 0)
        for seat in np.flatnonzero(self.arrays.seats[server]).tolist():
            need = self.demand[server * self.modes + seat]
            free = (self.room - self.used)[hosts] + np.where(self.kept, 0, seated)
            able = np.flatnonzero(((free >= need) | (need <= 0)).all(axis=1) & open_to[hosts] & self.arrays.movable)
            for other in able[np.argsort(self.size[able], kind="stable")][:_EJECTIONS].tolist():
                if self._swap_in(server, int(hosts[other]) * self.modes + seat, other, closed):
                    return True
        return False

    def _swap_in(self, server: int, place: int, other: int, closed: Mask) -> bool:
        """Send another server away from a host and put the server there; False, and nothing changed, when that does not work."""
        old = int(self.where[other])
        here = np.arange(len(closed)) == old // self.modes
        for refuge in islice(self._places(other, closed | here), 3):
            if self._legal(other, refuge):
                self._shift(other, refuge)
                if place in self._places(server, ~here) and self._legal(server, place):
                    self._shift(server, place)
                    return True
                self._shift(other, old)
        return False

    def _places(self, server: int, closed: Mask) -> Iterator[int]:
        """Places with room for a server on hosts that are not closed and where nobody of its groups kept apart stands against it, tightest first."""
        hosts = ~closed & (self.eligible[self.server_class[server]] > 0)
        for group in self.groups.get(server, ()):
            others = group.members[group.members != server]
            on, count = np.unique(self.where[others] // self.modes, return_counts=True)
            hosts[on[count + group.held[on] >= group.limit]] = False
            hosts &= group.held < group.limit
        numbers = np.flatnonzero(hosts)
        free = (self.room - self.used)[numbers]
        places: list[Ints] = []
        left: list[Floats] = []
        for seat in np.flatnonzero(self.arrays.seats[server]).tolist():
            need = self.demand[server * self.modes + seat]
            fits = ((free >= need) | (need <= 0)).all(axis=1)
            places.append(numbers[fits] * self.modes + seat)
            left.append((free[fits] - need) @ self.scale)
        found, tight = np.concatenate(places), np.concatenate(left)
        if len(found):
            yield int(found[tight.argmin()])  # nearly always the only one that is asked for
            yield from found[np.argsort(tight, kind="stable")[1:]].tolist()

    def _legal(self, server: int, place: int) -> bool:
        return self.others is None or bool(shift_legal(*self.others, server, place))

    def _shift(self, server: int, place: int) -> None:
        """Put a server in a place, counting what it keeps on the host where it starts."""
        start, old = int(self.arrays.start[server]), int(self.where[server])
        for at, sign in ((old, -1), (place, 1)):
            self.used[at // self.modes] += sign * self.demand[server * self.modes + at % self.modes]
            if at != start:
                self.used[start // self.modes] += sign * np.where(self.kept, self.demand[server * self.modes + start % self.modes], 0)
        self.where[server] = place
        if self.others is not None:
            shift(*self.others, server, place)
