"""The shortest way for a few servers that stand in each other's way, other servers stepping aside where that helps.

A* over placements (Hart, Nilsson, Raphael, "A formal basis for the heuristic determination of minimum cost paths", IEEE Trans. SSC 4, 1968): each
move is one step, and no way is shorter than the number of servers that are not where they are to be.
"""

import heapq
from collections.abc import Sequence

from optimizer.arrays import Arrays, Index

State = tuple[int, ...]


class Maze:
    """Some servers and the places that each may take, everything else standing still."""

    def __init__(self, arrays: Arrays, where: Index, servers: Sequence[int], places: Sequence[Sequence[int]]) -> None:
        """``where`` (S): the present places of all servers; ``places``: for each of ``servers`` those that it may arrive at."""
        modes = arrays.modes
        self.servers, self.places = tuple(servers), [tuple(some) for some in places]
        self.start: State = tuple(int(where[s]) for s in servers)
        self.modes = modes
        self.demand = {(n, seat): tuple(arrays.demand[s * modes + seat].tolist()) for n, s in enumerate(servers) for seat in range(modes)}
        hosts = {place // modes for some in (*self.places, self.start) for place in some}
        used = arrays.used(where)
        self.free = {h: [int(room) - int(taken) for room, taken in zip(arrays.room[h], used[h], strict=True)] for h in hosts}
        for n, place in enumerate(self.start):
            free = self.free[place // modes]
            for d, amount in enumerate(self.demand[n, place % modes]):
                free[d] += amount
        self.groups: list[list[int]] = [[] for _ in servers]
        self.limit: dict[tuple[int, int], int] = {}
        inside = set(servers)
        for g, group in enumerate(arrays.apart):
            members = group.members.tolist()
            if inside.isdisjoint(members):
                continue
            for n, s in enumerate(servers):
                if s in members:
                    self.groups[n].append(g)
            there = [int(where[s]) // modes for s in members if s not in inside]
            for h in hosts:
                self.limit[g, h] = group.limit - int(group.held[h]) - there.count(h)

    def way(self, goal: State, budget: int) -> tuple[tuple[int, int], ...] | None:
        """The shortest way to ``goal`` (a place for each server): moves (server, place); None where there is none, or none in ``budget`` looks."""
        heap: list[tuple[int, int, int, State]] = [(_apart(self.start, goal), 0, 0, self.start)]
        came: dict[State, tuple[State, int, int] | None] = {self.start: None}
        steps = {self.start: 0}
        pushed = 0
        while heap and budget > 0:
            _, _, taken, state = heapq.heappop(heap)
            if state == goal:
                return self._moves(came, state)
            if taken > steps[state]:
                continue
            free, count = self._room(state)
            for n, here in reversed(list(enumerate(state))):  # what is pushed last is looked at first
                for place in reversed(self.places[n]):
                    if place == here:
                        continue
                    budget -= 1
                    if not self._fits(n, place, free, count):
                        continue
                    after = (*state[:n], place, *state[n + 1:])
                    if taken + 1 < steps.get(after, taken + 2):
                        steps[after], came[after] = taken + 1, (state, n, place)
                        pushed += 1
                        heapq.heappush(heap, (taken + 1 + _apart(after, goal), -pushed, taken + 1, after))
        return None

    def _room(self, state: State) -> tuple[dict[int, list[int]], dict[tuple[int, int], int]]:
        """What is free on each host, and how many members of each group are on it."""
        free = {h: list(amounts) for h, amounts in self.free.items()}
        count: dict[tuple[int, int], int] = {}
        for n, place in enumerate(state):
            host = place // self.modes
            here = free[host]
            for d, amount in enumerate(self.demand[n, place % self.modes]):
                here[d] -= amount
            for g in self.groups[n]:
                count[g, host] = count.get((g, host), 0) + 1
        return free, count

    def _fits(self, n: int, place: int, free: dict[int, list[int]], count: dict[tuple[int, int], int]) -> bool:
        host = place // self.modes
        return all(amount <= room or amount <= 0 for amount, room in zip(self.demand[n, place % self.modes], free[host], strict=True)) and all(
            count.get((g, host), 0) < self.limit[g, host] for g in self.groups[n])

    def _moves(self, came: dict[State, tuple[State, int, int] | None], state: State) -> tuple[tuple[int, int], ...]:
        found = []
        while (step := came[state]) is not None:
            state, n, place = step
            found.append((self.servers[n], place))
        return tuple(reversed(found))


def _apart(state: State, goal: State) -> int:
    return sum(one != other for one, other in zip(state, goal, strict=True))
