"""What hosts carry beyond a share of what they have."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.load import Metric, host_capacity, host_load, load_limit
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Overload:
    """The load above ``max_percent`` of the hosts' physical cores or memory, as a share of what all hosts have.

    Where the constraint LoadLimit keeps servers from arriving on such a host, this makes some of them leave.
    """

    name: ClassVar[str] = "overload"
    metric: Metric
    max_percent: float

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """Load beyond the limits / capacity of all hosts."""
        load = host_load(cluster, placement, self.metric)
        beyond = sum(max(0, load[host.name] - load_limit(host, self.metric, self.max_percent)) for host in cluster.hosts)
        return beyond / max(1, sum(host_capacity(host, self.metric) for host in cluster.hosts))
