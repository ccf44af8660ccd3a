"""Smoke test of the testbed and its scenario: what the other tests of this directory take for granted."""

import statistics
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.cloud import measures, scenario
from tests.cloud.conftest import Cloud
from tests.cloud.scenario import HOST_CORES, HOST_SHARE, MICROVERSION, PLACEMENT_MICROVERSION, Scenario


@pytest.fixture(scope="module")
def built(cloud: Cloud) -> Iterator[Scenario]:
    """One scenario for all tests of this file, which change it only where they say so, the last ones."""
    yield scenario.build(cloud.connection)
    scenario.clear(cloud.connection)


@pytest.fixture(scope="module")
def seen(cloud: Cloud, built: Scenario) -> dict[str, dict]:
    """The servers as Nova shows them, by id."""
    path = f"/servers/detail?all_tenants=1&name=^{built.prefix}-"
    answer = cloud.connection.compute.get(path, microversion=MICROVERSION).json()
    return {server["id"]: server for server in answer["servers"]}


@pytest.mark.parametrize("servers", [0, 33, 200])
def test_an_impossible_number_of_servers_is_refused(servers: int) -> None:
    with pytest.raises(ValueError, match=f"servers is {servers}"):
        scenario.layout(servers)


def test_servers_are_active_where_they_were_planned(built: Scenario, seen: dict[str, dict]) -> None:
    assert len(seen) == len(built.guests) == 60
    status = {server: seen[server]["status"] for server in seen}
    assert {server for server in status if status[server] != "ACTIVE"} == set(built.members["shutoff"])
    assert {status[server] for server in built.members["shutoff"]} == {"SHUTOFF"}
    assert {s: seen[s]["OS-EXT-SRV-ATTR:host"] for s in seen} == {g.id: g.host for g in built.guests.values()}
    assert [server for server in seen if seen[server]["locked"]] == list(built.members["locked"])


def test_only_the_servers_booted_for_the_zone_are_pinned(built: Scenario, seen: dict[str, dict]) -> None:
    pinned = {server: seen[server]["pinned_availability_zone"] for server in seen}
    assert {server for server in pinned if pinned[server]} == set(built.members["zone"])
    assert {pinned[server] for server in built.members["zone"]} == {scenario.ZONE}


def test_allocations_are_on_the_host_of_each_server(cloud: Cloud, built: Scenario) -> None:
    placement = cloud.connection.placement
    for host in HOST_SHARE:
        provider = placement.find_resource_provider(host, ignore_missing=False)
        path = f"/resource_providers/{provider.id}/allocations"
        found = placement.get(path, microversion=PLACEMENT_MICROVERSION).json()["allocations"]
        assert set(built.on(host)) == set(found) & set(built.guests), host
        assert all(
            found[server]["resources"] == {"VCPU": guest.vcpus, "MEMORY_MB": guest.memory_mb, "DISK_GB": 1}
            for server, guest in built.guests.items()
            if server in found
        )


def test_groups_hold_and_know_their_members(cloud: Cloud, built: Scenario) -> None:
    hosts = {role: Counter(built.guests[m].host for m in built.members[role]) for role in built.groups}
    assert max(hosts["anti-affinity"].values()) == 1
    assert max(hosts["two-per-host"].values()) == 2
    assert len(hosts["affinity"]) == 1
    groups = cloud.connection.compute.server_groups()
    known = {group.id: (group.policy, set(group.member_ids)) for group in groups}
    for role, group in built.groups.items():
        assert known[group] == (scenario.GROUPS[role]["policy"], set(built.members[role]))


def test_hosts_have_the_traits_that_flavors_ask_for(cloud: Cloud) -> None:
    for trait, hosts in ((scenario.SSD, scenario.SSD_HOSTS), (scenario.DEDICATED, scenario.DEDICATED_HOSTS)):
        with_trait = {host for host in HOST_SHARE if trait in scenario.host_traits(cloud.connection, host)}
        assert with_trait == set(hosts)


def test_measures_read_back_are_the_load_that_was_meant(cloud: Cloud, built: Scenario) -> None:
    found = measures.read(cloud.connection, built.guests, measures.stamps()[-12])
    for guest in built.guests.values():
        assert statistics.fmean(found[guest.id]["cpu"]) == pytest.approx(guest.cpu_cores, rel=0.1), guest.name
        assert statistics.fmean(found[guest.id]["memory.usage"]) == pytest.approx(guest.used_mb)
    shares = {h: sum(statistics.fmean(found[s]["cpu"]) for s in built.on(h)) / HOST_CORES for h in HOST_SHARE}
    assert shares == pytest.approx(HOST_SHARE, rel=0.1)
    assert 0.25 < statistics.pstdev(shares.values()) < 0.32


@pytest.mark.parametrize(
    ("role", "forbidden", "allowed", "rule"),
    [
        ("anti-affinity", "compute-3", "compute-6", "another member is there"),
        ("two-per-host", "compute-5", "compute-4", "two members are there"),
        ("affinity", "compute-6", None, "the other members stay behind"),
        ("zone", "compute-6", "compute-2", "it is outside the zone"),
        ("ssd", "compute-6", "compute-4", "it lacks the trait"),
        ("dedicated", "compute-6", "compute-8", "it lacks the trait"),
        ("plain", "compute-8", "compute-2", "the aggregate is isolated"),
    ],
)
def test_nova_enforces_the_rule_and_nothing_more(
    cloud: Cloud, built: Scenario, role: str, forbidden: str, allowed: str | None, rule: str
) -> None:
    """Changes the scenario: the server moves to the host that is allowed, so the refusal was the rule's."""
    elsewhere = {forbidden, allowed}
    server = next(member for member in built.members[role] if built.guests[member].host not in elsewhere)
    with pytest.raises(RuntimeError, match="ended as error"):
        scenario.move_server(cloud.connection, server, forbidden)
    assert cloud.connection.compute.get_server(server).compute_host == built.guests[server].host, rule
    if allowed:
        scenario.move_server(cloud.connection, server, allowed)


def test_trouble_is_what_it_says(cloud: Cloud, built: Scenario) -> None:
    """Changes the scenario: it moves a server, disables a host and deletes a server."""
    connection = cloud.connection
    moved, refused, deleted = [s for s in built.members["plain"] if built.guests[s].host == "compute-5"][:3]
    scenario.move_server(connection, moved, "compute-6")
    assert connection.compute.get_server(moved).compute_host == "compute-6"
    scenario.disable_host(connection, "compute-6")
    with pytest.raises(RuntimeError, match="ended as error"):
        scenario.move_server(connection, refused, "compute-6")
    scenario.enable_host(connection, "compute-6")
    scenario.delete_server(connection, deleted)
    assert connection.compute.find_server(deleted) is None


def test_clear_leaves_nothing_behind(cloud: Cloud, built: Scenario) -> None:
    scenario.disable_host(cloud.connection, "compute-2")
    scenario.clear(cloud.connection)
    compute = cloud.connection.compute
    left = [thing.name for kind in (compute.servers, compute.aggregates, compute.flavors) for thing in kind()]
    left += [group.name for group in compute.server_groups()]
    assert [name for name in left if name.startswith(f"{built.prefix}-")] == []
    assert {service.status for service in compute.services(binary="nova-compute")} == {"enabled"}
    for host in HOST_SHARE:
        provider = cloud.connection.placement.find_resource_provider(host, ignore_missing=False)
        path = f"/resource_providers/{provider.id}/allocations"
        found = cloud.connection.placement.get(path, microversion=PLACEMENT_MICROVERSION).json()["allocations"]
        assert set(found) & set(built.guests) == set()
