"""A safe order: which move must have ended before which may start.

The result holds in every schedule that respects it, however many moves run at once and however long each takes. A server that moves
counts on both hosts until it has left. For an arrival on host b, all arrivals on b up to it in the order are
counted as present, and only those departures from b as gone that are its parents; since the last
arrival that has started is checked like this, so is every mixture of the ones before it.

Cycles (two servers that change places on full hosts) are broken by a stop on a third host; where that does not help, by the shortest detour of the
servers on the hosts concerned, those that are to stay included (migrate/detour.py).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from migrate.detour import Maze
from optimizer.arrays import Arrays, Index, Ints

_LOOKS = 150_000  # moves that the search for one detour looks at, ten times as many in all
_CANDIDATES, _HOSTS = 12, 8  # servers that have part in a detour, and third hosts that each of them may stop on


@dataclass(frozen=True, slots=True)
class Step:
    """A move of a server between places (optimizer.arrays), and the positions of the steps that must have ended before it starts.

    Where no rule speaks of NUMA nodes, places are hosts.
    """

    server: int
    source: int
    destination: int
    parents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    """The steps in a legal sequence, and the servers (with place at the start and wanted) for which there is no safe moment."""

    steps: tuple[Step, ...]
    left: tuple[tuple[int, int, int], ...]


def order(arrays: Arrays, target: Index, priority: Sequence[int], max_steps: int | None = None,
          host_moves: Mapping[int, int] | None = None) -> Ordered:
    """Order the moves from the present placement to ``target`` (S, places), which must be legal.

    ``priority``: the moved servers, the most wanted first. ``max_steps`` limits steps, stops on third hosts included. ``host_moves``:
    host -> how many servers may come to it or leave it.
    """
    work = _Work(arrays, target, dict(host_moves or {}))
    moving = waiting = [s for s in priority if target[s] != arrays.start[s]]
    while waiting:
        ready = [s for s in waiting if work.fits(s, int(target[s]))]
        for s in ready:
            if work.fits(s, int(target[s])):
                work.add(s, int(target[s]))
        waiting = [s for s in waiting if work.where[s] != target[s]]
        most = None if max_steps is None else max_steps - len(work.steps)
        if not ready and not work.detour(waiting, most) and not ((most is None or len(waiting) < most) and work.stop_over(waiting)):
            break
    if waiting and len(moving) <= _CANDIDATES:  # what was done first may stand in the way
        afresh = _Work(arrays, target, dict(host_moves or {}))
        if afresh.around(moving, max_steps):
            return Ordered(tuple(afresh.steps), ())
    return Ordered(_without_idle_stops(work.steps, waiting), tuple((s, int(arrays.start[s]), int(target[s])) for s in waiting))


def _without_idle_stops(steps: list[Step], waiting: list[int]) -> tuple[Step, ...]:
    """The steps without stops of servers that never went on, where no other step waits for the stop.

    Every arrival fits while counting as gone only what its parents moved away; so it also fits when the stop never happens.
    """
    needed: set[int] = set()
    left = set(waiting)
    kept: list[int] = []
    for number in reversed(range(len(steps))):
        if steps[number].server not in left or number in needed:
            needed.update(steps[number].parents)
            kept.append(number)
    kept.reverse()
    position = {number: place for place, number in enumerate(kept)}
    return tuple(Step(steps[n].server, steps[n].source, steps[n].destination, tuple(position[p] for p in steps[n].parents)) for n in kept)


@dataclass
class _Work:
    """The state after all steps so far, and what happened on each host."""

    arrays: Arrays
    target: Index
    host_moves: dict[int, int]
    steps: list[Step] = field(default_factory=list)
    stopped: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.where = self.arrays.start.copy()
        self.packed = _Packed(self.arrays, np.flatnonzero(self.target != self.arrays.start).tolist())
        self.tied = {int(s) for members in self.arrays.together for s in members}
        self.tied |= {int(s) for soft in self.arrays.not_worse for s in soft.members}
        self.tied |= {int(s) for group in self.arrays.inside for s in group.members}
        self.last_step: dict[int, int] = {}
        self.hopeless: set[tuple[frozenset[int], bytes]] = set()
        self.looks = 10 * _LOOKS

    def fits(self, server: int, place: int) -> bool:
        """Whether the server may arrive once every step so far has ended."""
        return self.packed.fits(server, place) and all(self.host_moves.get(host, 1) > 0 for host in self._ends(server, place))

    def _ends(self, server: int, place: int) -> tuple[int, int]:
        """The hosts that take part in a move."""
        return int(self.where[server]) // self.arrays.modes, place // self.arrays.modes

    def add(self, server: int, place: int) -> None:
        """Append a step."""
        self.host_moves.update((host, self.host_moves[host] - 1) for host in self._ends(server, place) if host in self.host_moves)
        source = int(self.where[server])
        parents = self.packed.blockers(server, place)
        if server in self.last_step:
            parents.add(self.last_step[server])
        number = len(self.steps)
        self.steps.append(Step(server, source, place, tuple(sorted(parents))))
        self.packed.move(server, source, place, number)
        self.where[server] = place
        self.last_step[server] = number

    def stop_over(self, waiting: list[int]) -> bool:
        """Send one waiting server to a third host so that others get room; False when none can go anywhere.

        First choice is a server whose leaving alone lets another one in, and a third host that nobody waits for.
        """
        modes = self.arrays.modes
        heading: dict[int, list[int]] = defaultdict(list)
        for s in waiting:
            heading[int(self.target[s]) // modes].append(s)
        able = [s for s in waiting if s not in self.stopped and s not in self.tied and int(self.where[s]) // modes in heading]
        wanted = np.zeros(len(self.arrays.room), dtype=np.bool_)
        wanted[list(heading)] = True
        calm = np.lexsort((self.packed.busy, wanted))
        for server in sorted(able, key=lambda s: not self._lets_in(s, heading[int(self.where[s]) // modes])):
            own = (int(self.where[server]) // modes, int(self.target[server]) // modes)
            open_to = self.arrays.allowed(server) & self.packed.roomy(server)
            for host in calm[open_to[calm]].tolist():
                for seat in np.flatnonzero(self.arrays.seats[server]).tolist() if host not in own else ():
                    if self.fits(server, host * modes + seat):
                        self.stopped.add(server)
                        self.add(server, host * modes + seat)
                        return True
        return False

    def detour(self, waiting: list[int], most: int | None) -> bool:
        """Bring the waiting servers of one region home by the shortest way, in at most so many steps; False when there is none for any region."""
        for region in _regions(waiting, self.where // self.arrays.modes, self.target // self.arrays.modes):
            key = (frozenset(region), self.where.tobytes())
            if key not in self.hopeless and self.around(region, None if most is None else most - (len(waiting) - len(region))):
                return True
            self.hopeless.add(key)
        return False

    def around(self, region: list[int], most: int | None) -> bool:
        """Bring some servers home by the shortest way; others that step aside come back."""
        if self.host_moves or self.looks <= 0:  # which moves to spend on bystanders is not for us to say
            return False
        servers = self._candidates(region)
        goal = tuple(int(self.target[s]) if s in region else int(self.where[s]) for s in servers)
        places = [self._open_to(s, home) for s, home in zip(servers, goal, strict=True)]
        moves = Maze(self.arrays, self.where, servers, places).way(goal, _LOOKS)
        self.looks -= _LOOKS
        if moves is None or (most is not None and len(moves) > most):
            return False
        for server, place in moves:
            self.packed.include(server, self.arrays.home)
            self.add(server, place)
        return True

    def _candidates(self, region: list[int]) -> list[int]:
        """The servers of a region, and others that may step aside, those on its hosts and small ones first; not more than a few."""
        modes = self.arrays.modes
        ends = {int(place) // modes for s in region for place in (self.where[s], self.target[s])}
        concerned = np.isin(self.where // modes, list(ends))
        size = self.arrays.demand[self.arrays.rows(self.where)].sum(axis=1)
        others = np.lexsort((size, ~concerned))
        aside = [s for s in others[self.arrays.movable[others]].tolist() if s not in region and s not in self.tied]
        return region + aside[:max(0, _CANDIDATES - len(region))]

    def _open_to(self, server: int, home: int) -> list[int]:
        """Where a candidate may go: where it is to be in the end, and on the calmest of other hosts."""
        if server in self.tied:
            return [home]
        modes = self.arrays.modes
        hosts = np.flatnonzero(self.arrays.allowed(server))
        calm = hosts[np.argsort(self.packed.busy[hosts], kind="stable")][:_HOSTS].tolist()
        seats = np.flatnonzero(self.arrays.seats[server]).tolist()
        return list(dict.fromkeys([home, *(host * modes + seat for host in calm for seat in seats)]))

    def _lets_in(self, server: int, heading_here: list[int]) -> bool:
        here = int(self.where[server])
        return any(self.packed.fits(s, int(self.target[s]), without=(server, here)) for s in heading_here if s != server)


def _regions(waiting: Sequence[int], where: Index, target: Index) -> list[list[int]]:
    """The waiting servers whose hosts hang together by where they are and where they go."""
    region_of: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for s in waiting:
        ends = (int(where[s]), int(target[s]))
        joined = sorted({region_of.setdefault(host, host) for host in ends})
        for other in joined[1:]:
            region_of.update((host, joined[0]) for host, region in list(region_of.items()) if region == other)
            members[joined[0]] = members.get(joined[0], []) + members.pop(other, [])
        members.setdefault(joined[0], []).append(s)
    return [sorted(some) for _, some in sorted(members.items())]


class _Packed:
    """Everything that is counted on a host: the packed quantities, and the members of groups kept apart, of groups of which somebody moves.

    ``now``, ``at_start``, ``arrivals``, ``room`` (H x D), ``demand`` (S·M x D); the same by (group, host) in ``members_*``.
    """

    def __init__(self, arrays: Arrays, moving: Sequence[int]) -> None:
        self.modes = arrays.modes
        self.demand: Ints = arrays.demand
        self.room: Ints = arrays.room
        self.now: Ints = arrays.used(arrays.start)
        self.at_start = self.now.copy()
        self.arrivals: Ints = np.zeros_like(self.now)
        self.departures: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        self.busy = np.zeros(len(self.room), dtype=np.int64)
        self.apart = arrays.apart
        self.groups_of: dict[int, list[int]] = {s: [] for s in moving}
        self.members_now: dict[tuple[int, int], int] = defaultdict(int)
        self.members_arrived: dict[tuple[int, int], int] = defaultdict(int)
        moves = np.zeros(len(arrays.start), dtype=np.bool_)
        moves[list(moving)] = True
        for g, group in enumerate(arrays.apart):
            if moves[group.members].any():
                for s, host in zip(group.members.tolist(), arrays.home[group.members].tolist(), strict=True):
                    self.members_now[g, host] += 1
                    if s in self.groups_of:
                        self.groups_of[s].append(g)
        self.members_at_start = dict(self.members_now)

    def include(self, server: int, home: Index) -> None:
        """Count the groups of a server, too, that was not to move."""
        if server in self.groups_of:
            return
        self.groups_of[server] = []
        for g, group in enumerate(self.apart):
            if server in group.members:
                self.groups_of[server].append(g)
                if not any(g in some for other, some in self.groups_of.items() if other != server):
                    for host in home[group.members].tolist():
                        self.members_now[g, host] += 1
                        self.members_at_start[g, host] = self.members_at_start.get((g, host), 0) + 1

    def _row(self, server: int, place: int) -> int:
        return server * self.modes + place % self.modes

    def _limit(self, group: int, host: int) -> int:
        return self.apart[group].limit - int(self.apart[group].held[host])

    def fits(self, server: int, place: int, without: tuple[int, int] | None = None) -> bool:
        """Whether a server may arrive; ``without``: another one and the place on that host that it will have left."""
        host, row = place // self.modes, self._row(server, place)
        need = self.demand[row]
        taken = self.now[host] if without is None else self.now[host] - self.demand[self._row(*without)]
        if ((need > 0) & (taken + need > self.room[host])).any():
            return False
        left = set(self.groups_of[without[0]]) if without is not None else ()
        return all(self.members_now.get((g, host), 0) - (g in left) < self._limit(g, host) for g in self.groups_of[server])

    def roomy(self, server: int) -> npt.NDArray[np.bool_]:
        """The hosts (H) with room for a server in some seat, whoever of its groups is there."""
        rows = self.demand[server * self.modes:(server + 1) * self.modes]
        masks = [((need <= 0) | (self.now + need <= self.room)).all(axis=1) for need in rows]
        room: npt.NDArray[np.bool_] = np.logical_or.reduce(masks)
        return room

    def blockers(self, server: int, place: int) -> set[int]:
        """Departures without any of which everything that ever arrived there would not fit together with the server."""
        host, row, groups = place // self.modes, self._row(server, place), self.groups_of[server]
        need = np.flatnonzero(self.demand[row] > 0)
        over = np.concatenate([self.at_start[host, need] + self.arrivals[host, need] + self.demand[row, need] - self.room[host, need], [
            self.members_at_start.get((g, host), 0) + self.members_arrived.get((g, host), 0) + 1 - self._limit(g, host) for g in groups]])
        chosen: list[tuple[int, Ints]] = []
        for number, leaver, leaver_row in self.departures[host]:
            if (over <= 0).all():
                break
            freed = np.concatenate([self.demand[leaver_row, need], [int(g in self.groups_of[leaver]) for g in groups]])
            if (freed[over > 0] > 0).any():
                over = over - freed
                chosen.append((number, freed))
        # An early departure may have become dispensable through a greater one after it.
        for number, freed in list(chosen):
            if (over + freed <= 0).all():
                over = over + freed
                chosen = [one for one in chosen if one[0] != number]
        return {number for number, _ in chosen}

    def move(self, server: int, source: int, place: int, number: int) -> None:
        """Count a server out of one place and into another."""
        old, host = source // self.modes, place // self.modes
        self.now[old] -= self.demand[self._row(server, source)]
        self.now[host] += self.demand[self._row(server, place)]
        self.arrivals[host] += self.demand[self._row(server, place)]
        for g in self.groups_of[server]:
            self.members_now[g, old] -= 1
            self.members_now[g, host] += 1
            self.members_arrived[g, host] += 1
        self.departures[old].append((number, server, self._row(server, source)))
        self.busy[host] += 1
