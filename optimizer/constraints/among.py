"""A group inside one of several sets of hosts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.growth import NOT_RUNNING
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Among:
    """All members of a group that run are inside one of ``sets`` (names of hosts), at every moment.

    Servers move one by one and in any order, so one set must hold where every member goes and where every member comes from; only a
    member that moves alone may come from elsewhere. So a group of several stays in its set, one that is torn apart can be drawn together
    by a single move, and one of which nobody runs yet can be started in any set.
    """

    name: ClassVar[str] = "among"
    continuous: ClassVar[bool] = True
    group: str
    members: tuple[str, ...]
    sets: tuple[frozenset[str], ...]

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Members outside every set, and the group when no one set holds it."""
        present = [cluster.server_by_id[m] for m in self.members if m in cluster.server_by_id]
        moved = {server.id for server in present if placement[server.id] != server.host}
        counted: set[str] = set()
        for server in present:
            here = placement[server.id]
            if here != NOT_RUNNING and not any(here in one for one in self.sets):
                yield Violation(self.name, f"{server.name} of group {self.group} is on {here}, which is in none of the group's sets of hosts",
                                (server.id,), here, inherited=server.id not in moved)
                continue
            counted.add(here)
            if server.id not in moved or len(moved) > 1:
                counted.add(server.host)
        # A host outside every set, or none at all, is where nobody can go: who comes from there breaks nothing.
        inside = {host for host in counted if any(host in one for one in self.sets)}
        if not any(inside <= one for one in self.sets) and inside:
            yield Violation(self.name, f"no one set of hosts holds group {self.group} all the while: {', '.join(sorted(inside))}",
                            tuple(sorted(moved)), None, inherited=not moved)
