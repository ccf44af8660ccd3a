"""What is remembered of an execution, so that it can go on when its program has ended without warning."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from migrate.plan import Plan
from optimizer.errors import PlacewrightError

State = Literal["PENDING", "ONGOING", "SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"]
"""Watcher's names of the states of an action."""

TOOK_S = "took_s"
"""In a trace: name of the cloud -> how long it was at it itself."""


class JournalError(PlacewrightError):
    """What was done, or is about to be done, cannot be written down or read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of an action: ``trace`` is what the cloud finds it by again, times count in seconds from the beginning of the execution."""

    state: State
    text: str = ""
    trace: Mapping[str, Any] = field(default_factory=dict)
    started_s: float | None = None
    ended_s: float | None = None


class Journal(Protocol):
    """The entries of one execution of one plan."""

    def entries(self) -> Mapping[str, Entry]:
        """Action uuid -> what was written last; empty in the beginning. Raises JournalError."""
        ...

    def write(self, action: str, entry: Entry) -> None:
        """Write what is known of an action; it is durable when this returns. Raises JournalError."""
        ...

    def elapsed_s(self) -> float:
        """Seconds since the execution began, those between two programs included."""
        ...

    def followed(self) -> "tuple[Plan, Journal] | None":
        """The plan of what could not go as planned, and its journal; None as long as ``follow`` was not called. Raises JournalError."""
        ...

    def follow(self, plan: Plan) -> "Journal":
        """Write this plan down as the one that follows; it is durable when this returns its journal. Raises JournalError."""
        ...


class NoJournal:
    """Remembers nothing: for a cloud that lives no longer than the program, and whose clock (``now``) began with the execution."""

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        """Nothing is known."""
        self._now = now

    def entries(self) -> Mapping[str, Entry]:
        """None."""
        return {}

    def write(self, action: str, entry: Entry) -> None:
        """Nothing."""

    def elapsed_s(self) -> float:
        """By the cloud's clock."""
        return self._now()

    def followed(self) -> "tuple[Plan, Journal] | None":
        """None."""
        return None

    def follow(self, plan: Plan) -> "Journal":
        """This one knows as much of any plan."""
        return self
