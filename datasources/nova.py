"""What Nova says: its requests and what is made of the answers.

Every list is asked for all projects and followed to its last page, so the number of requests grows with
pages and not with servers. API: https://docs.openstack.org/api-ref/compute/
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

from openstack.connection import Connection

from datasources.connection import Service, Version, as_promised, service
from datasources.errors import InconsistentCloud, ServiceMissing, UnexpectedAnswer
from optimizer.cluster import Aggregate, Flavor, GroupPolicy, Image, Migration, MigrationKind, Server, ServerGroup

NEWEST: Version = (2, 100)
LEAST: Version = (2, 53)
PAGE = 1000
"""Rows asked for at once; Nova gives its own maximum when that is less."""
LISTINGS = 3
"""How often a list is begun anew when the row a page ended with is deleted before the next page is read."""

T = TypeVar("T")

_LOST_BELOW: tuple[tuple[Version, str], ...] = (
    ((2, 59), "migration UUIDs: what a migration holds counts as held on its host by somebody unknown"),
    ((2, 64), "max_server_per_host of server groups: an anti-affinity group allows one member per host"),
    ((2, 96), "the zone a server was asked to be in: each server is taken as pinned to the zone of its host"),
    ((2, 98), "the image properties a server was built with: the image service's present ones are used"),
)

# https://docs.openstack.org/nova/latest/reference/live-migration.html and the states of a cold migration.
IN_PROGRESS = (
    "accepted",
    "queued",
    "preparing",
    "running",
    "pre-migrating",
    "migrating",
    "post-migrating",
    "finished",
    "confirming",
    "reverting",
)
PAST = ("completed", "confirmed", "done")
"""The states in which a migration has ended well."""

# https://docs.openstack.org/api-ref/image/v2/#show-image : everything else is a property set by a user.
_GLANCE_FIELDS = frozenset(
    (
        *("checksum", "container_format", "created_at", "direct_url", "disk_format", "file", "id", "locations"),
        *("min_disk", "min_ram", "name", "os_hash_algo", "os_hash_value", "os_hidden", "owner", "protected", "schema"),
        *("self", "size", "status", "stores", "tags", "updated_at", "virtual_size", "visibility"),
    )
)


@dataclass(frozen=True, slots=True)
class PastMigration:
    """A migration that has ended well: which server, between which hosts, of which kind, when it was asked for and when Nova last wrote of it."""

    server: str
    source: str
    destination: str
    kind: str
    began: datetime
    ended: datetime


@dataclass(frozen=True, slots=True)
class ComputeService:
    """A nova-compute service; ``zone`` is the availability zone its aggregates put it in."""

    id: str
    host: str
    zone: str
    enabled: bool
    up: bool
    forced_down: bool
    disabled_reason: str | None


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """A compute node: ``id`` is also its root resource provider in Placement."""

    id: str
    node: str
    host: str
    kind: str
    version: int


@dataclass(frozen=True, slots=True)
class HostAggregate:
    """An aggregate with the service host names in it."""

    aggregate: Aggregate
    hosts: frozenset[str]


@dataclass(frozen=True, slots=True)
class SeenServer:
    """A server as Nova lists it: not yet with its share of Placement (``server.resources`` is empty)."""

    server: Server
    flavor: Flavor
    image: Image | None
    host: str | None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class SeenMigration:
    """A migration record that is not at its end, made at ``created`` (seconds since 1970).

    ``uuid`` is the consumer that holds its side in Placement.
    """

    migration: Migration
    uuid: str | None
    created: float


@dataclass(frozen=True)
class Services:
    """The nova-compute services by host, and Nova's clock (seconds since 1970) where it told the time."""

    by_host: Mapping[str, ComputeService]
    clock: float | None = field(compare=False)


def nova_service(connection: Connection) -> Service:
    """Find Nova in the catalog; raises ServiceMissing for a cloud older than 2.53 (Pike)."""
    return service(connection, "compute", "nova", least=LEAST, newest=NEWEST)


def image_service(connection: Connection) -> Service | None:
    """Find the image service, or None where the catalog has none."""
    try:
        return service(connection, "image", "glance", least=(0, 0), newest=(0, 0))
    except ServiceMissing:
        return None


def notes_on_version(nova: Service) -> tuple[str, ...]:
    """What the negotiated microversion does not tell, in sentences for the operator."""
    spoken = f"{nova.version[0]}.{nova.version[1]}"
    return tuple(
        f"Nova's API {spoken} (below {major}.{minor}) does not give {what}."
        for (major, minor), what in _LOST_BELOW
        if not nova.speaks((major, minor))
    )


def pages(nova: Service, path: str, key: str, query: Mapping[str, str | int] | None = None) -> list[dict[str, Any]]:
    """Return every row of a list that pages by marker.

    Begins anew when the row a page ended with is gone; raises InconsistentCloud when that goes on.
    """
    for _ in range(LISTINGS):
        try:
            return list(_follow(nova, path, key, {**(query or {}), "limit": PAGE}))
        except UnexpectedAnswer as error:
            if error.status != 400 or "marker" not in str(error).lower():
                raise
    raise InconsistentCloud(
        f"Nova's list {path} changed {LISTINGS} times between its pages; please read the cloud again."
    )


