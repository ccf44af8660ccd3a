"""Room that should be kept free on a set of hosts taken together, and is not."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.load import resource_use
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Overdrawn:
    """What the servers on ``hosts`` hold of ``resource`` together beyond ``most``.

    Where the constraint Reserve keeps servers from coming to such hosts, this makes some of them leave.
    """

    name: ClassVar[str] = "overdrawn"
    hosts: frozenset[str]
    resource: str
    most: int
    origin: str = ""

    @property
    def about(self) -> tuple[str, ...]:
        """None: it speaks of hosts."""
        return ()

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The amount beyond, in units of the resource class."""
        used = sum(amount for host, amount in resource_use(cluster, placement, self.resource).items() if host in self.hosts)
        return float(max(0, used - self.most))
