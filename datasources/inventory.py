"""The whole inventory of a cloud as one consistent snapshot.

A cloud goes on working while it is read. So a first pass reads everything; each further pass asks Nova for
what has changed since the first request, re-reads in Placement the providers that changed or that a
changed server touches, and compares. The snapshot is taken when a pass brings nothing new.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from openstack.connection import Connection

from datasources.assemble import Facts, Picture, assemble, compute_hosts, unsettled
from datasources.connection import Service, cloud_name
from datasources.errors import InconsistentCloud, UnexpectedAnswer
from datasources.nova import (
    IN_PROGRESS,
    Hypervisor,
    SeenServer,
    Services,
    image_service,
    list_aggregates,
    list_groups,
    list_hypervisors,
    list_images,
    list_migrations,
    list_servers,
    list_services,
    newest_by_server,
    notes_on_version,
    nova_service,
)
from datasources.placement import Provider, list_providers, placement_service, read_holdings
from optimizer.cluster import Cluster

CONCURRENCY = 16
ATTEMPTS = 8
BUSY = 3
"""After so many passes it is enough that everything fits, though each pass brings something new."""
MARGIN_S = 5.0
"""Nova's clock has a resolution of a second, and its services do not share one: ask for a little more."""

PINS_KNOWN = (2, 96)
IMAGES_EMBEDDED = (2, 98)
_EXAMPLES = 3

Value = TypeVar("Value")


def read_cluster(connection: Connection, *, concurrency: int = CONCURRENCY, attempts: int = ATTEMPTS) -> Cluster:
    """Read every host and server of a cloud.

    ``concurrency`` requests are under way at once; ``attempts`` is how many passes the cloud has to stand
    still in. Raises InconsistentCloud when it does not, with examples, and the other errors of
    datasources.errors.
    """
    nova, placement = nova_service(connection), placement_service(connection)
    zones_are_pins = not nova.speaks(PINS_KNOWN)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="inventory") as pool:
        reading = _Reading(nova, placement, pool)
        try:
            facts = reading.first()
            started = _clock(facts, nova) - MARGIN_S
            picture = assemble(facts, zones_are_pins=zones_are_pins)
            for number in range(1, attempts + 1):
                later = reading.again(facts, started, picture.odd)
                seen = assemble(later, zones_are_pins=zones_are_pins)
                doubtful = unsettled(facts, picture, later, seen)
                quiet = later == facts
                facts, picture = later, seen
                # A cloud too busy to be quiet for one pass is consistent enough when everything fits.
                if not doubtful and (quiet or number >= BUSY):
                    break
            else:
                _refuse(doubtful, picture, facts, attempts)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    notes = (*notes_on_version(nova), *picture.notes)
    cluster = Cluster(
        name=cloud_name(connection),
        taken_at=_iso(_clock(facts, nova)),
        hosts=picture.hosts,
        servers=picture.servers,
        flavors=picture.flavors,
        images=picture.images,
        aggregates=picture.aggregates,
        groups=picture.groups,
        migrations=picture.migrations,
        notes=notes,
    )
    return cluster if nova.speaks(IMAGES_EMBEDDED) else _with_images(cluster, connection)


def _refuse(doubtful: list[str], picture: Picture, facts: Facts, attempts: int) -> None:
    """Raise when the last pass left servers that do not fit."""
    # Not those that are just beginning to move or being deleted: what they hold is counted where it is.
    alive = [facts.servers[server] for server in doubtful if server in picture.misfits]
    if alive:
        examples = "; ".join(
            f"{one.server.name} ({one.server.id}) on {one.host}, "
            f"allocations on {', '.join(sorted(picture.odd[one.server.id]))}"
            for one in alive[:_EXAMPLES]
        )
        raise InconsistentCloud(
            f"{len(alive)} server(s) kept moving or changing during {attempts} passes, so Nova and Placement "
            f"do not agree where they are: {examples}. Please try again when less is going on."
        )


def _clock(facts: Facts, nova: Service) -> float:
    if facts.services.clock is None:
        raise UnexpectedAnswer(
            f"nova at {nova.url} tells no time: no Date header, and no service has ever reported. "
            "Is any nova service running?"
        )
    return facts.services.clock


