"""What every objective has in common: a name and a value to be made small."""

from typing import ClassVar, Protocol

from optimizer.cluster import Cluster
from optimizer.placement import Placement


class Objective(Protocol):
    """Frozen data with a plain value; solvers have their own encodings of it."""

    name: ClassVar[str]

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The value of a placement; smaller is better, 0 is perfect."""
        ...
