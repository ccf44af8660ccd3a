"""What a solver found, and how good it is proven to be."""

from dataclasses import dataclass
from enum import StrEnum

from optimizer.placement import Placement


class Status(StrEnum):
    """OPTIMAL: proven best in every level. FEASIBLE: legal, perhaps not best."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"


@dataclass(frozen=True, slots=True)
class LevelResult:
    """One level: its value, a proven lower bound (None where none is known), and the relative gap between them."""

    value: float
    bound: float | None

    @property
    def gap(self) -> float | None:
        """(value - bound) / value; 0 when they meet; None without a bound."""
        if self.bound is None:
            return None
        return 0.0 if self.value - self.bound <= 1e-9 else (self.value - self.bound) / self.value


@dataclass(frozen=True, slots=True)
class Step:
    """An improvement: seconds since the start, the solver that found it, the value of each level."""

    seconds: float
    solver: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """The best legal placement found, the levels' values and bounds, and how it came about."""

    status: Status
    placement: Placement
    levels: tuple[LevelResult, ...]
    trace: tuple[Step, ...]

    @property
    def values(self) -> tuple[float, ...]:
        """The value of each level."""
        return tuple(level.value for level in self.levels)
