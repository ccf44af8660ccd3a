"""What every objective has in common: a name and a value to be made small."""

from typing import ClassVar, Protocol, runtime_checkable

from optimizer.cluster import Cluster
from optimizer.placement import Placement


class Objective(Protocol):
    """Frozen data with a plain value; solvers have their own encodings of it."""

    name: ClassVar[str]

    def value(self, cluster: Cluster, placement: Placement) -> float:
        """The value of a placement; smaller is better, 0 is perfect."""
        ...


@runtime_checkable
class Breaches(Objective, Protocol):
    """An objective that counts breaches of a rule, and knows whose it is and of whom it speaks."""

    @property
    def origin(self) -> str:
        """Who wrote the rule."""
        ...

    @property
    def about(self) -> tuple[str, ...]:
        """The servers it speaks of; none where it speaks of hosts."""
        ...
