"""An OpenStack made of numbers: a generated cloud that can change, and says at any time what a reader should find.

benchmarks.synthetic_http serves it over the APIs of Keystone, Nova, Placement, Glance and Gnocchi.
"""

import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from optimizer.cluster import Aggregate, Cluster, Flavor, Host, Image, Inventory, Migration, Server, ServerGroup

FLAVORS = {
    "small": Flavor(name="small", vcpus=1, memory_mb=2048, disk_gb=10),
    "medium": Flavor(name="medium", vcpus=2, memory_mb=4096, disk_gb=20),
    "large": Flavor(name="large", vcpus=4, memory_mb=16384, disk_gb=40, extra_specs={"trait:CUSTOM_SSD": "required"}),
    # Made anew under a name that older servers still carry with other contents.
    "small#2": Flavor(name="small", vcpus=1, memory_mb=4096, disk_gb=10, swap_mb=512),
}
IMAGES = {
    "11111111-0000-4000-8000-000000000001": {"os_distro": "debian", "hw_disk_bus": "virtio"},
    "11111111-0000-4000-8000-000000000002": {"trait:CUSTOM_SSD": "required"},
}
ZONES = ("az1", "az2", "az3")
TRAITS = ("COMPUTE_NODE", "HW_CPU_X86_AVX2")


@dataclass
class Guest:
    """A server of the synthetic cloud, with what it holds on its host."""

    id: str
    name: str
    host: str | None
    flavor: str
    image: str | None
    project: str
    resources: Mapping[str, int]
    status: str = "ACTIVE"
    task_state: str | None = None
    locked: bool = False
    pinned_zone: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    updated: float = 0.0
    deleted: bool = False


@dataclass
class Transfer:
    """A migration record; ``resources`` is what it holds on the side where the server is not."""

    number: int
    uuid: str
    server: str
    source: str
    destination: str | None
    kind: str
    status: str
    resources: Mapping[str, int]
    created: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000000"))


@dataclass
class Node:
    """A compute host with its service and its root resource provider."""

    id: str
    name: str
    inventory: Mapping[str, Inventory]
    zone: str
    aggregates: tuple[str, ...]
    traits: tuple[str, ...]
    enabled: bool = True
    up: bool = True
    forced_down: bool = False
    disabled_reason: str | None = None
    kind: str = "QEMU"
    version: int = 8002000


@dataclass
class ProviderState:
    """A resource provider: ``root`` is its own id unless it is nested."""

    id: str
    name: str
    root: str
    inventory: Mapping[str, Inventory]
    traits: tuple[str, ...] = ()
    allocations: dict[str, dict[str, int]] = field(default_factory=dict)
    generation: int = 1


