"""The acceptance scenario: a small cloud, crowded on some hosts and nearly empty on others, with every kind of rule.

======================  ==========================================================================
hosts                   what is special
======================  ==========================================================================
compute-1, compute-2    availability zone ``az-a`` (an aggregate); 1 is crowded, 2 nearly empty
compute-3, -4, -5       trait CUSTOM_SSD; 3 and 5 are crowded, 4 nearly empty
compute-6               nothing; nearly empty
compute-7, compute-8    trait CUSTOM_DEDICATED and an isolated aggregate: only the dedicated flavor
======================  ==========================================================================

Each server is booted on the host that the layout names, through the ``host`` field of the boot (API 2.74),
which the scheduler checks like any other request and which pins nothing: the zone stays free. The names of
all things begin with a prefix, by which ``clear`` finds them again.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from openstack.compute.v2.server import Server
from openstack.connection import Connection

from tests.cloud import measures
from tests.cloud.measures import Guest

MICROVERSION = "2.96"
PLACEMENT_MICROVERSION = "1.39"
HOST_CORES, HOST_MEMORY_MB = 16, 65536
HOST_SHARE = {  # of the host's cores, as measured; standard deviation 0.29
    "compute-1": 0.70,
    "compute-2": 0.12,
    "compute-3": 0.75,
    "compute-4": 0.10,
    "compute-5": 0.70,
    "compute-6": 0.12,
    "compute-7": 0.45,
    "compute-8": 0.06,
}
ZONE, ZONE_HOSTS = "az-a", ("compute-1", "compute-2")
SSD, SSD_HOSTS = "CUSTOM_SSD", ("compute-3", "compute-4", "compute-5")
DEDICATED, DEDICATED_HOSTS = "CUSTOM_DEDICATED", ("compute-7", "compute-8")
FLAVORS: Mapping[str, tuple[int, int, Mapping[str, str]]] = {  # vCPUs, MiB, extra specs
    "small": (1, 1024, {}),
    "medium": (2, 4096, {}),
    "large": (4, 8192, {}),
    "ssd": (2, 4096, {f"trait:{SSD}": "required"}),
    "dedicated": (2, 4096, {f"trait:{DEDICATED}": "required"}),
}
GROUPS: Mapping[str, dict[str, Any]] = {  # role -> what is sent to create it
    "anti-affinity": {"policy": "anti-affinity"},
    "two-per-host": {"policy": "anti-affinity", "rules": {"max_server_per_host": 2}},
    "affinity": {"policy": "affinity"},
    "soft-anti-affinity": {"policy": "soft-anti-affinity"},
    "soft-affinity": {"policy": "soft-affinity"},
}
ROLES: tuple[tuple[str, str, tuple[int, ...]], ...] = (  # role, flavor, number of each server's host
    ("anti-affinity", "medium", (3, 5, 1)),
    ("two-per-host", "small", (3, 3, 5, 5)),
    ("affinity", "small", (4, 4, 4)),
    ("soft-anti-affinity", "medium", (5, 5, 5)),
    ("soft-affinity", "small", (1, 3, 6)),
    ("zone", "medium", (1, 1, 1, 2)),
    ("ssd", "ssd", (3, 3, 5, 5)),
    ("dedicated", "dedicated", (7, 7, 7, 7, 7, 7, 7, 8)),
    ("locked", "medium", (3,)),
    ("shutoff", "small", (5,)),
)
# Servers without a rule, in turn.
PLAIN_HOSTS = (3, 1, 5, 1, 3, 1, 5, 3, 1, 6, 3, 1, 5, 2)
PLAIN_FLAVORS = ("large", "small", "medium", "medium", "small")


@dataclass(frozen=True, slots=True)
class Plan:
    """One server to boot."""

    name: str
    flavor: str
    host: str
    role: str


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What was built; servers stand under their UUID.

    ``members`` holds server ids by role: the five groups, ``zone`` (pinned to az-a), ``ssd``, ``dedicated``,
    ``locked``, ``shutoff`` and ``plain`` (no rule). ``guests`` has host, flavor and the true mean load of each
    server, ``seconds`` how long each part of the build took.
    """

    prefix: str
    groups: Mapping[str, str]
    members: Mapping[str, tuple[str, ...]]
    guests: Mapping[str, Guest]
    seconds: Mapping[str, float]

    def on(self, host: str) -> tuple[str, ...]:
        """The servers that were booted on a host."""
        return tuple(guest.id for guest in self.guests.values() if guest.host == host)


