"""Servers left on a host that is to be drained."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Remaining:
    """The share of the cluster's servers that are still on ``host``."""

    name: ClassVar[str] = "remaining"
    host: str

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """Servers on the host / all servers."""
        return sum(where == self.host for where in placement.values()) / max(1, len(cluster.servers))
