"""A Problem's constraints as numpy arrays: the form that solvers and the planner work on.

Every rule becomes one of a few things, nearly all of them about *arrivals* (what stays is legal):
which hosts a class of servers may go to; how much of each packed quantity fits; how many members of a group
a host takes; which groups draw together; which must not get worse; over how many fault domains a group is scattered; which
groups need another one near. S servers, H hosts, D packed quantities, C classes of servers that may go to the same hosts.

A *place* is where a server can sit: a host, or where a rule speaks of NUMA nodes, one of the M seats of a host; place = host x M + seat.
Without such a rule M is 1, and place and host are the same number.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from optimizer.cluster import Cluster, Server
from optimizer.constraints.affinity import Affinity
from optimizer.constraints.allowed_hosts import AllowedHosts, HostNeed
from optimizer.constraints.among import Among
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.available import Available
from optimizer.constraints.base import Constraint
from optimizer.constraints.cap import Cap
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.dependency import Dependency
from optimizer.constraints.fault_domains import FaultDomains
from optimizer.constraints.hypervisor import Hypervisor
from optimizer.constraints.isolation import AggregateIsolation, refusal
from optimizer.constraints.load_limit import LoadLimit
from optimizer.constraints.movable import Movable
from optimizer.constraints.numa import Numa
from optimizer.constraints.preserve import Preserve
from optimizer.constraints.reserve import Reserve
from optimizer.constraints.run import Run
from optimizer.constraints.soft_group import SoftGroup
from optimizer.constraints.traits import Traits
from optimizer.constraints.transient import Transient
from optimizer.constraints.zone import ZonePin
from optimizer.errors import PlacewrightError
from optimizer.growth import needed
from optimizer.load import server_load
from optimizer.numa import RESOURCES, node_room, share
from optimizer.placement import Placement, Seated, seats_of

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


@dataclass(frozen=True, slots=True)
class Scattered:
    """``members`` stay in ``least`` to ``most`` different domains; ``domain`` (H) numbers the domain of each host."""

    members: Index
    domain: Index
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Near:
    """A domain that holds one of ``members`` holds one of ``needs``; ``domain`` (H) numbers the domain of each host."""

    members: Index
    needs: Index
    domain: Index


@dataclass(frozen=True, slots=True)
class Inside:
    """``members`` are all inside one of the ``parts`` (each a mask of H hosts)."""

    members: Index
    parts: tuple[Mask, ...]


@dataclass(frozen=True, slots=True)
class Pool:
    """A set of hosts (mask of H) on which servers, each with its ``demand`` (S), hold no more than ``most`` together."""

    hosts: Mask
    demand: Ints
    most: int


@dataclass(frozen=True)
class Arrays:
    """The compiled form; indices follow the order of the cluster's hosts and servers.

    ``start`` (S): place of each server. ``eligible`` (C x H) and ``server_class`` (S): where a server may arrive.
    ``seats`` (S x M): which seats of a host a server can take. ``quantities`` (D) names what is packed: a resource class, ``VCPU/0`` for
    that of one NUMA node, ``load:cpu`` for a metric. ``demand`` (S·M x D): what server s needs in seat m stands in row s·M + m.
    ``room`` (H x D): room beyond what is held, before any server is counted. ``kept`` (D): quantities that a server which moves keeps on
    its old host too. ``apart``, ``together`` (members), ``not_worse``, ``scattered``, ``near``, ``inside``: the groups. ``pools``: sets of
    hosts with a common limit.
    """

    cluster: Cluster
    modes: int
    start: Index
    server_class: Index
    eligible: Mask
    seats: Mask
    quantities: tuple[str, ...]
    demand: Ints
    room: Ints
    kept: Mask
    apart: tuple[Apart, ...]
    together: tuple[Index, ...]
    not_worse: tuple[NotWorse, ...]
    scattered: tuple[Scattered, ...]
    near: tuple[Near, ...]
    inside: tuple[Inside, ...]
    pools: tuple[Pool, ...]

    def allowed(self, server: int) -> Mask:
        """The hosts (H) where the server may arrive as far as it alone is concerned."""
        mask: Mask = self.eligible[self.server_class[server]]
        return mask

    @cached_property
    def movable(self) -> Mask:
        """The servers (S) that some host would take, as far as they alone are concerned."""
        some: Mask = np.asarray(self.eligible.any(axis=1))
        return some[self.server_class]

    @cached_property
    def home(self) -> Index:
        """The host (S) that each server is on."""
        home: Index = self.start // np.int32(self.modes)
        return home

    def rows(self, where: Index) -> Index:
        """The row of ``demand`` (S) that holds for each server when server s is in place ``where[s]``."""
        rows: Index = (np.arange(len(where)) * self.modes + where % self.modes).astype(np.int32)
        return rows

    def used(self, where: Index) -> Ints:
        """What servers use of each packed quantity on each host (H x D) when server s is in place ``where[s]``."""
        used = np.zeros_like(self.room)
        hosts, demand = where // self.modes, self.demand[self.rows(where)]
        for d in range(demand.shape[1]):
            used[:, d] = _sums(hosts, demand[:, d], len(used))
        return used

    def away(self, where: Index) -> Ints:
        """What servers that moved keep on their old hosts (H x D)."""
        away = np.zeros_like(self.room)
        gone = np.flatnonzero(where != self.start)
        rows = self.rows(self.start)[gone]
        for d in np.flatnonzero(self.kept):
            away[:, d] = _sums(self.home[gone], self.demand[rows, d], len(away))
        return away

    def placement(self, where: Index) -> Placement:
        """Place indices as a Placement."""
        names = [host.name for host in self.cluster.hosts]
        hosts = (where // self.modes).tolist()
        placed = {server.id: names[h] for server, h in zip(self.cluster.servers, hosts, strict=True)}
        if self.modes == 1:
            return placed
        seats = (where % self.modes).tolist()
        return Seated(placed, {server.id: seat for server, seat, several in
                               zip(self.cluster.servers, seats, self.seats.sum(axis=1) > 1, strict=True) if several})

    def where(self, placement: Placement) -> Index:
        """A Placement as place indices (S)."""
        index = {host.name: h for h, host in enumerate(self.cluster.hosts)}
        hosts = np.array([index[placement[server.id]] for server in self.cluster.servers], dtype=np.int32)
        seats = seats_of(self.cluster, placement) if self.modes > 1 else {}
        places: Index = hosts * np.int32(self.modes) + np.array([seats.get(server.id, 0) for server in self.cluster.servers], dtype=np.int32)
        return places


def _sums(hosts: Index, amounts: Ints, count: int) -> Ints:
    """Sums of whole numbers by host, exact however large (floats are exact to 2^53 only)."""
    if not len(amounts) or int(np.abs(amounts).max()) * len(amounts) < 2**52:
        return np.bincount(hosts, weights=amounts, minlength=count).astype(np.int64)
    total = np.zeros(count, dtype=np.int64)
    np.add.at(total, hosts, amounts)
    return total


@dataclass(frozen=True, slots=True)
class _Packed:
    """One packed quantity: its name, the demand (S, or S x M where it differs by seat), the room (H)."""

    name: str
    demand: Ints
    room: Ints
    kept: bool = False


@dataclass
class _Builder:
    """Collects what the constraints contribute."""

    cluster: Cluster
    host_index: Mapping[str, int]
    server_index: Mapping[str, int]
    home: Index
    filters: list[tuple[Callable[[Server], Hashable], Callable[[Any], Mask]]] = field(default_factory=list)
    packed: list[_Packed] = field(default_factory=list)
    apart: list[Apart] = field(default_factory=list)
    together: list[Index] = field(default_factory=list)
    not_worse: list[NotWorse] = field(default_factory=list)
    scattered: list[Scattered] = field(default_factory=list)
    near: list[Near] = field(default_factory=list)
    inside: list[Inside] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
    seats: Mask | None = None
    seat: Index | None = None
    domains: dict[int, Index] = field(default_factory=dict)
    parts: dict[int, tuple[Mask, ...]] = field(default_factory=dict)

    @cached_property
    def nothing(self) -> Ints:
        """Zeros (H), one array for all the groups of which nothing is held."""
        return np.zeros(len(self.cluster.hosts), dtype=np.int64)

    def members(self, ids: tuple[str, ...]) -> Index:
        return np.array([self.server_index[i] for i in ids if i in self.server_index], dtype=np.int32)

    def mask(self, predicate: Callable[[int], bool]) -> Mask:
        return np.fromiter((predicate(h) for h in range(len(self.cluster.hosts))), dtype=np.bool_, count=len(self.cluster.hosts))

    def domain(self, of: Mapping[str, str]) -> Index:
        """The number of each host's domain (H); rules that share one mapping share the array."""
        if id(of) not in self.domains:
            self.domains[id(of)] = numbered(self.cluster, of)
        return self.domains[id(of)]


