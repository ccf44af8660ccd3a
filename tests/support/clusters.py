"""Clusters for tests: builders for small ones by hand, and hypothesis strategies for random ones.

By hand: ``make_cluster([make_host("a"), make_host("b")], [make_server("s1", "a")])``. A host has 8 VCPU, 16384 MiB and 100 GB
unless told otherwise; a server takes 1 VCPU, 1024 MiB and 10 GB.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from optimizer.cluster import (
    Aggregate,
    Cluster,
    Flavor,
    Host,
    Image,
    Inventory,
    Load,
    Migration,
    Obstacle,
    Server,
    ServerGroup,
    Usage,
)
from optimizer.placement import Placement, placement_of

MEDIUM = Flavor(name="medium", vcpus=1, memory_mb=1024, disk_gb=10)
LOAD = Load(source="test", window_s=3600, statistic="mean")


def make_host(name: str, *, vcpus: int = 8, memory_mb: int = 16384, disk_gb: int = 100, ratio: float = 1.0,
              inventory: Mapping[str, Inventory] | None = None, **fields: Any) -> Host:
    """A host; ``inventory`` adds to or replaces classes, ``ratio`` is the allocation ratio of VCPU."""
    classes = {"VCPU": Inventory(total=vcpus, allocation_ratio=ratio), "MEMORY_MB": Inventory(total=memory_mb),
               "DISK_GB": Inventory(total=disk_gb)}
    return Host(id=f"id-{name}", name=name, inventory={**classes, **(inventory or {})}, **fields)


def make_server(name: str, host: str, *, vcpus: int = 1, memory_mb: int = 1024, cpu_cores: float | None = None,
                used_mb: float = 512, resources: Mapping[str, int] | None = None, **fields: Any) -> Server:
    """A server whose id is its name; ``resources`` adds to or replaces classes, ``cpu_cores`` gives it a usage."""
    usage = None if cpu_cores is None else Usage(cpu_cores=cpu_cores, memory_mb=used_mb)
    classes = {"VCPU": vcpus, "MEMORY_MB": memory_mb, "DISK_GB": 10}
    return Server(**{"id": name, "name": name, "host": host, "flavor": "medium", "usage": usage,
                     "resources": {**classes, **(resources or {})}, **fields})


def make_flavor(name: str = "medium", **extra_specs: str) -> Flavor:
    """A flavor with extra specs; two underscores in a name stand for a colon."""
    return replace(MEDIUM, name=name, extra_specs={key.replace("__", ":"): value for key, value in extra_specs.items()})


def make_cluster(hosts: Iterable[Host], servers: Iterable[Server] = (), *, flavors: Iterable[Flavor] = (),
                 images: Iterable[Image] = (), **fields: Any) -> Cluster:
    """A cluster that always knows the flavor ``medium``."""
    return Cluster(**{"name": "test", "taken_at": "2026-01-01T00:00:00Z", "hosts": tuple(hosts), "servers": tuple(servers),
                      "flavors": {flavor.name: flavor for flavor in (MEDIUM, *flavors)},
                      "images": {image.id: image for image in images}, **fields})


def make_group(policy: Any, *members: str, name: str = "group", **rules: int) -> ServerGroup:
    """A server group."""
    return ServerGroup(id=f"id-{name}", name=name, policy=policy, members=members, rules=rules)


def in_flight(server: str, source: str, destination: str | None, **resources: int) -> Migration:
    """A live migration that is under way."""
    return Migration(id=f"m-{server}", server=server, source=source, destination=destination, kind="live-migration",
                     status="running", resources=resources)


def moved(cluster: Cluster, **to: str) -> Placement:
    """The present placement with some servers elsewhere."""
    return {**placement_of(cluster), **to}


FLAVORS = (
    MEDIUM,
    make_flavor("large"),
    make_flavor("fast", trait__CUSTOM_FAST="required"),
    make_flavor("slow", trait__CUSTOM_FAST="forbidden", trait1__CUSTOM_SSD="required"),
    make_flavor("ssd", aggregate_instance_extra_specs__disk="<or> ssd <or> nvme"),
    make_flavor("unscoped", tier=">= 2", hw__vif_multiqueue_enabled="true"),
    make_flavor("pinned", hw__cpu_policy="dedicated"),
)
IMAGES = (Image(id="plain"), Image(id="linux", properties={"os": "linux"}),
          Image(id="windows", properties={"os": "windows", "trait:CUSTOM_LICENSED": "required"}))
AGGREGATES = (
    Aggregate(id="1", name="ssd", metadata={"disk": "ssd, hdd", "tier": "3"}),
    Aggregate(id="2", name="tier1", metadata={"tier": "1"}),
    Aggregate(id="3", name="windows", metadata={"os": "windows", "trait:CUSTOM_LICENSED": "required"}),
    Aggregate(id="4", name="p1", metadata={"filter_tenant_id": "p1", "filter_tenant_id2": "p3"}),
    Aggregate(id="5", name="east", zone="east"),
)
TRAITS = ("CUSTOM_FAST", "CUSTOM_SSD")


def _sometimes(strategy: st.SearchStrategy[Any], otherwise: Any) -> st.SearchStrategy[Any]:
    """What is usual five times out of six."""
    return st.sampled_from(range(6)).flatmap(lambda n: strategy if n == 5 else st.just(otherwise))


@st.composite
def _hosts(draw: st.DrawFn, number: int, mixed: bool) -> Host:
    vcpus = draw(st.sampled_from((2, 4, 6))) if mixed else 4
    memory = Inventory(total=draw(st.sampled_from((4096, 8192))) if mixed else 8192, reserved=draw(_sometimes(st.just(1024), 0)),
                       max_unit=draw(_sometimes(st.just(2048), None)))
    inventory = {"MEMORY_MB": memory, "VCPU": Inventory(total=vcpus, allocation_ratio=draw(st.sampled_from((1.0, 1.5, 2.0))))}
    if draw(st.booleans()):
        inventory["CUSTOM_CARD"] = Inventory(total=1)
    status, state = draw(_sometimes(st.sampled_from((("disabled", "up"), ("enabled", "down"))), ("enabled", "up")))
    held = draw(_sometimes(st.sampled_from(({"VCPU": 1}, {"MEMORY_MB": 2048, "CUSTOM_CARD": 1}, {"VCPU": 40})), {}))
    return Host(id=f"id-h{number}", name=f"h{number}", inventory=inventory, held=held, status=status, state=state,
                zone=draw(st.sampled_from(("nova", "nova", "east"))),
                hypervisor_type=draw(_sometimes(st.sampled_from(("", "xen")), "QEMU")),
                hypervisor_version=draw(_sometimes(st.sampled_from((0, 8002000)), 8001000)),
                traits=draw(st.sampled_from(((), TRAITS[:1], TRAITS[1:], TRAITS))),
                aggregates=tuple(draw(st.lists(st.sampled_from([a.id for a in AGGREGATES]), max_size=2, unique=True))))


@st.composite
def _servers(draw: st.DrawFn, number: int, hosts: int) -> Server:
    resources = {"VCPU": draw(st.sampled_from((1, 1, 2))), "MEMORY_MB": draw(st.sampled_from((0, 1024, 1024, 3072)))}
    resources |= draw(_sometimes(st.sampled_from(({"CUSTOM_CARD": 1}, {"CUSTOM_CARD": 0}, {"PCPU": 1})), {}))
    usage = Usage(cpu_cores=draw(st.sampled_from((0.0, 0.07, 0.5, 1.25))), memory_mb=draw(st.sampled_from((0.0, 300.5, 1024.0))))
    return Server(id=f"s{number}", name=f"server {number}", host=f"h{draw(st.integers(0, hosts - 1))}",
                  flavor=draw(_sometimes(st.sampled_from([f.name for f in FLAVORS]), "medium")), resources=resources, usage=usage,
                  image=draw(_sometimes(st.sampled_from([i.id for i in IMAGES]), None)),
                  project=draw(st.sampled_from(("p1", "p2"))), locked=draw(_sometimes(st.booleans(), False)),
                  status=draw(_sometimes(st.sampled_from(("SHUTOFF", "ERROR", "PAUSED")), "ACTIVE")),
                  pinned_zone=draw(_sometimes(st.sampled_from(("nova", "east")), None)),
                  obstacles=draw(_sometimes(st.just((Obstacle(kind="pci", text="it has a card"),)), ())))


@st.composite
def _groups(draw: st.DrawFn, number: int, servers: tuple[Server, ...]) -> ServerGroup:
    policy = draw(st.sampled_from(("affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity")))
    members = draw(st.lists(st.sampled_from([s.id for s in servers] + ["deleted"]), min_size=1, max_size=5, unique=True))
    rules = draw(st.sampled_from(({}, {}, {"max_server_per_host": 2}))) if policy == "anti-affinity" else {}
    return ServerGroup(id=f"g{number}", name=f"group {number}", policy=policy, members=tuple(members), rules=rules)


@st.composite
def _migrations(draw: st.DrawFn, server: Server, hosts: int) -> Migration:
    other = draw(st.sampled_from([*[f"h{h}" for h in range(hosts)], None]))
    source, destination = (server.host, other) if other is None or draw(st.booleans()) else (other, server.host)
    resources = draw(st.sampled_from((server.resources, {"VCPU": 1}, {})))
    return Migration(id=f"m-{server.id}", server=server.id, source=source, destination=destination, kind="live-migration",
                     status="running", resources=resources)


@st.composite
def clusters(draw: st.DrawFn, max_hosts: int = 4, max_servers: int = 6, mixed: bool = True, min_servers: int = 2) -> Cluster:
    """Small clusters with everything that makes placement hard: full, down and closed hosts, groups, zones, traits, migrations.

    ``mixed`` is whether hosts differ in size.
    """
    hosts = tuple(draw(_hosts(n, mixed)) for n in range(draw(st.integers(2, max_hosts))))
    servers = tuple(draw(_servers(n, len(hosts))) for n in range(draw(st.integers(min_servers, max_servers))))
    groups = tuple(draw(_groups(n, servers)) for n in range(draw(st.sampled_from((0, 2, 3, 4))))) if servers else ()
    flying = draw(st.lists(st.sampled_from(servers), max_size=2, unique_by=lambda s: s.id)) if servers else []
    migrations = tuple(draw(_migrations(server, len(hosts))) for server in flying)
    return make_cluster(hosts, servers, flavors=FLAVORS, images=IMAGES, aggregates=AGGREGATES, groups=groups,
                        migrations=migrations, load=LOAD)


@st.composite
def placements(draw: st.DrawFn, cluster: Cluster) -> Placement:
    """Placements of a cluster, most servers where they are."""
    names = [host.name for host in cluster.hosts]
    return {server.id: draw(st.sampled_from([*names, *[server.host] * len(names)])) for server in cluster.servers}
