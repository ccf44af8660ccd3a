"""Capacity of every resource class."""

from typing import Any

import pytest

from optimizer.cluster import Cluster, Inventory
from optimizer.constraints.capacity import Capacity
from tests.support.clusters import in_flight, make_cluster, make_host, make_server, moved


def two_hosts(**b: Any) -> Cluster:
    """s1 (2 VCPU) and s2 (1 VCPU) on a; s3 (2 VCPU) on b."""
    return make_cluster([make_host("a"), make_host("b", **{"vcpus": 4, **b})],
                        [make_server("s1", "a", vcpus=2), make_server("s2", "a"), make_server("s3", "b", vcpus=2)])


@pytest.mark.parametrize(("b", "to", "expected"), [
    ({"vcpus": 3}, ["s1"], [("VCPU on b: 4 used of 3", ("s1",), False)]),
    ({"vcpus": 2, "ratio": 1.9}, ["s1"], [("VCPU on b: 4 used of 3", ("s1",), False)]),
    ({"held": {"VCPU": 1}}, ["s1"], [("VCPU on b: 5 used of 4", ("s1",), False)]),
    ({"inventory": {"VCPU": Inventory(total=5, reserved=2)}}, ["s1"], [("VCPU on b: 4 used of 3", ("s1",), False)]),
    ({"inventory": {"VCPU": Inventory(total=8, max_unit=1)}}, ["s1", "s2"],
     [("VCPU on b: one server may take 1, s1 takes 2", ("s1",), False)]),
    # Without a max_unit one server may not take more than the host really has, whatever the ratio.
    ({"inventory": {"VCPU": Inventory(total=1, allocation_ratio=16.0)}}, ["s1"],
     [("VCPU on b: one server may take 1, s1 takes 2", ("s1",), False)]),
    ({"vcpus": 1}, [], [("VCPU on b: 2 used of 1", (), True)]),
    ({"memory_mb": 2048, "vcpus": 8}, ["s1", "s2"], [("MEMORY_MB on b: 3072 used of 2048", ("s1", "s2"), False)]),
    ({"vcpus": 4}, ["s1"], []),
    ({"vcpus": 2, "ratio": 2.0}, ["s1"], []),
    ({"inventory": {"VCPU": Inventory(total=10, allocation_ratio=0.4)}}, ["s1"], []),
])
def test_what_b_takes(b: dict[str, Any], to: list[str], expected: list[object]) -> None:
    cluster = two_hosts(**b)
    found = Capacity().violations(cluster, moved(cluster, **dict.fromkeys(to, "b")))
    assert [(v.text, v.servers, v.inherited) for v in found] == expected


def test_a_class_that_the_host_lacks() -> None:
    cluster = make_cluster([make_host("a", inventory={"CUSTOM_CARD": Inventory(total=1)}), make_host("b")],
                           [make_server("s1", "a", resources={"CUSTOM_CARD": 1}),
                            make_server("s2", "a", resources={"CUSTOM_CARD": 0})])
    found = list(Capacity().violations(cluster, moved(cluster, s1="b", s2="b")))
    assert [(v.text, v.servers, v.inherited) for v in found] == [("CUSTOM_CARD on b: 1 used of 0", ("s1",), False)]


def test_an_overfull_class_is_inherited_by_who_takes_none_of_it() -> None:
    cluster = make_cluster([make_host("a"), make_host("b", memory_mb=512)],
                           [make_server("s1", "a", memory_mb=0), make_server("s2", "b")])
    found = list(Capacity().violations(cluster, moved(cluster, s1="b")))
    assert [(v.text, v.inherited) for v in found] == [("MEMORY_MB on b: 1024 used of 512", True)]


@pytest.mark.parametrize(("source", "destination"), [("a", "b"), ("b", "a")])
def test_a_migration_holds_the_side_where_its_server_is_not(source: str, destination: str) -> None:
    cluster = make_cluster([make_host("a"), make_host("b", vcpus=2)], [make_server("s1", "a"), make_server("s2", "a")],
                           migrations=(in_flight("s1", source, destination, VCPU=2),))
    assert not list(Capacity().violations(cluster, moved(cluster)))
    found = list(Capacity().violations(cluster, moved(cluster, s2="b")))
    assert [(v.text, v.servers, v.inherited) for v in found] == [("VCPU on b: 3 used of 2", ("s2",), False)]


def test_a_migration_without_destination_holds_nothing_more() -> None:
    cluster = make_cluster([make_host("a"), make_host("b", vcpus=1)], [make_server("s1", "a"), make_server("s2", "a")],
                           migrations=(in_flight("s1", "a", None, VCPU=2), in_flight("unknown", "a", "b", VCPU=9)))
    assert not list(Capacity().violations(cluster, moved(cluster, s2="b")))


@pytest.mark.parametrize(("total", "ratio", "capacity"), [(10, 1.1, 11), (100, 1.15, 114), (8, 16.0, 128), (3, 1.5, 4)])
def test_capacity_is_the_binary_product_that_placement_compares_with(total: int, ratio: float, capacity: int) -> None:
    assert Inventory(total=total, allocation_ratio=ratio).capacity == capacity
