"""How much of one group is moved."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class GroupMoveCost:
    """The greatest number of servers that change host in any one of the ``groups`` (server ids; no server is in two).

    Source: "Google ROADEF/EURO challenge 2011-2012: Machine reassignment", 1.3.4 (service move cost).
    """

    name: ClassVar[str] = "group_move_cost"
    groups: Sequence[tuple[str, ...]]

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The number of the group that moves most."""
        host = {server.id: server.host for server in cluster.servers}
        return float(max((sum(placement[m] != host[m] for m in group if m in host) for group in self.groups), default=0))
