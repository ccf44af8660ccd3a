"""Servers that left a host for another than the preferred one."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The share of the cluster's servers that left ``source`` and are not on ``preferred``."""

    name: ClassVar[str] = "elsewhere"
    source: str
    preferred: str

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """Servers that went elsewhere / all servers."""
        gone = sum(server.host == self.source and placement[server.id] not in (self.source, self.preferred)
                   for server in cluster.servers)
        return gone / max(1, len(cluster.servers))
