"""What moving each server costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class ServerMoveCost:
    """Sum over the servers that change host of their ``costs`` (server id -> cost; 0 where not named)."""

    name: ClassVar[str] = "server_move_cost"
    costs: Mapping[str, int]

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The sum."""
        return float(sum(self.costs.get(server.id, 0) for server in cluster.servers if placement[server.id] != server.host))