def layout(servers: int = 60) -> tuple[Plan, ...]:
    """Which servers there are and where; those with a role first, then servers without a rule."""
    plans = [
        Plan(f"{role}-{number}", flavor, f"compute-{host}", role)
        for role, flavor, hosts in ROLES
        for number, host in enumerate(hosts)
    ]
    rest = zip(range(servers - len(plans)), cycle(PLAIN_HOSTS), cycle(PLAIN_FLAVORS), strict=False)
    plain = [Plan(f"plain-{number}", flavor, f"compute-{host}", "plain") for number, host, flavor in rest]
    fullest = max(sum(FLAVORS[plan.flavor][1] for plan in (*plans, *plain) if plan.host == host) for host in HOST_SHARE)
    if servers < len(plans) or fullest > HOST_MEMORY_MB:
        raise ValueError(
            f"servers is {servers}; there are {len(plans)} servers with a role, and the fullest host would hold "
            f"{fullest} of {HOST_MEMORY_MB} MiB"
        )
    return (*plans, *plain)


# ---- build


def build(connection: Connection, seed: int = 1, servers: int = 60, prefix: str = "pw") -> Scenario:
    """Build the scenario on a cloud with hosts compute-1 to compute-8 and wait until its measures can be read.

    A scenario of the same prefix that is still there is removed first.
    """
    plans = layout(servers)
    seconds: dict[str, float] = {}
    with _timed(seconds, "clear"):
        clear(connection, prefix)
    with _timed(seconds, "prepare"):
        _prepare_hosts(connection, prefix)
        groups = {
            role: connection.compute.create_server_group(name=f"{prefix}-{role}", **definition).id
            for role, definition in GROUPS.items()
        }
    with _timed(seconds, "boot"):
        booted = boot_all(connection, prefix, plans, groups)
    with _timed(seconds, "measures"):
        flavor_ids = {flavor.name: flavor.id for flavor in connection.compute.flavors()}
        idle = [_guest(booted[plan.name], plan, flavor_ids[f"{prefix}-{plan.flavor}"]) for plan in plans]
        guests = measures.loads(idle, HOST_SHARE, HOST_CORES, seed)
        measures.push(connection, guests.values())
        measures.wait_processed(connection, guests)
    members = {role: tuple(booted[p.name].id for p in plans if p.role == role) for role in {p.role for p in plans}}
    return Scenario(prefix=prefix, groups=groups, members=members, guests=guests, seconds=seconds)


def clear(connection: Connection, prefix: str = "pw") -> None:
    """Delete everything of a scenario, whatever is left of it, and enable every compute service."""
    compute = connection.compute
    for service in compute.services(binary="nova-compute"):
        if service.status == "disabled":
            enable_host(connection, service.host)
    _in_parallel(lambda server: compute.delete_server(server, ignore_missing=True), _servers(connection, prefix))
    until(lambda: not _servers(connection, prefix), f"servers named {prefix}-* to be gone")
    measures.forget(connection, f"{prefix}-")
    # An aggregate with a zone gives up its hosts only when no server is left on them.
    for aggregate in [a for a in compute.aggregates() if a.name.startswith(f"{prefix}-")]:
        for host in aggregate.hosts or ():
            compute.remove_host_from_aggregate(aggregate, host)
        compute.delete_aggregate(aggregate)
    for group in [g for g in compute.server_groups(all_projects=True) if g.name.startswith(f"{prefix}-")]:
        compute.delete_server_group(group)
    for flavor in [f for f in compute.flavors(get_extra_specs=False) if f.name.startswith(f"{prefix}-")]:
        compute.delete_flavor(flavor)
    for image in [i for i in connection.image.images() if i.name == f"{prefix}-image"]:
        connection.image.delete_image(image)


def _prepare_hosts(connection: Connection, prefix: str) -> None:
    services = connection.compute.services(binary="nova-compute")
    missing = set(HOST_SHARE) - {s.host for s in services if (s.state, s.status) == ("up", "enabled")}
    if missing:
        raise RuntimeError(f"not up and enabled: {sorted(missing)}; the scenario needs compute-1 to compute-8")
    for trait, hosts in ((SSD, SSD_HOSTS), (DEDICATED, DEDICATED_HOSTS)):
        _ensure_trait(connection, trait, hosts)
    for name, zone, hosts, metadata in (
        (f"{prefix}-zone", ZONE, ZONE_HOSTS, {}),
        (f"{prefix}-dedicated", None, DEDICATED_HOSTS, {f"trait:{DEDICATED}": "required"}),
    ):
        aggregate = connection.compute.create_aggregate(name=name, availability_zone=zone)
        if metadata:
            connection.compute.set_aggregate_metadata(aggregate, metadata)
        for host in hosts:
            connection.compute.add_host_to_aggregate(aggregate, host)


