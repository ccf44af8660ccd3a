"""Live migration only to a hypervisor of the same type that is not older."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster, Host
from optimizer.constraints.base import Violation
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """A server that moves live (``live``: server ids) goes to a hypervisor of its host's type and of its version or a newer one.

    Nova's conductor refuses others (InvalidHypervisorType, DestinationHypervisorTooOld), which matters while
    hosts are being upgraded one by one. Where a type or version is not known, nothing is asked.
    """

    name: ClassVar[str] = "hypervisor"
    continuous: ClassVar[bool] = True
    live: frozenset[str]

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Servers that went to another type of hypervisor, or an older one."""
        for server in cluster.servers:
            source, target = cluster.host_by_name[server.host], cluster.host_by_name[placement[server.id]]
            if server.id in self.live and source is not target and not takes_over(source, target):
                yield Violation(self.name, f"{server.name} cannot go live from {source.name} ({_label(source)}) to {target.name} "
                                f"({_label(target)}): need the same type, and a version that is not older", (server.id,), target.name)


def takes_over(source: Host, target: Host) -> bool:
    """Whether servers can go live from one host to another as far as their hypervisors are concerned."""
    if source.hypervisor_type and target.hypervisor_type and source.hypervisor_type != target.hypervisor_type:
        return False
    return not (source.hypervisor_version and target.hypervisor_version) or target.hypervisor_version >= source.hypervisor_version


def _label(host: Host) -> str:
    return f"{host.hypervisor_type or 'type unknown'} {host.hypervisor_version or '?'}"
