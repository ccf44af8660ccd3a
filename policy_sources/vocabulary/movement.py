"""Rules about moving: who stays, and who is not migrated live."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.cluster import Obstacle
from policy_sources.vocabulary.base import Draft, Statement
from policy_sources.vocabulary.selectors import Servers


class Keep(Statement):
    """The servers stay where they are."""

    title: ClassVar[str] = "servers that never move"
    rule: Literal["keep"]
    should: None = Field(None, description="Such a rule always must hold.")
    servers: Servers = Field(description="Who stays.")

    def draft(self, into: Draft, origin: str) -> None:
        """The rule is an obstacle to their moving like any that Nova has."""
        for server in into.servers(self.servers, origin):
            into.kept[server].append(Obstacle(kind="policy", text=f"{origin} keeps it where it is"))


class NoLiveMigration(Statement):
    """The servers move cold or not at all."""

    title: ClassVar[str] = "servers that are not migrated live"
    rule: Literal["no_live_migration"]
    should: None = Field(None, description="Such a rule always must hold.")
    servers: Servers = Field(description="Who.")

    def draft(self, into: Draft, origin: str) -> None:
        """Those that can move live only (PAUSED) stay."""
        for server in into.servers(self.servers, origin):
            into.cold_only.setdefault(server, origin)


class NoColdMigration(Statement):
    """The servers move live or not at all: they are never shut down for it."""

    title: ClassVar[str] = "servers that are not migrated cold"
    rule: Literal["no_cold_migration"]
    should: None = Field(None, description="Such a rule always must hold.")
    servers: Servers = Field(description="Who.")

    def draft(self, into: Draft, origin: str) -> None:
        """Those that can move cold only (SHUTOFF) stay."""
        for server in into.servers(self.servers, origin):
            into.live_only.setdefault(server, origin)


class Automation(Statement):
    """How far the optimizer may go with the servers by itself."""

    title: ClassVar[str] = "how far the optimizer may go with servers"
    rule: Literal["automation"]
    should: None = Field(None, description="Such a rule always must hold.")
    servers: Servers = Field(description="Who.")
    level: Literal["off", "advise"] = Field(description="off: they stay; advise: moves are planned and shown, and skipped when the plan is "
                                                        "applied, unless that is asked for.")

    def draft(self, into: Draft, origin: str) -> None:
        """With off as with keep; with advise the optimizer plans as always."""
        for server in into.servers(self.servers, origin):
            if self.level == "off":
                into.kept[server].append(Obstacle(kind="policy", text=f"{origin} switches its automation off"))
            else:
                into.advised.setdefault(server, origin)
