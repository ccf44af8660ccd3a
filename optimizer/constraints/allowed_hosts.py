"""Servers that belong on certain hosts, or do not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class HostNeed:
    """Some hosts, whether a server has to be among them (``inside``) or must not be, and who asked for it."""

    hosts: frozenset[str]
    inside: bool
    origin: str = ""

    def admits(self, host: str) -> bool:
        """Whether a host is one that the need allows."""
        return (host in self.hosts) == self.inside


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """A server arrives only on hosts that all its needs allow (``needs``: server id -> needs)."""

    name: ClassVar[str] = "allowed_hosts"
    continuous: ClassVar[bool] = True
    needs: Mapping[str, tuple[HostNeed, ...]]

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Servers on a host that one of their needs does not allow."""
        for server_id, needs in self.needs.items():
            server = cluster.server_by_id.get(server_id)
            if server is None:
                continue
            here = placement[server_id]
            for need in needs:
                if not need.admits(here):
                    yield Violation(self.name, f"{server.name} is not to be on {here}", (server_id,), here,
                                    inherited=here == server.host, origin=need.origin)
