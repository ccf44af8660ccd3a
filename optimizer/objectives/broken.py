"""What a placement leaves to be repaired."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.growth import NOT_RUNNING, Grown, overloads
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Broken:
    """What hosts lack for the needs of their servers, in largest hosts, plus the number of servers that must run and do not.

    For host h and resource class c: max(0, need on h - capacity of h) / (capacity of the largest host), the needs as they will have
    ``grown`` (server id -> resource class -> amount); and each of the servers ``must_run`` that does not run counts 1. What is broken
    now is inherited and legal; as the first level it is what is repaired.
    """

    name: ClassVar[str] = "broken"
    grown: Grown = field(default_factory=dict)
    must_run: tuple[str, ...] = ()

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """Lacking capacity, and servers that do not run; 0 when nothing is broken."""
        lacking: dict[str, int] = {}
        for _, name, amount, capacity in overloads(cluster, placement, self.grown):
            lacking[name] = lacking.get(name, 0) + amount - capacity
        stopped = sum(placement[server] == NOT_RUNNING for server in self.must_run if server in cluster.server_by_id)
        unit = largest_capacity(cluster, lacking)
        return stopped + sum(amount / unit[name] for name, amount in lacking.items())


def largest_capacity(cluster: Cluster, names: Iterable[str]) -> dict[str, int]:
    """The greatest capacity that a host has of each resource class; 1 where none has any."""
    return {name: max((host.inventory[name].capacity for host in cluster.hosts if name in host.inventory), default=0) or 1 for name in names}
