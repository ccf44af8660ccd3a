"""Capacity of every resource class, as Placement counts it."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.placement import Placement, arrivals


@dataclass(frozen=True, slots=True)
class Capacity:
    """On each host, what its servers hold, what others hold and what migrations hold fits the inventory.

    For host h and class c: sum of resources of servers on h + held + in-flight migrations <= (total - reserved) x
    ratio, and no server that arrives takes more than max_unit. Placement accepts no allocation otherwise
    (https://docs.openstack.org/api-ref/placement/#inventories). Holds during the moves too: a server that
    moves is counted on both hosts until it has left.
    """

    name: ClassVar[str] = "capacity"
    continuous: ClassVar[bool] = True

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Overfull (host, resource class) pairs, and servers larger than max_unit of the host they went to."""
        used: dict[str, dict[str, int]] = {host: defaultdict(int, held) for host, held in cluster.held_by_others.items()}
        arrived: dict[str, list[str]] = defaultdict(list)
        moved = arrivals(cluster, placement)
        for server in cluster.servers:
            here = placement[server.id]
            for name, amount in server.resources.items():
                used[here][name] += amount
            if server.id in moved:
                arrived[here].append(server.id)

        for host in cluster.hosts:
            for name, amount in sorted(used[host.name].items()):
                capacity = host.inventory[name].capacity if name in host.inventory else 0
                newcomers = tuple(s for s in arrived[host.name] if cluster.server_by_id[s].resources.get(name, 0) > 0)
                if amount > capacity:
                    yield Violation(self.name, f"{name} on {host.name}: {amount} used of {capacity}", newcomers, host.name,
                                    inherited=not newcomers)
                for server_id in newcomers:
                    wanted = cluster.server_by_id[server_id].resources[name]
                    if name in host.inventory and wanted > host.inventory[name].largest:
                        yield Violation(self.name, f"{name} on {host.name}: one server may take {host.inventory[name].largest}, "
                                        f"{cluster.server_by_id[server_id].name} takes {wanted}", (server_id,), host.name)
