"""A Problem's constraints as numpy arrays: the form that solvers and the planner work on.

Every rule becomes one of five things, all of them about *arrivals* (what stays is legal):
which hosts a class of servers may go to; how much of each packed quantity fits; how many members of a group
a host takes; which groups draw together; which groups must not get worse. S servers, H hosts, D packed quantities,
C classes of servers that may go to the same hosts.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from optimizer.cluster import Cluster, Server
from optimizer.constraints.affinity import Affinity
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.available import Available
from optimizer.constraints.base import Constraint
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.hypervisor import Hypervisor
from optimizer.constraints.isolation import AggregateIsolation, refusal
from optimizer.constraints.load_limit import LoadLimit
from optimizer.constraints.movable import Movable
from optimizer.constraints.soft_group import SoftGroup
from optimizer.constraints.traits import Traits
from optimizer.constraints.zone import ZonePin
from optimizer.errors import PlacewrightError
from optimizer.load import host_capacity, server_load
from optimizer.placement import Placement

Ints = npt.NDArray[np.int64]
Index = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Apart:
    """At most ``limit`` of ``members`` on a host that one of them arrives on; ``held`` counts migrations' other sides (H)."""

    members: Index
    limit: int
    held: Ints


@dataclass(frozen=True, slots=True)
class NotWorse:
    """``members`` stay on at most ``hosts`` hosts (``together``), or on at least so many (not ``together``)."""

    members: Index
    hosts: int
    together: bool


@dataclass(frozen=True)
class Arrays:
    """The compiled form; indices follow the order of the cluster's hosts and servers.

    ``start`` (S): host of each server. ``eligible`` (C x H) and ``server_class`` (S): where a server may arrive.
    ``demand`` (S x D), ``room`` (H x D): the packed quantities; room beyond what is held, before any server
    is counted. ``apart``, ``together`` (members), ``not_worse``: the groups.
    """

    cluster: Cluster
    start: Index
    server_class: Index
    eligible: Mask
    demand: Ints
    room: Ints
    apart: tuple[Apart, ...]
    together: tuple[Index, ...]
    not_worse: tuple[NotWorse, ...]

    def allowed(self, server: int) -> Mask:
        """The hosts (H) where the server may arrive as far as it alone is concerned."""
        mask: Mask = self.eligible[self.server_class[server]]
        return mask

    @cached_property
    def movable(self) -> Mask:
        """The servers (S) that some host would take, as far as they alone are concerned."""
        some: Mask = np.asarray(self.eligible.any(axis=1))
        return some[self.server_class]

    def used(self, where: Index) -> Ints:
        """What servers use of each packed quantity on each host (H x D) when server s is on host ``where[s]``."""
        used = np.zeros_like(self.room)
        for d in range(self.demand.shape[1]):
            used[:, d] = np.bincount(where, weights=self.demand[:, d], minlength=len(used)).astype(np.int64)
        return used

    def placement(self, where: Index) -> Placement:
        """Host indices as a Placement."""
        names = [host.name for host in self.cluster.hosts]
        return {server.id: names[h] for server, h in zip(self.cluster.servers, where.tolist(), strict=True)}


@dataclass
class _Builder:
    """Collects what the constraints contribute."""

    cluster: Cluster
    host_index: Mapping[str, int]
    server_index: Mapping[str, int]
    start: Index
    filters: list[tuple[Callable[[Server], Hashable], Callable[[Any], Mask]]] = field(default_factory=list)
    packed: list[tuple[Ints, Ints]] = field(default_factory=list)
    apart: list[Apart] = field(default_factory=list)
    together: list[Index] = field(default_factory=list)
    not_worse: list[NotWorse] = field(default_factory=list)

    def members(self, ids: tuple[str, ...]) -> Index:
        return np.array([self.server_index[i] for i in ids if i in self.server_index], dtype=np.int32)

    def mask(self, predicate: Callable[[int], bool]) -> Mask:
        return np.fromiter((predicate(h) for h in range(len(self.cluster.hosts))), dtype=np.bool_, count=len(self.cluster.hosts))


def compile_arrays(cluster: Cluster, constraints: tuple[Constraint, ...]) -> Arrays:
    """Compile constraints; raises PlacewrightError for a kind of constraint that has no encoding."""
    host_index = {host.name: h for h, host in enumerate(cluster.hosts)}
    server_index = {server.id: s for s, server in enumerate(cluster.servers)}
    start = np.array([host_index[server.host] for server in cluster.servers], dtype=np.int32)
    builder = _Builder(cluster, host_index, server_index, start)
    for rule in constraints:
        if type(rule) not in ENCODINGS:
            known = ", ".join(sorted(kind.name for kind in ENCODINGS))
            raise PlacewrightError(f"constraint {rule.name} has no solver encoding; there are encodings for {known}")
        ENCODINGS[type(rule)](builder, rule)
    server_class, eligible = _classes(builder)
    count = len(cluster.servers), len(cluster.hosts)
    demand = [demand for demand, _ in builder.packed] or [np.zeros(count[0], np.int64)]
    room = [room for _, room in builder.packed] or [np.zeros(count[1], np.int64)]
    return Arrays(cluster, start, server_class, eligible, np.stack(demand, axis=1), np.stack(room, axis=1),
                  tuple(builder.apart), tuple(builder.together), tuple(builder.not_worse))


