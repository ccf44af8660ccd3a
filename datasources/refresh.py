"""The live re-reading of a few servers and hosts of a snapshot, cheap enough to be done before each action."""

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from openstack.connection import Connection

from datasources.assemble import Facts, Picture, assemble, unsettled
from datasources.connection import Service
from datasources.errors import InconsistentCloud
from datasources.inventory import CONCURRENCY, IMAGES_EMBEDDED, MARGIN_S, PINS_KNOWN
from datasources.nova import (
    IN_PROGRESS,
    ComputeService,
    Hypervisor,
    SeenMigration,
    SeenServer,
    Services,
    list_aggregates,
    list_groups,
    list_migrations,
    list_servers,
    list_services,
    newest_by_server,
    nova_service,
    show_server,
)
from datasources.placement import Holdings, Provider, list_providers, placement_service, read_holdings
from optimizer.cluster import Cluster, Migration, Server

ATTEMPTS = 5
_DEVICES = frozenset({"pci", "nested"})


def refresh(connection: Connection, cluster: Cluster, servers: Collection[str], hosts: Collection[str]) -> Cluster:
    """Return the cluster with some servers and hosts as they are now.

    Live afterwards: the named hosts (service, zone, inventory, traits, allocations), all servers on them, the
    named servers, wherever they are, with the hosts they are on, all migrations in progress and all server
    groups. A server that is deleted, or on no host any more, is gone from the result. Everything else is as it
    was. A server new to the snapshot has no Usage. Takes 13 requests, six for each host and one for each named
    server.

    Raises InconsistentCloud when the cloud does not stand still, or has a server on a host that the snapshot
    does not know; and the other errors of datasources.errors.
    """
    nova, placement = nova_service(connection), placement_service(connection)
    unknown = sorted(set(hosts) - cluster.host_by_name.keys())
    if unknown:
        raise InconsistentCloud(f"The snapshot has no host {unknown[0]!r}; read the cloud again.")
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="refresh") as pool:
        region = _Region(nova, placement, pool, cluster, frozenset(servers))
        wanted = frozenset(hosts)
        before: tuple[Facts, Picture] | None = None
        for _ in range(ATTEMPTS):
            facts, left_for = region.read(wanted)
            picture = assemble(
                facts,
                zones_are_pins=not nova.speaks(PINS_KNOWN),
                flavors=cluster.flavors,
                images=cluster.images,
                away=_away(cluster, facts),
            )
            odd = unsettled(*before, facts, picture) if before else sorted(picture.odd)
            if not left_for and not odd:
                return _merged(cluster, picture, facts, region.servers)
            wanted, before = wanted | left_for, (facts, picture)
    example = f", for example server {odd[0]}" if odd else ""
    raise InconsistentCloud(
        f"What is on {', '.join(sorted(wanted)) or 'the hosts of these servers'} kept changing during {ATTEMPTS} "
        f"readings{example}; please try again."
    )


@dataclass(frozen=True)
class _Region:
    """The part of the cloud to read: named servers, and hosts that grow with where servers turn out to be."""

    nova: Service
    placement: Service
    pool: ThreadPoolExecutor
    cluster: Cluster
    servers: frozenset[str]

    def read(self, hosts: frozenset[str]) -> tuple[Facts, frozenset[str]]:
        """Return what is there now, and the hosts outside to which servers of this region have left."""
        aggregates = self.pool.submit(list_aggregates, self.nova)
        groups = self.pool.submit(list_groups, self.nova)
        migrations = newest_by_server(self.pool.map(partial(list_migrations, self.nova), IN_PROGRESS))
        named = self._show(self.servers)
        hosts |= {one.host for one in named.values() if one.host is not None}
        # A migration holds both its sides: without the other one, its share would be nobody's.
        hosts |= _other_sides(migrations.values(), hosts) & self.cluster.host_by_name.keys()
        self._require(hosts)
        on_hosts: dict[str, SeenServer] = dict(named)
        for found in self.pool.map(lambda host: list_servers(self.nova, host=host), sorted(hosts)):
            on_hosts |= found
        before = {one.id for host in hosts for one in self.cluster.servers_on[host]}
        left = self._show(before - on_hosts.keys())
        services: dict[str, ComputeService] = {}
        for some in self.pool.map(lambda host: list_services(self.nova, host), sorted(hosts)):
            services |= some.by_host
        providers, holdings = self._holdings(hosts)
        facts = Facts(
            services=Services(services, None),
            hypervisors={one.id: one for one in map(self._hypervisor, sorted(hosts))},
            aggregates=aggregates.result(),
            groups=groups.result(),
            servers={uuid: self._with_known_image(one) for uuid, one in (on_hosts | left).items()},
            migrations=migrations,
            providers=providers,
            holdings=holdings,
        )
        outside = {one.host for one in facts.servers.values() if one.host is not None and not one.deleted} - hosts
        return facts, frozenset(outside)

    def _show(self, servers: Collection[str]) -> dict[str, SeenServer]:
        shown = self.pool.map(partial(show_server, self.nova), sorted(servers))
        return {one.server.id: one for one in shown if one is not None and not one.deleted}

    def _require(self, hosts: frozenset[str]) -> None:
        if unknown := sorted(hosts - self.cluster.host_by_name.keys()):
            raise InconsistentCloud(
                f"Servers are now on {unknown[0]!r}, a host that the snapshot of {self.cluster.taken_at} does not "
                "know; read the cloud again."
            )

    def _hypervisor(self, host: str) -> Hypervisor:
        known = self.cluster.host_by_name[host]
        return Hypervisor(known.id, host, host, known.hypervisor_type, known.hypervisor_version)

    def _holdings(self, hosts: frozenset[str]) -> tuple[dict[str, Provider], dict[str, Holdings]]:
        roots = sorted(self.cluster.host_by_name[host].id for host in hosts)
        providers: dict[str, Provider] = {}
        for tree in self.pool.map(partial(list_providers, self.placement), roots):
            providers |= tree
        found = self.pool.map(partial(read_holdings, self.placement), providers)
        return providers, {uuid: one for uuid, one in zip(providers, found, strict=True) if one is not None}

    def _with_known_image(self, seen: SeenServer) -> SeenServer:
        """Nova below 2.98 gives no properties: those of the snapshot, from the image service, stay."""
        known = self.cluster.images.get(seen.image.id) if seen.image else None
        return seen if known is None or self.nova.speaks(IMAGES_EMBEDDED) else replace(seen, image=known)


