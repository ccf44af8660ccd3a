"""From what Nova and Placement said to the hosts, servers and migrations of a snapshot. Pure: no requests here.

Every allocation is counted exactly once: for the server that stands on the host, for the migration that
holds the other side, or in ``Host.held``.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from datasources.nova import HostAggregate, Hypervisor, SeenMigration, SeenServer, Services
from datasources.placement import Holdings, Provider
from optimizer.cluster import Aggregate, Flavor, Host, Image, Inventory, Migration, Obstacle, Server, ServerGroup

_PLAIN = frozenset({"VCPU", "PCPU", "MEMORY_MB", "DISK_GB"})
_DEVICES = ("CUSTOM_PCI_", "PCI_DEVICE", "SRIOV_NET_VF", "VGPU", "PGPU", "FPGA")
_UNDER_WAY = ("migrating", "resize_")
_EXAMPLES = 3

Amounts = dict[str, int]
Content = TypeVar("Content", Flavor, Image)


@dataclass(frozen=True)
class Facts:
    """Everything one pass over the cloud has seen; two equal ones mean that nothing changed in between."""

    services: Services
    hypervisors: Mapping[str, Hypervisor]
    aggregates: tuple[HostAggregate, ...]
    groups: tuple[ServerGroup, ...]
    servers: Mapping[str, SeenServer]
    migrations: Mapping[str, SeenMigration]
    providers: Mapping[str, Provider]
    holdings: Mapping[str, Holdings]


@dataclass(frozen=True)
class Picture:
    """The parts of a cluster that follow from Facts.

    ``odd`` names servers whose allocations do not fit where Nova says they are, with the hosts concerned:
    seen for an instant while something moves, or for good where an allocation is broken. ``misfits`` are those
    of them that hold nothing where they are, or something where they are not.
    """

    hosts: tuple[Host, ...]
    servers: tuple[Server, ...]
    flavors: Mapping[str, Flavor]
    images: Mapping[str, Image]
    aggregates: tuple[Aggregate, ...]
    groups: tuple[ServerGroup, ...]
    migrations: tuple[Migration, ...]
    notes: tuple[str, ...]
    odd: Mapping[str, frozenset[str]]
    misfits: frozenset[str]


def unsettled(before: Facts, seen_before: Picture, now: Facts, seen_now: Picture) -> list[str]:
    """The odd servers that were not exactly as odd one pass ago.

    Their hosts are read again in each pass; what then shows the same is no race but the state of the cloud.
    """
    return sorted(
        server
        for server, hosts in seen_now.odd.items()
        if seen_before.odd.get(server) != hosts
        or before.servers.get(server) != now.servers.get(server)
        or before.migrations.get(server) != now.migrations.get(server)
    )


def compute_hosts(hypervisors: Mapping[str, Hypervisor]) -> tuple[dict[str, Hypervisor], tuple[str, ...]]:
    """Return the one hypervisor of each service host, and notes on those that are left out."""
    usable = [one for one in hypervisors.values() if one.kind.lower() != "ironic"]
    nodes = Counter(one.host for one in usable)
    notes = []
    if ironic := len(hypervisors) - len(usable):
        notes.append(f"{ironic} bare-metal node(s) of Ironic are left out: their servers cannot be migrated.")
    if several := sorted(host for host, count in nodes.items() if count > 1):
        notes.append(
            f"{len(several)} compute service(s) with more than one hypervisor are left out ({_some(several)}): "
            "a migration could not say which one is meant."
        )
    return {one.host: one for one in usable if nodes[one.host] == 1}, tuple(notes)


def assemble(
    facts: Facts,
    *,
    zones_are_pins: bool,
    flavors: Mapping[str, Flavor] | None = None,
    images: Mapping[str, Image] | None = None,
    away: Iterable[Server] = (),
) -> Picture:
    """Make the hosts, servers and migrations of a snapshot.

    ``zones_are_pins`` takes every server as pinned to the zone of its host, for a Nova that does not tell
    (below 2.96). ``flavors`` and ``images`` are the names given in an earlier snapshot, which stay.
    ``away`` are servers on hosts outside these facts: their migrations may hold something inside.
    """
    computes, notes = compute_hosts(facts.hypervisors)
    placed, more_notes = _placed(facts.servers, computes)
    shares = _Shares(facts, computes, placed, away)
    hosts = tuple(_host(name, facts, computes[name], shares.held.get(name, {})) for name in sorted(computes))
    zone_of = {host.name: host.zone for host in hosts}
    flavor_keys, flavors = _keys([(seen.flavor.name, seen.flavor) for seen in placed], flavors or {})
    image_keys, images = _keys([(seen.image.id, seen.image) for seen in placed if seen.image], images or {})
    servers = tuple(
        replace(
            seen.server,
            flavor=flavor_keys[id(seen.flavor)],
            image=image_keys[id(seen.image)] if seen.image else None,
            resources=shares.own.get(seen.server.id, {}),
            obstacles=tuple(shares.obstacles.get(seen.server.id, ())),
            pinned_zone=zone_of[seen.server.host] if zones_are_pins else seen.server.pinned_zone,
        )
        for seen in placed
    )
    known = {server.id for server in servers}
    groups = (replace(one, members=tuple(member for member in one.members if member in known)) for one in facts.groups)
    return Picture(
        hosts=hosts,
        servers=servers,
        flavors=flavors,
        images=images,
        aggregates=tuple(one.aggregate for one in facts.aggregates),
        groups=tuple(sorted(groups, key=lambda one: one.id)),
        migrations=tuple(shares.migrations),
        notes=(*notes, *more_notes, *shares.notes),
        odd=shares.odd,
        misfits=frozenset(shares.bare | shares.elsewhere),
    )


def _placed(
    servers: Mapping[str, SeenServer], computes: Mapping[str, Hypervisor]
) -> tuple[list[SeenServer], list[str]]:
    placed, nowhere, silent, homeless = [], Counter[str](), 0, defaultdict[str, int](int)
    volumes = 0
    for _, one in sorted(servers.items()):
        if one.deleted:
            continue
        if one.server.status == "UNKNOWN" and one.host is None:
            silent += 1
        elif one.host is None:
            nowhere[one.server.status] += 1
        elif one.host not in computes:
            homeless[one.host] += 1
        else:
            placed.append(one)
            volumes += one.server.boot_from_volume
    notes = []
    if nowhere:
        parts = ", ".join(f"{count} {status}" for status, count in sorted(nowhere.items()))
        notes.append(f"{nowhere.total()} server(s) are on no host and not in the snapshot: {parts}.")
    if silent:
        notes.append(f"{silent} server(s) are in a cell that does not answer and are not in the snapshot.")
    if homeless:
        notes.append(
            f"{sum(homeless.values())} server(s) are on a host without a usable hypervisor and not in the snapshot; "
            f"hosts: {_some(sorted(homeless))}."
        )
    if volumes:
        notes.append(
            f"{volumes} server(s) boot from a volume: Nova does not tell the properties of their images, "
            "so traits and isolation properties of those images are unknown."
        )
    return placed, notes


class _Shares:
    """Who holds what: walks the allocations once and deals each out to a server, a migration or ``held``."""

    def __init__(
        self,
        facts: Facts,
        computes: Mapping[str, Hypervisor],
        placed: Iterable[SeenServer],
        away: Iterable[Server],
    ) -> None:
        self.own: dict[str, Amounts] = {}
        self.held: dict[str, Amounts] = {}
        self.obstacles: dict[str, list[Obstacle]] = defaultdict(list)
        self.migrations: list[Migration] = []
        self.notes: list[str] = []
        self.odd: dict[str, frozenset[str]] = {}
        self._host_of_root = {hypervisor.id: name for name, hypervisor in computes.items()}
        self.bare: set[str] = set()
        self.elsewhere: set[str] = set()
        self._parts: dict[str, dict[str, Amounts]] = defaultdict(dict)
        self._lost = {name for name, service in facts.services.by_host.items() if service.forced_down}
        self._collect(facts)
        leftovers = []
        for server in away:
            self._deal(server, facts.migrations[server.id])
        for seen in placed:
            server, record = seen.server, facts.migrations.get(seen.server.id)
            if record is not None and not self._going_on(server, record):
                leftovers.append(record.migration.id)
                record = None
            self._deal(server, record)
        for consumer, seen in facts.servers.items():
            if seen.deleted and consumer in self._parts:
                self.odd[consumer] = frozenset(self._parts[consumer])
        for parts in self._parts.values():
            for host, amounts in parts.items():
                _add(self.held.setdefault(host, {}), amounts)
        if leftovers:
            self.notes.append(
                f"{len(leftovers)} migration record(s) never ended though nothing is going on or held "
                f"and are ignored: {_some(leftovers)}."
            )
        self._tell()

    def _collect(self, facts: Facts) -> None:
        strangers = []
        for uuid, holdings in facts.holdings.items():
            provider = facts.providers[uuid]
            host = self._host_of_root.get(provider.root)
            if host is None and "MISC_SHARES_VIA_AGGREGATE" not in holdings.traits:
                if holdings.allocations and not provider.nested:
                    strangers.append(provider.name)
                continue
            for consumer, amounts in holdings.allocations.items():
                for name, amount in amounts.items():
                    if host is not None and (uuid == provider.root or name in _PLAIN):
                        part = self._parts[consumer].setdefault(host, {})
                        part[name] = part.get(name, 0) + amount
                    else:
                        kind = "pci" if name.startswith(_DEVICES) else "nested"
                        text = f"holds {amount} {name} of resource provider {provider.name}, apart from its host"
                        self.obstacles[consumer].append(Obstacle(kind=kind, text=text))
        if strangers:
            self.notes.append(
                f"{len(strangers)} resource provider(s) with allocations belong to no hypervisor and are ignored: "
                f"{_some(sorted(strangers))}."
            )

    def _going_on(self, server: Server, record: SeenMigration) -> bool:
        elsewhere = self._parts.get(server.id, {}).keys() - {server.host}
        return bool(
            server.task_state or server.status == "VERIFY_RESIZE" or elsewhere or self._parts.get(record.uuid or "")
        )

    def _deal(self, server: Server, record: SeenMigration | None) -> None:
        # What an evacuated server still holds on its old host goes when that comes back.
        mine = {host: amounts for host, amounts in self._parts.pop(server.id, {}).items() if host == server.host or host not in self._lost}
        theirs = self._parts.pop(record.uuid or "", {}) if record else {}
        places = frozenset(mine) | frozenset(theirs) | {server.host}
        # While a server is under way its share of the source is held by the migration's UUID.
        own = mine.pop(server.host, None) or theirs.pop(server.host, None)
        if own is not None:
            self.own[server.id] = own
        if record is not None:
            migration = _with_destination(record.migration, mine)
            other = migration.other_side(server.host)
            held: Amounts = {}
            for parts in (mine, theirs):
                _add(held, parts.pop(other, {}) if other else {})
            self.migrations.append(replace(migration, resources=held))
        for parts in (mine, theirs):
            for host, amounts in parts.items():
                _add(self.held.setdefault(host, {}), amounts)
        # A resize being reverted may hold nothing where the server still is; its migration record says so.
        bare = own is None and record is None
        if mine:
            self.elsewhere.add(server.id)
        # The states of migrations are read one by one: a record that advances meanwhile may have been missed.
        under_way = server.status == "VERIFY_RESIZE" or (server.task_state or "").startswith(_UNDER_WAY)
        if bare or mine or (under_way and record is None):
            self.odd[server.id] = places
        if bare:
            text = "holds nothing in Placement on its host; `nova-manage placement heal_allocations` mends that"
            self.obstacles[server.id].append(Obstacle(kind="allocation", text=text))
            self.bare.add(server.id)

    def _tell(self) -> None:
        bare = sorted(self.bare)
        if bare:
            self.notes.append(
                f"{len(bare)} server(s) hold nothing in Placement on their host and stay where they are: {_some(bare)}."
            )
        double = sorted(self.elsewhere)
        if double:
            self.notes.append(
                f"{len(double)} server(s) also hold resources on a host they are not on, and no migration explains it: "
                f"{_some(double)}. What they hold there counts as taken."
            )


def _with_destination(migration: Migration, parts: Mapping[str, Amounts]) -> Migration:
    """Placement knows the destination that the scheduler chose before Nova's record names it."""
    elsewhere = [host for host in parts if host != migration.source]
    if migration.destination is None and len(elsewhere) == 1:
        return replace(migration, destination=elsewhere[0])
    return migration