def numbered(cluster: Cluster, domains: Mapping[str, str]) -> Index:
    """The number of each host's domain (H); a host that ``domains`` (host name -> domain) does not name is a domain of its own."""
    number: dict[str, int] = {}
    return np.array([number.setdefault(domains.get(host.name, f"host {host.name}"), len(number)) for host in cluster.hosts], dtype=np.int32)


def room_for(cluster: Cluster, name: str) -> Ints:
    """The room of each host (H) for a resource class, before any server is counted."""
    room = np.array([(host.inventory[name].capacity if name in host.inventory else 0) - host.held.get(name, 0) for host in cluster.hosts],
                    dtype=np.int64)
    index = {host.name: h for h, host in enumerate(cluster.hosts)} if cluster.migrations else {}
    for migration in cluster.migrations:
        server = cluster.server_by_id.get(migration.server)
        side = migration.other_side(server.host) if server else None
        if side is not None and side in index:
            room[index[side]] -= migration.resources.get(name, 0)
    return room


def compile_arrays(cluster: Cluster, constraints: tuple[Constraint, ...]) -> Arrays:
    """Compile constraints; raises PlacewrightError for a kind of constraint that has no encoding."""
    host_index = {host.name: h for h, host in enumerate(cluster.hosts)}
    server_index = {server.id: s for s, server in enumerate(cluster.servers)}
    home = np.array([host_index[server.host] for server in cluster.servers], dtype=np.int32)
    builder = _Builder(cluster, host_index, server_index, home)
    for rule in constraints:
        if type(rule) not in ENCODINGS:
            known = ", ".join(sorted(kind.name for kind in ENCODINGS))
            raise PlacewrightError(f"constraint {rule.name} has no solver encoding; there are encodings for {known}")
        ENCODINGS[type(rule)](builder, rule)
    server_class, eligible = _classes(builder)
    servers, hosts = len(cluster.servers), len(cluster.hosts)
    seats = np.ones((servers, 1), dtype=np.bool_) if builder.seats is None else builder.seats
    modes = seats.shape[1]
    start = home if builder.seat is None else (home * modes + builder.seat).astype(np.int32)
    packed = builder.packed or [_Packed("nothing", np.zeros(servers, np.int64), np.zeros(hosts, np.int64))]
    demand = np.stack([np.broadcast_to(p.demand[:, None] if p.demand.ndim == 1 else p.demand, (servers, modes)).ravel() for p in packed], axis=1)
    return Arrays(cluster, modes, start, server_class, eligible, seats, tuple(p.name for p in packed),
                  np.ascontiguousarray(demand, dtype=np.int64), np.stack([p.room for p in packed], axis=1),
                  np.array([p.kept for p in packed], dtype=np.bool_),
                  tuple(builder.apart), tuple(builder.together), tuple(builder.not_worse), tuple(builder.scattered), tuple(builder.near),
                  tuple(builder.inside), tuple(builder.pools))


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


