"""How unevenly load lies on the hosts."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.load import Metric, host_capacity, host_load
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Spread:
    """The variance of the hosts' utilisation, above what ``threshold`` allows.

    value = max(0, spread^2 - threshold^2), where spread is the standard deviation of load_h / capacity_h over the available hosts, each
    of which counts the same whatever its size, as in Watcher's workload_stabilization.
    ``threshold`` is a share (0.1 = 10 percentage points); 0 means as even as possible.
    """

    name: ClassVar[str] = "spread"
    metric: Metric
    threshold: float = 0.0

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The excess over the threshold, squared shares."""
        return max(0.0, spread(cluster, placement, self.metric) ** 2 - self.threshold**2)


def spread(cluster: Cluster, placement: Placement, metric: Metric) -> float:
    """The standard deviation of the available hosts' utilisation, as a share of host capacity; 0 without such hosts."""
    load = host_load(cluster, placement, metric)
    shares = [load[host.name] / capacity for host in cluster.hosts if host.available and (capacity := host_capacity(host, metric)) > 0]
    if not shares:
        return 0.0
    mean = sum(shares) / len(shares)
    return float((sum((share - mean) ** 2 for share in shares) / len(shares)) ** 0.5)
