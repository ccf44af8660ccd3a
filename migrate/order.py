"""A safe order: which move must have ended before which may start.

The result holds in every schedule that respects it, however many moves run at once and however long each takes. A server that moves
counts on both hosts until it has left. For an arrival on host b, all arrivals on b up to it in the order are
counted as present, and only those departures from b as gone that are its parents; since the last
arrival that has started is checked like this, so is every mixture of the ones before it.

Cycles (two servers that change places on full hosts) are broken by a stop on a third host.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from optimizer.arrays import Arrays, Index, Ints


@dataclass(frozen=True, slots=True)
class Step:
    """A move of a server between hosts (indices), and the positions of the steps that must have ended before it starts."""

    server: int
    source: int
    destination: int
    parents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    """The steps in a legal sequence, and the servers (with host at the start and wanted) for which there is no safe moment."""

    steps: tuple[Step, ...]
    left: tuple[tuple[int, int, int], ...]


def order(arrays: Arrays, target: Index, priority: Sequence[int], max_steps: int | None = None) -> Ordered:
    """Order the moves from the present placement to ``target`` (S, host indices), which must be legal.

    ``priority``: the moved servers, the most wanted first. ``max_steps`` limits steps, stops on third hosts included.
    """
    work = _Work(arrays, target)
    waiting = [s for s in priority if target[s] != arrays.start[s]]
    while waiting:
        ready = [s for s in waiting if work.fits(s, int(target[s]))]
        for s in ready:
            if work.fits(s, int(target[s])):
                work.add(s, int(target[s]))
                waiting.remove(s)
        room_for_stops = max_steps is None or len(work.steps) + len(waiting) < max_steps
        if not ready and not (room_for_stops and work.stop_over(waiting)):
            break
    return Ordered(_without_idle_stops(work.steps, waiting), tuple((s, int(arrays.start[s]), int(target[s])) for s in waiting))


def _without_idle_stops(steps: list[Step], waiting: list[int]) -> tuple[Step, ...]:
    """The steps without stops of servers that never went on, where no other step waits for the stop.

    Every arrival fits while counting as gone only what its parents moved away; so it also fits when the stop never happens.
    """
    needed: set[int] = set()
    kept: list[int] = []
    for number in reversed(range(len(steps))):
        if steps[number].server not in waiting or number in needed:
            needed.update(steps[number].parents)
            kept.insert(0, number)
    position = {number: place for place, number in enumerate(kept)}
    return tuple(Step(steps[n].server, steps[n].source, steps[n].destination, tuple(position[p] for p in steps[n].parents)) for n in kept)


@dataclass
class _Work:
    """The state after all steps so far, and what happened on each host."""

    arrays: Arrays
    target: Index
    steps: list[Step] = field(default_factory=list)
    stopped: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.where = self.arrays.start.copy()
        self.packed = _Packed(self.arrays)
        self.tied = {int(s) for members in self.arrays.together for s in members}
        self.tied |= {int(s) for soft in self.arrays.not_worse for s in soft.members}
        self.last_step: dict[int, int] = {}

    def fits(self, server: int, host: int) -> bool:
        """Whether the server may arrive once every step so far has ended."""
        return self.packed.fits(server, host)

    def add(self, server: int, host: int) -> None:
        """Append a step."""
        source = int(self.where[server])
        parents = self.packed.blockers(server, host)
        if server in self.last_step:
            parents.add(self.last_step[server])
        number = len(self.steps)
        self.steps.append(Step(server, source, host, tuple(sorted(parents))))
        self.packed.move(server, source, host, number)
        self.where[server] = host
        self.last_step[server] = number

    def stop_over(self, waiting: list[int]) -> bool:
        """Send one waiting server to a third host so that others get room; False when none can go anywhere.

        First choice is a server whose leaving alone lets another one in, and a third host that nobody waits for.
        """
        wanted = {int(self.target[s]) for s in waiting}
        able = [s for s in waiting if s not in self.stopped and s not in self.tied and int(self.where[s]) in wanted]
        for server in sorted(able, key=lambda s: not self._lets_in(s, waiting)):
            hosts = np.flatnonzero(self.arrays.allowed(server)).tolist()
            for host in sorted(hosts, key=lambda h: (h in wanted, int(self.packed.busy[h]))):
                if host not in (int(self.where[server]), int(self.target[server])) and self.fits(server, host):
                    self.stopped.add(server)
                    self.add(server, host)
                    return True
        return False

    def _lets_in(self, server: int, waiting: list[int]) -> bool:
        here = int(self.where[server])
        return any(int(self.target[s]) == here and self.packed.fits(s, here, without=server) for s in waiting if s != server)


class _Packed:
    """Everything that is counted on a host: the packed quantities, and a column for each group kept apart.

    ``at_start`` and ``now`` (H x D'), ``room`` (H x D'), ``demand`` (S x D'), all with the groups' columns appended.
    """

    def __init__(self, arrays: Arrays) -> None:
        groups = arrays.apart
        extra = np.zeros((len(arrays.start), len(groups)), dtype=np.int64)
        limits = np.zeros((len(arrays.room), len(groups)), dtype=np.int64)
        for g, group in enumerate(groups):
            extra[group.members, g] = 1
            limits[:, g] = group.limit - group.held
        self.demand: Ints = np.concatenate([arrays.demand, extra], axis=1)
        self.room: Ints = np.concatenate([arrays.room, limits], axis=1)
        self.now: Ints = np.zeros_like(self.room)
        np.add.at(self.now, arrays.start, self.demand)
        self.arrivals: Ints = np.zeros_like(self.room)
        self.at_start = self.now.copy()
        self.departures: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self.busy = np.zeros(len(self.room), dtype=np.int64)

    def _needed(self, server: int) -> Index:
        return np.flatnonzero(self.demand[server] > 0).astype(np.int32)

    def fits(self, server: int, host: int, without: int | None = None) -> bool:
        need = self._needed(server)
        taken = self.now[host, need] - (0 if without is None else self.demand[without, need])
        return bool((taken + self.demand[server, need] <= self.room[host, need]).all())

    def blockers(self, server: int, host: int) -> set[int]:
        """Departures without any of which everything that ever arrived there would not fit together with the server."""
        need = self._needed(server)
        over = self.at_start[host, need] + self.arrivals[host, need] + self.demand[server, need] - self.room[host, need]
        chosen: list[tuple[int, Ints]] = []
        for number, leaver in self.departures[host]:
            if (over <= 0).all():
                break
            freed = self.demand[leaver, need]
            if (freed[over > 0] > 0).any():
                over = over - freed
                chosen.append((number, freed))
        # An early departure may have become dispensable through a greater one after it.
        for number, freed in list(chosen):
            if (over + freed <= 0).all():
                over = over + freed
                chosen = [one for one in chosen if one[0] != number]
        return {number for number, _ in chosen}

    def move(self, server: int, source: int, host: int, number: int) -> None:
        self.now[source] -= self.demand[server]
        self.now[host] += self.demand[server]
        self.arrivals[host] += self.demand[server]
        self.departures[source].append((number, server))
        self.busy[host] += 1
