"""NUMA nodes inside a host."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster, Host, Server
from optimizer.constraints.base import Violation
from optimizer.placement import Placement, seats_of

RESOURCES = ("VCPU", "PCPU", "MEMORY_MB")
"""The resource classes that lie on NUMA nodes."""


@dataclass(frozen=True, slots=True)
class Numa:
    """On each NUMA node of each host, what its servers take there fits, for cores and memory.

    A server on one node may take any node of a host; one that spans several takes nodes of the same numbers everywhere, an equal part on
    each, as Nova divides it (https://docs.openstack.org/nova/latest/admin/cpu-topologies.html). Servers of which no node is known count on
    no node, and neither does what others hold: their nodes are in no API. Holds during the moves too, on both sides.
    """

    name: ClassVar[str] = "numa"
    continuous: ClassVar[bool] = True

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Overfull (host, node, resource class) triples; a node that a host does not have is overfull with anything on it."""
        seats = seats_of(cluster, placement)
        used: dict[tuple[str, int, str], int] = defaultdict(int)
        arrived: dict[tuple[str, int, str], list[str]] = defaultdict(list)
        for server in cluster.servers:
            here = placement[server.id]
            nodes = (seats[server.id],) if len(server.numa) == 1 else server.numa
            stayed = here == server.host and nodes == server.numa
            for node in nodes:
                for name in RESOURCES:
                    part = share(server, name)
                    used[here, node, name] += part
                    if part and not stayed:
                        arrived[here, node, name].append(server.id)
        for (host, node, name), amount in sorted(used.items()):
            newcomers = tuple(arrived[host, node, name])
            room = node_room(cluster.host_by_name[host], node, name)
            if amount > room:
                yield Violation(self.name, f"{name} on NUMA node {node} of {host}: {amount} used of {room}", newcomers, host,
                                inherited=not newcomers)


def share(server: Server, resource: str) -> int:
    """What a server takes of a resource class on each of its NUMA nodes."""
    return -(-server.resources.get(resource, 0) // max(1, len(server.numa)))


def node_room(host: Host, node: int, resource: str) -> int:
    """What a NUMA node offers of a resource class; 0 where the host has no such node. Shared cores and memory count with their allocation ratio."""
    if node >= len(host.numa):
        return 0
    amount = host.numa[node].memory_mb if resource == "MEMORY_MB" else host.numa[node].cpus
    ratio = host.inventory[resource].allocation_ratio if resource in host.inventory else 1.0
    return int(amount * ratio)
