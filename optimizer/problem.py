"""The problem: a cluster, what a placement must obey, what makes it good, and how much may change."""

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint, Violation, breaches
from optimizer.objectives.base import Objective
from optimizer.placement import Placement, moves_between, placement_of


@dataclass(frozen=True, slots=True)
class Term:
    """An objective and its weight within a level."""

    objective: Objective
    weight: float = 1.0


Level = tuple[Term, ...]
"""Terms that are added up: the weighted sum is made as small as possible before the next level counts."""


def level_name(level: Level) -> str:
    """The names of a level's objectives, each once."""
    return " + ".join(dict.fromkeys(term.objective.name for term in level))


@dataclass(frozen=True)
class Problem:
    """Find the placement that obeys ``constraints`` and is best by ``levels``, the first level before the second and so on.

    ``max_moves`` limits how many servers may change host; None is no limit. The present placement is always legal:
    what is already broken is inherited (optimizer.constraints.base.Violation).
    """

    cluster: Cluster
    constraints: tuple[Constraint, ...]
    levels: tuple[Level, ...]
    max_moves: int | None = None

    def values(self, placement: Placement) -> tuple[float, ...]:
        """The value of each level, computed by the objectives themselves."""
        return tuple(sum(term.weight * term.objective.value(self.cluster, placement) for term in level) for level in self.levels)

    def breaches(self, placement: Placement) -> list[Violation]:
        """Every breach that the moves to this placement bring about, the limit on moves included; legal when empty."""
        found = breaches(self.constraints, self.cluster, placement)
        moves = sum(1 for _ in moves_between(placement_of(self.cluster), placement))
        if self.max_moves is not None and moves > self.max_moves:
            found.append(Violation("max_moves", f"{moves} servers move, {self.max_moves} may"))
        return found


def better(first: Sequence[float], second: Sequence[float], tolerance: float = 1e-9) -> bool:
    """Whether the first values are better than the second in the order of the levels."""
    for a, b in zip(first, second, strict=True):
        if abs(a - b) > tolerance:
            return a < b
    return False
