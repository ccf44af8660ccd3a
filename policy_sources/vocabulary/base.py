"""What every statement of a rule has in common: whether it must hold or should, and what it turns into."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from optimizer.cluster import Obstacle
from optimizer.constraints.allowed_hosts import AllowedHosts, HostNeed
from optimizer.constraints.base import Constraint
from optimizer.constraints.movable import Movable
from optimizer.objectives.base import Objective
from optimizer.objectives.misplaced import Misplaced, Wish
from optimizer.problem import Term
from policy_sources.vocabulary.opening import Opening
from policy_sources.vocabulary.selectors import Catalog, Hosts, Servers


class Statement(BaseModel, ABC):
    """A rule as it is written, whatever the source: which kind, of whom it speaks, and how much it counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: ClassVar[str]
    of_hosts: ClassVar[bool] = False
    """Whether it speaks of whoever is on some hosts, not only of the servers that it selects."""

    rule: str = Field(description="The kind of rule.")
    should: float | None = Field(None, gt=0, le=1e6, allow_inf_nan=False,
                                 description="What breaking it costs, compared with other such rules; without it the rule must hold.")
    why: str = Field("", max_length=500, description="What it is for, in words; shown where the rule is cited.")

    @field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name is not None and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError(f"need a value, not {str(value).lower()}")
        return value

    @abstractmethod
    def draft(self, into: "Draft", origin: str) -> None:
        """Put what the rule means to the optimizer into a draft."""


class Demand(Statement):
    """A statement that is no matter of more or less."""

    should: None = Field(None, description="Such a rule always must hold.")


@dataclass(frozen=True, slots=True)
class Allowance:
    """A server may be moved, or a host take part in moves, so often within so many hours; ``origin`` is who says so."""

    moves: int
    hours: float
    origin: str


@dataclass
class Draft:
    """What rules mean to the optimizer, under construction.

    ``broken`` counts breaches of what must hold, ``wishes`` those of what should, by its weight. ``cold_only``
    and ``live_only``: server id -> origin of the rule by which it moves in this way alone. ``advised``: server id -> origin of the rule by
    which its moves are shown but not carried out. ``dearer``: server id -> how many times as much as another's its move costs. ``windows``: server id
    -> times of which one has to be for it to be moved. ``budgets``: server id -> how often it may be moved. ``host_budgets``: host name -> how
    many servers may come or leave.
    """

    catalog: Catalog
    constraints: list[Constraint] = field(default_factory=list)
    broken: list[Term] = field(default_factory=list)
    wishes: list[Term] = field(default_factory=list)
    needs: dict[str, list[HostNeed]] = field(default_factory=lambda: defaultdict(list))
    out_of_place: list[Wish] = field(default_factory=list)
    rather: dict[float, list[Wish]] = field(default_factory=lambda: defaultdict(list))
    kept: dict[str, list[Obstacle]] = field(default_factory=lambda: defaultdict(list))
    cold_only: dict[str, str] = field(default_factory=dict)
    live_only: dict[str, str] = field(default_factory=dict)
    advised: dict[str, str] = field(default_factory=dict)
    dearer: dict[str, int] = field(default_factory=dict)
    windows: dict[str, list[Opening]] = field(default_factory=lambda: defaultdict(list))
    budgets: dict[str, list[Allowance]] = field(default_factory=lambda: defaultdict(list))
    host_budgets: dict[str, list[Allowance]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    def servers(self, selector: Servers, origin: str) -> tuple[str, ...]:
        """The servers selected; a note when there are none, so that a misspelt name does not go unnoticed."""
        found = self.catalog.servers(selector)
        if not found:
            self.notes.append(f"{origin} selects no server ({selector}).")
        return found

    def hosts(self, selector: Hosts, origin: str) -> frozenset[str]:
        """The hosts selected; a note when there are none."""
        found = frozenset(self.catalog.hosts(selector))
        if not found:
            self.notes.append(f"{origin} selects no host ({selector}).")
        return found

    def place(self, servers: Iterable[str], hosts: frozenset[str], *, inside: bool, should: float | None, origin: str, repair: bool = True) -> None:
        """Servers inside (or outside) some hosts; with ``repair`` those that are elsewhere now are asked to move."""
        members = tuple(servers)
        if not members:
            return
        wish = Wish(members, hosts, inside, origin)
        if should is not None:
            self.rather[should].append(wish)
            return
        need = HostNeed(hosts, inside, origin)
        for member in members:
            self.needs[member].append(need)
        if repair:
            self.out_of_place.append(wish)

    def add(self, breaches: Objective, constraint: Constraint, should: float | None, share: float = 1.0) -> None:
        """A constraint and what counts its breaches (each as ``share`` of one); where it only should hold, the latter alone."""
        if should is not None:
            self.wishes.append(Term(breaches, share * should))
        else:
            self.constraints.append(constraint)
            self.broken.append(Term(breaches, share))

    def finished(self) -> "Policy":
        """What has come together, in the order the optimizer takes it."""
        constraints = list(self.constraints)
        if self.needs:
            constraints.append(AllowedHosts({server: tuple(needs) for server, needs in self.needs.items()}))
        if self.kept:
            constraints.append(Movable({server: tuple(found) for server, found in self.kept.items()}))
        broken = [*self.broken, *([Term(Misplaced(tuple(self.out_of_place)))] if self.out_of_place else ())]
        wishes = [*self.wishes, *(Term(Misplaced(tuple(some)), weight) for weight, some in sorted(self.rather.items()))]
        return Policy(tuple(constraints), tuple(broken), tuple(wishes), dict(self.cold_only), dict(self.live_only),
                      dict(self.advised), dict(self.dearer),
                      {server: tuple(some) for server, some in self.windows.items()},
                      {server: tuple(some) for server, some in self.budgets.items()},
                      {host: tuple(some) for host, some in self.host_budgets.items()}, tuple(self.notes))


@dataclass(frozen=True)
class Policy:
    """What rules mean to the optimizer: see Draft."""

    constraints: tuple[Constraint, ...] = ()
    broken: tuple[Term, ...] = ()
    wishes: tuple[Term, ...] = ()
    cold_only: Mapping[str, str] = field(default_factory=dict)
    live_only: Mapping[str, str] = field(default_factory=dict)
    advised: Mapping[str, str] = field(default_factory=dict)
    dearer: Mapping[str, int] = field(default_factory=dict)
    windows: Mapping[str, tuple[Opening, ...]] = field(default_factory=dict)
    budgets: Mapping[str, tuple[Allowance, ...]] = field(default_factory=dict)
    host_budgets: Mapping[str, tuple[Allowance, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
