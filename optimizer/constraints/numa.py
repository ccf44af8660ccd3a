"""NUMA nodes inside a host."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.numa import RESOURCES, node_room, share
from optimizer.placement import Placement, arrivals, seats_of


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
        seats, moved = seats_of(cluster, placement), arrivals(cluster, placement)
        used: dict[tuple[str, int, str], int] = defaultdict(int)
        arrived: dict[tuple[str, int, str], list[str]] = defaultdict(list)
        for server in cluster.servers:
            here = placement[server.id]
            nodes = (seats[server.id],) if len(server.numa) == 1 else server.numa
            for node in nodes:
                for name in RESOURCES:
                    part = share(server, name)
                    used[here, node, name] += part
                    if part and server.id in moved:
                        arrived[here, node, name].append(server.id)
        for (host, node, name), amount in sorted(used.items()):
            newcomers = tuple(arrived[host, node, name])
            room = node_room(cluster.host_by_name[host], node, name)
            if amount > room:
                yield Violation(self.name, f"{name} on NUMA node {node} of {host}: {amount} used of {room}", newcomers, host,
                                inherited=not newcomers)
