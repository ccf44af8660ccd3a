"""A compiled problem in the form that numba kernels take: flat arrays, and every objective as weights.

S servers, H hosts, M seats a host, D quantities, C classes of servers. Levels become one number: each level counts
``NEXT_LEVEL`` times what the one before does.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Index, Inside, Ints
from optimizer.errors import PlacewrightError
from optimizer.growth import NOT_RUNNING
from optimizer.objectives.balance_cost import BalanceCost
from optimizer.objectives.base import Objective
from optimizer.objectives.broken import Broken
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.elsewhere import Elsewhere
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.group_move_cost import GroupMoveCost
from optimizer.objectives.host_cost import HostCost
from optimizer.objectives.host_pair_cost import HostPairCost
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.lonely import Lonely
from optimizer.objectives.misplaced import Misplaced
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.overdrawn import Overdrawn
from optimizer.objectives.overload import Overload
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.scattering import Scattering
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.objectives.spread import Spread
from optimizer.problem import Level
from optimizer.solvers.terms import ENDLESS, Compiled

Floats = npt.NDArray[np.float64]
NEXT_LEVEL = 1e-4  # what a unit of one level counts against a unit of the level before
CROWDED, SCATTERED, LONELY = 0, 1, 2  # what is counted of a group that the objective speaks of


class Packed(NamedTuple):
    """Everything a kernel needs to know of a problem; nothing in it changes during a search.

    Lists of lists are flat with a pointer array: those of item i are ``x[x_from[i]:x_from[i + 1]]``.
    """

    modes: int
    home_rows: int  # where the rows of servers in their start place begin, when they have rows of their own there; else 0
    start: Index  # S, place
    demand: Ints  # S·M x D
    seats: npt.NDArray[np.uint8]  # S x M, which seats a server can take
    room: Ints  # H x D
    kept: npt.NDArray[np.uint8]  # D, what a server that moves keeps on its old host
    any_kept: bool
    eligible: npt.NDArray[np.uint8]  # C x H
    server_class: Index  # S
    movable: Index  # the servers that some host would take
    max_moves: int
    # groups apart: at most apart_limit of a group on one host
    apart_from: Index
    apart: Index  # groups of each server
    apart_limit: Index
    apart_held: npt.NDArray[np.int16]  # G x H, or 1 x H of zeros where nothing is held
    # scattered groups: scatter_least to scatter_most domains
    domains: npt.NDArray[np.int32]  # W x H, domain of each host in each of the W divisions
    scatter_from: Index
    scatter: Index
    scatter_division: Index
    scatter_base: npt.NDArray[np.int64]  # where the counts of a group begin
    scatter_least: Index
    scatter_most: Index
    # presence: groups that others need near, or that need others, counted by domain
    present_from: Index
    present: Index
    present_division: Index
    present_base: npt.NDArray[np.int64]
    needs_from: Index
    needs: Index  # presence groups that a presence group needs
    needed_from: Index
    needed: Index  # presence groups that need it
    # tied groups: 0 together, 1 on at most tied_hosts hosts, 2 on at least so many
    tied_from: Index
    tied: Index
    tied_kind: Index
    tied_hosts: Index
    member_from: Index
    member: Index
    # the objective: the sum over hosts and T pieces of max(0, rest + sum of pull over the servers there); a load or balance cost is a piece
    pull: Floats  # S·M x T
    rest: Floats  # H x T
    # weight x max(0, variance over the counted hosts of the sum of heat x share - floor)
    heat: Floats  # S x V
    share: Floats  # H x V, 1 / capacity; 0 where a host does not count
    variance_weight: Floats  # V
    variance_floor: Floats
    variance_hosts: Floats
    # weight x (free mod size)
    fragment_quantity: Index
    fragment_weight: Floats
    fragment_size: Ints
    fragment_counts: npt.NDArray[np.uint8]  # F x H
    use_cost: Floats  # H, of a host in use
    move_cost: Floats  # S, of a server that is not in its start place
    host_cost: Floats  # S, of a server that is not on its start host
    pair: Floats  # H x H, or 0 x 0
    group: Index  # S, -1 for none: group of which the greatest number of moved servers counts
    groups: int
    group_weight: float
    # groups that the objective speaks of, counted by domain: members too many (CROWDED: above high), domains too few or too many (SCATTERED:
    # low to high), members without any of the needed (LONELY)
    any_counted: bool
    counted_kind: Index
    counted_weight: Floats
    counted_low: Index
    counted_high: Index
    counted_division: Index
    counted_base: npt.NDArray[np.int64]
    counted_from: Index
    counted_of: Index  # groups of each server
    counted_need_from: Index
    counted_need: Index  # groups that need each server
    # pools: sets of hosts on which servers hold no more than pool_most together; what is beyond pool_safe costs
    pool_hosts: npt.NDArray[np.uint8]  # K x H
    pool_demand: Ints  # S x K
    pool_most: Ints
    pool_safe: Ints
    pool_weight: Floats
    spot_class: Index  # S
    spot_cost: Floats  # K x H, of a server of a class on a host


class _Group(NamedTuple):
    """A group that the objective speaks of."""

    kind: int
    weight: float
    low: int
    high: int
    domain: Index
    members: Index
    needed: Index


@dataclass
class _Terms:
    """The objective under construction."""

    compiled: Compiled
    quantities: list[str]
    demand: list[Ints]
    room: list[Ints]
    pieces: list[tuple[int, float, Ints]] = field(default_factory=list)
    balances: list[tuple[int, int, int, float, Ints, Ints]] = field(default_factory=list)
    variances: list[tuple[int, float, float, Floats, float]] = field(default_factory=list)
    fragments: list[tuple[int, float, int, npt.NDArray[np.uint8]]] = field(default_factory=list)
    spots: list[tuple[Index, Floats]] = field(default_factory=list)
    counted: list[_Group] = field(default_factory=list)
    pools: list[tuple[npt.NDArray[np.bool_], Ints, int, int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        servers, hosts = len(self.compiled.arrays.start), len(self.compiled.arrays.room)
        self.use_cost, self.move_cost, self.host_cost = np.zeros(hosts), np.zeros(servers), np.zeros(servers)
        self.pair: Floats = np.zeros((0, 0))
        self.group, self.groups, self.group_weight = np.full(servers, -1, dtype=np.int32), 0, 0.0

    def quantity(self, name: str, demand: Callable[[], Ints]) -> int:
        """The number of a quantity; one that no rule speaks of is added, with room without end."""
        if name not in self.quantities:
            self.quantities.append(name)
            self.demand.append(np.repeat(demand(), self.compiled.arrays.modes))
            self.room.append(np.full(len(self.use_cost), ENDLESS))
        return self.quantities.index(name)

    def resource(self, name: str) -> int:
        """The number of the quantity of a resource class."""
        servers = self.compiled.problem.cluster.servers
        return self.quantity(name, lambda: np.array([server.resources.get(name, 0) for server in servers], dtype=np.int64))

    def released(self, number: int) -> int:
        """The number of a quantity as it is when servers that move keep nothing any more."""
        if not self.compiled.arrays.kept[number]:
            return number
        name = f"{self.quantities[number]} released"
        if name not in self.quantities:
            self.quantities.append(name)
            self.demand.append(self.demand[number])
            self.room.append(self.room[number])
        return self.quantities.index(name)

    def capacity(self, name: str) -> Ints:
        """The capacity of each host (H) of a resource class."""
        hosts = self.compiled.problem.cluster.hosts
        return np.array([host.inventory[name].capacity if name in host.inventory else 0 for host in hosts], dtype=np.int64)


def pack(compiled: Compiled, levels: Sequence[Level] | None = None) -> Packed:
    """Pack a problem, with its own levels or with others."""
    arrays = compiled.arrays
    terms = _Terms(compiled, list(arrays.quantities), list(arrays.demand.T), list(arrays.room.T))
    factor = 1.0
    for level in compiled.problem.levels if levels is None else levels:
        for term in level:
            PACKINGS[type(term.objective)](terms, factor * term.weight, term.objective)
        factor *= NEXT_LEVEL
    servers, hosts = len(arrays.start), len(arrays.room)
    groups = [group for group in arrays.apart if len(group.members) > 1 or group.held.any()]
    held = any(group.held.any() for group in groups)
    counted = terms.counted
    divisions, division = _divisions([*arrays.scattered, *arrays.near, *counted], hosts)
    sizes = divisions.max(axis=1) + 1 if len(divisions) else np.zeros(0, dtype=np.int64)
    sets, needs = _presence(arrays.near)
    tied = [(0, 0, members) for members in arrays.together]
    tied += [(1 if group.together else 2, group.hosts, group.members) for group in arrays.not_worse]
    apart_from, apart = _of_each(servers, [group.members for group in groups])
    scatter_from, scatter = _of_each(servers, [group.members for group in arrays.scattered])
    present_from, present = _of_each(servers, [members for members, _ in sets])
    needs_from, needs_of = _flat(len(sets), needs)
    needed_from, needed_by = _flat(len(sets), [(b, a) for a, b in needs])
    tied_from, tied_of = _of_each(servers, [members for _, _, members in tied])
    member_from, member = _lists([members for _, _, members in tied])
    scatter_division = np.array([division[id(group.domain)] for group in arrays.scattered], dtype=np.int32)
    present_division = np.array([division[id(domain)] for _, domain in sets], dtype=np.int32)
    counted_division = np.array([division[id(group.domain)] for group in counted], dtype=np.int32)
    counted_from, counted_of = _of_each(servers, [group.members for group in counted])
    counted_need_from, counted_need = _of_each(servers, [group.needed for group in counted])
    spot_class, spot_cost = _spots(terms.spots, servers, hosts)
    eligible, server_class = pinned(compiled)
    pull, rest = _pieces(terms)
    return Packed(
        modes=arrays.modes, home_rows=0, start=arrays.start,
        demand=np.ascontiguousarray(np.stack(terms.demand, axis=1)), seats=arrays.seats.astype(np.uint8),
        room=np.ascontiguousarray(np.stack(terms.room, axis=1)),
        kept=np.pad(arrays.kept, (0, len(terms.quantities) - len(arrays.kept))).astype(np.uint8),
        any_kept=bool(arrays.kept.any()), eligible=eligible, server_class=server_class,
        movable=np.flatnonzero(arrays.movable).astype(np.int32),
        max_moves=servers + 1 if compiled.problem.max_moves is None else compiled.problem.max_moves,
        apart_from=apart_from, apart=apart, apart_limit=np.array([group.limit for group in groups], dtype=np.int32),
        apart_held=np.stack([group.held for group in groups]).astype(np.int16) if held else np.zeros((1, hosts), dtype=np.int16),
        domains=divisions, scatter_from=scatter_from, scatter=scatter, scatter_division=scatter_division,
        scatter_base=_bases(sizes, scatter_division), scatter_least=_ints(group.least for group in arrays.scattered),
        scatter_most=_ints(group.most for group in arrays.scattered),
        present_from=present_from, present=present, present_division=present_division, present_base=_bases(sizes, present_division),
        needs_from=needs_from, needs=needs_of, needed_from=needed_from, needed=needed_by,
        tied_from=tied_from, tied=tied_of, tied_kind=np.array([kind for kind, _, _ in tied], dtype=np.int32),
        tied_hosts=np.array([count for _, count, _ in tied], dtype=np.int32), member_from=member_from, member=member,
        pull=pull, rest=rest,
        heat=_columns([terms.demand[v[0]][::arrays.modes] for v in terms.variances], servers),
        share=_columns([v[3] for v in terms.variances], hosts), variance_weight=_floats(v[1] for v in terms.variances),
        variance_floor=_floats(v[2] for v in terms.variances), variance_hosts=_floats(v[4] for v in terms.variances),
        fragment_quantity=_ints(f[0] for f in terms.fragments), fragment_weight=_floats(f[1] for f in terms.fragments),
        fragment_size=np.array([f[2] for f in terms.fragments], dtype=np.int64),
        fragment_counts=np.stack([f[3] for f in terms.fragments]) if terms.fragments else np.zeros((0, hosts), dtype=np.uint8),
        use_cost=terms.use_cost, move_cost=terms.move_cost, host_cost=terms.host_cost, pair=terms.pair, group=terms.group, groups=terms.groups,
        group_weight=terms.group_weight, any_counted=bool(counted), counted_kind=_ints(group.kind for group in counted),
        counted_weight=_floats(group.weight for group in counted), counted_low=_ints(group.low for group in counted),
        counted_high=_ints(group.high for group in counted), counted_division=counted_division, counted_base=_bases(sizes, counted_division),
        counted_from=counted_from, counted_of=counted_of, counted_need_from=counted_need_from, counted_need=counted_need,
        **_pools([*((one.hosts, one.demand, one.most, one.most, 0.0) for one in arrays.pools), *terms.pools], servers, hosts),
        spot_class=spot_class, spot_cost=spot_cost)


def pinned(compiled: Compiled, parts: Mapping[int, int] | None = None) -> tuple[npt.NDArray[np.uint8], Index]:
    """Where servers may go (C x H, and the class of each): members of a group that is to stay inside one part are held to the part it is in.

    ``parts``: number of the part by number of the group, for groups of which no member is in any part yet; without it they stay where they are.
    """
    arrays = compiled.arrays
    pins: dict[int, list[tuple[int, int]]] = {}
    masks: dict[tuple[int, int], npt.NDArray[np.bool_]] = {}
    for g, group in enumerate(arrays.inside):
        part = part_of(group, arrays.home) if parts is None or g not in parts else parts[g]
        if len(group.members) == 1:
            part = len(group.parts)  # one alone may go to any of them
        key = (id(group.parts), part)
        if key not in masks:
            chosen = group.parts if part == len(group.parts) else group.parts[part:part + 1] if part >= 0 else ()
            masks[key] = np.logical_or.reduce([np.zeros(len(arrays.room), dtype=np.bool_), *chosen])
        for member in group.members.tolist():
            pins.setdefault(member, []).append(key)
    if not pins:
        return arrays.eligible.astype(np.uint8), arrays.server_class
    server_class, eligible = arrays.server_class.copy(), arrays.eligible
    number: dict[tuple[Any, ...], int] = {}
    rows: list[npt.NDArray[np.bool_]] = []
    for s, found in pins.items():
        kind = int(arrays.server_class[s])
        if (kind, *found) not in number:
            number[kind, *found] = len(eligible) + len(rows)
            rows.append(np.logical_and.reduce([eligible[kind], *(masks[key] for key in found)]))
        server_class[s] = number[kind, *found]
    return np.concatenate([eligible, np.stack(rows)]).astype(np.uint8), server_class


def part_of(group: Inside, hosts: Index) -> int:
    """The part that holds all members that are in some part, with servers on ``hosts`` (S); -1 where there is none, or nobody is in any."""
    member_in = np.array([part[hosts[group.members]] for part in group.parts])
    counted = member_in.any(axis=0)
    whole = member_in[:, counted].all(axis=1) if counted.any() else np.zeros(1, dtype=np.bool_)
    return int(whole.argmax()) if whole.any() else -1


def _pools(pools: Sequence[tuple[npt.NDArray[np.bool_], Ints, int, int, float]], servers: int, hosts: int) -> dict[str, npt.NDArray[Any]]:
    """The fields about pools, from (hosts, demand, most, safe, weight) of each."""
    return {"pool_hosts": np.stack([one[0] for one in pools]).astype(np.uint8) if pools else np.zeros((0, hosts), dtype=np.uint8),
            "pool_demand": np.ascontiguousarray(np.stack([one[1] for one in pools], axis=1)) if pools else np.zeros((servers, 0), dtype=np.int64),
            "pool_most": np.array([one[2] for one in pools], dtype=np.int64), "pool_safe": np.array([one[3] for one in pools], dtype=np.int64),
            "pool_weight": _floats(one[4] for one in pools)}


def _ints(values: Iterable[int]) -> Index:
    return np.array(list(values), dtype=np.int32)


def _floats(values: Iterable[float]) -> Floats:
    return np.array(list(values), dtype=np.float64)


def _columns(columns: Sequence[npt.NDArray[Any]], height: int) -> Floats:
    return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float64) if columns else np.zeros((height, 0))


def _pieces(terms: _Terms) -> tuple[Floats, Floats]:
    """Load and balance costs in one form: (``pull``, ``rest``)."""
    demand = [column.astype(np.float64) for column in terms.demand]
    pull = [weight * demand[q] for q, weight, _ in terms.pieces]
    rest = [-weight * safe.astype(np.float64) for _, weight, safe in terms.pieces]
    pull += [weight * (demand[b] - target * demand[a]) for a, b, target, weight, _, _ in terms.balances]
    rest += [weight * (target * room_a - room_b).astype(np.float64) for _, _, target, weight, room_a, room_b in terms.balances]
    return _columns(pull, len(demand[0])), _columns(rest, len(terms.use_cost))


def _lists(lists: list[Index]) -> tuple[Index, Index]:
    """Lists as (pointers, flat)."""
    pointers = np.zeros(len(lists) + 1, dtype=np.int32)
    pointers[1:] = np.cumsum([len(one) for one in lists])
    return pointers, np.concatenate(lists).astype(np.int32) if lists else np.zeros(0, dtype=np.int32)


def _of_each(count: int, groups: list[Index]) -> tuple[Index, Index]:
    """The groups that each of ``count`` servers is in."""
    if not groups:
        return np.zeros(count + 1, dtype=np.int32), np.zeros(0, dtype=np.int32)
    members = np.concatenate(groups)
    number = np.repeat(np.arange(len(groups), dtype=np.int32), [len(group) for group in groups])
    pointers = np.zeros(count + 1, dtype=np.int32)
    pointers[1:] = np.cumsum(np.bincount(members, minlength=count))
    return pointers, number[np.argsort(members, kind="stable")]


def _flat(count: int, pairs: list[tuple[int, int]]) -> tuple[Index, Index]:
    """For each of ``count`` items the second numbers of the pairs that begin with it."""
    first = np.array([a for a, _ in pairs], dtype=np.int32)
    pointers = np.zeros(count + 1, dtype=np.int32)
    pointers[1:] = np.cumsum(np.bincount(first, minlength=count)) if count else 0
    return pointers, np.array([b for _, b in pairs], dtype=np.int32)[np.argsort(first, kind="stable")]


def _divisions(groups: Sequence[Any], hosts: int) -> tuple[npt.NDArray[np.int32], dict[int, int]]:
    """The different divisions of the hosts into domains, and the number of each by its identity."""
    found: list[Index] = []
    number: dict[int, int] = {}
    for one in groups:
        if id(one.domain) not in number:
            number[id(one.domain)] = len(found)
            found.append(one.domain)
    return np.stack(found) if found else np.zeros((0, hosts), dtype=np.int32), number


def _presence(near: Sequence[Any]) -> tuple[list[tuple[Index, Index]], list[tuple[int, int]]]:
    """Sets of members whose presence is counted, each with its division, and the pairs (who needs, who is needed)."""
    number: dict[tuple[bytes, int], int] = {}
    sets: list[tuple[Index, Index]] = []

    def of(members: Index, domain: Index) -> int:
        key = (members.tobytes(), id(domain))
        if key not in number:
            number[key] = len(sets)
            sets.append((members, domain))
        return number[key]

    return sets, [(of(one.members, one.domain), of(one.needs, one.domain)) for one in near]


def _bases(sizes: Ints, division: Index) -> npt.NDArray[np.int64]:
    """Where the counts of each group begin in the flat array; the last entry is its length."""
    bases = np.zeros(len(division) + 1, dtype=np.int64)
    bases[1:] = np.cumsum(sizes[division]) if len(division) else 0
    return bases


def _spots(spots: list[tuple[Index, Floats]], servers: int, hosts: int) -> tuple[Index, Floats]:
    """Several tables of costs by class and host as one."""
    if not spots or not servers:
        return np.zeros(servers, dtype=np.int32), np.zeros((1, hosts))
    keys, classes = np.unique(np.stack([kind for kind, _ in spots], axis=1), axis=0, return_inverse=True)
    cost = np.stack([sum((table[k] for k, (_, table) in zip(key, spots, strict=True)), np.zeros(hosts)) for key in keys])
    return classes.reshape(-1).astype(np.int32), cost


def _load_cost(terms: _Terms, weight: float, objective: LoadCost) -> None:
    safe = np.array([objective.safety.get(host.name, ENDLESS) for host in terms.compiled.problem.cluster.hosts], dtype=np.int64)
    terms.pieces.append((terms.resource(objective.resource), weight, safe))


def _overload(terms: _Terms, weight: float, objective: Overload) -> None:
    balance = terms.compiled.balance[objective.metric]
    quantity = terms.quantity(f"load:{objective.metric}", lambda: balance.load)
    limits = map(objective.limit, terms.compiled.problem.cluster.hosts)
    safe = np.array([ENDLESS if limit is None else limit for limit in limits], dtype=np.int64)
    terms.pieces.append((quantity, weight / max(1, int(balance.capacity.sum())), safe))


def _balance_cost(terms: _Terms, weight: float, objective: BalanceCost) -> None:
    first, second = terms.resource(objective.first), terms.resource(objective.second)
    terms.balances.append((first, second, objective.target, weight, terms.capacity(objective.first), terms.capacity(objective.second)))


def _spread(terms: _Terms, weight: float, objective: Spread) -> None:
    balance = terms.compiled.balance[objective.metric]
    share = np.where(balance.counted, 1.0 / np.maximum(1, balance.capacity), 0.0)
    quantity = terms.quantity(f"load:{objective.metric}", lambda: balance.load)
    terms.variances.append((quantity, weight, objective.threshold**2, share, float(max(1, int(balance.counted.sum())))))


def _hosts_in_use(terms: _Terms, weight: float, objective: HostsInUse) -> None:
    available = terms.compiled.available
    terms.use_cost += np.where(available & ~terms.compiled.bound, weight / max(1, int(available.sum())), 0.0)


def _host_cost(terms: _Terms, weight: float, objective: HostCost) -> None:
    costs = np.array([objective.costs.get(host.name, 0.0) for host in terms.compiled.problem.cluster.hosts])
    terms.use_cost += np.where(terms.compiled.available & ~terms.compiled.bound, weight * costs, 0.0)


def _move_cost(terms: _Terms, weight: float, objective: MoveCost) -> None:
    terms.host_cost += weight * terms.compiled.move_cost


def _moves(terms: _Terms, weight: float, objective: Moves) -> None:
    terms.move_cost += weight


def _server_move_cost(terms: _Terms, weight: float, objective: ServerMoveCost) -> None:
    terms.host_cost += weight * terms.compiled.server_costs(objective)


def _host_pair_cost(terms: _Terms, weight: float, objective: HostPairCost) -> None:
    pair = weight * objective.costs.astype(np.float64)
    np.fill_diagonal(pair, 0.0)
    terms.pair = terms.pair + pair if terms.pair.size else pair


def _group_move_cost(terms: _Terms, weight: float, objective: GroupMoveCost) -> None:
    if terms.groups:
        raise PlacewrightError(f"objective {objective.name} is there twice; one grouping of the servers is counted at a time")
    number = {server.id: s for s, server in enumerate(terms.compiled.problem.cluster.servers)}
    for g, group in enumerate(objective.groups):
        terms.group[[number[m] for m in group if m in number]] = g
    terms.groups, terms.group_weight = len(objective.groups), weight


def _remaining(terms: _Terms, weight: float, objective: Remaining) -> None:
    servers, hosts = len(terms.move_cost), len(terms.use_cost)
    cost = np.zeros((1, hosts))
    cost[0, terms.compiled.host_index[objective.host]] = weight / max(1, servers)
    terms.spots.append((np.zeros(servers, dtype=np.int32), cost))


def _elsewhere(terms: _Terms, weight: float, objective: Elsewhere) -> None:
    index = terms.compiled.host_index
    cost = np.zeros((2, len(terms.use_cost)))
    cost[1] = weight / max(1, len(terms.move_cost))
    cost[1, [index[objective.source], index[objective.preferred]]] = 0.0
    terms.spots.append(((terms.compiled.arrays.home == index[objective.source]).astype(np.int32), cost))


def _broken(terms: _Terms, weight: float, objective: Broken) -> None:
    arrays = terms.compiled.arrays
    for need in terms.compiled.needs(objective):
        quantity = terms.quantity(need.quantity, lambda need=need: need.demand)  # type: ignore[misc]
        if not np.array_equal(terms.demand[quantity][::arrays.modes], need.demand):  # a rule speaks of another growth
            quantity = terms.quantity(f"{need.quantity} of {objective!r}", lambda need=need: need.demand)  # type: ignore[misc]
        terms.pieces.append((quantity, weight / need.unit, need.room))
    cost = np.zeros((2, len(arrays.room)))
    if NOT_RUNNING in terms.compiled.host_index:
        cost[1, terms.compiled.host_index[NOT_RUNNING]] = weight
    wanted = np.zeros(len(arrays.start), dtype=np.int32)
    wanted[[terms.compiled.server_index[s] for s in objective.must_run if s in terms.compiled.server_index]] = 1
    terms.spots.append((wanted, cost))


def _fragmentation(terms: _Terms, weight: float, objective: Fragmentation) -> None:
    counts = terms.compiled.available.astype(np.uint8)
    share = weight / terms.compiled.free_now(objective)
    terms.fragments += [(terms.released(quantity), share, objective.size, counts) for quantity in terms.compiled.pools(objective)]


def _misplaced(terms: _Terms, weight: float, objective: Misplaced) -> None:
    classes, broken = terms.compiled.misplaced(objective)
    terms.spots.append((classes, np.asarray(weight * broken, dtype=np.float64)))


def _crowded(terms: _Terms, weight: float, objective: Crowded) -> None:
    members = terms.compiled.members(objective.members)
    terms.counted.append(_Group(CROWDED, weight, 0, objective.max_per_host, terms.compiled.alone, members, members[:0]))


def _scattering(terms: _Terms, weight: float, objective: Scattering) -> None:
    members = terms.compiled.members(objective.members)
    most = len(members) if objective.at_most is None else objective.at_most
    if len(members):
        terms.counted.append(_Group(SCATTERED, weight, objective.at_least, most, terms.compiled.domain(objective.domains), members, members[:0]))


def _overdrawn(terms: _Terms, weight: float, objective: Overdrawn) -> None:
    hosts, demand = terms.compiled.pool(objective)
    terms.pools.append((hosts, demand, ENDLESS, objective.most, weight))


def _lonely(terms: _Terms, weight: float, objective: Lonely) -> None:
    compiled = terms.compiled
    members, needed = compiled.members(objective.members), compiled.members(objective.needs)
    terms.counted.append(_Group(LONELY, weight, 0, 0, compiled.domain(objective.domains), members, needed))


PACKINGS: Mapping[type[Objective], Callable[[_Terms, float, Any], None]] = {
    LoadCost: _load_cost, Overload: _overload, BalanceCost: _balance_cost, Spread: _spread, HostsInUse: _hosts_in_use, HostCost: _host_cost,
    MoveCost: _move_cost, Moves: _moves, ServerMoveCost: _server_move_cost, HostPairCost: _host_pair_cost, GroupMoveCost: _group_move_cost,
    Remaining: _remaining,
    Elsewhere: _elsewhere, Broken: _broken, Fragmentation: _fragmentation, Misplaced: _misplaced, Crowded: _crowded, Scattering: _scattering,
    Lonely: _lonely, Overdrawn: _overdrawn,
}
"""The one table that joins each objective with its weights for the kernels."""
