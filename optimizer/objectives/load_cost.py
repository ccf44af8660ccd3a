"""What is used beyond a safety capacity."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.load import resource_use
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class LoadCost:
    """Sum over the hosts of what servers hold of ``resource`` beyond the host's safety capacity (``safety``: host name -> amount).

    A host that ``safety`` does not name has none to fear for. Source: "Google ROADEF/EURO challenge 2011-2012: Machine
    reassignment", 1.3.1 (load cost).
    """

    name: ClassVar[str] = "load_cost"
    resource: str
    safety: Mapping[str, int]
    origin: str = ""

    @property
    def about(self) -> tuple[str, ...]:
        """None: it speaks of hosts."""
        return ()

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The amount beyond safety, in units of the resource class."""
        used = resource_use(cluster, placement, self.resource)
        return float(sum(max(0, used.get(host, 0) - safe) for host, safe in self.safety.items()))
