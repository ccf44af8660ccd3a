"""What every constraint has in common: a name, and a checker that lists violations."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from optimizer.cluster import Cluster
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach of one rule.

    ``inherited`` is true when no server that moved has a part in it: Nova checks a server when it
    arrives on a host and never again, so what stays as it was does not make a placement illegal. ``origin`` is who asked for the rule, where
    that is a policy; empty where it is Nova.
    """

    rule: str
    text: str
    servers: tuple[str, ...] = ()
    host: str | None = None
    inherited: bool = False
    origin: str = ""


class Constraint(Protocol):
    """Frozen data with an independent, plain checker; solvers have their own encodings of it.

    A ``continuous`` constraint holds at every moment while servers move, the others only at the end.
    """

    name: ClassVar[str]

    @property
    def continuous(self) -> bool:
        """Whether it holds at every moment."""
        ...

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Every breach of this rule in a placement of the cluster's servers."""
        ...


def check(constraints: Iterable[Constraint], cluster: Cluster, placement: Placement) -> list[Violation]:
    """Every breach of every rule, inherited ones included."""
    return [found for rule in constraints for found in rule.violations(cluster, placement)]


def breaches(constraints: Iterable[Constraint], cluster: Cluster, placement: Placement) -> list[Violation]:
    """The breaches that moves brought about; a placement is legal when there are none."""
    return [found for found in check(constraints, cluster, placement) if not found.inherited]
