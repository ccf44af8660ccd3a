"""When to stop solving."""

import math
import time
from dataclasses import dataclass, field
from typing import Protocol


class Stop(Protocol):
    """A stop criterion; ``started`` is called once, before the first step."""

    def started(self) -> None:
        """Begin to count."""
        ...

    def count(self, iterations: int) -> None:
        """Hear that so many iterations were made."""
        ...

    def spent(self) -> float:
        """The share of the budget that is spent; 1 or more means stop."""
        ...

    def remaining_s(self) -> float:
        """Seconds left; 0 or less means stop, and no end is infinite."""
        ...

    def iterations_left(self) -> int | None:
        """Iterations left, where they count."""
        ...


@dataclass
class MaxRuntime:
    """Stop after ``seconds`` of wall time; raises ValueError unless they are above 0 and finite."""

    seconds: float
    _begin: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Check the limit."""
        if not (0 < self.seconds < math.inf):
            raise ValueError(f"a time limit of {self.seconds} s; it must be above 0 and finite")

    def started(self) -> None:
        """Begin to count."""
        self._begin = time.monotonic()

    def count(self, iterations: int) -> None:
        """Nothing: only time counts."""

    def spent(self) -> float:
        """The share of the time."""
        return (time.monotonic() - self._begin) / self.seconds

    def remaining_s(self) -> float:
        """Seconds left."""
        return self.seconds - (time.monotonic() - self._begin)

    def iterations_left(self) -> int | None:
        """None: only time counts."""
        return None


@dataclass
class MaxIterations:
    """Stop after so many iterations, whatever the clock says: the same seed then gives the same result. Raises ValueError unless above 0.

    An iteration is one change tried by a search; exact solvers do their work in fixed amounts of their own measure.
    """

    iterations: int
    _done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Check the limit."""
        if self.iterations < 1:
            raise ValueError(f"a limit of {self.iterations} iterations; it must be above 0")

    def started(self) -> None:
        """Begin to count."""
        self._done = 0

    def count(self, iterations: int) -> None:
        """Add to what was made."""
        self._done += iterations

    def spent(self) -> float:
        """The share of the iterations."""
        return self._done / self.iterations

    def remaining_s(self) -> float:
        """No end of time until the iterations are made."""
        return math.inf if self._done < self.iterations else 0.0

    def iterations_left(self) -> int | None:
        """Iterations left."""
        return max(0, self.iterations - self._done)


@dataclass
class Part:
    """A share of what another criterion has left when this one is made, and ``reserve_s`` seconds less."""

    whole: Stop
    share: float = 1.0
    reserve_s: float = 0.0
    _from: float = field(default=0.0, init=False)
    _to: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        """See what is left."""
        self._from, left = self.whole.spent(), self.whole.remaining_s()
        kept = min(1.0, self.reserve_s / left) if 0 < left < math.inf else 0.0
        self._to = self._from + (1 - self._from) * self.share * (1 - kept)

    def started(self) -> None:
        """Nothing: it began when it was made."""

    def count(self, iterations: int) -> None:
        """Pass on what was made."""
        self.whole.count(iterations)

    def spent(self) -> float:
        """The share of this part."""
        return (self.whole.spent() - self._from) / (self._to - self._from) if self._to > self._from else 1.0

    def remaining_s(self) -> float:
        """Seconds of this part that are left."""
        left, spent = self.whole.remaining_s(), self.whole.spent()
        if math.isinf(left):
            return left if spent < self._to and self.iterations_left() != 0 else 0.0
        return left * (self._to - spent) / (1 - spent) if spent < 1 else min(left, 0.0)

    def iterations_left(self) -> int | None:
        """Iterations of this part that are left, where they count."""
        left, spent = self.whole.iterations_left(), self.whole.spent()
        return None if left is None else max(0, round(left * (self._to - spent) / max(1e-12, 1 - spent)))
