"""Rules about room: how full hosts may be."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from optimizer.constraints.cap import Cap
from optimizer.constraints.load_limit import LoadLimit
from optimizer.constraints.reserve import Reserve
from optimizer.load import Metric
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.overdrawn import Overdrawn
from optimizer.objectives.overload import Overload
from policy_sources.vocabulary.base import Draft, Statement
from policy_sources.vocabulary.selectors import Hosts

Resource = Annotated[str, StringConstraints(pattern=r"^(VCPU|PCPU|MEMORY_MB|DISK_GB|CUSTOM_[A-Z0-9_]+|cpu_load|memory_load)$")]
"""A resource class, of which allocations count, or ``cpu_load`` or ``memory_load``, of which measures do."""

_METRIC: dict[str, Metric] = {"cpu_load": "cpu", "memory_load": "memory"}


class Capped(Statement):
    """Hosts are filled no further than to a share of what they have."""

    title: ClassVar[str] = "hosts no fuller than a share"
    of_hosts: ClassVar[bool] = True
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
        into.add(LoadCost(self.resource, limits, origin), Cap(self.resource, limits, continuous=self.during_moves, origin=origin),
                 self.should, 1 / whole)

    def _load(self, into: Draft, hosts: frozenset[str], metric: Metric, origin: str) -> None:
        if any(server.usage is None for server in into.catalog.cluster.servers):
            into.notes.append(f"{origin} is not considered: it caps {self.resource}, and no load was read for this strategy.")
            return
        into.add(Overload(metric, self.percent, hosts, origin), LoadLimit(metric, self.percent, hosts, continuous=self.during_moves, origin=origin),
                 self.should, len(into.catalog.cluster.hosts))


class Spare(Statement):
    """Hosts keep free, taken together, what some of them offer, so that the others can take over when these fail (n + 1).

    Room counts by resource class and over all of the hosts; whether it is in pieces large enough is not asked.
    """

    title: ClassVar[str] = "room for hosts that fail"
    of_hosts: ClassVar[bool] = True
    rule: Literal["spare"]
    hosts: Hosts = Field(description="The hosts, such as those of a zone; those that are disabled or down do not count.")
    count: int = Field(1, ge=1, description="How many of them may fail; the largest ones are meant.")

    def draft(self, into: Draft, origin: str) -> None:
        """What is used beyond is a breach, counted as a part of the largest host's. Servers leave for other hosts, and none comes from there."""
        names = into.hosts(self.hosts, origin)
        hosts = [host for host in into.catalog.cluster.hosts if host.name in names and host.available]
        if len(hosts) <= self.count:
            into.notes.append(f"{origin} keeps room for {self.count} of {len(hosts)} hosts, which leaves none to take over; it is not considered.")
            return
        used = {name for server in into.catalog.cluster.servers for name in server.resources}
        for resource in sorted(used):
            offered = sorted((host.inventory[resource].capacity for host in hosts if resource in host.inventory), reverse=True)
            if not any(offered):
                continue
            held = sum(into.catalog.cluster.held_by_others[host.name].get(resource, 0) for host in hosts)
            most, there = sum(offered[self.count:]) - held, frozenset(host.name for host in hosts)
            into.add(Overdrawn(there, resource, most, origin), Reserve(there, resource, most, origin), self.should, 1 / offered[0])