def _add(total: Amounts, amounts: Mapping[str, int]) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, 0) + amount


def _host(name: str, facts: Facts, hypervisor: Hypervisor, held: Amounts) -> Host:
    service = facts.services.by_host.get(name)
    root = facts.holdings.get(hypervisor.id)
    nested = [
        holdings.inventory
        for uuid, holdings in facts.holdings.items()
        if uuid != hypervisor.id and facts.providers[uuid].root == hypervisor.id
    ]
    return Host(
        id=hypervisor.id,
        name=name,
        inventory=_inventory(root.inventory if root else {}, nested),
        held=held,
        zone=service.zone if service else "nova",
        aggregates=tuple(one.aggregate.id for one in facts.aggregates if name in one.hosts),
        traits=root.traits if root else (),
        status="enabled" if service and service.enabled else "disabled",
        state="up" if service and service.up else "down",
        forced_down=service is not None and service.forced_down,
        disabled_reason=service.disabled_reason if service else "it has no nova-compute service",
        hypervisor_type=hypervisor.kind,
        hypervisor_version=hypervisor.version,
    )


def _inventory(root: Mapping[str, Inventory], nested: Iterable[Mapping[str, Inventory]]) -> dict[str, Inventory]:
    """The host's own inventory, with the CPU and memory of nested (NUMA) providers added to it."""
    parts: dict[str, list[Inventory]] = {name: [one] for name, one in root.items()}
    for inventory in nested:
        for name in _PLAIN & inventory.keys():
            parts.setdefault(name, []).append(inventory[name])
    return {name: found[0] if len(found) == 1 else _sum(found) for name, found in parts.items()}


