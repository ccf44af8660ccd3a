"""Rules that Nova can enforce itself: which they are, what it would get, and why it cannot enforce the others."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.cluster import Aggregate, Cluster, Flavor
from optimizer.constraints.isolation import tenants
from policy_sources.base import Rule, policy_of, rules_of
from policy_sources.nova_export import _WHY_NOT, MADE_BY, Change, Disable, Export, Reserve, changes, exports, leftovers
from policy_sources.vocabulary.kinds import KINDS
from policy_sources.vocabulary.selectors import Catalog
from tests.support.clusters import make_cluster, make_flavor, make_group, make_host, make_server
from tests.support.statements import statements

P1 = {"project": "p1"}
ON_AB = {"name": ["a", "b"]}


def small(**fields: Any) -> Cluster:
    """Hosts a, b, c and d; s1 to s4 stand on them in turn, s1 and s2 are of project p1."""
    hosts = [make_host(name, **fields.pop(name, {})) for name in "abcd"]
    servers = [make_server(f"s{n}", host, project="p1" if n < 3 else "p2", **fields.pop(f"s{n}", {})) for n, host in enumerate("abcd", 1)]
    return make_cluster(hosts, servers, **fields)


def rules(*rows: dict[str, Any]) -> tuple[Rule, ...]:
    return rules_of("file:rules.yaml", [(f"line {n}", row) for n, row in enumerate(rows, 1)])


def exported(cluster: Cluster, *rows: dict[str, Any]) -> tuple[Export, ...]:
    return exports(Catalog(cluster), rules(*rows))


def only(cluster: Cluster, row: dict[str, Any]) -> Export:
    (one,) = exported(cluster, row)
    return one


def told(cluster: Cluster, todo: Iterable[Change]) -> Cluster:
    """The cluster after Nova was told."""
    hosts, aggregates = dict(cluster.host_by_name), {one.name: one for one in cluster.aggregates}
    for change in todo:
        if isinstance(change, Disable):
            assert hosts[change.host].status == "enabled"
            hosts[change.host] = replace(hosts[change.host], status="disabled", disabled_reason=change.reason)
            continue
        own = aggregates.get(change.aggregate) or Aggregate(id=change.aggregate, name=change.aggregate)
        aggregates[own.name] = replace(own, metadata={**own.metadata, **change.metadata})
        for name in change.hosts:
            assert own.id not in hosts[name].aggregates
            hosts[name] = replace(hosts[name], aggregates=(*hosts[name].aggregates, own.id))
    return replace(cluster, hosts=tuple(hosts.values()), aggregates=tuple(aggregates.values()))


def exclusive(servers: dict[str, Any], hosts: dict[str, Any] = ON_AB, **more: Any) -> dict[str, Any]:
    return {"rule": "exclusive", "servers": servers, "hosts": hosts, **more}


@pytest.mark.parametrize(("row", "why"), [
    (exclusive(P1, should=3), "it is a wish, and Nova only admits or refuses"),
    (exclusive(P1, {"name": "x*"}), "it selects no host (name x*)"),
    ({"rule": "quarantine", "hosts": {"zone": "moon"}}, "it selects no host (zone moon)"),
    (exclusive({"tag": "db", "name": "s*", "project": "p1"}), "by project or flavor, and not by name and tag"),
    (exclusive({"metadata": {"licence": "oracle"}}), "not by metadata"),
    (exclusive({"flavor": "db.*"}), "Nova compares flavors with whole names, and db.* is a pattern"),
    (exclusive({"flavor": "one,two"}), "would not read 'one,two'"),
    (exclusive({"project": " p1"}), "would not read ' p1'"),
    (exclusive({"project": [f"{n:032x}" for n in range(8)]}), "the 8 projects are longer than the 255 characters"),
    ({"rule": "on", "servers": P1, "hosts": ON_AB}, "limit_tenants_to_placement_aggregate"),
    ({"rule": "on", "servers": {"flavor": "medium"}, "hosts": ON_AB}, "a server keeps the zone and the extra specs it was built with"),
    ({"rule": "not_on", "servers": P1, "hosts": ON_AB}, "who may come to a host, and not who may not"),
    ({"rule": "apart", "servers": {"name": "s*"}}, "a server joins a server group when it is created and never later"),
    ({"rule": "together", "servers": {"name": "s*"}}, "a server joins a server group when it is created and never later"),
    ({"rule": "together", "servers": {"name": "s*"}, "within": "zone"}, "neither zones nor racks"),
    ({"rule": "spread", "servers": {"name": "s*"}, "across": "zone"}, "neither zones nor racks"),
    ({"rule": "keep", "servers": {"name": "s*"}}, "can only lock a server"),
    ({"rule": "cap", "hosts": ON_AB, "resource": "VCPU", "percent": 80}, "what the percentage counts from"),
])
def test_what_nova_cannot_enforce(row: dict[str, Any], why: str) -> None:
    found = only(small(), row)
    assert (found.state, found.changes, found.wants) == ("no", (), ())
    assert why in found.text


@given(statements())
def test_every_kind_has_an_answer(row: dict[str, Any]) -> None:
    found = only(small(), row)
    assert found.text
    assert found.text[-1] not in ".; "


def test_no_kind_is_forgotten() -> None:
    """Else a new kind would find no answer only when an operator uses it."""
    assert KINDS.keys() == _WHY_NOT.keys() | {"quarantine", "evacuate", "exclusive", "apart", "together"}


@pytest.mark.parametrize("kind", ["quarantine", "evacuate"])
def test_services_are_disabled(kind: str) -> None:
    """One that is disabled already, whoever did it and why, is left as it is."""
    cluster = small(b={"status": "disabled", "disabled_reason": "broken fan"})
    found = only(cluster, {"rule": kind, "hosts": ON_AB, "why": "old firmware"})
    assert found.state == "write"
    assert found.changes == (Disable("a", "placewright_rule file:rules.yaml line 1: old firmware"),)
    assert ("still to be moved away: 2" in found.text) == (kind == "evacuate")
    assert only(told(cluster, found.changes), {"rule": kind, "hosts": ON_AB}).state == "there"


def test_long_words_are_cut_to_what_nova_takes() -> None:
    found = only(small(), {"rule": "quarantine", "hosts": ON_AB, "why": "x" * 500})
    assert {len(change.reason) for change in found.changes if isinstance(change, Disable)} == {255}


@pytest.mark.parametrize(("servers", "metadata", "needed"), [
    ({"project": ["p2", "p1"]}, {"filter_tenant_id": "p1,p2"}, "AggregateMultiTenancyIsolation"),
    ({"flavor": "medium"}, {"instance_type": "medium"}, "AggregateTypeAffinityFilter"),
])
def test_hosts_are_reserved(servers: dict[str, Any], metadata: dict[str, str], needed: str) -> None:
    found = only(small(), exclusive(servers))
    assert found.state == "write"
    (change,) = found.changes
    assert isinstance(change, Reserve)
    assert (change.hosts, change.metadata) == (("a", "b"), {**metadata, MADE_BY: "file:rules.yaml line 1"})
    assert f"it takes {needed} among" in found.text


def test_a_project_and_a_flavor_are_two_aggregates() -> None:
    """Of one filter the aggregates of a host are alternatives; two filters both have to agree."""
    found = only(small(), exclusive({"project": "p1", "flavor": "medium"}))
    assert [next(iter(change.metadata)) for change in found.changes if isinstance(change, Reserve)] == ["filter_tenant_id", "instance_type"]


def test_strangers_are_counted() -> None:
    assert "still to be moved away: 1" in only(small(), exclusive(P1, {"name": ["b", "c"]})).text
    assert "moved away" not in only(small(), exclusive(P1)).text


def test_an_aggregate_of_the_operator_will_do() -> None:
    """Also one for fewer projects; where it has some of the hosts, only the others are added, to an aggregate of our own."""
    kept = Aggregate(id="1", name="kept", metadata={"filter_tenant_id": "p1"})
    cluster = small(a={"aggregates": ("1",)}, aggregates=(kept,))
    assert only(cluster, exclusive({"project": ["p1", "p2"]}, {"name": "a"})).state == "there"
    assert [change.hosts for change in only(cluster, exclusive(P1)).changes if isinstance(change, Reserve)] == [("b",)]


def test_an_aggregate_for_others_is_in_the_way() -> None:
    kept = Aggregate(id="1", name="kept", metadata={"filter_tenant_id_2": "p2"})
    found = only(small(b={"aggregates": ("1",)}, aggregates=(kept,)), exclusive(P1))
    assert found.state == "no"
    assert "aggregate kept admits project p2 to b" in found.text


def test_rules_for_others_are_in_the_way() -> None:
    """Both must hold, so nobody may come; Nova would admit both. Equal ones share an aggregate, and other fields do not clash."""
    first, second, third, equal = exported(small(), exclusive(P1), exclusive({"project": "p2"}, {"name": "b"}),
                                           exclusive({"flavor": "medium"}), exclusive({"flavor": "medium"}, {"name": ["b", "c"]}))
    assert "b by file:rules.yaml line 2 is for other projects" in first.text
    assert "b by file:rules.yaml line 1 is for other projects" in second.text
    (change,) = changes((third, equal))
    assert isinstance(change, Reserve)
    assert change.hosts == ("a", "b", "c")
    assert change.metadata[MADE_BY] == "file:rules.yaml line 3"


def test_what_somebody_changed_is_not_changed_back() -> None:
    found = only(small(), exclusive(P1))
    cluster = told(small(), found.changes)
    (own,) = cluster.aggregates
    (again,) = exported(replace(cluster, aggregates=(replace(own, metadata={}),)), exclusive(P1, {"name": ["a", "c"]}))
    assert again.state == "no"
    assert "somebody has changed that" in again.text


def test_an_aggregate_that_was_begun_is_taken_up() -> None:
    (change,) = only(small(), exclusive(P1)).changes
    assert isinstance(change, Reserve)
    begun = small(aggregates=(Aggregate(id="7", name=change.aggregate),))
    assert only(begun, exclusive(P1)).changes == (change,)


@pytest.mark.parametrize(("row", "group", "state"), [
    ({"rule": "apart"}, make_group("anti-affinity", "s1", "s2"), "there"),
    ({"rule": "apart", "max_per_host": 2}, make_group("anti-affinity", "s1", "s2", max_server_per_host=2), "there"),
    ({"rule": "apart"}, make_group("anti-affinity", "s1", "s2", max_server_per_host=2), "no"),
    ({"rule": "apart"}, make_group("soft-anti-affinity", "s1", "s2"), "no"),
    ({"rule": "apart"}, make_group("affinity", "s1", "s2"), "no"),
    ({"rule": "together", "within": "zone"}, make_group("affinity", "s1", "s2"), "there"),
])
def test_server_groups_that_are_there(row: dict[str, Any], group: Any, state: str) -> None:
    cluster = small(groups=(group,))
    assert only(cluster, {**row, "servers": {"group": "group"}}).state == state
    assert only(cluster, {**row, "servers": {"name": ["s1", "s2"]}}).state == "no"


@pytest.mark.parametrize(("kind", "hosts", "state"), [("on", ON_AB, "there"), ("on", {"name": "a"}, "no"), ("not_on", {"name": ["c", "d"]}, "there"),
                                                      ("not_on", {"name": "b"}, "no")])
@pytest.mark.parametrize("by", ["zone", "trait"])
def test_what_servers_were_built_with(kind: str, hosts: dict[str, Any], state: str, by: str) -> None:
    """A rule that says what zones or traits say anyhow."""
    fast: Flavor = make_flavor("fast", trait__CUSTOM_FAST="required")
    where = {"zone": "east"} if by == "zone" else {"traits": ("CUSTOM_FAST",)}
    built = {"pinned_zone": "east"} if by == "zone" else {"flavor": "fast"}
    cluster = small(a=where, b=where, s1=built, s2=built, flavors=[fast])
    assert only(cluster, {"rule": kind, "servers": {"name": ["s1", "s2"]}, "hosts": hosts}).state == state
    assert only(cluster, {"rule": kind, "servers": {"name": ["s1", "s3"]}, "hosts": hosts}).state == "no"


def test_what_is_left_over() -> None:
    first = exported(small(), exclusive(P1), {"rule": "quarantine", "hosts": {"name": "d"}})
    cluster = told(small(), changes(first))
    assert list(leftovers(cluster, first)) == []
    (aggregate,) = cluster.aggregates
    assert list(leftovers(cluster, exported(cluster, exclusive(P1, {"name": "a"})))) == [
        f"aggregate {aggregate.name} was made for file:rules.yaml line 1; none of these rules asks for b in it any more",
        "d was disabled for file:rules.yaml line 2; none of these rules asks for it any more"]


_HOSTS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True).map(lambda names: {"name": names})
_WHO = st.fixed_dictionaries({}, optional={"project": st.lists(st.sampled_from(("p1", "p2", "p3")), min_size=1, max_size=2, unique=True),
                                           "flavor": st.sampled_from(("medium", "large"))}).filter(bool)
_ROWS = st.lists(st.builds(exclusive, _WHO, _HOSTS) | st.builds(lambda kind, hosts: {"rule": kind, "hosts": hosts},
                                                                 st.sampled_from(("quarantine", "evacuate")), _HOSTS), min_size=1, max_size=4)
_METADATA = st.sampled_from(({"filter_tenant_id": "p1"}, {"filter_tenant_id": "p1, p2"}, {"instance_type": "large"}, {"ssd": "true"}))


@st.composite
def _clusters(draw: st.DrawFn) -> Cluster:
    aggregates = tuple(Aggregate(id=str(n), name=f"own {n}", metadata=draw(_METADATA)) for n in range(draw(st.integers(0, 2))))
    ids = [one.id for one in aggregates]
    hosts = [make_host(name, status=draw(st.sampled_from(("enabled", "enabled", "disabled"))),
                       aggregates=tuple(draw(st.lists(st.sampled_from(ids), unique=True))) if ids else ()) for name in "abcd"]
    servers = [make_server(f"{project}-{flavor}", draw(st.sampled_from("abcd")), project=project, flavor=flavor)
               for project in ("p1", "p2", "p3") for flavor in ("medium", "large")]
    return make_cluster(hosts, servers, flavors=[make_flavor("large")], aggregates=aggregates)


def _nova_refuses(cluster: Cluster) -> set[tuple[str, str]]:
    """(server, host) by ComputeFilter, AggregateMultiTenancyIsolation and AggregateTypeAffinityFilter, written down from their code."""
    found = set()
    for host in cluster.hosts:
        aggregates = [cluster.aggregate_by_id[key] for key in host.aggregates]
        projects = {project for one in aggregates for project in tenants(one)}
        flavors = {name for one in aggregates if "instance_type" in one.metadata for name in one.metadata["instance_type"].split(",")}
        found |= {(server.id, host.name) for server in cluster.servers if host.status == "disabled" or (projects and server.project not in projects)
                  or (flavors and server.flavor not in flavors)}
    return found


def _rule_refuses(cluster: Cluster, rule: Rule) -> set[tuple[str, str]]:
    needs = {server: some for one in policy_of(Catalog(cluster), [rule]).constraints for server, some in getattr(one, "needs", {}).items()}
    return {(server, host.name) for server, some in needs.items() for host in cluster.hosts if not all(need.admits(host.name) for need in some)}


@given(_clusters(), _ROWS)
def test_nova_refuses_what_the_rules_refuse_and_nothing_else(cluster: Cluster, rows: list[dict[str, Any]]) -> None:
    found = exported(cluster, *rows)
    after = told(cluster, changes(found))
    asked = [_rule_refuses(cluster, one.rule) for one in found if one.state != "no"]
    assert set().union(*asked) <= _nova_refuses(after)
    assert _nova_refuses(after) - _nova_refuses(cluster) <= set().union(*asked)
    again = exported(after, *rows)
    assert changes(again) == ()
    assert [one.state for one in again] == ["there" if one.state == "write" else one.state for one in found]
    assert list(leftovers(after, found)) == []