def _resource(builder: _Builder, name: str) -> _Packed:
    """A resource class as Placement counts it."""
    demand = np.array([server.resources.get(name, 0) for server in builder.cluster.servers], dtype=np.int64)
    return _Packed(name, demand, room_for(builder.cluster, name))


def _capacity(builder: _Builder, rule: Capacity) -> None:
    cluster = builder.cluster
    names = sorted({name for server in cluster.servers for name in server.resources})
    builder.packed += [_resource(builder, name) for name in names]
    # Hosts that take an amount at once are those whose max_unit is that large: servers between the same two max_units are of one class.
    units = {name: np.array([host.inventory[name].largest if name in host.inventory else 0 for host in cluster.hosts], dtype=np.int64)
             for name in names}
    steps = {name: np.unique(amounts).tolist() for name, amounts in units.items()}

    def rank(server: Server) -> tuple[tuple[str, int], ...]:
        return tuple((name, n) for name, amount in server.resources.items() if amount > 0 and (n := bisect_left(steps[name], amount)))

    def admits(ranks: tuple[tuple[str, int], ...]) -> Mask:
        mask = np.ones(len(cluster.hosts), dtype=np.bool_)
        for name, n in ranks:
            mask &= units[name] >= (steps[name][n] if n < len(steps[name]) else np.iinfo(np.int64).max)
        return mask

    builder.filters.append((rank, admits))


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


