"""Nobody is sent to a host whose service is disabled or down."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.placement import Placement, arrivals


@dataclass(frozen=True, slots=True)
class Available:
    """A server only arrives on a host that is enabled and up (ComputeFilter), and not in ``closed``.

    ``closed`` names hosts that take nobody for another reason: they are about to be drained.
    """

    name: ClassVar[str] = "available"
    continuous: ClassVar[bool] = True
    closed: frozenset[str] = frozenset()

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Servers that arrived on a host that takes nobody."""
        for server in arrivals(cluster, placement).values():
            host = cluster.host_by_name[placement[server.id]]
            if not host.available or host.name in self.closed:
                state = "being drained" if host.name in self.closed else f"{host.status} and {host.state}"
                yield Violation(self.name, f"{host.name} is {state}; {server.name} cannot go there", (server.id,), host.name)
