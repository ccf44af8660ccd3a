"""Rules about room: how full hosts may be."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from optimizer.constraints.cap import Cap
from optimizer.constraints.load_limit import LoadLimit
from optimizer.load import Metric
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.overload import Overload
from policy_sources.vocabulary.base import Draft, Statement
from policy_sources.vocabulary.selectors import Hosts

Resource = Annotated[str, StringConstraints(pattern=r"^(VCPU|PCPU|MEMORY_MB|DISK_GB|CUSTOM_[A-Z0-9_]+|cpu_load|memory_load)$")]
"""A resource class, of which allocations count, or ``cpu_load`` or ``memory_load``, of which measures do."""

_METRIC: dict[str, Metric] = {"cpu_load": "cpu", "memory_load": "memory"}


class Capped(Statement):
    """Hosts are filled no further than to a share of what they have."""

    title: ClassVar[str] = "hosts no fuller than a share"
    rule: Literal["cap"]
    hosts: Hosts = Field(description="The hosts.")
    resource: Resource = Field(description="What is counted: a resource class by allocations (percent of what may be allocated), cpu_load "
                                           "or memory_load by measures (percent of what the host physically has).")
    percent: float = Field(ge=0, le=100, description="The share.")
    during_moves: bool = Field(True, description="Also while servers move.")

    def draft(self, into: Draft, origin: str) -> None:
        """What is beyond the share is a breach, counted as a part of one host's."""
        hosts = into.hosts(self.hosts, origin)
        if not hosts:
            return
        if self.resource in _METRIC:
            self._load(into, hosts, _METRIC[self.resource], origin)
            return
        capacity = {host.name: host.inventory[self.resource].capacity for host in into.catalog.cluster.hosts
                    if host.name in hosts and self.resource in host.inventory}
        if not capacity:
            into.notes.append(f"{origin} caps {self.resource}, which none of its hosts has.")
            return
        limits = {name: int(amount * self.percent / 100) for name, amount in capacity.items()}
        whole = max(1, *capacity.values())
        into.add(LoadCost(self.resource, limits), Cap(self.resource, limits, continuous=self.during_moves, origin=origin), self.should, 1 / whole)

    def _load(self, into: Draft, hosts: frozenset[str], metric: Metric, origin: str) -> None:
        if any(server.usage is None for server in into.catalog.cluster.servers):
            into.notes.append(f"{origin} is not considered: it caps {self.resource}, and no load was read for this strategy.")
            return
        into.add(Overload(metric, self.percent, hosts), LoadLimit(metric, self.percent, hosts, continuous=self.during_moves, origin=origin),
                 self.should, len(into.catalog.cluster.hosts))