def _allowed_hosts(builder: _Builder, rule: AllowedHosts) -> None:
    masks: dict[HostNeed, Mask] = {}

    def mask_of(need: HostNeed) -> Mask:
        if need not in masks:
            mask = np.full(len(builder.cluster.hosts), not need.inside)
            mask[[builder.host_index[name] for name in need.hosts if name in builder.host_index]] = need.inside
            masks[need] = mask
        return masks[need]

    builder.filters.append((lambda server: rule.needs.get(server.id, ()),
                            lambda needs: np.logical_and.reduce([builder.mask(lambda h: True), *map(mask_of, needs)])))


def _limit(builder: _Builder, name: str, demand: Ints, limits: Iterable[int | None]) -> None:
    """A packed quantity of which each host takes so much (None: all there is); of several limits the lower one counts."""
    room = np.array([demand.sum() if limit is None else limit for limit in limits], dtype=np.int64)
    for number, packed in enumerate(builder.packed):
        if packed.name == name:
            builder.packed[number] = replace(packed, room=np.minimum(packed.room, room))
            return
    builder.packed.append(_Packed(name, demand, room))


def _cap(builder: _Builder, rule: Cap) -> None:
    demand = np.array([server.resources.get(rule.resource, 0) for server in builder.cluster.servers], dtype=np.int64)
    _limit(builder, f"{rule.resource} capped", demand, (rule.limits.get(host.name) for host in builder.cluster.hosts))


def _load_limit(builder: _Builder, rule: LoadLimit) -> None:
    demand = np.array([server_load(server, rule.metric) for server in builder.cluster.servers], dtype=np.int64)
    _limit(builder, f"load:{rule.metric}", demand, map(rule.limit, builder.cluster.hosts))


def _anti_affinity(builder: _Builder, rule: AntiAffinity) -> None:
    cluster = builder.cluster
    held = builder.nothing
    for member in rule.members:
        if member in cluster.migration_of and member in cluster.server_by_id:
            home = cluster.server_by_id[member].host
            side = cluster.migration_of[member].other_side(home)
            if side is not None and side != home and side in builder.host_index:
                held = held.copy() if held is builder.nothing else held
                held[builder.host_index[side]] += 1
    builder.apart.append(Apart(builder.members(rule.members), rule.max_per_host, held))


def _affinity(builder: _Builder, rule: Affinity) -> None:
    members = builder.members(rule.members)
    builder.together.append(members)


def _soft_group(builder: _Builder, rule: SoftGroup) -> None:
    members = builder.members(rule.members)
    builder.not_worse.append(NotWorse(members, len(set(builder.home[members].tolist())), rule.policy == "soft-affinity"))


def _transient(builder: _Builder, rule: Transient) -> None:
    counted = {packed.name for packed in builder.packed}
    builder.packed += [_resource(builder, name) for name in sorted(rule.resources - counted)]
    builder.packed = [replace(packed, kept=packed.kept or packed.name in rule.resources) for packed in builder.packed]


