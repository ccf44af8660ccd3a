"""Room kept free on a set of hosts taken together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.load import resource_use
from optimizer.placement import Placement, placement_of


@dataclass(frozen=True, slots=True)
class Reserve:
    """The servers on ``hosts`` hold no more of ``resource`` together than ``most``, or no more than they do now where that is more.

    What others hold is not counted.
    """

    name: ClassVar[str] = "reserve"
    continuous: ClassVar[bool] = False
    hosts: frozenset[str]
    resource: str
    most: int
    origin: str = ""

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """The set, when it is used beyond what is allowed."""
        before, after = (sum(amount for host, amount in resource_use(cluster, one, self.resource).items() if host in self.hosts)
                         for one in (placement_of(cluster), placement))
        if after > self.most:
            arrived = tuple(server.id for server in cluster.servers if placement[server.id] in self.hosts and server.host not in self.hosts)
            yield Violation(self.name, f"{self.resource} on {len(self.hosts)} hosts together: {after} used, {self.most} allowed", arrived,
                            inherited=after <= before, origin=self.origin)
