"""An immutable snapshot of a cloud: hosts, servers, and what ties them together.

Words and fields follow Nova's and Placement's API references
(https://docs.openstack.org/api-ref/compute/, https://docs.openstack.org/api-ref/placement/).
Units stand in the names: ``_mb`` is MiB, ``_gb`` is GiB, ``_s`` seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

GroupPolicy = Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]
MigrationKind = Literal["live-migration", "migration", "resize", "evacuation"]

# Read by pydantic when optimizer.snapshot validates a file: unknown keys are refused.
_STRICT: dict[str, Any] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a host offers of one resource class, as Placement stores it."""

    __pydantic_config__: ClassVar = _STRICT
    total: int
    reserved: int = 0
    allocation_ratio: float = 1.0
    max_unit: int | None = None

    @property
    def capacity(self) -> int:
        """The amount that may be allocated: (total - reserved) x ratio."""
        # Placement compares with the binary product as it is: of 100 x 1.15 = 114.99999999999999 it gives 114.
        return int((self.total - self.reserved) * self.allocation_ratio)

    @property
    def largest(self) -> int:
        """The most that one server may take (Placement's max_unit)."""
        return self.total if self.max_unit is None else self.max_unit


@dataclass(frozen=True, slots=True, kw_only=True)
class NumaNode:
    """One NUMA node of a host."""

    __pydantic_config__: ClassVar = _STRICT
    cpus: int
    memory_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """A host aggregate of Nova; one that names a zone makes its hosts members of that zone."""

    __pydantic_config__: ClassVar = _STRICT
    id: str
    name: str
    zone: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A Nova compute host: one nova-compute service with one hypervisor.

    ``name`` is the service's host name, which Nova's migration calls take; ``id`` is the UUID of the
    hypervisor, which is its root resource provider in Placement. ``held`` is what consumers outside
    this snapshot have allocated here (a resize to be confirmed, an orphaned allocation). ``forced_down``: somebody has told Nova
    that the host is down and fenced, so that its servers may be evacuated. Type and version of the hypervisor
    are Nova's; empty and 0 where they are not known.
    """

    __pydantic_config__: ClassVar = _STRICT
    id: str
    name: str
    inventory: Mapping[str, Inventory]
    held: Mapping[str, int] = field(default_factory=dict)
    zone: str = "nova"
    aggregates: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    status: Literal["enabled", "disabled"] = "enabled"
    state: Literal["up", "down"] = "up"
    forced_down: bool = False
    disabled_reason: str | None = None
    hypervisor_type: str = ""
    hypervisor_version: int = 0
    numa: tuple[NumaNode, ...] = ()

    @property
    def available(self) -> bool:
        """Whether Nova would send a server here: the service is enabled and up."""
        return self.status == "enabled" and self.state == "up"

    @property
    def physical_cores(self) -> int:
        """Host CPUs that servers can run on (VCPU + PCPU inventory, before the allocation ratio)."""
        return sum(self.inventory[name].total for name in ("VCPU", "PCPU") if name in self.inventory)

    @property
    def memory_mb(self) -> int:
        """Physical memory in MiB; 0 where the host has no MEMORY_MB inventory."""
        return self.inventory["MEMORY_MB"].total if "MEMORY_MB" in self.inventory else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """A flavor as it is embedded in a server; ``disk_gb`` is the root disk."""

    __pydantic_config__: ClassVar = _STRICT
    name: str
    vcpus: int
    memory_mb: int
    disk_gb: int = 0
    ephemeral_gb: int = 0
    swap_mb: int = 0
    extra_specs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The properties of an image that bear on placement (traits, isolation keys)."""

    __pydantic_config__: ClassVar = _STRICT
    id: str
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a server really used over the window of the cluster's Load: cores and MiB.

    ``assumed`` says that nothing was measured and the figures come from the operator's choice
    (flavor share, or idle).
    """

    __pydantic_config__: ClassVar = _STRICT
    cpu_cores: float
    memory_mb: float
    assumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A reason why a server cannot be moved: a short kind and a sentence for the operator."""

    __pydantic_config__: ClassVar = _STRICT
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server (Nova's word for a VM).

    ``resources`` is what it holds in Placement on its host, by resource class. ``flavor`` and ``image``
    are keys of the cluster's ``flavors`` and ``images``. ``obstacles`` holds only what no other field
    shows (a PCI device on a port); optimizer.movability adds what follows from the rest. ``numa`` names the NUMA nodes of its
    host that it is on, where that is known.
    """

    __pydantic_config__: ClassVar = _STRICT
    id: str
    name: str
    host: str
    flavor: str
    resources: Mapping[str, int]
    project: str = ""
    status: str = "ACTIVE"
    task_state: str | None = None
    locked: bool = False
    pinned_zone: str | None = None
    image: str | None = None
    boot_from_volume: bool = False
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    obstacles: tuple[Obstacle, ...] = ()
    usage: Usage | None = None
    numa: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerGroup:
    """A server group; ``rules`` may hold max_server_per_host (anti-affinity only, API 2.64)."""

    __pydantic_config__: ClassVar = _STRICT
    id: str
    name: str
    policy: GroupPolicy
    members: tuple[str, ...]
    project: str = ""
    rules: Mapping[str, int] = field(default_factory=dict)

    @property
    def max_server_per_host(self) -> int:
        """Members one host may carry under an anti-affinity policy."""
        return self.rules.get("max_server_per_host", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A migration that Nova reports as in progress.

    ``resources`` is what it holds on the side where the server is not (``other_side``), so that
    server and migration together hold both hosts.
    """

    __pydantic_config__: ClassVar = _STRICT
    id: str
    server: str
    source: str
    destination: str | None
    kind: MigrationKind
    status: str
    resources: Mapping[str, int] = field(default_factory=dict)

    def other_side(self, server_host: str) -> str | None:
        """The host this migration holds besides the one the server is on."""
        return self.source if server_host == self.destination else self.destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Where the servers' Usage comes from: source, window in seconds, statistic, and who had no measures."""

    __pydantic_config__: ClassVar = _STRICT
    source: str
    window_s: int
    statistic: str
    missing: tuple[str, ...] = ()
    missing_means: Literal["fail", "flavor", "idle"] = "fail"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One consistent view of a cloud at one moment (``taken_at``, ISO 8601, UTC).

    ``notes`` are sentences for the operator about what the reader could not know or had to assume.
    """

    __pydantic_config__: ClassVar = _STRICT
    name: str
    taken_at: str
    hosts: tuple[Host, ...]
    servers: tuple[Server, ...] = ()
    flavors: Mapping[str, Flavor] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    aggregates: tuple[Aggregate, ...] = ()
    groups: tuple[ServerGroup, ...] = ()
    migrations: tuple[Migration, ...] = ()
    load: Load | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def host_by_name(self) -> Mapping[str, Host]:
        """Hosts by their service host name."""
        return {host.name: host for host in self.hosts}

    @cached_property
    def server_by_id(self) -> Mapping[str, Server]:
        """Servers by UUID."""
        return {server.id: server for server in self.servers}

    @cached_property
    def aggregate_by_id(self) -> Mapping[str, Aggregate]:
        """Aggregates by id."""
        return {aggregate.id: aggregate for aggregate in self.aggregates}

    @cached_property
    def migration_of(self) -> Mapping[str, Migration]:
        """The in-progress migration of a server, by server UUID."""
        return {migration.server: migration for migration in self.migrations}

    @cached_property
    def held_by_others(self) -> Mapping[str, Mapping[str, int]]:
        """Host name -> resource class -> what other consumers and the other sides of migrations hold there; every host has an entry."""
        held = {host.name: dict(host.held) for host in self.hosts}
        for migration in self.migrations:
            server = self.server_by_id.get(migration.server)
            side = migration.other_side(server.host) if server else None
            if side is not None and side in held:
                for name, amount in migration.resources.items():
                    held[side][name] = held[side].get(name, 0) + amount
        return held

    @cached_property
    def servers_on(self) -> Mapping[str, tuple[Server, ...]]:
        """Servers by the name of their host; every host has an entry."""
        found: dict[str, list[Server]] = {host.name: [] for host in self.hosts}
        for server in self.servers:
            found[server.host].append(server)
        return {name: tuple(servers) for name, servers in found.items()}

    def flavor_of(self, server: Server) -> Flavor:
        """The flavor the server was built or last resized with."""
        return self.flavors[server.flavor]

    def with_servers(self, servers: tuple[Server, ...]) -> "Cluster":
        """The same cluster with other servers."""
        return replace(self, servers=servers)
