"""Drain a host: close it, and find a place for everything on it."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, model_validator

from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint
from optimizer.objectives.elsewhere import Elsewhere
from optimizer.placement import Move, Placement, ServiceChange
from optimizer.problem import Problem
from strategies.base import LoadNeed, Parameters
from strategies.drain import DrainParameters, drain, named_hosts

DISABLED_REASON = "placewright: host_maintenance"


class HostMaintenanceParameters(DrainParameters):
    """Parameters of host_maintenance; names as in Watcher."""

    maintenance_node: str = Field(min_length=1, description="The host to drain: service host name or hypervisor UUID.")
    backup_node: str | None = Field(None, min_length=1,
                                    description="Where its servers should go if they can; others are used for the rest.")

    @model_validator(mode="after")
    def _two_hosts(self) -> "HostMaintenanceParameters":
        if self.backup_node is not None and self.backup_node == self.maintenance_node:
            raise ValueError(f"backup_node and maintenance_node are both {self.backup_node}; need two hosts")
        return self


class HostMaintenance:
    """Nothing left on the host that can be moved, with the fewest moves."""

    name: ClassVar[str] = "host_maintenance"
    goal: ClassVar[str] = "cluster_maintaining"
    title: ClassVar[str] = "Drain a host for maintenance"
    parameters: ClassVar[type[Parameters]] = HostMaintenanceParameters

    def load(self, parameters: HostMaintenanceParameters) -> LoadNeed | None:
        """None: a drain goes by allocations alone, and works when telemetry does not."""
        return None

    def problem(self, cluster: Cluster, rules: Sequence[Constraint], parameters: HostMaintenanceParameters,
                max_moves: int | None) -> Problem:
        """Servers left on the host; then those not on the backup; then the cost of moving; then how evenly memory is allocated."""
        node, backup = _hosts(cluster, parameters)
        return drain(cluster, rules, node, parameters, max_moves, () if backup is None else (Elsewhere(node, backup),))

    def service_changes(self, cluster: Cluster, placement: Placement, parameters: HostMaintenanceParameters) -> tuple[ServiceChange, ...]:
        """Disable the host first, so that the scheduler sends nobody while it is drained."""
        node, _ = _hosts(cluster, parameters)
        if cluster.host_by_name[node].status == "disabled":
            return ()
        return (ServiceChange(node, "disabled", DISABLED_REASON, "before"),)

    def reason(self, cluster: Cluster, before: Placement, after: Placement, move: Move, parameters: HostMaintenanceParameters) -> str:
        """That the host is drained, or room made for what is drained."""
        node, _ = _hosts(cluster, parameters)
        if move.source == node:
            return f"{node} is being drained ({sum(host == node for host in before.values())} left before this move)"
        return f"{move.source} needs room for servers of {node}, which is being drained"


def _hosts(cluster: Cluster, parameters: HostMaintenanceParameters) -> tuple[str, str | None]:
    """The names of the host to drain and of the backup; raises ParameterError with every fault at once."""
    wanted = {"maintenance_node": parameters.maintenance_node}
    if parameters.backup_node is not None:
        wanted["backup_node"] = parameters.backup_node
    found = named_hosts(cluster, HostMaintenance.name, wanted)
    return found["maintenance_node"], found.get("backup_node")
