"""Traits that a flavor or image requires or forbids."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class TraitNeed:
    """Traits a host must have, and traits it must not have."""

    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Traits:
    """A server goes only to hosts with its required and without its forbidden traits (``needs``: server id -> need).

    Source: trait:NAME=required|forbidden in flavor extra specs, trait:NAME=required in image properties
    (https://docs.openstack.org/nova/latest/user/flavors.html).
    """

    name: ClassVar[str] = "traits"
    continuous: ClassVar[bool] = True
    needs: Mapping[str, TraitNeed]

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Servers on a host that lacks a required trait or has a forbidden one."""
        for server_id, need in self.needs.items():
            server = cluster.server_by_id.get(server_id)
            if server is None:
                continue
            host = cluster.host_by_name[placement[server_id]]
            stayed = host.name == server.host
            for trait in sorted(need.required - set(host.traits)):
                yield Violation(self.name, f"{server.name} requires trait {trait}; {host.name} lacks it",
                                (server_id,), host.name, inherited=stayed)
            for trait in sorted(need.forbidden & set(host.traits)):
                yield Violation(self.name, f"{server.name} forbids trait {trait}; {host.name} has it",
                                (server_id,), host.name, inherited=stayed)
