"""Free amounts of two resources that should go together."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.load import resource_use
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class BalanceCost:
    """Sum over the hosts of max(0, ``target`` x free ``first`` - free ``second``): free amounts of one without the other serve nobody.

    Free is the capacity less what servers hold. Source: "Google ROADEF/EURO challenge 2011-2012: Machine reassignment", 1.3.2 (balance cost).
    """

    name: ClassVar[str] = "balance_cost"
    first: str
    second: str
    target: int

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The lacking amount, in units of ``second``."""
        first, second = (resource_use(cluster, placement, name) for name in (self.first, self.second))
        total = 0
        for host in cluster.hosts:
            free = [(host.inventory[name].capacity if name in host.inventory else 0) - used[host.name]
                    for name, used in ((self.first, first), (self.second, second))]
            total += max(0, self.target * free[0] - free[1])
        return float(total)
