"""A group in too few fault domains, or in too many."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Scattering:
    """By how many domains (``domains``: host name -> domain) a group falls short of ``at_least``, or goes beyond ``at_most``.

    A host that ``domains`` does not name is a domain of its own. It is what the constraint FaultDomains lets be when it is so already.
    """

    name: ClassVar[str] = "scattering"
    members: tuple[str, ...]
    domains: Mapping[str, str]
    at_least: int = 1
    at_most: int | None = None
    origin: str = ""

    @property
    def about(self) -> tuple[str, ...]:
        """The members."""
        return self.members

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """Domains too few, or too many."""
        present = [placement[member] for member in self.members if member in cluster.server_by_id]
        if not present:
            return 0.0
        count = len({self.domains.get(host, f"host {host}") for host in present})
        return float(max(0, self.at_least - count) + (max(0, count - self.at_most) if self.at_most is not None else 0))
