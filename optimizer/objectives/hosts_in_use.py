"""How many hosts carry servers."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class HostsInUse:
    """The share of the available hosts that carry at least one server or hold something for a migration or another consumer."""

    name: ClassVar[str] = "hosts_in_use"

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """Hosts in use / available hosts."""
        available = [host.name for host in cluster.hosts if host.available]
        return len(hosts_in_use(cluster, placement)) / max(1, len(available))


def hosts_in_use(cluster: Cluster, placement: Placement) -> set[str]:
    """The names of the available hosts that are not empty."""
    busy = set(placement.values()) | bound_hosts(cluster)
    return {host.name for host in cluster.hosts if host.available and host.name in busy}


def bound_hosts(cluster: Cluster) -> set[str]:
    """Hosts that stay in use whatever moves: something outside the snapshot, or a migration, holds resources there."""
    held = {host.name for host in cluster.hosts if any(host.held.values())}
    return held | {end for m in cluster.migrations for end in (m.source, m.destination) if end is not None}