class SyntheticCloud:
    """A cloud of ``hosts`` and ``servers``; every change keeps Nova's and Placement's sides in step.

    ``lock`` is held while a request is answered, so a change is never seen half done.
    """

    def __init__(self, hosts: int, servers: int, *, seed: int = 0) -> None:
        self.lock = threading.RLock()
        self._random = random.Random(seed)
        self._now = time.time() - 3600.0
        self.aggregates = [Aggregate(id=str(n), name=z, zone=z) for n, z in enumerate(ZONES, 1)]
        self.aggregates.append(Aggregate(id="9", name="fast", metadata={"ssd": "true"}))
        self.nodes = {node.name: node for node in map(self._node, range(hosts))}
        self.providers = {
            node.id: ProviderState(node.id, node.name, node.id, node.inventory, node.traits)
            for node in self.nodes.values()
        }
        self.guests: dict[str, Guest] = {}
        self.groups: list[ServerGroup] = []
        self.transfers: dict[str, Transfer] = {}
        self.held: dict[str, dict[str, int]] = defaultdict(dict)
        self.measures: dict[str, dict[str, list[list[object]]]] = {}
        for number in range(servers):
            self.boot(list(self.nodes)[number % hosts], number=number)
        self._make_groups()
        self._now = 0.0

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _node(self, number: int) -> Node:
        fast = number % 4 == 0
        zone = ZONES[number % len(ZONES)]
        return Node(
            id=self._uuid(),
            name=f"host-{number:04}",
            inventory={
                "VCPU": Inventory(total=64, reserved=2, allocation_ratio=4.0, max_unit=64),
                "MEMORY_MB": Inventory(total=524288, reserved=4096, allocation_ratio=1.0, max_unit=524288),
                "DISK_GB": Inventory(total=8000, reserved=0, allocation_ratio=1.5, max_unit=8000),
            },
            zone=zone,
            aggregates=(str(ZONES.index(zone) + 1), *(("9",) if fast else ())),
            traits=tuple(sorted((*TRAITS, *(("CUSTOM_SSD",) if fast else ())))),
            enabled=number % 50 != 49,
            disabled_reason="maintenance" if number % 50 == 49 else None,
        )

    def _make_groups(self) -> None:
        members = [one.id for one in self.guests.values()]
        for number in range(len(members) // 40):
            apart = number % 2 == 0
            self.groups.append(
                ServerGroup(
                    id=self._uuid(),
                    name=f"group-{number}",
                    policy="anti-affinity" if apart else "soft-affinity",
                    members=tuple(members[number * 3 : number * 3 + 3]),
                    project="p1",
                    rules={"max_server_per_host": 2} if apart and number % 4 == 0 else {},
                )
            )

    # ---- what happens in the cloud

    def boot(self, host: str | None, *, flavor: str | None = None, number: int | None = None) -> str:
        """A new server on a host; returns its UUID."""
        with self.lock:
            number = len(self.guests) if number is None else number
            flavor = flavor or list(FLAVORS)[number % len(FLAVORS)]
            images = [*IMAGES, None]
            one = Guest(
                id=self._uuid(),
                name=f"server-{number}",
                host=host,
                flavor=flavor,
                image=images[number % len(images)],
                project=f"p{number % 7}",
                resources=share(flavor),
                locked=number % 100 == 99,
                pinned_zone=self.nodes[host].zone if host and number % 3 == 0 else None,
                tags=("web",) if number % 10 == 0 else (),
                metadata={"role": "db"} if number % 10 == 1 else {},
                updated=self._now or time.time(),
            )
            self.guests[one.id] = one
            if host:
                self.allocate(one.id, host, one.resources)
            return one.id

    def delete(self, server: str) -> None:
        """A server goes; as in Nova, its allocation is deleted without a new generation of its provider."""
        with self.lock:
            one = self.guests[server]
            one.deleted, one.status, one.updated = True, "DELETED", time.time()
            for provider in self.providers.values():
                provider.allocations.pop(server, None)
            one.host = None

    def move(self, server: str, host: str) -> None:
        """A server is on another host from one moment to the next."""
        with self.lock:
            one = self.guests[server]
            if one.host is not None:
                self.free(one.id, one.host)
            self.allocate(one.id, host, one.resources)
            one.host, one.updated = host, time.time()

    def start_transfer(self, server: str, host: str, kind: str = "live-migration", flavor: str | None = None) -> None:
        """A migration begins: its UUID takes over the source, the server's own allocation is the destination."""
        with self.lock:
            one = self.guests[server]
            assert one.host is not None
            number, wanted = len(self.transfers) + 1, share(flavor or one.flavor)
            record = Transfer(number, self._uuid(), server, one.host, host, kind, "running", wanted)
            self.transfers[server] = record
            self.free(server, one.host)
            self.allocate(record.uuid, one.host, one.resources)
            self.allocate(server, host, record.resources)
            one.task_state, one.updated = "migrating", time.time()
            if kind == "resize":
                one.status, one.task_state, record.status = "VERIFY_RESIZE", None, "finished"
                one.flavor = flavor or one.flavor
                one.resources, record.resources, one.host = record.resources, one.resources, host

    def end_transfer(self, server: str) -> None:
        """A live migration arrives, a resize is confirmed."""
        with self.lock:
            one, record = self.guests[server], self.transfers[server]
            self.free(record.uuid, record.source)
            record.status = "completed"
            one.host, one.status, one.task_state, one.updated = record.destination, "ACTIVE", None, time.time()

    def hold(self, consumer: str, host: str, resources: Mapping[str, int]) -> None:
        """Somebody unknown holds something on a host."""
        with self.lock:
            self.allocate(consumer, host, resources)
            for name, amount in resources.items():
                self.held[host][name] = self.held[host].get(name, 0) + amount

    def attach(
        self, root: str | None, name: str, held: Mapping[str, int], consumer: str, traits: tuple[str, ...] = ()
    ) -> None:
        """A further provider, nested below ``root`` or on its own, of which a consumer holds something."""
        with self.lock:
            one = self._uuid()
            totals = {name: max(10, amount) for name, amount in held.items()}
            inventory = {name: Inventory(total=total, max_unit=total) for name, total in totals.items()}
            self.providers[one] = ProviderState(one, name, root or one, inventory, traits, {consumer: dict(held)})

    def allocate(self, consumer: str, host: str, resources: Mapping[str, int]) -> None:
        """Placement's side alone: a consumer gets something of a host."""
        provider = self.providers[self.nodes[host].id]
        provider.allocations[consumer] = dict(resources)
        provider.generation += 1

    def free(self, consumer: str, host: str) -> None:
        """Placement's side alone: a consumer has nothing more of a host."""
        provider = self.providers[self.nodes[host].id]
        provider.allocations.pop(consumer, None)
        provider.generation += 1

    # ---- what a reader should find

    def cluster(self) -> Cluster:
        """The cloud as it is now, made without any of the product's readers; notes and time are left empty."""
        with self.lock:
            placed = [one for one in self.guests.values() if one.host is not None and not one.deleted]
            going_on = [one for one in self.transfers.values() if one.status in ("running", "finished")]
            known = {one.id for one in placed}
            return Cluster(
                name="",
                taken_at="",
                hosts=tuple(map(self._host, sorted(self.nodes.values(), key=lambda node: node.name))),
                servers=tuple(map(_server, sorted(placed, key=lambda one: one.id))),
                flavors={one.flavor: FLAVORS[one.flavor] for one in placed},
                images={one.image: Image(id=one.image, properties=IMAGES[one.image]) for one in placed if one.image},
                aggregates=tuple(self.aggregates),
                groups=tuple(
                    replace(one, members=tuple(member for member in one.members if member in known))
                    for one in sorted(self.groups, key=lambda group: group.id)
                ),
                migrations=tuple(map(_migration, sorted(going_on, key=lambda one: one.server))),
            )

    def _host(self, node: Node) -> Host:
        return Host(
            id=node.id,
            name=node.name,
            inventory=node.inventory,
            held=dict(self.held.get(node.name, {})),
            zone=node.zone,
            aggregates=node.aggregates,
            traits=node.traits,
            status="enabled" if node.enabled else "disabled",
            state="up" if node.up else "down",
            forced_down=node.forced_down,
            disabled_reason=node.disabled_reason,
            hypervisor_type=node.kind,
            hypervisor_version=node.version,
        )


def share(flavor: str) -> dict[str, int]:
    """What Nova allocates for a flavor."""
    one = FLAVORS[flavor]
    return {"VCPU": one.vcpus, "MEMORY_MB": one.memory_mb, "DISK_GB": one.disk_gb + -(-one.swap_mb // 1024)}


def _server(one: Guest) -> Server:
    return Server(
        id=one.id,
        name=one.name,
        host=one.host or "",
        flavor=one.flavor,
        resources=one.resources,
        project=one.project,
        status=one.status,
        task_state=one.task_state,
        locked=one.locked,
        pinned_zone=one.pinned_zone,
        image=one.image,
        boot_from_volume=one.image is None,
        tags=one.tags,
        metadata=one.metadata,
    )


def _migration(one: Transfer) -> Migration:
    return Migration(
        id=str(one.number),
        server=one.server,
        source=one.source,
        destination=one.destination,
        kind=one.kind,  # type: ignore[arg-type]
        status=one.status,
        resources=one.resources,
    )
