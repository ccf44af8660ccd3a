"""What a move between two hosts costs."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True, eq=False)
class HostPairCost:
    """Sum over the servers that change host of the cost between the two (``costs``: H x H, source by destination, in the cluster's order).

    Source: "Google ROADEF/EURO challenge 2011-2012: Machine reassignment", 1.3.5 (machine move cost).
    """

    name: ClassVar[str] = "host_pair_cost"
    costs: npt.NDArray[np.int64]

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The sum."""
        index = {host.name: h for h, host in enumerate(cluster.hosts)}
        return float(sum(int(self.costs[index[server.host], index[placement[server.id]]]) for server in cluster.servers
                         if placement[server.id] != server.host))