def _iso(clock: float) -> str:
    return datetime.fromtimestamp(int(clock), UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class _Reading:
    nova: Service
    placement: Service
    pool: ThreadPoolExecutor

    def first(self) -> Facts:
        # The services come before all else: their answer holds the time from which changes are asked for.
        services = list_services(self.nova)
        servers = self.pool.submit(list_servers, self.nova)
        return self._pass(services, servers.result, None, frozenset())

    def again(self, before: Facts, since: float, odd: Mapping[str, frozenset[str]]) -> Facts:
        def changed() -> dict[str, SeenServer]:
            return {**before.servers, **list_servers(self.nova, since=since)}

        return self._pass(list_services(self.nova), changed, before, frozenset().union(*odd.values()))

    def _pass(
        self,
        services: Services,
        read_servers: Callable[[], dict[str, SeenServer]],
        before: Facts | None,
        doubted: frozenset[str],
    ) -> Facts:
        hypervisors = self.pool.submit(list_hypervisors, self.nova)
        aggregates = self.pool.submit(list_aggregates, self.nova)
        groups = self.pool.submit(list_groups, self.nova)
        migrations = newest_by_server(self.pool.map(partial(list_migrations, self.nova), IN_PROGRESS))
        # The servers last of what Nova tells and right before Placement: the less can happen in between.
        facts = Facts(
            services=services,
            hypervisors=hypervisors.result(),
            aggregates=aggregates.result(),
            groups=groups.result(),
            migrations=migrations,
            servers=read_servers(),
            providers={},
            holdings={},
        )
        providers = _of_interest(list_providers(self.placement), facts.hypervisors)
        known = before.holdings if before else {}
        doubted |= _touched(before, facts) if before else frozenset()
        doubted_roots = {one.id for one in facts.hypervisors.values() if one.host in doubted}
        stale = [
            uuid
            for uuid, provider in providers.items()
            if uuid not in known or known[uuid].generation != provider.generation or provider.root in doubted_roots
        ]
        fresh = zip(stale, self.pool.map(partial(read_holdings, self.placement), stale), strict=True)
        holdings = {uuid: known[uuid] for uuid in providers if uuid in known}
        for uuid, found in fresh:
            if found is None:
                holdings.pop(uuid, None)
            else:
                holdings[uuid] = found
        return replace(facts, providers=providers, holdings=holdings)


def _of_interest(providers: Mapping[str, Provider], hypervisors: Mapping[str, Hypervisor]) -> dict[str, Provider]:
    """All but the nodes of Ironic, whose number has no bearing on what can be migrated."""
    computes, _ = compute_hosts(hypervisors)
    left_out = hypervisors.keys() - {one.id for one in computes.values()}
    return {uuid: one for uuid, one in providers.items() if one.root not in left_out}


def _touched(before: Facts, after: Facts) -> frozenset[str]:
    """Hosts that a server or migration changed between two passes is, was or will be on."""
    hosts: set[str | None] = set()
    for server, old, new in _differing(before.servers, after.servers):
        hosts |= {one.host for one in (old, new) if one is not None}
        if (record := after.migrations.get(server)) is not None:
            hosts |= {record.migration.source, record.migration.destination}
    for _, gone, come in _differing(before.migrations, after.migrations):
        for seen in (gone, come):
            if seen is not None:
                hosts |= {seen.migration.source, seen.migration.destination}
    return frozenset(host for host in hosts if host is not None)


def _differing(
    before: Mapping[str, Value], after: Mapping[str, Value]
) -> Iterable[tuple[str, Value | None, Value | None]]:
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old is not new and old != new:
            yield key, old, new


def _with_images(cluster: Cluster, connection: Connection) -> Cluster:
    glance = image_service(connection)
    if glance is None:
        note = "The catalog has no image service, so the properties of images are unknown."
        return replace(cluster, notes=(*cluster.notes, note))
    found = list_images(glance, cluster.images)
    notes = cluster.notes
    if lost := sorted(cluster.images.keys() - found.keys()):
        notes = (
            *notes,
            f"{len(lost)} image(s) of servers are gone or not to be seen, so their properties are unknown: "
            f"{', '.join(lost[:_EXAMPLES])}.",
        )
    return replace(cluster, images={**cluster.images, **found}, notes=notes)
