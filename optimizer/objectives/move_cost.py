"""What the moves cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement

NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class MoveCost:
    """The share of the cluster that moves: half by number of servers, half by their memory.

    Moving every server once costs 1; one average server of S costs 1/S. Memory counts because it is what a live
    migration copies. ``factors`` (server id -> times) names servers whose moves cost more; they are the same wherever a problem has this objective.
    """

    name: ClassVar[str] = "move_cost"
    factors: Mapping[str, int] = field(default_factory=dict)

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The sum over the moved servers."""
        cost = move_costs(cluster, self.factors)
        return sum(cost[server.id] for server in cluster.servers if placement[server.id] != server.host)


def move_costs(cluster: Cluster, factors: Mapping[str, int] = NONE) -> dict[str, float]:
    """Server id -> its share of the cluster, by number and by memory, times its factor."""
    parts, whole = cost_parts(cluster, factors)
    return {server: part / whole for server, part in parts.items()}


def cost_parts(cluster: Cluster, factors: Mapping[str, int] = NONE) -> tuple[dict[str, int], int]:
    """(server id -> part, the whole that they are parts of): the shares as whole numbers, so that solvers need not round."""
    memory = {server.id: server.resources.get("MEMORY_MB", 0) for server in cluster.servers}
    total, count = max(1, sum(memory.values())), len(memory)
    parts, whole = {key: factors.get(key, 1) * (total + count * amount) for key, amount in memory.items()}, max(1, 2 * count * total)
    common = math.gcd(whole, *parts.values())
    return {key: part // common for key, part in parts.items()}, whole // common
