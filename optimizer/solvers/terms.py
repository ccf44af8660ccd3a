"""What the objectives need of a cluster, as arrays for the solvers.

S servers, H hosts. Each solver has its own table from objective to encoding; the numbers behind are these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Arrays, Ints, Mask, compile_arrays
from optimizer.load import Metric, host_capacity, server_load
from optimizer.objectives.hosts_in_use import bound_hosts
from optimizer.objectives.move_cost import cost_parts
from optimizer.problem import Problem


@dataclass(frozen=True, slots=True)
class Balance:
    """Load of one metric: ``load`` (S), ``capacity`` (H), ``level`` (H, the balanced load), ``counted`` (H, hosts that count)."""

    load: Ints
    capacity: Ints
    level: Ints
    counted: Mask


@dataclass(frozen=True)
class Compiled:
    """A problem with its arrays; what the objectives need is computed when first asked for."""

    problem: Problem
    arrays: Arrays

    @cached_property
    def host_index(self) -> Mapping[str, int]:
        """Index of a host by name."""
        return {host.name: h for h, host in enumerate(self.problem.cluster.hosts)}

    @cached_property
    def cost_parts(self) -> tuple[Ints, int]:
        """The cost of moving each server (S) in whole numbers, and what makes 1."""
        parts, whole = cost_parts(self.problem.cluster)
        return np.array([parts[server.id] for server in self.problem.cluster.servers], dtype=np.int64), whole

    @cached_property
    def move_cost(self) -> npt.NDArray[np.float64]:
        """The cost of moving each server (S)."""
        parts, whole = self.cost_parts
        return parts / whole

    @cached_property
    def available(self) -> Mask:
        """Hosts that are enabled and up (H)."""
        return np.array([host.available for host in self.problem.cluster.hosts], dtype=np.bool_)

    @cached_property
    def bound(self) -> Mask:
        """Hosts that stay in use whatever moves (H)."""
        names = bound_hosts(self.problem.cluster)
        return np.array([host.name in names for host in self.problem.cluster.hosts], dtype=np.bool_)

    @cached_property
    def balance(self) -> Mapping[Metric, Balance]:
        """The load arrays of every metric that some objective speaks of."""
        metrics = {term.objective.metric for level in self.problem.levels for term in level if hasattr(term.objective, "metric")}
        return {metric: self._balance(metric) for metric in sorted(metrics)}

    def _balance(self, metric: Metric) -> Balance:
        cluster = self.problem.cluster
        load = np.array([server_load(server, metric) for server in cluster.servers], dtype=np.int64)
        capacity = np.array([host_capacity(host, metric) for host in cluster.hosts], dtype=np.int64)
        counted = self.available & (capacity > 0)
        total = int(load[self.available[self.arrays.start]].sum()) if len(load) else 0
        level = capacity * total // max(1, int(capacity[self.available].sum()))
        return Balance(load, capacity, level, counted)


def compile_problem(problem: Problem) -> Compiled:
    """Compile a problem; raises PlacewrightError for a constraint without encoding, LoadMissing for a server without usage."""
    return Compiled(problem, compile_arrays(problem.cluster, problem.constraints))
