"""Which servers cannot be moved, and why."""

from typing import Any

import pytest

from optimizer.cluster import Image, Obstacle
from optimizer.movability import Ways, obstacles
from tests.support.clusters import in_flight, make_cluster, make_flavor, make_host, make_server


def kinds(server: dict[str, Any], specs: dict[str, str] | None = None, properties: dict[str, str] | None = None,
          fields: dict[str, Any] | None = None, **options: Any) -> list[str]:
    """The kinds of obstacle of a server with a flavor, an image, and other fields of its cluster."""
    one = make_server("s1", **{"host": "a", "flavor": "special", "image": None if properties is None else "image", **server})
    cluster = make_cluster([make_host("a"), make_host("down", state="down")], [one],
                           flavors=[make_flavor("special", **(specs or {}))],
                           images=[Image(id="image", properties=properties or {})], **(fields or {}))
    found = obstacles(cluster, one, **options)
    assert all(obstacle.text for obstacle in found)
    return [obstacle.kind for obstacle in found]


@pytest.mark.parametrize(("server", "expected"), [
    ({"status": "ERROR"}, ["status"]), ({"status": "SUSPENDED"}, ["status"]), ({"status": "SHELVED"}, ["status"]),
    ({"status": "VERIFY_RESIZE"}, ["status"]), ({"status": "RESCUE"}, ["status"]), ({"status": ""}, ["status"]),
    ({"host": "down"}, ["host_down"]),
    ({"task_state": "rebooting"}, ["task_state"]),
    ({"locked": True}, ["locked"]),
    ({"obstacles": (Obstacle(kind="pci", text="a port"),)}, ["pci"]),
    ({"resources": {"PCPU": 2}}, ["numa"]),
    *[({"resources": {name: 1}}, ["pci"]) for name in ("VGPU", "PCI_DEVICE", "SRIOV_NET_VF", "CUSTOM_PCI_8086", "FPGA",
                                                       "NET_BW_EGR_KILOBIT_PER_SEC")],
    ({"resources": {"CUSTOM_LICENCE": 1}}, []),
    ({"status": "ERROR", "host": "down", "task_state": "deleting", "locked": True, "resources": {"VGPU": 1}},
     ["task_state", "status", "host_down", "pci", "locked"]),
    ({}, []), ({"status": "PAUSED"}, []), ({"status": "SHUTOFF"}, []), ({"boot_from_volume": True}, []),
])
def test_servers(server: dict[str, Any], expected: list[str]) -> None:
    assert kinds(server) == expected


@pytest.mark.parametrize(("specs", "properties", "expected"), [
    ({"hw__cpu_policy": "dedicated"}, None, ["numa"]), ({"hw__cpu_policy": "mixed"}, None, ["numa"]),
    ({"hw__numa_nodes": "2"}, None, ["numa"]), ({"hw__mem_page_size": "large"}, None, ["numa"]),
    ({}, {"hw_cpu_policy": "dedicated"}, ["numa"]), ({}, {"hw_numa_nodes": "2"}, ["numa"]),
    ({}, {"hw_mem_page_size": "1GB"}, ["numa"]),
    ({"pci_passthrough__alias": "card:1"}, None, ["pci"]), ({"accel__device_profile": "fpga"}, None, ["pci"]),
    ({"hw__tpm_version": "2.0"}, None, ["host_local"]), ({}, {"hw_tpm_version": "2.0"}, ["host_local"]),
    ({"hw__pmem": "6GB"}, None, ["host_local"]),
    ({"hw__mem_encryption": "True"}, None, ["host_local"]), ({}, {"hw_mem_encryption": "true"}, ["host_local"]),
    ({"capabilities__hypervisor_type": "QEMU"}, None, ["capabilities"]), ({"hw__maxphysaddr_bits": "42"}, None, ["capabilities"]),
    ({"hw__mem_encryption": "false"}, None, []), ({"hw__cpu_policy": "shared"}, {"hw_cpu_policy": "shared"}, []),
    ({"hw__vif_multiqueue_enabled": "true"}, {"hw_disk_bus": "virtio", "os_distro": "debian"}, []),
])
def test_what_flavor_and_image_ask_for(specs: dict[str, str], properties: dict[str, str] | None, expected: list[str]) -> None:
    assert kinds({}, specs, properties) == expected


