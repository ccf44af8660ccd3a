"""Servers without those near that they need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Lonely:
    """The number of ``members`` in a domain (``domains``: host name -> domain) that runs none of ``needs``.

    A host that ``domains`` does not name is a domain of its own. It is what the constraint Dependency lets be when it is so already.
    """

    name: ClassVar[str] = "lonely"
    members: tuple[str, ...]
    needs: tuple[str, ...]
    domains: Mapping[str, str]
    origin: str = ""

    @property
    def about(self) -> tuple[str, ...]:
        """Members and those they need."""
        return (*self.members, *self.needs)

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """Members alone."""
        def domain(server: str) -> str:
            return self.domains.get(placement[server], f"host {placement[server]}")

        supplied = {domain(one) for one in self.needs if one in cluster.server_by_id}
        return float(sum(domain(one) not in supplied for one in self.members if one in cluster.server_by_id))
