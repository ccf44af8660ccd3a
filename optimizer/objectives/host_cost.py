"""What the hosts in use cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.objectives.hosts_in_use import hosts_in_use
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class HostCost:
    """Sum over the available hosts in use of their ``costs`` (host name -> cost: money, watts; 0 where not named)."""

    name: ClassVar[str] = "host_cost"
    costs: Mapping[str, float]

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The sum, in the unit of the costs."""
        return float(sum(self.costs.get(name, 0.0) for name in hosts_in_use(cluster, placement)))
