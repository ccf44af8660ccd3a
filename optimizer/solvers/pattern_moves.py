"""From patterns to servers: which server goes where, so that there is an order in which each move fits at its turn."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optimizer.arrays import Index, Ints
from optimizer.solvers.pattern_model import Aggregate
from optimizer.solvers.terms import Compiled

Spot = tuple[int, int]
"""A host and a pool of it, -1 for servers that span pools."""


@dataclass(frozen=True, slots=True)
class Contents:
    """How many more servers of each kind a host is to hold: ``counts`` (K x T) on one pool, ``spans`` (U)."""

    counts: Ints
    spans: Ints


def unroll(compiled: Compiled, model: Aggregate, contents: Mapping[int, Contents]) -> tuple[Index, set[int]]:
    """Carry out the moves that hosts' new contents ask for, one after the other, each when there is room for it.

    Returns the places (S) reached and the hosts that block each other's remaining moves. Whatever was carried out is legal without the rest.
    """
    work = _Work(compiled, model, contents)
    while work.carry_out():
        pass
    return work.where, work.blocked()


class _Work:
    """Servers to leave (``out``) and places to fill (``into``), by kind."""

    def __init__(self, compiled: Compiled, model: Aggregate, contents: Mapping[int, Contents]) -> None:
        self.arrays, self.model = compiled.arrays, model
        self.where = self.arrays.start.copy()
        self.used = self.arrays.used(self.where)
        self.out: dict[int, list[Spot]] = defaultdict(list)
        self.into: list[tuple[int, Spot]] = []
        self.leaving: dict[int, int] = defaultdict(int)
        self.coming: dict[int, int] = defaultdict(int)
        for host, change in contents.items():
            for k, t in np.argwhere(change.counts).tolist():
                self._ask(t, (host, k), int(change.counts[k, t]))
            for j in np.flatnonzero(change.spans).tolist():
                self._ask(model.singles + j, (host, -1), int(change.spans[j]))
        grouped = model.grouped
        self.servers: dict[tuple[int, int], list[int]] = defaultdict(list)
        hosts = {host for spots in self.out.values() for host, _ in spots}
        for t in self.out:
            for s in model.kinds[t].members.tolist():
                if int(self.arrays.home[s]) in hosts and not grouped[s]:
                    self.servers[t, int(self.where[s])].append(s)

    def _ask(self, kind: int, spot: Spot, more: int) -> None:
        if more > 0:
            self.into += [(kind, spot)] * more
            self.coming[spot[0]] += more
        else:
            self.out[kind] += [spot] * -more
            self.leaving[spot[0]] -= more

    def place(self, kind: int, spot: Spot) -> int:
        """The place of a server of a kind in a spot."""
        return spot[0] * self.arrays.modes + (self.model.kinds[kind].seats[spot[1]] if spot[1] >= 0 else 0)

    def carry_out(self) -> bool:
        """Fill the places there is room for, those on hosts that give nothing away first; False when there is none."""
        left: list[tuple[int, Spot]] = []
        done = False
        for kind, spot in sorted(self.into, key=lambda one: self.leaving[one[1][0]] > 0):
            demand = self.model.kinds[kind].demand[self.place(kind, spot) % self.arrays.modes]
            if not self.out[kind]:
                continue
            if (demand > 0).any() and (self.used[spot[0]] + demand > self.arrays.room[spot[0]])[demand > 0].any():
                left.append((kind, spot))
                continue
            source = next((one for one in self.out[kind] if self.coming[one[0]]), self.out[kind][0])
            self.out[kind].remove(source)
            server = self.servers[kind, self.place(kind, source)].pop()
            self.used[source[0]] -= self.arrays.demand[server * self.arrays.modes + self.where[server] % self.arrays.modes]
            self.used[spot[0]] += demand
            self.where[server] = self.place(kind, spot)
            self.leaving[source[0]] -= 1
            self.coming[spot[0]] -= 1
            done = True
        self.into = left
        return done and bool(left)

    def blocked(self) -> set[int]:
        """The hosts that wait to give a server away, and those that wait for one."""
        waiting = {kind for kind, spots in self.out.items() if spots}
        return {spot[0] for kind in waiting for spot in self.out[kind]} | {spot[0] for kind, spot in self.into if kind in waiting}
