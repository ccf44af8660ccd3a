"""Members of a group apart."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class AntiAffinity:
    """No host carries more than ``max_per_host`` members of a group.

    Nova refuses a member on a host that already has that many (ServerGroupAntiAffinityFilter, rule
    max_server_per_host). Holds during the moves too, a member in flight being on both hosts.
    """

    name: ClassVar[str] = "anti_affinity"
    group: str
    members: tuple[str, ...]
    max_per_host: int = 1
    continuous: bool = True
    origin: str = ""

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Hosts with too many members."""
        here: dict[str, list[str]] = defaultdict(list)
        arrived: dict[str, list[str]] = defaultdict(list)
        for member in self.members:
            server = cluster.server_by_id.get(member)
            if server is None:
                continue
            here[placement[member]].append(member)
            if placement[member] != server.host:
                arrived[placement[member]].append(member)
            other = cluster.migration_of[member].other_side(server.host) if member in cluster.migration_of else None
            if other is not None and other != server.host:
                here[other].append(member)
        for host, members in here.items():
            if len(members) > self.max_per_host:
                names = ", ".join(cluster.server_by_id[m].name for m in members)
                yield Violation(self.name, f"anti-affinity group {self.group}: {len(members)} members on {host} ({names}), "
                                f"{self.max_per_host} allowed", tuple(members), host, inherited=not arrived[host],
                                origin=self.origin)