def _away(cluster: Cluster, facts: Facts) -> list[Server]:
    """Servers under way whose own host is not read: what they hold here is their migration's.

    A record from before the snapshot that is not in it was found to be a leftover then.
    """
    here = {one.host for one in facts.hypervisors.values()}
    known = {one.id for one in cluster.migrations}
    taken_at = datetime.fromisoformat(cluster.taken_at).timestamp() - MARGIN_S
    found = []
    for seen in facts.migrations.values():
        server = cluster.server_by_id.get(seen.migration.server)
        if server is None or server.host in here or server.id in facts.servers:
            continue
        if seen.migration.id in known or seen.created >= taken_at:
            found.append(server)
    return found


def _other_sides(migrations: Iterable[SeenMigration], hosts: frozenset[str]) -> frozenset[str]:
    sides = [{one.migration.source, one.migration.destination} for one in migrations]
    return frozenset(host for pair in sides if pair & hosts for host in pair if host is not None)


def _merged(cluster: Cluster, picture: Picture, facts: Facts, named: frozenset[str]) -> Cluster:
    live_hosts = {host.name: host for host in picture.hosts}
    live = {server.id: _with_past(server, cluster.server_by_id.get(server.id)) for server in picture.servers}
    servers = [
        live.pop(old.id, old)
        for old in cluster.servers
        if old.id in live or not (old.host in live_hosts or old.id in named)
    ]
    servers += live.values()
    by_id = {server.id: server for server in servers}
    memberships = {
        host.name: tuple(one.aggregate.id for one in facts.aggregates if host.name in one.hosts)
        for host in cluster.hosts
    }
    return replace(
        cluster,
        hosts=tuple(replace(live_hosts.get(one.name, one), aggregates=memberships[one.name]) for one in cluster.hosts),
        servers=tuple(servers),
        flavors=picture.flavors,
        images=picture.images,
        aggregates=picture.aggregates,
        groups=tuple(
            replace(one, members=tuple(member for member in one.members if member in by_id))
            for one in sorted(facts.groups, key=lambda one: one.id)
        ),
        migrations=tuple(_migrations(cluster, picture, by_id)),
    )


def _with_past(live: Server, past: Server | None) -> Server:
    """Keep what this reading does not see: the usage, and devices on providers outside the hosts' trees."""
    if past is None:
        return live
    devices = tuple(one for one in past.obstacles if one.kind in _DEVICES and one not in live.obstacles)
    return replace(live, usage=past.usage, obstacles=(*live.obstacles, *devices))


def _migrations(cluster: Cluster, picture: Picture, servers: Mapping[str, Server]) -> Iterable[Migration]:
    region = {host.name for host in picture.hosts}
    for migration in picture.migrations:
        server = servers.get(migration.server)
        if server is None:
            continue
        if migration.other_side(server.host) in region:
            yield migration
            continue
        # The other side was not read: as it was before, or what a server of this size will hold there.
        old = cluster.migration_of.get(server.id)
        known = old.resources if old is not None and old.id == migration.id else server.resources
        yield replace(migration, resources=known)
