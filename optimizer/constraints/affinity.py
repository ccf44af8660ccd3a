"""Members of a group on one host."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Affinity:
    """The members of a group share one host, and one that moves goes to a host where another member stays.

    Nova accepts a member only where a member already is (ServerGroupAffinityFilter) and moves servers one by
    one, so a group that is together cannot be moved at all, and one that is split can only be
    drawn together. A group of one is no exception: its only member is where a member is.
    """

    name: ClassVar[str] = "affinity"
    continuous: ClassVar[bool] = True
    group: str
    members: tuple[str, ...]

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Members that went where no other stayed; and the group as a whole when it is split."""
        present = [cluster.server_by_id[m] for m in self.members if m in cluster.server_by_id]
        stayed_on = {server.host for server in present if placement[server.id] == server.host}
        for server in present:
            here = placement[server.id]
            if here != server.host and here not in stayed_on:
                yield Violation(self.name, f"{server.name} of affinity group {self.group} on {here}: no other member stays there",
                                (server.id,), here)
        hosts = sorted({placement[server.id] for server in present})
        if len(hosts) > 1:
            yield Violation(self.name, f"affinity group {self.group} is split over {', '.join(hosts)}",
                            tuple(server.id for server in present), None, inherited=True)
