"""What hosts carry beyond a share of what they have."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster, Host
from optimizer.load import Metric, host_capacity, host_load, load_limit
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Overload:
    """The load above ``max_percent`` of the hosts' physical cores or memory, as a share of what all hosts have; with ``hosts`` of those alone.

    Where the constraint LoadLimit keeps servers from arriving on such a host, this makes some of them leave.
    """

    name: ClassVar[str] = "overload"
    metric: Metric
    max_percent: float
    hosts: frozenset[str] | None = None
    origin: str = ""

    @property
    def about(self) -> tuple[str, ...]:
        """None: it speaks of hosts."""
        return ()

    def limit(self, host: Host) -> int | None:
        """What a host may carry; None where the objective does not look."""
        return load_limit(host, self.metric, self.max_percent) if self.hosts is None or host.name in self.hosts else None

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """Load beyond the limits / capacity of all hosts."""
        load = host_load(cluster, placement, self.metric)
        beyond = sum(max(0, load[host.name] - limit) for host in cluster.hosts if (limit := self.limit(host)) is not None)
        return beyond / max(1, sum(host_capacity(host, self.metric) for host in cluster.hosts))
