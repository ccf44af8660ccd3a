"""Hosts filled no further than to a limit of the operator's own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.load import resource_use
from optimizer.placement import Placement, arrivals


@dataclass(frozen=True, slots=True)
class Cap:
    """A host that receives a server holds no more of ``resource`` afterwards than ``limits`` (host name -> amount) allows.

    Only servers count, not what others hold.
    """

    name: ClassVar[str] = "cap"
    resource: str
    limits: Mapping[str, int]
    continuous: bool = True
    origin: str = ""

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Hosts above their limit."""
        used = resource_use(cluster, placement, self.resource)
        arrived = {placement[server.id] for server in arrivals(cluster, placement).values() if server.resources.get(self.resource, 0) > 0}
        for host, limit in self.limits.items():
            if used.get(host, 0) > limit:
                yield Violation(self.name, f"{self.resource} on {host}: {used[host]} used, {limit} allowed", (), host,
                                inherited=host not in arrived, origin=self.origin)
