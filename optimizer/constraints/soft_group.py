"""Groups with a soft policy: never worse than they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class SoftGroup:
    """A soft-affinity group spreads over no more hosts than now, a soft-anti-affinity group over no fewer.

    Nova would allow either (the soft policies are weighers), but the owner asked for it, so a move never makes it worse.
    """

    name: ClassVar[str] = "soft_group"
    continuous: ClassVar[bool] = False
    group: str
    policy: Literal["soft-affinity", "soft-anti-affinity"]
    members: tuple[str, ...]

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """The group, when it became worse."""
        present = [cluster.server_by_id[m] for m in self.members if m in cluster.server_by_id]
        before, after = len({s.host for s in present}), len({placement[s.id] for s in present})
        if after > before if self.policy == "soft-affinity" else after < before:
            yield Violation(self.name, f"{self.policy} group {self.group} would be on {after} hosts instead of {before}",
                            tuple(s.id for s in present if placement[s.id] != s.host))
