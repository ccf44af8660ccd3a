"""Servers that must run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.growth import NOT_RUNNING
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Run:
    """Each of ``servers`` runs on a host.

    A server that does not run sits on the host ``NOT_RUNNING``, and starting it is a move away from there. Nobody can be sent
    there, since it is disabled (optimizer.constraints.available.Available), so the rule is only ever broken by what does not run now:
    an inherited breach, which optimizer.objectives.broken.Broken turns into a goal.
    """

    name: ClassVar[str] = "run"
    continuous: ClassVar[bool] = False
    servers: tuple[str, ...] = ()

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Servers that do not run."""
        for server_id in self.servers:
            server = cluster.server_by_id.get(server_id)
            if server is not None and placement[server_id] == NOT_RUNNING:
                yield Violation(self.name, f"{server.name} must run and does not", (server_id,), NOT_RUNNING, inherited=server.host == NOT_RUNNING)
