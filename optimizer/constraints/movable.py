"""Servers that have to stay."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster, Obstacle
from optimizer.constraints.base import Violation
from optimizer.placement import Placement, arrivals


@dataclass(frozen=True, slots=True)
class Movable:
    """A server with an obstacle stays on its host and NUMA node (``obstacles``: server id -> reasons)."""

    name: ClassVar[str] = "movable"
    continuous: ClassVar[bool] = True
    obstacles: Mapping[str, tuple[Obstacle, ...]]

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Servers with an obstacle that are not where they were."""
        moved = arrivals(cluster, placement)
        for server_id, reasons in self.obstacles.items():
            server = cluster.server_by_id.get(server_id)
            if server and reasons and server_id in moved:
                why = "; ".join(reason.text for reason in reasons)
                yield Violation(self.name, f"{server.name} cannot be moved: {why}", (server_id,), server.host)
