"""What every source of rules has in common: rules with their origin, and how fresh they are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError
from optimizer.placement import Move
from policy_sources.vocabulary.base import Draft, Policy, Statement
from policy_sources.vocabulary.kinds import Fault, parse
from policy_sources.vocabulary.selectors import Catalog

_SHOWN = 50


class PolicyError(PlacewrightError):
    """Rules that cannot be had, or cannot be understood; the message names the source, the place in it and what would be right."""

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        """One line for a single fault, else a line each, up to 50; ``faults`` holds all."""
        self.faults = tuple(faults)
        shown = [*faults[:_SHOWN], *([f"... and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else [])]
        told = faults[0] if len(faults) == 1 else f"{len(faults)} faults" + "".join(f"\n  {one}" for one in shown)
        super().__init__(f"policy {source}: {told}")


class PolicyUnavailable(PolicyError):
    """The source could not be asked, or did not answer in time: an earlier answer may stand in, if the operator wants that."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a rule was written: the source (``congress:placement``), the place in it (``apart, row 7``) and its revision, if it has one."""

    source: str
    where: str
    revision: str = ""

    def __str__(self) -> str:
        """As it is cited in plans."""
        return f"{self.source} {self.where}" + (f" (revision {self.revision})" if self.revision else "")


@dataclass(frozen=True, slots=True)
class Rule:
    """What is asked for, and who asked."""

    says: Statement
    origin: Origin


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What a source said at one time: ``read_at`` is ISO 8601, UTC; ``notes`` are sentences for the operator.

    ``age_s`` is above 0 where the rules stand in for those that could not be had afresh: how long ago they were had, in seconds.
    """

    source: str
    rules: tuple[Rule, ...]
    read_at: str
    revision: str = ""
    notes: tuple[str, ...] = ()
    age_s: float = 0.0


class PolicySource(Protocol):
    """Somewhere rules come from; ``name`` is what it is called in plans and messages (``file:rules.yaml``)."""

    @property
    def name(self) -> str:
        """The name."""
        ...

    def read(self, cluster: Cluster) -> RuleSet:
        """The rules for a cluster; raises PolicyError when they cannot be had or are not understood, and never leaves some out."""
        ...


class Objection(Protocol):
    """What a policy has against a plan."""

    @property
    def text(self) -> str:
        """In words."""
        ...


class Veto(Protocol):
    """A policy that can object to a plan before it is carried out."""

    @property
    def name(self) -> str:
        """What it is called in plans and messages."""
        ...

    def simulate(self, moves: Iterable[Move]) -> Sequence[Objection]:
        """What it has against what the moves bring about; raises PolicyError when it cannot be asked."""
        ...


def rules_of(source: str, rows: Sequence[tuple[str, Mapping[str, Any]]], revision: str = "") -> tuple[Rule, ...]:
    """Rules from (place in the source, statement as plain data); raises PolicyError with every fault at once."""
    statements, faults = parse([row for _, row in rows])
    if faults:
        raise PolicyError(source, [described(rows[fault.row][0], fault) for fault in faults])
    return tuple(Rule(says, Origin(source, where, revision)) for says, (where, _) in zip(statements, rows, strict=True))


def described(where: str, fault: Fault) -> str:
    """A fault with the place it is in."""
    return f"{where}: {fault.path}: {fault.text}" if fault.path else f"{where}: {fault.text}"


def policy_of(catalog: Catalog, rules: Iterable[Rule]) -> Policy:
    """What rules mean to the optimizer in a cluster; a catalog serves for many questions about the same one."""
    draft = Draft(catalog)
    for rule in rules:
        rule.says.draft(draft, str(rule.origin))
    return draft.finished()