def test_a_migration_under_way_says_more_than_the_task_state() -> None:
    assert kinds({"task_state": "migrating"}, fields={"migrations": (in_flight("s1", "a", "down"),)}) == ["in_flight"]


@pytest.mark.parametrize(("server", "options", "expected"), [
    ({"locked": True}, {"move_locked": True}, []),
    ({"status": "PAUSED"}, {"ways": Ways(live=False)}, ["migration_type"]),
    ({"status": "SHUTOFF"}, {"ways": Ways(cold=False)}, ["migration_type"]), ({"status": "ERROR"}, {"ways": Ways(live=False)}, ["status"]),
    ({"status": "ACTIVE"}, {"ways": Ways(live=False)}, []), ({"status": "ACTIVE"}, {"ways": Ways(cold=False)}, []),
    ({"status": "PAUSED"}, {"ways": Ways(cold_only={"s1"})}, ["migration_type"]), ({"status": "PAUSED"}, {"ways": Ways(live_only={"s1"})}, []),
    ({"status": "SHUTOFF"}, {"ways": Ways(live_only={"s1"})}, ["migration_type"]), ({"status": "ACTIVE"}, {"ways": Ways(cold_only={"s1"})}, []),
])
def test_what_the_operator_allows(server: dict[str, Any], options: dict[str, Any], expected: list[str]) -> None:
    assert kinds(server, **options) == expected


@pytest.mark.parametrize(("status", "live", "cold", "expected"), [
    ("ERROR", True, True, None), ("SUSPENDED", True, True, None), ("active", True, True, None),
    ("ACTIVE", False, False, None), ("PAUSED", False, True, None), ("SHUTOFF", True, False, None),
    ("ACTIVE", True, True, "live"), ("ACTIVE", False, True, "cold"), ("ACTIVE", True, False, "live"),
    ("PAUSED", True, True, "live"), ("SHUTOFF", True, True, "cold"),
])
def test_migration_type(status: str, live: bool, cold: bool, expected: str | None) -> None:
    assert Ways(live, cold).of(make_server("s1", "a", status=status)) == expected


@pytest.mark.parametrize(("server", "expected"), [
    ({"status": "PAUSED"}, ["status"]), ({"status": "SUSPENDED"}, ["status"]), ({"status": "VERIFY_RESIZE"}, ["status"]),
    ({"task_state": "rebuilding"}, ["task_state"]), ({"resources": {"VGPU": 1}}, ["pci"]),
    ({}, []), ({"status": "SHUTOFF"}, []), ({"status": "ERROR"}, []), ({"locked": True}, []),
])
def test_servers_on_a_host_that_is_lost(server: dict[str, Any], expected: list[str]) -> None:
    for ways in (Ways(lost={"down"}), Ways(live=False, cold=False, cold_only={"s1"}, lost={"down"})):
        assert kinds({"host": "down", **server}, ways=ways) == expected
    assert kinds({"host": "down"}, ways=Ways(lost={"a"})) == ["host_down"]


def test_a_server_that_moves_in_one_way_alone() -> None:
    active = make_server("s1", "a")
    assert Ways(cold_only={"s1"}).of(active) == "cold"
    assert Ways(live_only={"s1"}).of(active) == "live"
    assert Ways(cold=False, cold_only={"s1"}).of(active) is None
    assert Ways(live_only={"s2"}, live=False).of(active) == "cold"
    assert Ways(lost={"a"}).of(active) == "evacuate"
