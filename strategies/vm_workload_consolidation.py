"""Fewer hosts: empty as many as the others can take over, and disable them."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint
from optimizer.constraints.load_limit import LoadLimit
from optimizer.objectives.hosts_in_use import HostsInUse, hosts_in_use
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.overload import Overload
from optimizer.placement import Move, Placement, ServiceChange, placement_of
from optimizer.problem import Problem, Term
from strategies.base import LoadNeed, LoadParameters, Parameters

# The share of all hosts that moving the whole cluster once would have to free. 0.5 empties a host as long as it carries no more than
# twice an average host's servers.
_COST_WEIGHT = {1: 2.0, 2: 1.0, 3: 0.5, 4: 0.2, 5: 0.0}
# A host that is 1 % of its size above a limit weighs as much as a host in use.
_OVERLOAD_WEIGHT = 100.0
DISABLED_REASON = "placewright: emptied by vm_workload_consolidation"


class VmWorkloadConsolidationParameters(LoadParameters):
    """Parameters of vm_workload_consolidation; names as in Watcher."""

    period: int = Field(3600, ge=1, description="Seconds of load to look at.")
    disable_emptied: bool = Field(True, description="Disable the compute services of hosts that the plan empties.")


class VmWorkloadConsolidation:
    """As few hosts in use as capacity, rules and load limits allow."""

    name: ClassVar[str] = "vm_workload_consolidation"
    goal: ClassVar[str] = "server_consolidation"
    title: ClassVar[str] = "Fewer hosts in use"
    parameters: ClassVar[type[Parameters]] = VmWorkloadConsolidationParameters

    def load(self, parameters: VmWorkloadConsolidationParameters) -> LoadNeed:
        """The load of the servers over the period."""
        return LoadNeed(parameters.period, parameters.granularity, parameters.statistic, parameters.missing_load)

    def problem(self, cluster: Cluster, rules: Sequence[Constraint], parameters: VmWorkloadConsolidationParameters,
                max_moves: int | None) -> Problem:
        """Hosts in use, hosts loaded above the limits weighing more, plus the weighed cost of moving; then the cost alone."""
        limits = _limits(parameters)
        # HostsInUse is a share of the available hosts; as a share of all, the price of a host stays the same once others are disabled.
        available = sum(host.available for host in cluster.hosts)
        weight = _COST_WEIGHT[parameters.aggressiveness] * len(cluster.hosts) / max(1, available)
        hosts = (Term(HostsInUse()), *(Term(Overload(limit.metric, limit.max_percent), _OVERLOAD_WEIGHT) for limit in limits))
        if weight:
            return Problem(cluster, (*rules, *limits), ((*hosts, Term(MoveCost(), weight)),), max_moves)
        return Problem(cluster, (*rules, *limits), (hosts, (Term(MoveCost()),)), max_moves)

    def service_changes(self, cluster: Cluster, placement: Placement,
                        parameters: VmWorkloadConsolidationParameters) -> tuple[ServiceChange, ...]:
        """Disable what the plan empties; hosts that were empty before are left to their operator."""
        if not parameters.disable_emptied:
            return ()
        emptied = hosts_in_use(cluster, placement_of(cluster)) - hosts_in_use(cluster, placement)
        return tuple(ServiceChange(name, "disabled", DISABLED_REASON, "after") for name in sorted(emptied))

    def reason(self, cluster: Cluster, before: Placement, after: Placement, move: Move,
               parameters: VmWorkloadConsolidationParameters) -> str:
        """Which host is being emptied, and how full the other is; or that a host carries too much, or makes room."""
        if move.source in after.values():
            for limit in _limits(parameters):
                for broken in limit.violations(cluster, before):
                    if broken.host == move.source:
                        return broken.text
            return f"{move.source} needs room for servers of hosts that are being emptied"
        left = sum(host == move.source for host in before.values())
        there = sum(host == move.destination for host in before.values())
        return f"{move.source} is being emptied ({left} left); {move.destination} has {there} servers and room for this one"


def _limits(parameters: VmWorkloadConsolidationParameters) -> tuple[LoadLimit, LoadLimit]:
    return LoadLimit("cpu", parameters.max_cpu_percent), LoadLimit("memory", parameters.max_memory_percent)
