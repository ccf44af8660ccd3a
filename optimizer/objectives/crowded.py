"""Members of a group too many on one host."""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Crowded:
    """The number of ``members`` beyond ``max_per_host`` on the hosts that carry more of them.

    Where the constraint AntiAffinity keeps members from arriving on such a host, this makes some of them leave.
    """

    name: ClassVar[str] = "crowded"
    members: tuple[str, ...]
    max_per_host: int = 1
    origin: str = ""

    @property
    def about(self) -> tuple[str, ...]:
        """The members."""
        return self.members

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """Members too many."""
        here = Counter(placement[member] for member in self.members if member in cluster.server_by_id)
        return float(sum(max(0, count - self.max_per_host) for count in here.values()))
