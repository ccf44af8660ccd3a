"""What Nova and Placement enforce, read from the cluster itself; every rule is hard.

A rule that an operator may have switched on without it being visible through the API (aggregate isolation) is taken to
be on: a plan may then be a little narrower than it could be, but Nova does not refuse it.
"""

import re
from collections.abc import Mapping

from optimizer.cluster import Cluster, Server
from optimizer.constraints.affinity import Affinity
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.available import Available
from optimizer.constraints.base import Constraint
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.hypervisor import Hypervisor
from optimizer.constraints.isolation import AggregateIsolation, IsolationNeed, tenants
from optimizer.constraints.movable import Movable
from optimizer.constraints.soft_group import SoftGroup
from optimizer.constraints.traits import TraitNeed, Traits
from optimizer.constraints.zone import ZonePin
from optimizer.movability import ANY_WAY, Ways, obstacles

# https://docs.openstack.org/nova/latest/user/flavors.html: what stands between "trait" and the colon names a granular group.
_TRAIT_KEY = re.compile(r"trait(?:[A-Za-z0-9_-]{1,64})?:(.+)")
_SCOPE = "aggregate_instance_extra_specs:"
# Traits that Nova requires for the sake of other extra specs, or of the image properties hw_... and os_... of the same name.
_IMPLIED = {
    ("os:secure_boot", "required"): "COMPUTE_SECURITY_UEFI_SECURE_BOOT",
    ("hw:maxphysaddr_mode", "passthrough"): "COMPUTE_ADDRESS_SPACE_PASSTHROUGH",
    ("hw:maxphysaddr_mode", "emulate"): "COMPUTE_ADDRESS_SPACE_EMULATED",
    ("hw:virtio_packed_ring", "true"): "COMPUTE_NET_VIRTIO_PACKED",
    ("hw:sound_model", "virtio"): "COMPUTE_SOUND_MODEL_VIRTIO",
}


def constraints(cluster: Cluster, *, move_locked: bool = False, ways: Ways = ANY_WAY) -> list[Constraint]:
    """The rules of a cluster that Nova would refuse to break; the options are those of optimizer.movability.obstacles."""
    stuck = {server.id: found for server in cluster.servers if (found := obstacles(cluster, server, move_locked=move_locked, ways=ways))}
    zones = {server.id: server.pinned_zone for server in cluster.servers if server.pinned_zone is not None}
    return [Capacity(), Available(), Movable(stuck), ZonePin(zones), *_hypervisor(cluster, ways), *_traits(cluster),
            *_isolation(cluster), *_groups(cluster)]


def _hypervisor(cluster: Cluster, ways: Ways) -> list[Constraint]:
    """Only where hosts differ: on most clouds, most of the time, they do not."""
    if len({(host.hypervisor_type, host.hypervisor_version) for host in cluster.hosts}) < 2:
        return []
    return [Hypervisor(frozenset(server.id for server in cluster.servers if ways.of(server) == "live"))]


def _groups(cluster: Cluster) -> list[Constraint]:
    found: list[Constraint] = []
    for group in cluster.groups:
        if group.policy == "affinity":
            found.append(Affinity(group.name, group.members))
        elif group.policy == "anti-affinity":
            found.append(AntiAffinity(group.name, group.members, group.max_server_per_host))
        else:
            found.append(SoftGroup(group.name, group.policy, group.members))
    return found


def _traits(cluster: Cluster) -> list[Constraint]:
    by_kind: dict[tuple[str, str | None], TraitNeed] = {}
    needs = {}
    for server in cluster.servers:
        kind = (server.flavor, server.image)
        if kind not in by_kind:
            by_kind[kind] = _trait_need(cluster, server)
        if by_kind[kind] != TraitNeed():
            needs[server.id] = by_kind[kind]
    return [Traits(needs)] if needs else []


def _trait_need(cluster: Cluster, server: Server) -> TraitNeed:
    specs, properties = cluster.flavor_of(server).extra_specs, _image_properties(cluster, server)
    named = _trait_specs(specs)
    # Of an image Nova reads nothing but required traits, and no groups.
    required = {key.removeprefix("trait:") for key, value in properties.items() if key.startswith("trait:") and value == "required"}
    asked = {(key.replace("_", ":", 1), value.lower()) for key, value in properties.items()} | {(key, value.lower()) for key, value in specs.items()}
    required |= {_IMPLIED[one] for one in asked & _IMPLIED.keys()}
    return TraitNeed(required=frozenset(name for name, value in named if value == "required") | required,
                     forbidden=frozenset(name for name, value in named if value == "forbidden"))


def _trait_specs(specs: Mapping[str, str]) -> list[tuple[str, str]]:
    """(trait, required|forbidden) of trait:NAME and of the named groups traitGROUP:NAME."""
    return [(found[1], value) for key, value in specs.items() if (found := _TRAIT_KEY.match(key))]


def _isolation(cluster: Cluster) -> list[Constraint]:
    """One need for each kind of server, for all servers: an isolated aggregate also shuts out those that ask for nothing."""
    keys = {key for aggregate in cluster.aggregates for key in aggregate.metadata}
    if not keys and not any(name.startswith(_SCOPE) for flavor in cluster.flavors.values() for name in flavor.extra_specs):
        return []
    own = {aggregate.id: set(tenants(aggregate)) for aggregate in cluster.aggregates}
    by_kind: dict[tuple[str, str | None, str, bool], IsolationNeed] = {}
    needs = {}
    for server in cluster.servers:
        home = any(server.project in own[key] for key in cluster.host_by_name[server.host].aggregates)
        kind = (server.flavor, server.image, server.project, home)
        if kind not in by_kind:
            by_kind[kind] = _isolation_need(cluster, server, keys, home)
        needs[server.id] = by_kind[kind]
    return [AggregateIsolation(needs)]


def _isolation_need(cluster: Cluster, server: Server, keys: set[str], home: bool) -> IsolationNeed:
    specs = []
    for name, value in cluster.flavor_of(server).extra_specs.items():
        key = name.removeprefix(_SCOPE)
        # An unscoped key counts only where some aggregate speaks of it: it may be meant for another filter.
        if key != name or (":" not in name and name in keys):
            specs.append((key, value))
    image = tuple(sorted((k, v) for k, v in _image_properties(cluster, server).items() if k in keys))
    return IsolationNeed(specs=tuple(sorted(specs)), image=image, project=server.project,
                         traits=_trait_need(cluster, server).required, home=home)


def _image_properties(cluster: Cluster, server: Server) -> Mapping[str, str]:
    return cluster.images[server.image].properties if server.image is not None else {}
