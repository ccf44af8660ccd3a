"""The table of strategies."""

from collections.abc import Mapping
from importlib.metadata import entry_points

from optimizer.errors import PlacewrightError
from strategies.base import Strategy
from strategies.host_evacuation import HostEvacuation
from strategies.host_maintenance import HostMaintenance
from strategies.repair import Repair
from strategies.vm_workload_consolidation import VmWorkloadConsolidation
from strategies.workload_stabilization import WorkloadStabilization

BUILT_IN: tuple[type[Strategy], ...] = (HostEvacuation, HostMaintenance, Repair, VmWorkloadConsolidation, WorkloadStabilization)
GROUP = "placewright.strategies"


def strategies() -> Mapping[str, type[Strategy]]:
    """Every strategy by name: the built-in ones, and those that installed packages offer.

    Raises PlacewrightError for a package whose strategy cannot be loaded, or takes the name of another.
    """
    found: dict[str, type[Strategy]] = {kind.name: kind for kind in BUILT_IN}
    for point in entry_points(group=GROUP):
        offered = f"strategy {point.name!r} of {point.dist.name if point.dist else 'an installed package'} ({point.value})"
        if point.name in found:
            raise PlacewrightError(f"{offered} has the name of another strategy; rename it or remove the package")
        try:
            found[point.name] = point.load()
        except Exception as error:  # whatever the package does when it is imported
            raise PlacewrightError(f"{offered} cannot be loaded: {type(error).__name__}: {error}; mend or remove the package") from error
    return found


def strategy(name: str) -> Strategy:
    """The strategy of a name; raises PlacewrightError when there is none."""
    known = strategies()
    if name not in known:
        raise PlacewrightError(f"there is no strategy {name!r}; there are {', '.join(sorted(known))}")
    return known[name]()
