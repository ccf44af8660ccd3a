"""Demands that grow."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from optimizer.cluster import Cluster, Server
from optimizer.constraints.base import Violation
from optimizer.growth import Grown, needed, overloads
from optimizer.placement import Placement, arrivals


@dataclass(frozen=True, slots=True)
class Preserve:
    """A host that a server arrives on has what all its servers will need (``grown``: server id -> resource class -> amount).

    A server needs the greater of what it holds and what it will need. When it grows is not known, so it counts as grown as soon as
    a server arrives: what is sent to a host never has to leave it again for want of room. A server that moves is counted on both hosts
    until it has left. A host that is too small for the growth of those it has now is an inherited breach, which
    optimizer.objectives.broken.Broken turns into a goal. Refines optimizer.constraints.capacity.Capacity.
    """

    name: ClassVar[str] = "preserve"
    continuous: ClassVar[bool] = True
    grown: Grown = field(default_factory=dict)

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """(Host, resource class) pairs where more will be needed than there is, of classes in which some server grows."""
        growing = {name for amounts in self.grown.values() for name in amounts}
        arrived: dict[str, list[Server]] = defaultdict(list)
        for server in arrivals(cluster, placement).values():
            arrived[placement[server.id]].append(server)
        for host, name, amount, capacity in overloads(cluster, placement, self.grown):
            if name in growing:
                newcomers = tuple(server.id for server in arrived[host] if needed(server, self.grown).get(name, 0) > 0)
                yield Violation(self.name, f"{name} on {host}: {amount} will be needed of {capacity}", newcomers, host, inherited=not newcomers)