def _ensure_trait(connection: Connection, trait: str, hosts: tuple[str, ...]) -> None:
    """Give hosts a trait. The testbed's own sim.json has them; nova-compute keeps what others have set."""
    placement = connection.placement
    _checked(placement.put(f"/traits/{trait}", microversion=PLACEMENT_MICROVERSION))
    for host in hosts:
        path = f"/resource_providers/{placement.find_resource_provider(host, ignore_missing=False).id}/traits"

        def given(path: str = path) -> bool:
            body = _checked(placement.get(path, microversion=PLACEMENT_MICROVERSION)).json()
            if trait in body["traits"]:
                return True
            placement.put(path, json={**body, "traits": [*body["traits"], trait]}, microversion=PLACEMENT_MICROVERSION)
            return False  # the next look shows whether nova-compute was faster (HTTP 409)

        until(given, f"{host} to have {trait}", 30)


# ---- boot


def boot_all(
    connection: Connection, prefix: str, plans: tuple[Plan, ...], groups: Mapping[str, str]
) -> dict[str, Server]:
    """Boot all: the members of a group one after the other, everything else at the same time. By the names in the plans."""
    image = connection.image.create_image(
        name=f"{prefix}-image",
        data=b"\0" * 1024,
        disk_format="raw",
        container_format="bare",
        visibility="public",
        # Else the SDK asks for an image with the same checksum, of any name, and takes that one.
        allow_duplicates=True,
    ).id
    flavors = {name: _create_flavor(connection, f"{prefix}-{name}", *of) for name, of in FLAVORS.items()}

    def boot(plan: Plan) -> str:
        more: dict[str, Any] = {"availability_zone": ZONE} if plan.role == "zone" else {}
        if plan.role in groups:
            more["scheduler_hints"] = {"group": groups[plan.role]}
        return connection.compute.create_server(
            name=f"{prefix}-{plan.name}",
            image_id=image,
            flavor_id=flavors[plan.flavor],
            networks="none",
            host=plan.host,
            **more,
        ).id

    def boot_group(role: str) -> None:
        # Nova checks a group late: members that are booted at the same time may end in ERROR.
        for plan in (plan for plan in plans if plan.role == role):
            server = boot(plan)
            connection.compute.wait_for_server(connection.compute.get_server(server), interval=0.3, wait=120)

    with ThreadPoolExecutor(len(groups) + 1) as pool:
        grouped = [pool.submit(boot_group, role) for role in groups]
        single = pool.submit(lambda: [boot(plan) for plan in plans if plan.role not in groups])
        for future in (*grouped, single):
            future.result()
    return _settle(connection, prefix, plans)


def _settle(connection: Connection, prefix: str, plans: tuple[Plan, ...]) -> dict[str, Server]:
    """Wait until every server is ACTIVE where it was planned; then lock one and stop one."""

    def all_built() -> dict[str, Server]:
        seen = {server.name.removeprefix(f"{prefix}-"): server for server in _servers(connection, prefix)}
        for server in seen.values():
            if server.status == "ERROR":
                fault = connection.compute.get_server(server).fault or {}
                raise RuntimeError(f"{server.name} is in ERROR: {fault.get('message')}")
        return seen if all(seen[p.name].status == "ACTIVE" for p in plans) else {}

    booted = until(all_built, f"{len(plans)} servers to be ACTIVE")
    stray = [f"{p.name} on {booted[p.name].compute_host}" for p in plans if booted[p.name].compute_host != p.host]
    if stray:
        raise RuntimeError(f"not where they were planned: {', '.join(stray)}")
    for plan in plans:
        if plan.role == "locked":
            connection.compute.lock_server(booted[plan.name].id, locked_reason="a choice of its owner")
        if plan.role == "shutoff":
            connection.compute.stop_server(booted[plan.name].id)
            connection.compute.wait_for_server(booted[plan.name], "SHUTOFF", interval=0.3)
    return booted


def _create_flavor(connection: Connection, name: str, vcpus: int, ram: int, specs: Mapping[str, str]) -> str:
    flavor = connection.compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=1)
    if specs:
        connection.compute.create_flavor_extra_specs(flavor, dict(specs))
    return flavor.id