def _follow(nova: Service, path: str, key: str, query: dict[str, str | int]) -> Iterator[dict[str, Any]]:
    while True:
        body = nova.get(path, query)
        yield from body[key]
        following = [link["href"] for link in body.get(f"{key}_links", ()) if link.get("rel") == "next"]
        if not following:
            return
        # Only the query of the link is used: behind a proxy its host may be one we cannot reach.
        query = dict(parse_qsl(urlsplit(following[0]).query))


@as_promised
def list_services(nova: Service, host: str | None = None) -> Services:
    """Read the nova-compute services, all or those of one host, and Nova's clock.

    The clock is the answer's Date header, or the newest heartbeat where a server sends none.
    """
    answer = nova.ask("GET", "/os-services", {"host": host} if host else None)
    rows = answer.body["services"]
    beats = (_seconds(row["updated_at"]) for row in rows if row.get("updated_at"))
    clock = answer.date or max(beats, default=None)
    found = {
        row["host"]: ComputeService(
            id=str(row["id"]),
            host=row["host"],
            zone=row["zone"],
            enabled=row["status"] == "enabled",
            up=row["state"] == "up" and not row.get("forced_down"),
            forced_down=bool(row.get("forced_down")),
            disabled_reason=row.get("disabled_reason"),
        )
        for row in rows
        if row["binary"] == "nova-compute"
    }
    return Services(found, clock)


@as_promised
def list_hypervisors(nova: Service) -> dict[str, Hypervisor]:
    """Read every hypervisor, by its UUID."""
    return {
        row["id"]: Hypervisor(row["id"], row["hypervisor_hostname"], row["service"]["host"], row["hypervisor_type"],
                              row["hypervisor_version"])
        for row in pages(nova, "/os-hypervisors/detail", "hypervisors")
    }


@as_promised
def list_aggregates(nova: Service) -> tuple[HostAggregate, ...]:
    """Read every host aggregate; Nova does not page this list."""
    return tuple(
        HostAggregate(
            Aggregate(
                id=str(row["id"]),
                name=row["name"],
                zone=row.get("availability_zone"),
                metadata={str(key): str(value) for key, value in row["metadata"].items()},
            ),
            frozenset(row["hosts"]),
        )
        for row in nova.get("/os-aggregates")["aggregates"]
    )


@as_promised
def list_groups(nova: Service) -> tuple[ServerGroup, ...]:
    """Read the server groups of all projects.

    This list pages by offset, so a group deleted meanwhile would shift another one out of sight. Each page
    therefore begins with the last row of the page before; raises InconsistentCloud when it keeps shifting.
    """
    for _ in range(LISTINGS):
        rows: list[dict[str, Any]] = []
        while True:
            offset = max(0, len(rows) - 1)
            query: dict[str, str | int] = {"all_projects": "true", "limit": PAGE, "offset": offset}
            page = nova.get("/os-server-groups", query)["server_groups"]
            if rows and (not page or page[0]["id"] != rows[-1]["id"]):
                break
            fresh = page[1:] if rows else page
            if not fresh:
                return tuple(map(_group, rows))
            rows += fresh
    raise InconsistentCloud("The server groups changed while they were read; please read the cloud again.")


def _group(row: Mapping[str, Any]) -> ServerGroup:
    policy = row.get("policy") or next(iter(row.get("policies") or ()), "anti-affinity")
    return ServerGroup(
        id=row["id"],
        name=row["name"],
        policy=cast(GroupPolicy, policy),
        members=tuple(row["members"]),
        project=row.get("project_id") or "",
        rules={key: int(value) for key, value in (row.get("rules") or {}).items()},
    )


@as_promised
def list_migrations(nova: Service, status: str) -> list[SeenMigration]:
    """Read the migrations in one of the states IN_PROGRESS.

    Nova's history of migrations has no bound, the ones that are going on have: so one list for each state.
    """
    query = {"status": status}
    paged = nova.speaks((2, 59))
    rows = pages(nova, "/os-migrations", "migrations", query) if paged else _unpaged_migrations(nova, query)
    return [_migration(row) for row in rows]