def _preserve(builder: _Builder, rule: Preserve) -> None:
    servers = builder.cluster.servers
    for name in sorted({name for amounts in rule.grown.values() for name in amounts}):
        demand = np.array([needed(server, rule.grown).get(name, 0) for server in servers], dtype=np.int64)
        builder.packed.append(replace(_resource(builder, name), name=f"{name} grown", demand=demand))


def _run(builder: _Builder, rule: Run) -> None:
    pass  # nobody can be sent to where servers do not run


def _among(builder: _Builder, rule: Among) -> None:
    if id(rule.sets) not in builder.parts:
        builder.parts[id(rule.sets)] = tuple(builder.mask(lambda h, one=one: builder.cluster.hosts[h].name in one)  # type: ignore[misc]
                                             for one in rule.sets)
    builder.inside.append(Inside(builder.members(rule.members), builder.parts[id(rule.sets)]))


def _reserve(builder: _Builder, rule: Reserve) -> None:
    demand = np.array([server.resources.get(rule.resource, 0) for server in builder.cluster.servers], dtype=np.int64)
    hosts = builder.mask(lambda h: builder.cluster.hosts[h].name in rule.hosts)
    builder.pools.append(Pool(hosts, demand, max(rule.most, int(demand[hosts[builder.home]].sum()))))


def _fault_domains(builder: _Builder, rule: FaultDomains) -> None:
    members, domain = builder.members(rule.members), builder.domain(rule.domains)
    now = len(set(domain[builder.home[members]].tolist()))
    least, most = min(rule.at_least, now), len(members) if rule.at_most is None else max(rule.at_most, now)
    if least > 1 or most < len(members):
        builder.scattered.append(Scattered(members, domain, least, most))


def _dependency(builder: _Builder, rule: Dependency) -> None:
    builder.near.append(Near(builder.members(rule.members), builder.members(rule.needs), builder.domain(rule.domains)))


def _numa(builder: _Builder, rule: Numa) -> None:
    """A seat is a NUMA node; a server that spans several nodes, or of which none is known, has the first seat alone."""
    servers, hosts = builder.cluster.servers, builder.cluster.hosts
    modes = max([1, *(len(host.numa) for host in hosts), *(node + 1 for server in servers for node in server.numa)])
    single = np.array([len(server.numa) == 1 for server in servers], dtype=np.bool_)
    builder.seat = np.array([server.numa[0] if len(server.numa) == 1 else 0 for server in servers], dtype=np.int32)
    builder.seats = np.zeros((len(servers), modes), dtype=np.bool_)
    builder.seats[:, 0] = True
    builder.seats[single] = True
    names = [name for name in RESOURCES if any(server.numa and server.resources.get(name) for server in servers)]
    for name in names:
        parts = np.array([share(server, name) for server in servers], dtype=np.int64)
        for node in range(modes):
            demand = np.zeros((len(servers), modes), dtype=np.int64)
            demand[single, node] = parts[single]
            spans = np.array([len(server.numa) > 1 and node in server.numa for server in servers], dtype=np.bool_)
            demand[spans] = parts[spans, None]
            room = np.array([node_room(host, node, name) for host in hosts], dtype=np.int64)
            builder.packed.append(_Packed(f"{name}/{node}", demand, room))


ENCODINGS: Mapping[type[Constraint], Callable[[_Builder, Any], None]] = {
    Capacity: _capacity, Available: _available, Movable: _movable, ZonePin: _zone, Traits: _traits,
    AggregateIsolation: _isolation, Hypervisor: _hypervisor, LoadLimit: _load_limit, AntiAffinity: _anti_affinity, Affinity: _affinity,
    SoftGroup: _soft_group, Transient: _transient, FaultDomains: _fault_domains, Dependency: _dependency, Preserve: _preserve, Run: _run,
    Among: _among, Numa: _numa, AllowedHosts: _allowed_hosts, Cap: _cap,
    Reserve: _reserve,
}
"""The one table that joins each constraint with its encoding."""
