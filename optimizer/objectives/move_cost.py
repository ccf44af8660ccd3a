"""What the moves cost."""

import math
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class MoveCost:
    """The share of the cluster that moves: half by number of servers, half by their memory.

    Moving every server once costs 1; one average server of S costs 1/S. Memory counts because it is what a live
    migration copies.
    """

    name: ClassVar[str] = "move_cost"

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The sum over the moved servers."""
        cost = move_costs(cluster)
        return sum(cost[server.id] for server in cluster.servers if placement[server.id] != server.host)


def move_costs(cluster: Cluster) -> dict[str, float]:
    """Server id -> its share of the cluster, by number and by memory."""
    parts, whole = cost_parts(cluster)
    return {server: part / whole for server, part in parts.items()}


def cost_parts(cluster: Cluster) -> tuple[dict[str, int], int]:
    """(server id -> part, the whole that they are parts of): the shares as whole numbers, so that solvers need not round."""
    memory = {server.id: server.resources.get("MEMORY_MB", 0) for server in cluster.servers}
    total, count = max(1, sum(memory.values())), len(memory)
    parts, whole = {key: total + count * amount for key, amount in memory.items()}, max(1, 2 * count * total)
    common = math.gcd(whole, *parts.values())
    return {key: part // common for key, part in parts.items()}, whole // common
