"""The table of strategies."""

from collections.abc import Mapping
from importlib.metadata import entry_points

from optimizer.errors import PlacewrightError
from strategies.base import Strategy
from strategies.host_maintenance import HostMaintenance
from strategies.vm_workload_consolidation import VmWorkloadConsolidation
from strategies.workload_stabilization import WorkloadStabilization

BUILT_IN: tuple[type[Strategy], ...] = (HostMaintenance, VmWorkloadConsolidation, WorkloadStabilization)
GROUP = "placewright.strategies"


def strategies() -> Mapping[str, type[Strategy]]:
    """Every strategy by name: the built-in ones, and those that installed packages offer."""
    found: dict[str, type[Strategy]] = {kind.name: kind for kind in BUILT_IN}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, point.load())
    return found


def strategy(name: str) -> Strategy:
    """The strategy of a name; raises PlacewrightError when there is none."""
    known = strategies()
    if name not in known:
        raise PlacewrightError(f"there is no strategy {name!r}; there are {', '.join(sorted(known))}")
    return known[name]()