def _classes(builder: _Builder) -> tuple[Index, Mask]:
    """Servers with equal keys in every filter form a class; a class's hosts are those every filter admits."""
    cluster = builder.cluster
    number: dict[tuple[Hashable, ...], int] = {}
    server_class = np.empty(len(cluster.servers), dtype=np.int32)
    for s, server in enumerate(cluster.servers):
        server_class[s] = number.setdefault(tuple(key(server) for key, _ in builder.filters), len(number))
    eligible = np.ones((len(number), len(cluster.hosts)), dtype=np.bool_)
    for f, (_, admits) in enumerate(builder.filters):
        masks: dict[Hashable, Mask] = {}
        for keys, c in number.items():
            if keys[f] not in masks:
                masks[keys[f]] = admits(keys[f])
            eligible[c] &= masks[keys[f]]
    return server_class, eligible


def _capacity(builder: _Builder, rule: Capacity) -> None:
    cluster = builder.cluster
    names = sorted({name for server in cluster.servers for name in server.resources})
    for name in names:
        demand = np.array([server.resources.get(name, 0) for server in cluster.servers], dtype=np.int64)
        room = np.array([(host.inventory[name].capacity if name in host.inventory else 0) - host.held.get(name, 0)
                         for host in cluster.hosts], dtype=np.int64)
        for migration in cluster.migrations:
            server = cluster.server_by_id.get(migration.server)
            side = migration.other_side(server.host) if server else None
            if side is not None and side in builder.host_index:
                room[builder.host_index[side]] -= migration.resources.get(name, 0)
        builder.packed.append((demand, room))

    def fits_one(amounts: frozenset[tuple[str, int]]) -> Mask:
        return builder.mask(lambda h: all(amount <= 0 or (name in cluster.hosts[h].inventory
                                                          and amount <= cluster.hosts[h].inventory[name].largest)
                                          for name, amount in amounts))

    builder.filters.append((lambda server: frozenset(server.resources.items()), fits_one))


def _available(builder: _Builder, rule: Available) -> None:
    hosts = builder.cluster.hosts
    builder.filters.append((lambda server: None,
                            lambda key: builder.mask(lambda h: hosts[h].available and hosts[h].name not in rule.closed)))


def _movable(builder: _Builder, rule: Movable) -> None:
    builder.filters.append((lambda server: bool(rule.obstacles.get(server.id)),
                            lambda stuck: builder.mask(lambda h: not stuck)))


def _zone(builder: _Builder, rule: ZonePin) -> None:
    hosts = builder.cluster.hosts
    builder.filters.append((lambda server: rule.zones.get(server.id),
                            lambda zone: builder.mask(lambda h: zone is None or hosts[h].zone == zone)))


def _traits(builder: _Builder, rule: Traits) -> None:
    owned = [frozenset(host.traits) for host in builder.cluster.hosts]
    builder.filters.append((lambda server: rule.needs.get(server.id), lambda need: builder.mask(
        lambda h: need is None or (need.required <= owned[h] and not need.forbidden & owned[h]))))


def _isolation(builder: _Builder, rule: AggregateIsolation) -> None:
    cluster = builder.cluster
    builder.filters.append((lambda server: rule.needs.get(server.id), lambda need: builder.mask(
        lambda h: need is None or refusal(cluster, need, cluster.hosts[h]) is None)))


def _hypervisor(builder: _Builder, rule: Hypervisor) -> None:
    hosts = builder.cluster.hosts

    def kind(server: Server) -> Hashable:
        source = hosts[builder.host_index[server.host]]
        return (source.hypervisor_type, source.hypervisor_version) if server.id in rule.live else None

    def admits(kind: tuple[str, int] | None) -> Mask:
        types = {"", kind[0]} if kind and kind[0] else None
        return builder.mask(lambda h: kind is None or (
            (types is None or hosts[h].hypervisor_type in types)
            and (hosts[h].hypervisor_version == 0 or hosts[h].hypervisor_version >= kind[1])))

    builder.filters.append((kind, admits))


def _load_limit(builder: _Builder, rule: LoadLimit) -> None:
    demand = np.array([server_load(server, rule.metric) for server in builder.cluster.servers], dtype=np.int64)
    room = np.array([int(host_capacity(host, rule.metric) * rule.max_percent / 100) for host in builder.cluster.hosts], dtype=np.int64)
    builder.packed.append((demand, room))


def _anti_affinity(builder: _Builder, rule: AntiAffinity) -> None:
    cluster = builder.cluster
    held = np.zeros(len(cluster.hosts), dtype=np.int64)
    for member in rule.members:
        if member in cluster.migration_of and member in cluster.server_by_id:
            home = cluster.server_by_id[member].host
            side = cluster.migration_of[member].other_side(home)
            if side is not None and side != home and side in builder.host_index:
                held[builder.host_index[side]] += 1
    builder.apart.append(Apart(builder.members(rule.members), rule.max_per_host, held))


def _affinity(builder: _Builder, rule: Affinity) -> None:
    members = builder.members(rule.members)
    builder.together.append(members)


def _soft_group(builder: _Builder, rule: SoftGroup) -> None:
    members = builder.members(rule.members)
    builder.not_worse.append(NotWorse(members, len(set(builder.start[members].tolist())), rule.policy == "soft-affinity"))


ENCODINGS: Mapping[type[Constraint], Callable[[_Builder, Any], None]] = {
    Capacity: _capacity, Available: _available, Movable: _movable, ZonePin: _zone, Traits: _traits,
    AggregateIsolation: _isolation, Hypervisor: _hypervisor, LoadLimit: _load_limit, AntiAffinity: _anti_affinity, Affinity: _affinity,
    SoftGroup: _soft_group,
}
"""The one table that joins each constraint with its encoding."""
