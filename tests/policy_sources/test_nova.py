"""The rules that Nova enforces, as they are read from a cluster."""

from typing import Any

import pytest

from optimizer.cluster import Aggregate, Cluster, Flavor, Image, ServerGroup
from optimizer.constraints.affinity import Affinity
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.available import Available
from optimizer.constraints.base import Constraint
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.hypervisor import Hypervisor
from optimizer.constraints.isolation import AggregateIsolation, IsolationNeed
from optimizer.constraints.movable import Movable
from optimizer.constraints.soft_group import SoftGroup
from optimizer.constraints.traits import TraitNeed, Traits
from optimizer.constraints.zone import ZonePin
from optimizer.movability import Ways
from policy_sources.nova import constraints
from tests.support.clusters import make_cluster, make_flavor, make_group, make_host, make_server

ALWAYS = ["Capacity", "Available", "Movable", "ZonePin"]


def cluster(*, flavor: Flavor | None = None, image: Image | None = None, aggregates: tuple[Aggregate, ...] = (),
            groups: tuple[ServerGroup, ...] = (), member_of: tuple[str, ...] = (), **server: Any) -> Cluster:
    """s1 on host a as told, s2 on host b plain; host a is in the aggregates ``member_of``."""
    one = make_server("s1", "a", **{"flavor": flavor.name if flavor else "medium", "image": image.id if image else None,
                                    **server})
    return make_cluster([make_host("a", aggregates=member_of), make_host("b")], [one, make_server("s2", "b", project="other")],
                        flavors=[flavor] if flavor else [], images=[image] if image else [], aggregates=aggregates, groups=groups)


def rule(kind: type[Constraint], of: Cluster) -> Any:
    found = [rule for rule in constraints(of) if type(rule) is kind]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(("fields", "expected"), [
    ({"flavor": make_flavor("f", hw__vif_multiqueue_enabled="true", trait="required", xtrait__X="required")}, []),
    ({"flavor": make_flavor("f", tier="1")}, []),  # no aggregate speaks of it
    ({"aggregates": (Aggregate(id="1", name="east", zone="east"),)}, []),
    ({"image": Image(id="i", properties={"os": "linux"})}, []),
    ({}, []),
    ({"flavor": make_flavor("f", trait__X="required")}, ["Traits"]),
    ({"flavor": make_flavor("f", trait__X="forbidden")}, ["Traits"]),
    ({"image": Image(id="i", properties={"trait:X": "required"})}, ["Traits"]),
    ({"aggregates": (Aggregate(id="1", name="a", metadata={"k": "v"}),)}, ["AggregateIsolation"]),
    ({"flavor": make_flavor("f", aggregate_instance_extra_specs__tier="1")}, ["AggregateIsolation"]),
    ({"groups": (make_group("affinity", "s1"),)}, ["Affinity"]),
    ({"groups": (make_group("anti-affinity", "s1"),)}, ["AntiAffinity"]),
    ({"groups": (make_group("soft-affinity", "s1"), make_group("soft-anti-affinity", "s2", name="g2"))},
     ["SoftGroup", "SoftGroup"]),
])
def test_a_rule_is_there_when_the_cluster_has_cause_for_it(fields: dict[str, Any], expected: list[str]) -> None:
    assert [type(rule).__name__ for rule in constraints(cluster(**fields))] == ALWAYS + expected


@pytest.mark.parametrize(("fields", "there"), [
    ({}, False),
    ({"hypervisor_version": 7000000}, True),
    ({"hypervisor_type": "xen"}, True),
])
def test_hypervisors_count_where_they_differ(fields: dict[str, Any], there: bool) -> None:
    known: dict[str, Any] = {"hypervisor_type": "QEMU", "hypervisor_version": 8000000}
    of = make_cluster([make_host("a", **known), make_host("b", **{**known, **fields})],
                      [make_server("live", "a"), make_server("off", "a", status="SHUTOFF"), make_server("paused", "a", status="PAUSED")])
    found = [rule for rule in constraints(of) if isinstance(rule, Hypervisor)]
    assert found == ([Hypervisor(frozenset({"live", "paused"}))] if there else [])
    assert [rule for rule in constraints(of, ways=Ways(live=False)) if isinstance(rule, Hypervisor)] == ([Hypervisor(frozenset())] if there else [])


def test_an_empty_cloud() -> None:
    assert constraints(make_cluster([])) == [Capacity(), Available(), Movable({}), ZonePin({})]


