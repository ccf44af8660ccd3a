"""How many servers move."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.placement import Placement, moves_between, placement_of


@dataclass(frozen=True, slots=True)
class Moves:
    """The number of servers that change place."""

    name: ClassVar[str] = "moves"

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The number."""
        return float(sum(1 for _ in moves_between(placement_of(cluster), placement)))
