"""Rules about moving: who stays, in which way others move, and when."""

from datetime import datetime
from typing import ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator, model_validator

from optimizer.cluster import Obstacle
from policy_sources.vocabulary.base import Allowance, Demand, Draft
from policy_sources.vocabulary.opening import Opening
from policy_sources.vocabulary.selectors import Hosts, Servers


class Keep(Demand):
    """The servers stay where they are."""

    title: ClassVar[str] = "servers that never move"
    rule: Literal["keep"]
    servers: Servers = Field(description="Who stays.")

    def draft(self, into: Draft, origin: str) -> None:
        """The rule is an obstacle to their moving like any that Nova has."""
        for server in into.servers(self.servers, origin):
            into.kept[server].append(Obstacle(kind="policy", text=f"{origin} keeps it where it is"))


class NoLiveMigration(Demand):
    """The servers move cold or not at all."""

    title: ClassVar[str] = "servers that are not migrated live"
    rule: Literal["no_live_migration"]
    servers: Servers = Field(description="Who.")

    def draft(self, into: Draft, origin: str) -> None:
        """Those that can move live only (PAUSED) stay."""
        for server in into.servers(self.servers, origin):
            into.cold_only.setdefault(server, origin)


class NoColdMigration(Demand):
    """The servers move live or not at all: they are never shut down for it."""

    title: ClassVar[str] = "servers that are not migrated cold"
    rule: Literal["no_cold_migration"]
    servers: Servers = Field(description="Who.")

    def draft(self, into: Draft, origin: str) -> None:
        """Those that can move cold only (SHUTOFF) stay."""
        for server in into.servers(self.servers, origin):
            into.live_only.setdefault(server, origin)


class Automation(Demand):
    """How far the optimizer may go with the servers by itself."""

    title: ClassVar[str] = "how far the optimizer may go with servers"
    rule: Literal["automation"]
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


class Window(Demand):
    """The servers are moved only at certain times; of several windows for a server one is enough. Moves that have begun are ended."""

    title: ClassVar[str] = "times at which servers may be moved"
    rule: Literal["window"]
    servers: Servers = Field(description="Who.")
    cron: str = Field(description="When the window opens: minute, hour, day of the month, month, day of the week, as for cron.")
    minutes: int = Field(ge=1, le=7 * 24 * 60, description="How long it is open.")
    timezone: str = Field("UTC", description="Name of the time zone that cron means, such as Europe/Berlin.")

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        try:
            CronSim(value, datetime(2026, 1, 1))
        except CronSimError as error:
            raise ValueError(f"{value!r} is no cron expression: {error}") from None
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone {value!r}; need a name such as Europe/Berlin or UTC") from None
        return value

    def draft(self, into: Draft, origin: str) -> None:
        """Plans are made whenever; a move waits for nobody, and is skipped when the plan is applied outside the window."""
        opening = Opening(self.cron, self.minutes, self.timezone, origin)
        for server in into.servers(self.servers, origin):
            into.windows[server].append(opening)


class Budget(Demand):
    """Servers are moved, or hosts take part in moves, only so often within some time; with one move, they are left alone for so long after it."""

    title: ClassVar[str] = "servers and hosts with a limit of moves"
    of_hosts: ClassVar[bool] = True
    rule: Literal["budget"]
    servers: Servers | None = Field(None, description="Who: each of them has such a budget.")
    hosts: Hosts | None = Field(None, description="Or which hosts: servers that come count, and servers that leave.")
    moves: int = Field(1, ge=1, description="How many moves.")
    hours: float = Field(gt=0, le=24 * 90, allow_inf_nan=False, description="Within how many hours; those that Nova has on record count, "
                                                                            "whoever asked for them.")

    @model_validator(mode="after")
    def _of_somebody(self) -> "Budget":
        if (self.servers is None) == (self.hosts is None):
            raise ValueError("need servers or hosts, one of them")
        return self

    def draft(self, into: Draft, origin: str) -> None:
        """Who has used it up stays, or is left alone, until some of its moves are long enough ago; a plan does not go beyond what a host has left."""
        allowance = Allowance(self.moves, self.hours, origin)
        for server in into.servers(self.servers, origin) if self.servers is not None else ():
            into.budgets[server].append(allowance)
        for host in into.hosts(self.hosts, origin) if self.hosts is not None else ():
            into.host_budgets[host].append(allowance)
