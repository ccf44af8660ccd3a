"""Which servers cannot be moved, and why, as far as a snapshot shows it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from optimizer.cluster import Cluster, Obstacle, Server

Way = Literal["live", "cold", "evacuate"]
"""How a server is brought to another host; ``evacuate``: built anew there, because its host is lost."""

LIVE_STATUSES = frozenset({"ACTIVE", "PAUSED"})
COLD_STATUSES = frozenset({"ACTIVE", "SHUTOFF"})
EVACUATION_STATUSES = frozenset({"ACTIVE", "SHUTOFF", "ERROR"})

# Extra specs that tie a server to CPUs or memory of certain NUMA nodes. Nova tells neither which host CPUs are
# free nor which NUMA nodes a host has, so whether such a server fits elsewhere cannot be known from outside.
_NUMA_SPECS = ("hw:cpu_policy=dedicated", "hw:cpu_policy=mixed", "hw:numa_nodes", "hw:mem_page_size")
# State that lives on one host and that Nova does not carry over in a live migration.
_LOCAL_SPECS = {"hw:tpm_version": "an emulated TPM", "hw:pmem": "persistent memory", "hw:mem_encryption": "encrypted memory"}
# Resource classes that need no device of their own on the host.
_PLAIN_CLASSES = frozenset({"VCPU", "PCPU", "MEMORY_MB", "DISK_GB"})
_DEVICE_CLASSES = ("VGPU", "PCI_DEVICE", "SRIOV_NET_VF", "CUSTOM_PCI_", "FPGA", "PGPU", "NET_BW_")


@dataclass(frozen=True, slots=True)
class Ways:
    """How servers may be moved: ``live``, ``cold`` or both; ``cold_only`` and ``live_only`` (server ids) in this one way alone.

    Servers on hosts that are ``lost`` (names) can only be evacuated.
    """

    live: bool = True
    cold: bool = True
    cold_only: Collection[str] = ()
    live_only: Collection[str] = ()
    lost: Collection[str] = ()

    def of(self, server: Server) -> Way | None:
        """How Nova can move the server as it is, of the ways allowed; None where there is none."""
        if server.host in self.lost:
            return "evacuate" if server.status in EVACUATION_STATUSES else None
        if self.live and server.status in LIVE_STATUSES and server.id not in self.cold_only:
            return "live"
        if self.cold and server.status in COLD_STATUSES and server.id not in self.live_only:
            return "cold"
        return None


ANY_WAY = Ways()


def obstacles(cluster: Cluster, server: Server, *, move_locked: bool = False, ways: Ways = ANY_WAY) -> tuple[Obstacle, ...]:
    """Every reason why the server has to stay where it is; empty when it can be moved.

    ``move_locked`` lets servers move that a user has locked; Nova allows it to an administrator. A lock keeps nobody on a host that is lost.
    """
    found = list(server.obstacles)
    seen = (_moving(cluster, server), _status(cluster, server, ways), _flavor(cluster, server), _devices(cluster, server))
    found += [Obstacle(kind=kind, text=text) for some in seen for kind, text in some]
    if server.host in ways.lost:
        return tuple(found)
    if (usual := ANY_WAY.of(server)) and not ways.of(server):
        found.append(Obstacle(kind="migration_type", text=f"it is {server.status}, and {usual} migration is switched off"
                              if server.id not in ways.cold_only and server.id not in ways.live_only else
                              f"it is {server.status}, and a policy allows it only to move {'cold' if server.id in ways.cold_only else 'live'}"))
    if server.locked and not move_locked:
        found.append(Obstacle(kind="locked", text="it is locked, and move_locked is off"))
    return tuple(found)


def _moving(cluster: Cluster, server: Server) -> Iterator[tuple[str, str]]:
    if migration := cluster.migration_of.get(server.id):
        yield ("in_flight", f"its {migration.kind} from {migration.source} to {migration.destination or '?'} is {migration.status}")
    elif server.task_state:
        yield "task_state", f"Nova is busy with it (task state {server.task_state})"


def _status(cluster: Cluster, server: Server, ways: Ways) -> Iterator[tuple[str, str]]:
    if server.host in ways.lost:
        if ways.of(server) is None:
            yield "status", f"its status is {server.status}; Nova evacuates ACTIVE, SHUTOFF and ERROR servers"
        return
    if ANY_WAY.of(server) is None:
        yield "status", f"its status is {server.status}; Nova migrates ACTIVE and PAUSED servers live, ACTIVE and SHUTOFF ones cold"
    if cluster.host_by_name[server.host].state == "down":
        yield "host_down", f"nova-compute on {server.host} is down; such a server can only be evacuated, once the host is fenced"


def _flavor(cluster: Cluster, server: Server) -> Iterator[tuple[str, str]]:
    flavor = cluster.flavor_of(server)
    specs = {**_image_specs(cluster, server), **flavor.extra_specs}
    if "PCPU" in server.resources or _has_numa_spec(specs):
        yield "numa", "its flavor or image asks for pinned CPUs or a NUMA layout, and the free CPUs of NUMA nodes are not known"
    if alias := specs.get("pci_passthrough:alias"):
        yield "pci", f"flavor {flavor.name} asks for a PCI device ({alias})"
    if profile := specs.get("accel:device_profile"):
        yield "pci", f"flavor {flavor.name} asks for an accelerator ({profile}), and Nova migrates no server that has one"
    for name, what in _LOCAL_SPECS.items():
        if specs.get(name, "false").lower() not in ("", "false", "0"):
            yield "host_local", f"its flavor or image gives it {what} ({name}), which stays on its host"
    for name in specs:
        if name.startswith("capabilities:") or name == "hw:maxphysaddr_bits":  # ComputeCapabilitiesFilter reads it as one
            yield "capabilities", f"flavor {flavor.name} asks for {name}, and host capabilities are not in the snapshot"


def _image_specs(cluster: Cluster, server: Server) -> dict[str, str]:
    """What the image asks of the hardware, under the names that flavors use: its hw_cpu_policy is a flavor's hw:cpu_policy."""
    properties = cluster.images[server.image].properties if server.image is not None else {}
    return {f"hw:{name[3:]}": value for name, value in properties.items() if name.startswith("hw_")}


def _devices(cluster: Cluster, server: Server) -> Iterator[tuple[str, str]]:
    for name in server.resources:
        if name not in _PLAIN_CLASSES and name.startswith(_DEVICE_CLASSES):
            yield "pci", f"it holds {name}, a device of {server.host}"


def _has_numa_spec(specs: Mapping[str, str]) -> bool:
    pairs = {f"{name}={value}" for name, value in specs.items()} | set(specs)
    return any(spec in pairs for spec in _NUMA_SPECS)
