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

    def remaining_s(self) -> float:
        """Seconds left; 0 or less means stop."""
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

    def remaining_s(self) -> float:
        """Seconds left."""
        return self.seconds - (time.monotonic() - self._begin)