def test_who_stays_and_who_is_pinned() -> None:
    locked = cluster(locked=True, pinned_zone="nova")
    assert {key: [o.kind for o in found] for key, found in rule(Movable, locked).obstacles.items()} == {"s1": ["locked"]}
    assert [r for r in constraints(locked, move_locked=True) if isinstance(r, Movable)] == [Movable({})]
    assert rule(ZonePin, locked) == ZonePin({"s1": "nova"})


def test_groups() -> None:
    groups = (make_group("affinity", "s1", "s2", name="g1"), make_group("anti-affinity", "s1", name="g2"),
              make_group("anti-affinity", "s2", name="g3", max_server_per_host=3),
              make_group("soft-affinity", "s1", name="g4"), make_group("soft-anti-affinity", "s2", name="g5"))
    assert constraints(cluster(groups=groups))[4:] == [
        Affinity("g1", ("s1", "s2")), AntiAffinity("g2", ("s1",), 1), AntiAffinity("g3", ("s2",), 3),
        SoftGroup("g4", "soft-affinity", ("s1",)), SoftGroup("g5", "soft-anti-affinity", ("s2",))]


@pytest.mark.parametrize(("specs", "properties", "required", "forbidden"), [
    ({"trait__X": "required", "trait__Y": "forbidden"}, {}, "X", "Y"),
    ({"trait1__X": "required", "trait22__Y": "required"}, {}, "XY", ""),
    ({"trait_GPU__X": "required", "trait_a-b__Y": "forbidden"}, {}, "X", "Y"),
    ({"trait__X": "required"}, {"trait:Y": "required"}, "XY", ""),
    ({"trait__X": "required"}, {"trait:Y": "forbidden", "trait1:Z": "required"}, "X", ""),
    ({"trait__X": "preferred", "trait__Y": "required", "mytrait__Z": "required", "trait__": "required"}, {}, "Y", ""),
])
def test_traits_of_flavor_and_image(specs: dict[str, str], properties: dict[str, str], required: str, forbidden: str) -> None:
    of = cluster(flavor=make_flavor("f", **specs), image=Image(id="i", properties=properties))
    assert rule(Traits, of) == Traits({"s1": TraitNeed(frozenset(required), frozenset(forbidden))})


@pytest.mark.parametrize(("specs", "properties", "trait"), [
    ({"os__secure_boot": "required"}, {}, "COMPUTE_SECURITY_UEFI_SECURE_BOOT"),
    ({}, {"os_secure_boot": "required"}, "COMPUTE_SECURITY_UEFI_SECURE_BOOT"),
    ({"hw__maxphysaddr_mode": "emulate"}, {}, "COMPUTE_ADDRESS_SPACE_EMULATED"),
    ({"hw__virtio_packed_ring": "True"}, {}, "COMPUTE_NET_VIRTIO_PACKED"),
    ({}, {"hw_sound_model": "virtio"}, "COMPUTE_SOUND_MODEL_VIRTIO"),
])
def test_traits_that_other_settings_stand_for(specs: dict[str, str], properties: dict[str, str], trait: str) -> None:
    of = cluster(flavor=make_flavor("f", **specs), image=Image(id="i", properties=properties))
    assert rule(Traits, of).needs["s1"] == TraitNeed(required=frozenset({trait}))


def test_isolation_asks_what_some_aggregate_speaks_of() -> None:
    aggregates = (Aggregate(id="1", name="one", metadata={"tier": "1", "os": "linux"}),)
    flavor = make_flavor("f", tier="2", net="fast", aggregate_instance_extra_specs__disk="ssd", hw__tier="3", trait__X="required")
    of = cluster(flavor=flavor, image=Image(id="i", properties={"os": "linux", "distro": "debian", "trait:Y": "required"}),
                 aggregates=aggregates, project="p1")
    assert rule(AggregateIsolation, of) == AggregateIsolation({
        "s1": IsolationNeed(specs=(("disk", "ssd"), ("tier", "2")), image=(("os", "linux"),), project="p1",
                            traits=frozenset("XY")),
        "s2": IsolationNeed(project="other")})


@pytest.mark.parametrize(("project", "member_of", "home"), [
    ("p1", ("1",), True), ("p2", ("1",), True), ("p1", (), False), ("p3", ("1",), False), ("p1", ("2",), False)])
def test_who_lives_in_an_aggregate_of_his_own(project: str, member_of: tuple[str, ...], home: bool) -> None:
    aggregates = (Aggregate(id="1", name="own", metadata={"filter_tenant_id": "p1", "filter_tenant_id2": "p2"}),
                  Aggregate(id="2", name="open"))
    of = cluster(project=project, aggregates=aggregates, member_of=member_of)
    assert rule(AggregateIsolation, of).needs["s1"].home is home
    assert rule(AggregateIsolation, of).needs["s2"].home is False