def _sum(parts: list[Inventory]) -> Inventory:
    return Inventory(
        total=sum(one.total for one in parts),
        reserved=sum(one.reserved for one in parts),
        # The smallest ratio: no node may be given more than it has.
        allocation_ratio=min(one.allocation_ratio for one in parts),
        max_unit=max(one.largest for one in parts),
    )


def _keys(
    named: Iterable[tuple[str, Content]], given: Mapping[str, Content]
) -> tuple[dict[int, str], dict[str, Content]]:
    """Give each different content a key of its own: its name, then ``name#2`` and so on.

    Returns the key by object identity, and the contents by key.
    """
    by_key = dict(given)
    key_of = {_text(content): key for key, content in given.items()}
    unique = {id(content): (name, content) for name, content in named}
    texts = {identity: _text(content) for identity, (_, content) in unique.items()}
    for identity, (name, content) in sorted(unique.items(), key=lambda one: (one[1][0], texts[one[0]])):
        text = texts[identity]
        if text not in key_of:
            number, key = 1, name
            while key in by_key:
                number += 1
                key = f"{name}#{number}"
            key_of[text] = key
            by_key[key] = content
    return {identity: key_of[text] for identity, text in texts.items()}, by_key


def _text(content: Flavor | Image) -> str:
    return json.dumps(asdict(content), sort_keys=True)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return ", ".join(names[:_EXAMPLES]) + more
