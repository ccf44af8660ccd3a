"""What the objectives need of a cluster, as arrays for the solvers.

S servers, H hosts. Each solver has its own table from objective to encoding; the numbers behind are these.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Arrays, Index, Ints, Mask, compile_arrays, numbered, room_for
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.numa import Numa
from optimizer.errors import PlacewrightError
from optimizer.growth import NOT_RUNNING, needed
from optimizer.load import Metric, host_capacity, server_load
from optimizer.objectives.broken import Broken, largest_capacity
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.hosts_in_use import bound_hosts
from optimizer.objectives.misplaced import Misplaced
from optimizer.objectives.move_cost import MoveCost, cost_parts
from optimizer.objectives.moves import Moves
from optimizer.objectives.overdrawn import Overdrawn
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.placement import placement_of
from optimizer.problem import Level, Problem

ENDLESS = 2**60
"""A room that nothing fills."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Load of one metric: ``load`` (S), ``capacity`` (H), ``level`` (H, the balanced load), ``counted`` (H, hosts that count)."""

    load: Ints
    capacity: Ints
    level: Ints
    counted: Mask


@dataclass(frozen=True, slots=True)
class Need:
    """What servers will need of a resource class: ``demand`` (S), ``room`` (H), ``unit`` that makes 1, and the name as a packed quantity."""

    quantity: str
    demand: Ints
    room: Ints
    unit: int


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
    def server_index(self) -> Mapping[str, int]:
        """Index of a server by id."""
        return {server.id: s for s, server in enumerate(self.problem.cluster.servers)}

    def pools(self, objective: Fragmentation) -> list[int]:
        """The packed quantities whose free pieces count; raises PlacewrightError where no rule packs them."""
        kind = Numa if objective.numa else Capacity
        if not any(isinstance(rule, kind) for rule in self.problem.constraints):
            raise PlacewrightError(f"objective {objective.name} speaks of room that rule {kind.name} packs, and that is not among the rules")
        modes, quantities = range(self.arrays.modes), self.arrays.quantities
        names = [f"{objective.resource}/{node}" for node in modes] if objective.numa else [objective.resource]
        return [quantities.index(name) for name in names if name in quantities]

    def free_now(self, objective: Fragmentation) -> int:
        """The free room that pieces are a share of; 1 where there is none."""
        cluster = self.problem.cluster
        return max(1, sum(objective.free(cluster, placement_of(cluster)).values()))

    @cached_property
    def cost_parts(self) -> tuple[Ints, int]:
        """The cost of moving each server (S) in whole numbers, and what makes 1."""
        asked = (term.objective for level in self.problem.levels for term in level if isinstance(term.objective, MoveCost))
        parts, whole = cost_parts(self.problem.cluster, next(asked, MoveCost()).factors)
        return np.array([parts[server.id] for server in self.problem.cluster.servers], dtype=np.int64), whole

    @cached_property
    def move_cost(self) -> npt.NDArray[np.float64]:
        """The cost of moving each server (S)."""
        parts, whole = self.cost_parts
        return parts / whole

    def move_costs(self, level: Level) -> npt.NDArray[np.float64]:
        """What moving each server (S) costs in a level by itself, wherever it goes."""
        cost = np.zeros(len(self.arrays.start))
        for term in level:
            if isinstance(term.objective, MoveCost):
                cost += term.weight * self.move_cost
            elif isinstance(term.objective, Moves):
                cost += term.weight
            elif isinstance(term.objective, ServerMoveCost):
                cost += term.weight * self.server_costs(term.objective)
        return cost

    def server_costs(self, objective: ServerMoveCost) -> Ints:
        """The cost that an objective names for each server (S)."""
        return np.array([objective.costs.get(server.id, 0) for server in self.problem.cluster.servers], dtype=np.int64)

    def misplaced(self, objective: Misplaced) -> tuple[Index, Ints]:
        """How many wishes a server breaks on each host: the class of each server (S), and the number by class and host (classes x H)."""
        sides: dict[tuple[frozenset[str], bool], int] = {}
        broken: list[list[int]] = [[] for _ in self.problem.cluster.servers]
        for wish in objective.wishes:
            side = sides.setdefault((wish.hosts, wish.inside), len(sides))
            for server in wish.servers:
                if server in self.server_index:
                    broken[self.server_index[server]].append(side)
        masks = np.zeros((len(sides), len(self.arrays.room)), dtype=np.int64)
        for (hosts, inside), side in sides.items():
            masks[side] = int(inside)
            masks[side, [self.host_index[name] for name in hosts if name in self.host_index]] = int(not inside)
        number: dict[tuple[int, ...], int] = {(): 0}
        classes = np.array([number.setdefault(tuple(sorted(found)), len(number)) for found in broken], dtype=np.int32)
        return classes, np.stack([masks[list(found)].sum(axis=0) for found in number])

    def pool(self, objective: Overdrawn) -> tuple[Mask, Ints]:
        """The hosts (mask of H) of an objective about a set of them, and what each server (S) holds of its resource."""
        cluster = self.problem.cluster
        demand = np.array([server.resources.get(objective.resource, 0) for server in cluster.servers], dtype=np.int64)
        return np.array([host.name in objective.hosts for host in cluster.hosts], dtype=np.bool_), demand

    def members(self, ids: Iterable[str]) -> Index:
        """The numbers of servers by id; those that are not in the cluster are left out."""
        return np.array([self.server_index[one] for one in ids if one in self.server_index], dtype=np.int32)

    def domain(self, of: Mapping[str, str]) -> Index:
        """The number of each host's domain (H); objectives that share a mapping share the array."""
        if id(of) not in self._domains:
            self._domains[id(of)] = numbered(self.problem.cluster, of)
        return self._domains[id(of)]

    @cached_property
    def _domains(self) -> dict[int, Index]:
        return {}

    @cached_property
    def alone(self) -> Index:
        """Each host (H) a domain of its own."""
        return np.arange(len(self.arrays.room), dtype=np.int32)

    @cached_property
    def able(self) -> Mask:
        """The servers (S) that can move; those of a group that draws together and is together cannot."""
        able = self.arrays.movable.copy()
        for members in self.arrays.together:
            if len(set(self.arrays.home[members].tolist())) == 1:
                able[members] = False
        return able

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
        total = int(load[self.available[self.arrays.home]].sum()) if len(load) else 0
        level = capacity * total // max(1, int(capacity[self.available].sum()))
        return Balance(load, capacity, level, counted)

    @cached_property
    def broken(self) -> tuple[tuple[Broken, tuple[Need, ...]], ...]:
        """What the first level asks to repair, each with its needs."""
        asked = [term.objective for level in self.problem.levels[:1] for term in level if isinstance(term.objective, Broken)]
        return tuple((objective, self.needs(objective)) for objective in asked)

    def needs(self, objective: Broken) -> tuple[Need, ...]:
        """The needs that a host may lack room for; there is room without end where servers do not run."""
        cluster, grown = self.problem.cluster, objective.grown
        growing = {name for amounts in grown.values() for name in amounts}
        stopped = self.host_index.get(NOT_RUNNING)
        found = []
        unit = largest_capacity(cluster, growing | {name for server in cluster.servers for name in server.resources})
        for name in sorted(unit):
            demand = np.array([needed(server, grown).get(name, 0) for server in cluster.servers], dtype=np.int64)
            room = room_for(cluster, name)
            if stopped is not None:
                room[stopped] = ENDLESS
            found.append(Need(f"{name} grown" if name in growing else name, demand, room, unit[name]))
        return tuple(found)


def compile_problem(problem: Problem) -> Compiled:
    """Compile a problem; raises PlacewrightError for a constraint without encoding, LoadMissing for a server without usage."""
    return Compiled(problem, compile_arrays(problem.cluster, problem.constraints))
