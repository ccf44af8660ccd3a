"""Evacuate a host that has failed: build its servers anew on others."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint
from optimizer.placement import Move, Placement, ServiceChange
from optimizer.problem import Problem
from strategies.base import LoadNeed, ParameterError, Parameters
from strategies.drain import DrainParameters, drain, named_hosts


class HostEvacuationParameters(DrainParameters):
    """Parameters of host_evacuation."""

    failed_node: str = Field(min_length=1, description="The host that has failed: service host name or hypervisor UUID. It must be fenced: down for "
                                                       "sure, and marked so in Nova (forced_down).")

    @property
    def evacuates(self) -> bool:
        """Always."""
        return True


class HostEvacuation:
    """Nothing left on the failed host that can be evacuated, with the fewest moves."""

    name: ClassVar[str] = "host_evacuation"
    goal: ClassVar[str] = "host_recovery"
    title: ClassVar[str] = "Evacuate a host that has failed"
    parameters: ClassVar[type[Parameters]] = HostEvacuationParameters

    def load(self, parameters: HostEvacuationParameters) -> LoadNeed | None:
        """None: servers that do not run have no load, and telemetry may have failed with the host."""
        return None

    def problem(self, cluster: Cluster, rules: Sequence[Constraint], parameters: HostEvacuationParameters,
                max_moves: int | None) -> Problem:
        """Servers left on the host; then the cost of moving; then how evenly memory is allocated."""
        return drain(cluster, rules, _fenced(cluster, parameters), parameters, max_moves)

    def service_changes(self, cluster: Cluster, placement: Placement, parameters: HostEvacuationParameters) -> tuple[ServiceChange, ...]:
        """None: the scheduler sends nobody to a host that is down."""
        return ()

    def reason(self, cluster: Cluster, before: Placement, after: Placement, move: Move, parameters: HostEvacuationParameters) -> str:
        """That the host has failed, or room made for servers of a host that has."""
        node = _fenced(cluster, parameters)
        return f"{node} has failed" if move.source == node else f"{move.source} needs room for servers of {node}, which has failed"


def _fenced(cluster: Cluster, parameters: HostEvacuationParameters) -> str:
    """The name of the host; raises ParameterError while its servers may still run."""
    node = named_hosts(cluster, HostEvacuation.name, {"failed_node": parameters.failed_node})["failed_node"]
    host = cluster.host_by_name[node]
    if host.forced_down:
        return node
    if host.state == "up":
        cure = "drain it with host_maintenance; if it has failed all the same, fence it"
    else:
        cure = "make sure that it is off, or two copies of a server may write to one disk; then tell Nova"
    raise ParameterError(f"strategy host_evacuation: failed_node: {node} is {host.state} and not forced down: {cure} "
                         f"(openstack compute service set --down {node} nova-compute)")
