"""Drain a host: close it, and find a place for everything on it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field, model_validator

from optimizer.cluster import Cluster
from optimizer.constraints.available import Available
from optimizer.constraints.base import Constraint
from optimizer.objectives.base import Objective
from optimizer.objectives.elsewhere import Elsewhere
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.spread import Spread
from optimizer.placement import Move, Placement, ServiceChange
from optimizer.problem import Problem, Term
from strategies.base import LoadNeed, ParameterError, Parameters

DISABLED_REASON = "placewright: host_maintenance"


class HostMaintenanceParameters(Parameters):
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
        node = _host(cluster, "maintenance_node", parameters.maintenance_node)
        first: list[tuple[Objective, ...]] = [(Remaining(node),)]
        if parameters.backup_node is not None:
            first.append((Elsewhere(node, _host(cluster, "backup_node", parameters.backup_node)),))
        levels = tuple(tuple(Term(objective) for objective in level) for level in (*first, (MoveCost(),), (Spread("memory_allocated"),)))
        closed = tuple(replace(rule, closed=rule.closed | {node}) if isinstance(rule, Available) else rule for rule in rules)
        return Problem(cluster, closed, levels, max_moves)

    def service_changes(self, cluster: Cluster, placement: Placement, parameters: HostMaintenanceParameters) -> tuple[ServiceChange, ...]:
        """Disable the host first, so that the scheduler sends nobody while it is drained."""
        node = _host(cluster, "maintenance_node", parameters.maintenance_node)
        if cluster.host_by_name[node].status == "disabled":
            return ()
        return (ServiceChange(node, "disabled", DISABLED_REASON, "before"),)

    def reason(self, cluster: Cluster, placement: Placement, move: Move, parameters: HostMaintenanceParameters) -> str:
        """That the host is drained, or room made for what is drained."""
        node = _host(cluster, "maintenance_node", parameters.maintenance_node)
        if move.source == node:
            return f"{node} is being drained ({sum(host == node for host in placement.values())} left before this move)"
        return f"{move.source} needs room for servers of {node}, which is being drained"


def _host(cluster: Cluster, parameter: str, wanted: str) -> str:
    for host in cluster.hosts:
        if wanted in (host.name, host.id):
            return host.name
    known = ", ".join(sorted(host.name for host in cluster.hosts)[:10])
    raise ParameterError(f"strategy host_maintenance: {parameter}: there is no host {wanted!r}; hosts are {known}"
                         f"{', ...' if len(cluster.hosts) > 10 else ''}")
