"""What a cloud must be able to do so that a plan can be carried out on it.

Nothing here blocks but ``pause``: one plain loop follows many actions, without threads, and the same loop runs
against Nova and against a simulator with a clock of its own.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NewType, Protocol

from migrate.plan import Action
from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError

Handle = NewType("Handle", str)
"""By what a cloud knows an action that it has started."""

Trace = Mapping[str, Any]
"""By what it finds an action in its records; plain data."""


class CallFailed(PlacewrightError):
    """A request was refused by the cloud, or not answered; ``after_s``: the seconds that it asked to wait before the next, 0 where it did not."""

    def __init__(self, text: str, after_s: float = 0.0) -> None:
        """Keep the seconds."""
        super().__init__(text)
        self.after_s = after_s


class NotNow(CallFailed):
    """A request was refused by the cloud because of what goes on at the moment; it changed nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an action ended, with the cloud's own words where it gave any; NOT_BEGUN when the request for it came to nothing.

    ``took_s``: how long the cloud itself was at it, where it tells.
    """

    state: Literal["SUCCEEDED", "FAILED", "NOT_BEGUN"]
    text: str = ""
    took_s: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an action is: ``fraction`` between 0 and 1, or None where the cloud does not say."""

    fraction: float | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal action has to wait for a while, for a reason that lies in the cloud's own bookkeeping."""

    seconds: float
    text: str


class Cloud(Protocol):
    """A cloud that can be observed and acted on."""

    def observe(self, servers: Collection[str], hosts: Collection[str]) -> Cluster:
        """The cluster as it is now; it must hold true for these servers (ids) and hosts (names). Raises CallFailed."""
        ...

    def hold(self, action: Action, cluster: Cluster) -> Hold | None:
        """Whether the cloud would wrongly refuse an action that is legal in the cluster, and for how long."""
        ...

    def prepare(self, action: Action) -> Trace:
        """What the action can be found by again once it is started, even by another program. Raises CallFailed."""
        ...

    def start(self, action: Action, trace: Trace) -> Handle:
        """Begin an action and return at once. Raises CallFailed when the cloud refuses it, NotNow when it may take it later: nothing has begun."""
        ...

    def adopt(self, action: Action, trace: Trace) -> Handle:
        """Follow a migration that another program was about to start, or had started, with this trace; ``poll`` tells what came of it."""
        ...

    def poll(self, handle: Handle) -> Outcome | Progress | None:
        """How the action ended, or how far it is, or None when there is no news; an outcome stays the same."""
        ...

    def cancel(self, handle: Handle) -> str:
        """Ask for the end of a migration without a move; says what was done. ``poll`` tells how it ended. Raises CallFailed when it goes on."""
        ...

    def force_complete(self, handle: Handle) -> str:
        """Ask for the end of a live migration whatever it costs the server; says what was done. Raises CallFailed when it goes on as before."""
        ...

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def now(self) -> float:
        """Seconds of a clock that never goes back."""
        ...
