"""Free room in pieces too small to be of use."""

from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.numa import node_room, share
from optimizer.placement import Placement, placement_of, seats_of

Pool = tuple[str, int | None]
"""A host, or with a number a NUMA node of it."""


@dataclass(frozen=True, slots=True)
class Fragmentation:
    """The share of the free room of available hosts that is left over after cutting as many slots of ``size`` as fit.

    value = sum of (free mod size) / sum of free now; on each host, or with ``numa`` on each of its NUMA nodes. An overfull one has
    less than nothing free and counts as a slot or more that is missing. With 16 and ``numa`` it is the fragment rate of "Towards VM
    Rescheduling Optimization Through Deep Reinforcement Learning" (VMR2L, EuroSys 2025).
    """

    name: ClassVar[str] = "fragmentation"
    size: int
    resource: str = "VCPU"
    numa: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a size that is none."""
        if self.size < 1:
            raise ValueError(f"a slot size of {self.size}; it must be 1 or more")

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """Free room in pieces / free room now."""
        pieces = sum(amount % self.size for amount in self.free(cluster, placement).values())
        return pieces / max(1, sum(self.free(cluster, placement_of(cluster)).values()))

    def slots(self, cluster: Cluster, placement: Placement) -> int:
        """How many slots of the size are free on available hosts."""
        return sum(amount // self.size for amount in self.free(cluster, placement).values())

    def free(self, cluster: Cluster, placement: Placement) -> dict[Pool, int]:
        """The free room of each host, or NUMA node, of the available hosts."""
        used: dict[Pool, int] = defaultdict(int)
        seats = seats_of(cluster, placement)
        for server in cluster.servers:
            here = placement[server.id]
            if not self.numa:
                used[here, None] += server.resources.get(self.resource, 0)
            for node in ((seats[server.id],) if len(server.numa) == 1 else server.numa) if self.numa else ():
                used[here, node] += share(server, self.resource)
        if self.numa:
            return {(host.name, node): node_room(host, node, self.resource) - used[host.name, node]
                    for host in cluster.hosts if host.available for node in range(len(host.numa))}
        for migration in cluster.migrations:
            server_on = cluster.server_by_id.get(migration.server)
            side = migration.other_side(server_on.host) if server_on else None
            used[side or "", None] += migration.resources.get(self.resource, 0)
        return {(host.name, None): (host.inventory[self.resource].capacity if self.resource in host.inventory else 0)
                - host.held.get(self.resource, 0) - used[host.name, None] for host in cluster.hosts if host.available}
