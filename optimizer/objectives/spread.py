"""How unevenly load lies on the hosts."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.load import Metric, host_capacity, host_load
from optimizer.placement import Placement, placement_of


@dataclass(frozen=True, slots=True)
class Spread:
    """The mean squared distance of the hosts' load from the balanced level, above what ``threshold`` allows.

    value = max(0, spread^2 - threshold^2), where spread^2 = mean over the available hosts of ((load_h - m_h) / capacity_h)^2 and
    m_h = capacity_h x (all load / all capacity), rounded down, from the cluster as it is now. On hosts of one
    size, spread is the standard deviation of utilisation that Watcher's workload_stabilization uses; on mixed hosts it is never smaller.
    ``threshold`` is a share (0.1 = 10 percentage points); 0 means as even as possible.
    """

    name: ClassVar[str] = "spread"
    metric: Metric
    threshold: float = 0.0

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The excess over the threshold, squared shares."""
        return max(0.0, spread(cluster, placement, self.metric) ** 2 - self.threshold**2)


def balanced_level(cluster: Cluster, metric: Metric) -> tuple[int, int]:
    """(load, capacity) summed over the available hosts as the cluster is now."""
    load = host_load(cluster, placement_of(cluster), metric)
    hosts = [host for host in cluster.hosts if host.available]
    return sum(load[host.name] for host in hosts), sum(host_capacity(host, metric) for host in hosts)


def spread(cluster: Cluster, placement: Placement, metric: Metric) -> float:
    """The root of the mean squared distance from the balanced level, as a share of host capacity."""
    total, capacity = balanced_level(cluster, metric)
    load = host_load(cluster, placement, metric)
    squares = [((load[host.name] - host_capacity(host, metric) * total // capacity) / host_capacity(host, metric)) ** 2
               for host in cluster.hosts if host.available and host_capacity(host, metric) > 0]
    return float((sum(squares) / len(squares)) ** 0.5) if squares else 0.0
