"""Measured load stays below a share of what a host physically has."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster, Host
from optimizer.constraints.base import Violation
from optimizer.load import Metric, host_capacity, host_load, load_limit, server_load
from optimizer.placement import Placement, arrivals


@dataclass(frozen=True, slots=True)
class LoadLimit:
    """The load of a host that receives a server stays at or below ``max_percent`` of its physical cores or memory (``hosts``: where it holds).

    Not a rule of Nova's: it keeps a target from being overloaded after the move, which allocation
    ratios above 1 allow. Holds during the moves too.
    """

    name: ClassVar[str] = "load_limit"
    metric: Metric
    max_percent: float
    hosts: frozenset[str] | None = None
    continuous: bool = True
    origin: str = ""

    def limit(self, host: Host) -> int | None:
        """What a host may carry; None where the rule does not hold."""
        return load_limit(host, self.metric, self.max_percent) if self.hosts is None or host.name in self.hosts else None

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Hosts above the limit."""
        load = host_load(cluster, placement, self.metric)
        arrived = {placement[server.id] for server in arrivals(cluster, placement).values() if server_load(server, self.metric) > 0}
        for host in cluster.hosts:
            limit = self.limit(host)
            if limit is not None and load[host.name] > limit:
                percent = 100 * load[host.name] / max(1, host_capacity(host, self.metric))
                yield Violation(self.name, f"{self.metric} load of {host.name} is {percent:.1f} %, limit {self.max_percent:g} %",
                                (), host.name, inherited=host.name not in arrived, origin=self.origin)
