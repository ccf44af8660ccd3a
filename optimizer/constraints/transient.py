"""Resources that a server keeps on the host it leaves."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Transient:
    """On each host, what its servers hold plus what servers that left it hold fits, for each of ``resources``.

    As if all moves were under way at once: a server that moves is counted on both hosts, whatever the order. Source:
    "Google ROADEF/EURO challenge 2011-2012: Machine reassignment", 1.2.5 (transient usage constraints).
    """

    name: ClassVar[str] = "transient"
    continuous: ClassVar[bool] = False
    resources: frozenset[str]

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Overfull (host, resource class) pairs where something arrived."""
        used: dict[tuple[str, str], int] = defaultdict(int, {
            (host, name): amount for host, held in cluster.held_by_others.items() for name, amount in held.items()})
        arrived: dict[tuple[str, str], list[str]] = defaultdict(list)
        for server in cluster.servers:
            here = placement[server.id]
            for name, amount in server.resources.items():
                if name in self.resources and amount:
                    used[server.host, name] += amount
                    if here != server.host:
                        used[here, name] += amount
                        arrived[here, name].append(server.id)
        for (host_name, name), newcomers in arrived.items():
            inventory = cluster.host_by_name[host_name].inventory
            capacity = inventory[name].capacity if name in inventory else 0
            if used[host_name, name] > capacity:
                yield Violation(self.name, f"{name} on {host_name}: {used[host_name, name]} used of {capacity}, with what servers that leave it "
                                "keep while they move", tuple(newcomers), host_name)
