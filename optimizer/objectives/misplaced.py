"""Servers where they should not be."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Wish:
    """Servers that should be among some hosts (``inside``) or not there, and who asked for it."""

    servers: tuple[str, ...]
    hosts: frozenset[str]
    inside: bool
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Misplaced:
    """The number of servers that are not where a wish has them; one that breaks two wishes counts twice."""

    name: ClassVar[str] = "misplaced"
    wishes: tuple[Wish, ...]

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """Servers out of place."""
        return float(sum((placement[server] in wish.hosts) != wish.inside
                         for wish in self.wishes for server in wish.servers if server in cluster.server_by_id))
