"""A part read again is as the cloud is now; the rest stays; and it takes few requests."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from openstack.connection import Connection

from benchmarks.synthetic_cloud import SyntheticCloud
from benchmarks.synthetic_http import Query, SyntheticServer
from datasources.errors import InconsistentCloud
from datasources.inventory import read_cluster
from datasources.refresh import refresh
from optimizer.cluster import Cluster, Usage

Serve = Callable[..., tuple[SyntheticServer, Connection]]
Cloud = tuple[SyntheticCloud, SyntheticServer, Connection, Cluster]


@pytest.fixture
def read(serve: Serve) -> Cloud:
    """A cloud of four hosts with five servers each, and the snapshot of it; host-0000 has ``first``."""
    cloud = SyntheticCloud(4, 20)
    server, connection = serve(cloud)
    return cloud, server, connection, read_cluster(connection)


def on(cloud: SyntheticCloud, host: str) -> list[str]:
    return [one.id for one in cloud.guests.values() if one.host == host]


def same(found: Cluster, expected: Cluster) -> None:
    order = {server.id: server for server in found.servers}
    assert found.hosts == expected.hosts
    assert order == {server.id: replace(server, flavor=order[server.id].flavor) for server in expected.servers}
    assert {one.id: found.flavors[one.flavor] for one in found.servers} == {
        one.id: expected.flavors[one.flavor] for one in expected.servers
    }
    assert found.groups == expected.groups
    assert sorted(found.migrations, key=lambda one: one.server) == list(expected.migrations)


def test_nothing_happened(read: Cloud) -> None:
    cloud, _, connection, cluster = read
    assert refresh(connection, cluster, [on(cloud, "host-0000")[0]], ["host-0001"]) == cluster


def test_a_deleted_server_is_gone(read: Cloud) -> None:
    cloud, _, connection, cluster = read
    gone = on(cloud, "host-0000")[0]
    cloud.delete(gone)
    found = refresh(connection, cluster, [gone], ["host-0000"])
    assert gone not in found.server_by_id
    same(found, cloud.cluster())


def test_a_server_that_moved_is_where_it_is_now(read: Cloud) -> None:
    """Whether it is named, or only one of the hosts it left or went to is."""
    cloud, _, connection, cluster = read
    mover = on(cloud, "host-0000")[0]
    cloud.move(mover, "host-0003")
    for servers, hosts in (([mover], []), ([], ["host-0000"]), ([], ["host-0000", "host-0003"])):
        same(refresh(connection, cluster, servers, hosts), cloud.cluster())
    found = refresh(connection, cluster, [], ["host-0003"])
    assert found.server_by_id[mover].host == "host-0003"


def test_a_server_that_was_booted_or_lost_its_host(read: Cloud) -> None:
    cloud, _, connection, cluster = read
    cloud.boot("host-0001")
    shelved = on(cloud, "host-0002")[0]
    cloud.free(shelved, "host-0002")
    cloud.guests[shelved].host, cloud.guests[shelved].status = None, "SHELVED_OFFLOADED"
    same(refresh(connection, cluster, [shelved], ["host-0001", "host-0002"]), cloud.cluster())


def test_a_host_that_changed(read: Cloud) -> None:
    cloud, _, connection, cluster = read
    node, provider = cloud.nodes["host-0001"], cloud.providers[cloud.nodes["host-0001"].id]
    node.enabled, node.up, node.disabled_reason = False, False, "broken fan"
    node.traits = provider.traits = ("COMPUTE_NODE", "CUSTOM_HOT")
    node.inventory = provider.inventory = {
        name: replace(one, reserved=one.total // 2) for name, one in node.inventory.items()
    }
    node.aggregates = ("2", "9")
    cloud.hold("99999999-0000-4000-8000-000000000009", "host-0001", {"VCPU": 7})
    found = refresh(connection, cluster, [], ["host-0001"])
    assert found.host_by_name["host-0001"].held == {"VCPU": 7}
    same(found, cloud.cluster())


@pytest.mark.parametrize("named", ["server", "source", "destination", "both"])
def test_a_migration_that_goes_on_and_ends(read: Cloud, named: str) -> None:
    cloud, _, connection, cluster = read
    mover = on(cloud, "host-0000")[0]
    servers = [mover] if named == "server" else []
    hosts = {"source": ["host-0000"], "destination": ["host-0002"], "both": ["host-0000", "host-0002"]}.get(named, [])
    cloud.start_transfer(mover, "host-0002")
    running = refresh(connection, cluster, servers, hosts)
    same(running, cloud.cluster())
    assert running.migration_of[mover].resources == cloud.guests[mover].resources
    cloud.end_transfer(mover)
    if named != "destination":
        same(refresh(connection, running, servers, hosts), cloud.cluster())
    found = refresh(connection, running, servers, ["host-0000", "host-0002"])
    same(found, cloud.cluster())


def test_migrations_elsewhere_are_seen_and_counted_once(read: Cloud) -> None:
    cloud, _, connection, cluster = read
    first, second = on(cloud, "host-0002")[:2]
    cloud.start_transfer(first, "host-0003")
    cloud.start_transfer(second, "host-0001", kind="resize", flavor="large")
    found = refresh(connection, cluster, [], ["host-0000"])
    assert set(found.migration_of) == {first, second}
    assert found.migration_of[first].resources == found.server_by_id[first].resources
    both_sides = refresh(connection, cluster, [], ["host-0001"])
    same(refresh(connection, both_sides, [], ["host-0003"]), cloud.cluster())


def test_usage_stays_and_names_of_flavors_stay(read: Cloud) -> None:
    cloud, _, connection, cluster = read
    usage = Usage(cpu_cores=0.5, memory_mb=100.0)
    cluster = replace(cluster, servers=tuple(replace(one, usage=usage) for one in cluster.servers))
    new = cloud.boot("host-0001", flavor="small#2")
    found = refresh(connection, cluster, [], ["host-0001"])
    assert found.flavors == cluster.flavors
    assert found.server_by_id[new].usage is None
    assert all(one.usage == usage for one in found.servers if one.id != new)


def test_a_device_on_a_shared_provider_is_remembered(serve: Serve) -> None:
    cloud = SyntheticCloud(2, 4)
    guest = on(cloud, "host-0000")[0]
    cloud.attach(None, "shared", {"DISK_GB": 1}, guest, traits=("MISC_SHARES_VIA_AGGREGATE",))
    _, connection = serve(cloud)
    cluster = read_cluster(connection)
    found = refresh(connection, cluster, [guest], ["host-0000"])
    assert found.server_by_id[guest].obstacles == cluster.server_by_id[guest].obstacles != ()


@pytest.mark.parametrize("version", ["2.53", "2.63", "2.95", "2.97"])
def test_older_novas(serve: Serve, version: str) -> None:
    cloud = SyntheticCloud(3, 12)
    _, connection = serve(cloud, nova=version)
    cluster = read_cluster(connection)
    assert refresh(connection, cluster, on(cloud, "host-0000"), ["host-0001"]) == cluster


def test_a_host_that_the_snapshot_does_not_know(read: Cloud) -> None:
    cloud, _, connection, cluster = read
    with pytest.raises(InconsistentCloud, match="no host 'host-7777'"):
        refresh(connection, cluster, [], ["host-7777"])
    mover = on(cloud, "host-0000")[0]
    cloud.guests[mover].host = "host-8888"
    with pytest.raises(InconsistentCloud, match=r"'host-8888'.*read the cloud again"):
        refresh(connection, cluster, [mover], [])


def test_a_server_that_moves_while_it_is_read(read: Cloud) -> None:
    cloud, server, connection, cluster = read
    mover = on(cloud, "host-0000")[0]
    moved: list[str] = []

    def before(path: str, query: Query) -> None:
        if path.endswith("/allocations") and not moved:
            moved.append(mover)
            cloud.move(mover, "host-0003")

    server.before = before
    same(refresh(connection, cluster, [mover], ["host-0000"]), cloud.cluster())


def test_a_server_that_never_stands_still(read: Cloud) -> None:
    cloud, server, connection, cluster = read
    restless = on(cloud, "host-0000")[0]
    first = cloud.nodes["host-0000"].id

    def before(path: str, query: Query) -> None:
        # After Nova has said where it is, and before Placement does.
        if path.endswith(f"{first}/allocations"):
            cloud.move(restless, "host-0001" if cloud.guests[restless].host == "host-0000" else "host-0000")

    server.before = before
    with pytest.raises(InconsistentCloud, match=f"kept changing.*{restless}"):
        refresh(connection, cluster, [restless], ["host-0000", "host-0001"])


def test_few_requests_whatever_the_cloud_holds(serve: Serve) -> None:
    counts = []
    for hosts, servers in ((4, 40), (40, 1000)):
        cloud = SyntheticCloud(hosts, servers)
        server, connection = serve(cloud)
        cluster = read_cluster(connection)
        server.requests.clear()
        refresh(connection, cluster, on(cloud, "host-0000")[:1], ["host-0000", "host-0001"])
        counts.append(sum(server.requests.values()))
    # 10 states of migrations, aggregates, groups (2 for the end of the list), the server, 6 for each host.
    assert counts == [26, 26]
