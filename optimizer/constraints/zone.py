"""Servers pinned to an availability zone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class ZonePin:
    """A server that was booted into a zone stays in it (``zones``: server id -> zone name).

    Nova keeps the requested zone in the request specification and applies it to every later move
    (https://docs.openstack.org/nova/latest/admin/availability-zones.html).
    """

    name: ClassVar[str] = "zone"
    continuous: ClassVar[bool] = True
    zones: Mapping[str, str]

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Servers outside the zone they are pinned to."""
        for server in cluster.servers:
            wanted = self.zones.get(server.id)
            host = cluster.host_by_name[placement[server.id]]
            if wanted is not None and host.zone != wanted:
                yield Violation(self.name, f"{server.name} is pinned to zone {wanted}; {host.name} is in {host.zone}",
                                (server.id,), host.name, inherited=host.name == server.host)