def _guest(server: Server, plan: Plan, flavor_id: str) -> Guest:
    return Guest(
        id=server.id,
        name=server.name,
        host=plan.host,
        project=server.project_id,
        user=server.user_id,
        flavor=server.flavor.original_name,
        flavor_id=flavor_id,
        vcpus=FLAVORS[plan.flavor][0],
        memory_mb=FLAVORS[plan.flavor][1],
    )


# ---- trouble: what others may do between audit and apply


def delete_server(connection: Connection, server: str) -> None:
    """Delete a server and wait until it is gone."""
    connection.compute.delete_server(server)
    until(lambda: connection.compute.find_server(server) is None, f"server {server} to be gone")


def fill(connection: Connection, built: Scenario, host: str, left_mb: int) -> None:
    """Boot one server that leaves so much memory on a host."""
    used = sum(guest.memory_mb for guest in built.guests.values() if guest.host == host)
    flavor = _create_flavor(connection, f"{built.prefix}-filler", 1, HOST_MEMORY_MB - used - left_mb, {})
    image = next(image.id for image in connection.image.images() if image.name == f"{built.prefix}-image")
    filler = connection.compute.create_server(
        name=f"{built.prefix}-filler", image_id=image, flavor_id=flavor, networks="none", host=host
    )
    connection.compute.wait_for_server(filler, interval=0.3, wait=120)


def disable_host(connection: Connection, host: str, reason: str = "a disk is to be replaced") -> None:
    """Disable a compute service and wait until Placement knows."""
    connection.compute.disable_service(_service(connection, host), disabled_reason=reason)
    until(lambda: "COMPUTE_STATUS_DISABLED" in host_traits(connection, host), f"{host} to be disabled in Placement")


def enable_host(connection: Connection, host: str) -> None:
    """Enable a compute service and wait until Placement knows."""
    connection.compute.enable_service(_service(connection, host))
    until(lambda: "COMPUTE_STATUS_DISABLED" not in host_traits(connection, host), f"{host} to be enabled in Placement")


def move_server(connection: Connection, server: str, host: str) -> None:
    """Live-migrate a server and wait until it is there. Raises RuntimeError when Nova refuses."""
    before = max((migration["id"] for migration in migrations(connection, server)), default=0)
    body = {"os-migrateLive": {"host": host, "block_migration": "auto"}}
    _checked(connection.compute.post(f"/servers/{server}/action", json=body, microversion=MICROVERSION))

    def ended() -> dict[str, Any] | None:
        # The record appears a moment after the request was accepted: an older one is not it.
        new = [migration for migration in migrations(connection, server) if migration["id"] > before]
        return new[0] if new and new[0]["status"] in ("completed", "error", "failed", "cancelled") else None

    outcome = until(ended, f"the migration of {server} to end")
    if outcome["status"] != "completed":
        raise RuntimeError(f"the migration of {server} to {host} ended as {outcome['status']}")
    until(lambda: connection.compute.get_server(server).compute_host == host, f"{server} to be on {host}")


# ---- looking


def migrations(connection: Connection, server: str) -> list[dict[str, Any]]:
    """Nova's migration records of a server, the newest first."""
    path = f"/os-migrations?instance_uuid={server}"
    found = _checked(connection.compute.get(path, microversion=MICROVERSION)).json()["migrations"]
    return sorted(found, key=lambda migration: -migration["id"])


def host_traits(connection: Connection, host: str) -> set[str]:
    """The traits that Placement has for a host."""
    provider = connection.placement.find_resource_provider(host, ignore_missing=False)
    path = f"/resource_providers/{provider.id}/traits"
    return set(_checked(connection.placement.get(path, microversion=PLACEMENT_MICROVERSION)).json()["traits"])


def _servers(connection: Connection, prefix: str) -> list[Server]:
    found = connection.compute.servers(all_projects=True, name=f"^{prefix}-")
    return [server for server in found if server.name.startswith(f"{prefix}-")]


def _service(connection: Connection, host: str) -> str:
    return next(service.id for service in connection.compute.services(binary="nova-compute", host=host))


def _checked(answer: Any) -> Any:
    if not answer.ok:
        raise RuntimeError(f"{answer.request.method} {answer.url}: HTTP {answer.status_code}: {answer.text[:300]}")
    return answer


def until(look: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Wait until a look finds something, and return that; TimeoutError when it takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.5)
    return found


def _in_parallel(action: Callable[[Any], object], things: list[Any]) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(action, things))


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[part] = round(time.monotonic() - began, 1)
