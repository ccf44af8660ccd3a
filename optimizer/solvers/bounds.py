"""Lower bounds that hold for any legal placement, found without search."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from optimizer.objectives.base import Objective
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.remaining import Remaining
from optimizer.problem import Level
from optimizer.solvers.terms import Compiled


def level_bound(compiled: Compiled, level: Level) -> float:
    """A value that no legal placement goes below in a level, taken as the first level; 0 is always one."""
    return sum(term.weight * _BOUNDS.get(type(term.objective), _zero)(compiled, term.objective) for term in level)


def _zero(compiled: Compiled, objective: Objective) -> float:
    return 0.0


def _remaining(compiled: Compiled, objective: Remaining) -> float:
    """Servers that cannot move at all stay on the host."""
    on_host = compiled.arrays.start == compiled.host_index[objective.host]
    return float((on_host & ~compiled.arrays.movable).sum()) / max(1, len(on_host))


def _hosts_in_use(compiled: Compiled, objective: HostsInUse) -> float:
    """Hosts that have to be in use, and as many of the roomiest others as the rest of each quantity needs.

    A host's room is what it can hold in any legal placement: its capacity, or what is on it now where that is more.
    """
    arrays = compiled.arrays
    busy = compiled.bound.copy()
    busy[arrays.start[~compiled.arrays.movable]] = True
    holds = np.maximum(arrays.room, arrays.used(arrays.start))
    most = int((busy & compiled.available).sum())
    for d in range(arrays.demand.shape[1]):
        outside = busy | ~compiled.available
        rest = int(arrays.demand[:, d].sum()) - int(holds[outside, d].clip(min=0).sum())
        roomy = np.sort(holds[~outside, d])[::-1].cumsum()
        needed = int(np.searchsorted(roomy, rest)) + 1 if rest > 0 else 0
        most = max(most, int((busy & compiled.available).sum()) + min(needed, len(roomy)))
    return most / max(1, int(compiled.available.sum()))


_BOUNDS: Mapping[type[Objective], Callable[[Compiled, Any], float]] = {HostsInUse: _hosts_in_use, Remaining: _remaining}
