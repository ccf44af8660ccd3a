"""What an application is sensitive to, in its owner's words, and what that means for its servers."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.objectives.base import Objective
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.scattering import Scattering
from optimizer.problem import Term
from policy_sources.vocabulary.base import Draft, Statement
from policy_sources.vocabulary.selectors import Servers

LEVELS = {"low": 0.2, "medium": 1.0, "high": 5.0}
"""What a breach of the wishes below costs, compared with other rules that should hold (of weight 1, unless they say otherwise)."""

DEARER = {"low": 2, "medium": 5, "high": 25}
"""How many times as much as another's the move of a server costs that is sensitive to latency."""


class Sensitivity(Statement):
    """Latency: servers move seldom, and each is on a host of its own. Throughput: each on a host of its own. Availability: in several zones, and
    never shut down to be moved. Cost: on few hosts."""

    title: ClassVar[str] = "what an application is sensitive to"
    rule: Literal["sensitivity"]
    should: float | None = Field(None, gt=0, le=1e6, allow_inf_nan=False, description="Weight of all that follows from it; 1 without it.")
    servers: Servers = Field(description="The servers of the application.")
    property: Literal["latency", "throughput", "availability", "cost"] = Field(description="What it is sensitive to.")
    level: Literal["low", "medium", "high"] = Field(description="How much; low counts a fifth of medium, high five times as much.")

    def draft(self, into: Draft, origin: str) -> None:
        """All of it should hold, but for what high availability says about moving."""
        members = into.servers(self.servers, origin)
        weight = LEVELS[self.level] * (1.0 if self.should is None else self.should)
        wishes: list[Objective] = []
        if self.property == "latency":
            into.dearer.update((server, max(DEARER[self.level], into.dearer.get(server, 1))) for server in members)
        if self.property in ("latency", "throughput"):
            wishes.append(Crowded(members, origin=origin))
        elif self.property == "availability":
            zones = into.catalog.domains("zone")
            wishes.append(Scattering(members, zones, at_least=min(len(members), len(set(zones.values()))), origin=origin))
            if self.level == "high":
                into.live_only.update((server, origin) for server in members if server not in into.live_only)
        else:
            wishes.append(Scattering(members, {}, at_most=1, origin=origin))
        if members:
            into.wishes += [Term(wish, weight) for wish in wishes]
