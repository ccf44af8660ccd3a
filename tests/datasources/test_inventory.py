"""What is read of a cloud is what the cloud holds, also while it changes; or a clear error asks to try again."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import openstack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openstack.connection import Connection

from benchmarks.synthetic_cloud import IMAGES, SyntheticCloud, share
from benchmarks.synthetic_http import Query, SyntheticServer
from datasources.errors import InconsistentCloud
from datasources.inventory import read_cluster
from optimizer.cluster import Cluster, Image, Obstacle

Serve = Callable[..., tuple[SyntheticServer, Connection]]


def comparable(cluster: Cluster) -> Cluster:
    """A cluster without its name, time and notes, and with names instead of keys for what was numbered."""
    servers = tuple(replace(one, flavor=repr(cluster.flavors[one.flavor])) for one in cluster.servers)
    flavors = {repr(one): one for one in cluster.flavors.values()}
    return replace(cluster, name="", taken_at="", notes=(), servers=servers, flavors=flavors)


def assert_same(found: Cluster, expected: Cluster) -> None:
    found, expected = comparable(found), comparable(expected)
    for part in ("hosts", "servers", "flavors", "images", "aggregates", "groups", "migrations"):
        assert getattr(found, part) == getattr(expected, part), part


def busy_cloud() -> SyntheticCloud:
    cloud = SyntheticCloud(6, 60)
    first, second, third, fourth = list(cloud.guests)[:4]
    cloud.start_transfer(first, "host-0003")
    cloud.start_transfer(second, "host-0003", kind="resize", flavor="large")
    cloud.start_transfer(third, "host-0002", kind="resize", flavor="medium")  # on the host where it is
    cloud.delete(fourth)
    cloud.hold("99999999-0000-4000-8000-000000000009", "host-0004", {"VCPU": 3, "DISK_GB": 5})
    return cloud


def test_a_cloud_at_rest(serve: Serve) -> None:
    cloud = busy_cloud()
    _, connection = serve(cloud, page=7)
    found = read_cluster(connection)
    assert_same(found, cloud.cluster())
    assert {"small", "small#2"} <= found.flavors.keys()
    assert abs(datetime.fromisoformat(found.taken_at).timestamp() - datetime.now(UTC).timestamp()) < 60
    assert found.taken_at.endswith("Z")
    assert len(found.notes) == 1
    assert "20 server(s) boot from a volume" in found.notes[0]


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    hosts=st.integers(1, 8),
    servers=st.integers(0, 40),
    changes=st.integers(0, 12),
    page=st.integers(2, 50),
    dated=st.booleans(),
)
def test_any_cloud_is_read_as_it_is(seed: int, hosts: int, servers: int, changes: int, page: int, dated: bool) -> None:
    cloud = SyntheticCloud(hosts, servers, seed=seed)
    for number in range(changes):
        change(cloud, seed + number)
    with SyntheticServer(cloud, page=page, dated=dated).running() as server:
        assert_same(read_cluster(connection_to(server)), cloud.cluster())


@settings(max_examples=25)
@given(moments=st.lists(st.integers(0, 45), max_size=4), seed=st.integers(0, 10**6))
def test_a_cloud_that_changes_while_it_is_read(moments: list[int], seed: int) -> None:
    """Up to four changes at any moments of the reading: the result is the cloud after the last of them."""
    cloud = SyntheticCloud(4, 20, seed=seed)
    changes = sorted(moments)
    asked = 0

    def before(path: str, query: Query) -> None:
        nonlocal asked
        with cloud.lock:
            asked += not path.startswith("/identity")
            while changes and changes[0] <= asked:
                changes.pop(0)
                change(cloud, seed + len(changes))

    server = SyntheticServer(cloud, page=5)
    server.before = before
    with server.running():
        found = read_cluster(connection_to(server))
    assert_same(found, cloud.cluster())


def change(cloud: SyntheticCloud, seed: int) -> None:
    """Something happens to one server, as it could in a real cloud."""
    dice = random.Random(seed)
    alive = [one for one in cloud.guests.values() if not one.deleted and one.host]
    on_their_way = [one.server for one in cloud.transfers.values() if one.status in ("running", "finished")]
    idle = [one.id for one in alive if one.id not in on_their_way]
    host = dice.choice(sorted(cloud.nodes))
    what = dice.choice(["boot", "delete", "move", "migrate", "resize", "arrive"])
    if what == "boot":
        cloud.boot(host)
    elif what == "arrive":
        if on_their_way:
            cloud.end_transfer(dice.choice(on_their_way))
    elif idle:
        server = dice.choice(idle)
        if what == "delete":
            cloud.delete(server)
        elif what == "move":
            cloud.move(server, host)
        elif what == "resize":
            cloud.start_transfer(server, host, kind="resize", flavor="large")
        elif host != cloud.guests[server].host:
            cloud.start_transfer(server, host)


def connection_to(server: SyntheticServer) -> Connection:
    auth = {
        "auth_url": f"{server.url}/identity/v3",
        "username": "admin",
        "password": "secret",
        "project_name": "admin",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }
    return openstack.connect(auth=auth, region_name="RegionOne", load_yaml_config=False, load_envvars=False)


@pytest.mark.parametrize("path", ["servers/detail", "os-migrations", "resource_providers", "allocations", "traits"])
def test_one_server_moves_at_an_awkward_moment(serve: Serve, path: str) -> None:
    cloud = SyntheticCloud(3, 12)
    server, connection = serve(cloud, page=5)
    mover = next(iter(cloud.guests))
    seen = 0

    def before(asked: str, query: Query) -> None:
        nonlocal seen
        if asked.endswith(path):
            seen += 1
            if seen == 2:
                cloud.move(mover, "host-0002")

    server.before = before
    assert_same(read_cluster(connection), cloud.cluster())
    assert cloud.guests[mover].host == "host-0002"


def test_a_page_ends_with_a_server_that_is_deleted(serve: Serve) -> None:
    cloud = SyntheticCloud(2, 12)
    server, connection = serve(cloud, page=5)

    def before(path: str, query: Query) -> None:
        marker = query.get("marker", "")
        if path.endswith("servers/detail") and marker in cloud.guests and len(cloud.guests) == 12:
            cloud.boot("host-0001")
            cloud.delete(marker)

    server.before = before
    assert_same(read_cluster(connection), cloud.cluster())
    assert len(cloud.guests) == 13


def test_a_group_is_deleted_between_two_pages(serve: Serve) -> None:
    cloud = SyntheticCloud(2, 400)
    assert len(cloud.groups) == 10
    server, connection = serve(cloud, page=4)

    def before(path: str, query: Query) -> None:
        if path.endswith("os-server-groups") and query["offset"] == "3" and len(cloud.groups) == 10:
            del cloud.groups[0]

    server.before = before
    assert_same(read_cluster(connection), cloud.cluster())
    assert len(cloud.groups) == 9


def test_a_cloud_that_never_stands_still(serve: Serve) -> None:
    """Nova and Placement are read in an order that never fits, whichever side the server is on."""
    cloud = SyntheticCloud(2, 6)
    server, connection = serve(cloud)
    restless = next(iter(cloud.guests))

    def before(path: str, query: Query) -> None:
        if path.endswith("/resource_providers"):
            cloud.move(restless, "host-0000" if cloud.guests[restless].host == "host-0001" else "host-0001")

    server.before = before
    with pytest.raises(InconsistentCloud, match=rf"1 server\(s\) kept moving .*4 passes.*server-0 \({restless}\)"):
        read_cluster(connection, attempts=4)


def test_a_busy_cloud_where_everything_fits_is_good_enough(serve: Serve) -> None:
    cloud = SyntheticCloud(2, 6)
    server, connection = serve(cloud)

    def before(path: str, query: Query) -> None:
        if path.endswith("/os-services"):
            cloud.boot("host-0001")

    server.before = before
    assert_same(read_cluster(connection, attempts=3), cloud.cluster())


def test_a_broken_allocation_is_told_and_keeps_its_server_in_place(serve: Serve) -> None:
    cloud = SyntheticCloud(2, 6)
    bare, double = list(cloud.guests)[:2]
    cloud.free(bare, "host-0000")
    cloud.allocate(double, "host-0000", {"VCPU": 2})
    _, connection = serve(cloud)
    found = read_cluster(connection)
    server = found.server_by_id[bare]
    assert server.resources == {}
    assert [one.kind for one in server.obstacles] == ["allocation"]
    assert found.host_by_name["host-0000"].held == {"VCPU": 2}
    assert any("hold nothing in Placement" in note and bare in note for note in found.notes)
    assert any("on a host they are not on" in note and double in note for note in found.notes)


def test_an_evacuated_server_holds_nothing_of_weight_on_a_host_that_is_down(serve: Serve) -> None:
    cloud = SyntheticCloud(3, 6)
    gone = next(iter(cloud.guests))
    old, kept = cloud.guests[gone].host, cloud.guests[gone].resources
    assert old is not None
    cloud.move(gone, next(name for name in cloud.nodes if name != old))
    cloud.allocate(gone, old, kept)
    for forced_down in (False, True):
        cloud.nodes[old].up, cloud.nodes[old].forced_down = False, forced_down
        _, connection = serve(cloud)
        found = read_cluster(connection)
        host = found.host_by_name[old]
        assert (host.state, host.forced_down, host.held) == ("down", forced_down, {} if forced_down else kept)
        assert any("on a host they are not on" in note for note in found.notes) is not forced_down


def test_servers_on_no_host_are_counted(serve: Serve) -> None:
    cloud = SyntheticCloud(2, 6)
    cloud.guests[cloud.boot(None)].status = "SHELVED_OFFLOADED"
    cloud.guests[cloud.boot(None)].status = "ERROR"
    lost = cloud.boot("host-0001")
    cloud.free(lost, "host-0001")
    cloud.guests[lost].host = "host-9999"
    _, connection = serve(cloud)
    found = read_cluster(connection)
    assert len(found.servers) == 6
    assert "2 server(s) are on no host and not in the snapshot: 1 ERROR, 1 SHELVED_OFFLOADED." in found.notes
    assert any("without a usable hypervisor" in note and "host-9999" in note for note in found.notes)


@pytest.mark.parametrize(
    ("version", "told", "untold"),
    [
        ("2.100", [], ["below"]),
        ("2.97", ["below 2.98"], ["below 2.96"]),
        ("2.95", ["below 2.96", "below 2.98"], ["below 2.64"]),
        ("2.63", ["below 2.64", "below 2.96"], ["below 2.59"]),
        ("2.53", ["below 2.59", "below 2.64", "below 2.96"], []),
    ],
)
def test_older_novas_say_less_and_the_snapshot_says_so(
    serve: Serve, version: str, told: list[str], untold: list[str]
) -> None:
    cloud = SyntheticCloud(4, 80)
    migrating = next(iter(cloud.guests))
    cloud.start_transfer(migrating, "host-0001")
    _, connection = serve(cloud, nova=version, page=2 if version == "2.97" else 1000)
    found, expected = read_cluster(connection), cloud.cluster()
    minor = int(version.partition(".")[2])
    if minor < 96:
        zone_of = {host.name: host.zone for host in expected.hosts}
        pinned = tuple(replace(one, pinned_zone=zone_of[one.host]) for one in expected.servers)
        expected = replace(expected, servers=pinned)
    if minor < 64:
        expected = replace(expected, groups=tuple(replace(one, rules={}) for one in expected.groups))
    if minor < 59:
        # Without UUIDs of migrations the source's share is somebody's: held, and not the server's.
        source = cloud.guests[migrating].host
        held = share(cloud.guests[migrating].flavor)
        assert found.host_by_name[str(source)].held == held
        hosts = tuple(replace(one, held=held if one.name == source else {}) for one in expected.hosts)
        servers = tuple(replace(one, resources={}) if one.id == migrating else one for one in expected.servers)
        expected = replace(expected, hosts=hosts, servers=servers)
    assert_same(found, expected)
    text = " ".join(found.notes)
    assert all(part in text for part in told), text
    assert not any(part in text for part in untold), text


def test_images_without_an_image_service(serve: Serve) -> None:
    _, connection = serve(SyntheticCloud(1, 3), nova="2.97", services=("identity", "compute", "placement"))
    found = read_cluster(connection)
    assert found.images == {one: Image(id=one) for one in IMAGES}
    assert any("no image service" in note for note in found.notes)


def test_requests_grow_with_pages_and_hosts_and_not_with_servers(serve: Serve) -> None:
    counts = []
    for servers in (100, 1000):
        server, connection = serve(SyntheticCloud(5, servers), page=1000)
        read_cluster(connection)
        counts.append(dict(server.requests))
    assert counts[0] == counts[1]
    server, connection = serve(SyntheticCloud(5, 1000), page=100)
    read_cluster(connection)
    pages = "GET /compute/v2.1/servers/detail"
    assert server.requests[pages] == counts[0][pages] + 9
    assert sum(server.requests.values()) == sum(counts[0].values()) + 9
    for part in ("inventories", "allocations", "traits"):
        assert counts[0][f"GET /placement/resource_providers/ID/{part}"] == 5


def test_devices_elsewhere_are_obstacles(serve: Serve) -> None:
    cloud = SyntheticCloud(2, 4)
    host, guest = cloud.nodes["host-0000"], next(iter(cloud.guests))
    cloud.attach(host.id, "host-0000_gpu", {"VGPU": 1}, guest)
    cloud.attach(host.id, "host-0000_nic", {"NET_BW_EGR_KILOBIT_PER_SEC": 1000}, guest)
    cloud.attach(None, "shared-storage", {"DISK_GB": 10}, guest, traits=("MISC_SHARES_VIA_AGGREGATE",))
    cloud.attach(None, "a-host-long-gone", {"VCPU": 1}, guest)
    _, connection = serve(cloud)
    found = read_cluster(connection)
    apart = "apart from its host"
    bandwidth = "NET_BW_EGR_KILOBIT_PER_SEC"
    assert sorted(found.server_by_id[guest].obstacles, key=lambda one: one.text) == [
        Obstacle(kind="pci", text=f"holds 1 VGPU of resource provider host-0000_gpu, {apart}"),
        Obstacle(kind="nested", text=f"holds 10 DISK_GB of resource provider shared-storage, {apart}"),
        Obstacle(kind="nested", text=f"holds 1000 {bandwidth} of resource provider host-0000_nic, {apart}"),
    ]
    assert found.server_by_id[guest].resources == cloud.guests[guest].resources
    assert any("belong to no hypervisor" in note and "a-host-long-gone" in note for note in found.notes)


def test_cpu_and_memory_of_numa_providers_belong_to_the_host(serve: Serve) -> None:
    cloud = SyntheticCloud(2, 4)
    host, guest = cloud.nodes["host-0000"], next(iter(cloud.guests))
    for number in range(2):
        cloud.attach(host.id, f"host-0000_numa{number}", {"PCPU": 2 + number}, guest)
    _, connection = serve(cloud)
    found = read_cluster(connection)
    assert found.server_by_id[guest].obstacles == ()
    assert found.server_by_id[guest].resources["PCPU"] == 5
    inventory = found.host_by_name["host-0000"].inventory["PCPU"]
    assert (inventory.total, inventory.largest, inventory.capacity) == (20, 10, 20)


def test_bare_metal_is_left_out(serve: Serve) -> None:
    cloud = SyntheticCloud(3, 6)
    cloud.nodes["host-0002"].kind = "ironic"
    server, connection = serve(cloud)
    found = read_cluster(connection)
    assert [host.name for host in found.hosts] == ["host-0000", "host-0001"]
    assert {one.host for one in found.servers} == {"host-0000", "host-0001"}
    assert any("bare-metal" in note for note in found.notes)
    assert server.requests["GET /placement/resource_providers/ID/allocations"] == 2


def test_a_migration_record_that_never_ended_is_a_leftover(serve: Serve) -> None:
    cloud = SyntheticCloud(2, 4)
    server = next(iter(cloud.guests))
    cloud.start_transfer(server, "host-0001")
    cloud.end_transfer(server)
    cloud.transfers[server].status = "running"
    _, connection = serve(cloud)
    found = read_cluster(connection)
    assert found.migrations == ()
    assert any("never ended" in note for note in found.notes)


def test_the_destination_is_known_before_novas_record_names_it(serve: Serve) -> None:
    cloud = SyntheticCloud(3, 6)
    server = next(iter(cloud.guests))
    cloud.start_transfer(server, "host-0002")
    cloud.transfers[server].destination = None
    _, connection = serve(cloud)
    migration = read_cluster(connection).migration_of[server]
    assert migration.destination == "host-0002"
    assert migration.resources == cloud.guests[server].resources


def test_a_resize_that_is_being_reverted(serve: Serve) -> None:
    """Placement has already gone back, Nova has not: the server holds nothing where it still is."""
    cloud = SyntheticCloud(3, 6)
    server = next(iter(cloud.guests))
    old = share(cloud.guests[server].flavor)
    cloud.start_transfer(server, "host-0002", kind="resize", flavor="large")
    record = cloud.transfers[server]
    record.status, cloud.guests[server].task_state = "reverting", "resize_reverting"
    cloud.free(server, "host-0002")
    cloud.free(record.uuid, "host-0000")
    cloud.allocate(server, "host-0000", old)
    _, connection = serve(cloud)
    found = read_cluster(connection)
    assert (found.server_by_id[server].host, found.server_by_id[server].resources) == ("host-0002", {})
    assert found.server_by_id[server].obstacles == ()
    assert found.migration_of[server].resources == old
    assert found.host_by_name["host-0000"].held == {}
