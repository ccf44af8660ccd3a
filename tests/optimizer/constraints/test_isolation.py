"""Aggregates whose metadata admits only certain servers."""

from typing import Any

import pytest

from optimizer.cluster import Aggregate, Cluster
from optimizer.constraints.isolation import AggregateIsolation, IsolationNeed, matches, refusal, tenants
from tests.support.clusters import make_cluster, make_host, make_server, moved


@pytest.mark.parametrize(("value", "wanted", "expected"), [
    ("ten", ">= 2", False), ("3", ">= two", False), ("", "== 1", False),
    ("s==", "s==", False), ("=", "=", False), ("<in>", "<in>", False), ("x", "<or>", False),
    ("1", ">= 2", False), ("2", ">= 2", True), ("10", ">= 9", True),
    ("2", "<= 1", False), ("2", "<= 2", True),
    ("2", "= 3", False), ("2", "= 1", True),  # "=" is "at least"
    ("2.0", "== 2", True), ("2", "== 3", False), ("2", "!= 3", True), ("2", "!= 2", False),
    ("a", "s== a", True), ("a", "s== b", False), ("a", "s!= b", True), ("a", "s!= a", False),
    ("b", "s> a", True), ("b", "s> b", False), ("b", "s>= b", True), ("a", "s< b", True), ("b", "s< b", False),
    ("b", "s<= b", True),
    ("10", "s< 9", True),
    ("ssd", "<or> ssd <or> nvme", True), ("nvme", "<or> ssd <or> nvme", True), ("hdd", "<or> ssd <or> nvme", False),
    ("aes mmx", "<in> aes", True), ("mmx", "<in> aes", False), ("aes", "<in> aes mmx", True),
    ("aes mmx", "<all-in> aes mmx", True), ("aes", "<all-in> aes mmx", False),
    ("true", "true", True), ("true", "false", False), ("", "", True), ("two words", "two words", True),
])
def test_operators_of_extra_specs(value: str, wanted: str, expected: bool) -> None:
    assert matches(value, wanted) is expected


def cluster(*metadata: dict[str, str]) -> Cluster:
    """Host a is in an aggregate for each metadata, host b in none; s1 is on b."""
    aggregates = tuple(Aggregate(id=str(n), name=f"agg{n}", metadata=data) for n, data in enumerate(metadata))
    return make_cluster([make_host("a", aggregates=tuple(a.id for a in aggregates)), make_host("b")], [make_server("s1", "b")],
                        aggregates=aggregates)


@pytest.mark.parametrize(("metadata", "need", "expected"), [
    # Extra specs: some value of some aggregate has to match.
    ([], {"specs": (("disk", "ssd"),)}, "the flavor asks for an aggregate with disk=ssd, it has none"),
    ([{"disk": "hdd"}], {"specs": (("disk", "ssd"),)}, "the flavor asks for an aggregate with disk=ssd, it has hdd"),
    ([{"disk": "hdd, ssd"}], {"specs": (("disk", "ssd"),)}, None),
    ([{"disk": "hdd"}, {"disk": "ssd"}], {"specs": (("disk", "ssd"),)}, None),
    ([{"disk": "ssd"}], {"specs": (("disk", "ssd"), ("net", "fast"))},
     "the flavor asks for an aggregate with net=fast, it has none"),
    # Image properties: a value for which the aggregates, taken together, have others only.
    ([{"os": "windows"}], {"image": (("os", "linux"),)}, "its aggregates are for images with os=windows, the image has linux"),
    ([{"os": "windows"}, {"os": "linux"}], {"image": (("os", "linux"),)}, None),
    ([{"os": "windows,linux"}], {"image": (("os", "linux"),)}, None),
    ([{"os": "windows"}], {}, None),
    ([], {"image": (("os", "linux"),)}, None),
    # Tenants: an aggregate with a list takes nobody else.
    ([{"filter_tenant_id": "p1, p2"}], {"project": "p3"}, "its aggregates are for projects p1, p2"),
    ([{"filter_tenant_id": "p1"}, {"filter_tenant_id3": "p3"}], {"project": "p3"}, None),
    ([{"filter_tenant_id": "p1"}], {"project": "p1"}, None),
    # Home: who lives in an aggregate of his own does not leave it.
    ([], {"project": "p1", "home": True}, "project p1 has aggregates of its own, and the host is in none of them"),
    ([{"filter_tenant_id": "p1"}], {"project": "p1", "home": True}, None),
    # Traits: only who requires the trait.
    ([{"trait:CUSTOM_X": "required"}], {}, "aggregate agg0 is for servers that require trait CUSTOM_X"),
    ([{"trait:CUSTOM_X": "required"}], {"traits": frozenset({"CUSTOM_X"})}, None),
    ([{"trait:CUSTOM_X": "other"}], {}, None),
    ([{"unrelated": "x"}], {}, None),
])
def test_refusal(metadata: list[dict[str, str]], need: dict[str, Any], expected: str | None) -> None:
    known = cluster(*metadata)
    assert refusal(known, IsolationNeed(**need), known.host_by_name["a"]) == expected


def test_who_stays_is_inherited() -> None:
    known = cluster({"os": "windows"})
    rule = AggregateIsolation({"s1": IsolationNeed(specs=(("os", "windows"),)), "deleted": IsolationNeed()})
    assert [(v.servers, v.host, v.inherited) for v in rule.violations(known, moved(known))] == [(("s1",), "b", True)]
    assert not list(rule.violations(known, moved(known, s1="a")))
    rule = AggregateIsolation({"s1": IsolationNeed(image=(("os", "linux"),))})
    assert [(v.servers, v.host, v.inherited) for v in rule.violations(known, moved(known, s1="a"))] == [(("s1",), "a", False)]


def test_tenants() -> None:
    assert tenants(Aggregate(id="1", name="a", metadata={"filter_tenant_id": "p1, p2,", "filter_tenant_id_x": "p3",
                                                         "other": "p4"})) == [
        "p1", "p2", "p3"]