@as_promised
def list_past_migrations(nova: Service, since: datetime) -> list[PastMigration]:
    """The migrations that have ended well since a moment; raises ServiceMissing below API 2.59, like all that is paged, and CloudError."""
    if not nova.speaks((2, 59)):
        raise ServiceMissing(f"nova at {nova.url} does not list past migrations by time; that needs API 2.59")
    rows = pages(nova, "/os-migrations", "migrations", {"changes-since": since.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")})
    return [PastMigration(row["instance_uuid"], row["source_compute"], row["dest_compute"], row["migration_type"], _moment(row["created_at"]),
                          _moment(row["updated_at"] or row["created_at"]))
            for row in rows if row["status"] in PAST]


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(_seconds(text), UTC)


def newest_by_server(lists: Iterable[list[SeenMigration]]) -> dict[str, SeenMigration]:
    """The newest migration of each server, by server UUID, out of the lists of all states."""
    found: dict[str, SeenMigration] = {}
    for seen in sorted((one for some in lists for one in some), key=lambda one: int(one.migration.id)):
        found[seen.migration.server] = seen
    return found


def _unpaged_migrations(nova: Service, query: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], nova.get("/os-migrations", query)["migrations"])


def _migration(row: Mapping[str, Any]) -> SeenMigration:
    return SeenMigration(
        Migration(
            id=str(row["id"]),
            server=row["instance_uuid"],
            source=row["source_compute"],
            destination=row["dest_compute"],
            kind=cast(MigrationKind, row.get("migration_type") or "migration"),
            status=row["status"],
        ),
        row.get("uuid"),
        _seconds(row["created_at"]),
    )


def _seconds(time: str) -> float:
    """Nova's times are UTC, whether they say so or not."""
    return datetime.fromisoformat(time.removesuffix("Z")).replace(tzinfo=UTC).timestamp()


@as_promised
def list_servers(nova: Service, *, since: float | None = None, host: str | None = None) -> dict[str, SeenServer]:
    """Read the servers of all projects, by UUID.

    ``since`` (seconds since 1970) asks only for those changed after it, the deleted ones among them
    (``deleted``); ``host`` for those on one host.
    """
    query: dict[str, str | int] = {"all_tenants": "true"}
    if since is not None:
        query["changes-since"] = datetime.fromtimestamp(int(since), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if host is not None:
        query["host"] = host
    reader = _Reader()
    return {row["id"]: reader.server(row) for row in pages(nova, "/servers/detail", "servers", query)}


@as_promised
def show_server(nova: Service, server: str) -> SeenServer | None:
    """Read one server; None where Nova does not know it (any more)."""
    try:
        return _Reader().server(nova.get(f"/servers/{server}")["server"])
    except UnexpectedAnswer as error:
        if error.status == 404:
            return None
        raise


class _Reader:
    """Turns rows into servers, keeping one object for what thousands of rows have in common."""

    def __init__(self) -> None:
        self._flavors: dict[str, Flavor] = {}
        self._images: dict[str, Image] = {}

    def server(self, row: Mapping[str, Any]) -> SeenServer:
        status = str(row.get("status") or "UNKNOWN").upper()
        # A server of a cell that does not answer comes with little more than its id (API 2.69).
        flavor = _shared(self._flavors, row.get("flavor") or {}, _flavor)
        image = _shared(self._images, row.get("image") or {}, _image) if row.get("image") else None
        host = row.get("OS-EXT-SRV-ATTR:host") or None
        return SeenServer(
            server=Server(
                id=row["id"],
                name=row.get("name") or "",
                host=host or "",
                flavor=flavor.name,
                resources={},
                project=row.get("tenant_id") or "",
                status=status,
                task_state=row.get("OS-EXT-STS:task_state"),
                locked=bool(row.get("locked")),
                pinned_zone=row.get("pinned_availability_zone"),
                image=image.id if image else None,
                boot_from_volume=image is None and status != "UNKNOWN",
                tags=tuple(sorted(row.get("tags") or ())),
                metadata={key: str(value) for key, value in (row.get("metadata") or {}).items()},
            ),
            flavor=flavor,
            image=image,
            host=host,
            deleted=status == "DELETED",
        )


def _shared(known: dict[str, T], row: Mapping[str, Any], make: Callable[[Mapping[str, Any]], T]) -> T:
    key = json.dumps(row, sort_keys=True)
    if key not in known:
        known[key] = make(row)
    return known[key]


def _flavor(row: Mapping[str, Any]) -> Flavor:
    return Flavor(
        name=row.get("original_name") or "unknown",
        vcpus=int(row.get("vcpus") or 0),
        memory_mb=int(row.get("ram") or 0),
        disk_gb=int(row.get("disk") or 0),
        ephemeral_gb=int(row.get("ephemeral") or 0),
        swap_mb=int(row.get("swap") or 0),
        extra_specs={key: str(value) for key, value in (row.get("extra_specs") or {}).items()},
    )


def _image(row: Mapping[str, Any]) -> Image:
    properties = {key: str(value) for key, value in (row.get("properties") or {}).items() if value is not None}
    return Image(id=row["id"], properties=properties)


@as_promised
def list_images(glance: Service, wanted: Iterable[str]) -> dict[str, Image]:
    """Read the properties of images from the image service; the result may lack some that are gone."""
    wanted = set(wanted)
    found: dict[str, Image] = {}
    base = "" if glance.url.rstrip("/").endswith("/v2") else "/v2"
    query: dict[str, str | int] = {"limit": PAGE}
    while wanted:
        body = glance.get(f"{base}/images", query)
        for row in body["images"]:
            if row["id"] in wanted:
                properties = {
                    key: str(value) for key, value in row.items() if key not in _GLANCE_FIELDS and value is not None
                }
                found[row["id"]] = Image(id=row["id"], properties=properties)
        if not body.get("next"):
            break
        query = dict(parse_qsl(urlsplit(body["next"]).query))
    return found
