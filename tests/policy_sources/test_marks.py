"""Marks on servers and flavors: what is refused, what is told, and what each stands for."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.cluster import Cluster, Server
from policy_sources.base import PolicyError, RuleSet, policy_of
from policy_sources.marks import MARKS, WISHES, MarksSettings, MarksSource
from policy_sources.vocabulary.selectors import Catalog
from tests.support.clusters import make_cluster, make_flavor, make_host, make_server

ALL = frozenset(MARKS)


def marked(name: str, *tags: str, project: str = "p1", flavor: str = "medium", **metadata: str) -> Server:
    """A server with marks in its tags, and others in its metadata."""
    return make_server(name, "a", project=project, flavor=flavor, tags=tuple(f"placewright:{tag}" for tag in tags),
                       metadata={f"placewright:{key}": value for key, value in metadata.items()})


def cluster(*servers: Server, **specs: str) -> Cluster:
    """Servers on one of two hosts, and the marks of the flavor ``big``."""
    flavor = make_flavor("big", **{f"placewright__{key}": value for key, value in specs.items()})
    return make_cluster([make_host("a", zone="x"), make_host("b", zone="y")], servers, flavors=[flavor])


def read(of: Cluster, allowed: frozenset[str] = ALL, **settings: Any) -> RuleSet:
    return MarksSource(MarksSettings(tenant_marks=allowed, **settings)).read(of)


def said(rules: RuleSet) -> list[dict[str, Any]]:
    return [rule.says.model_dump(exclude_defaults=True) for rule in rules.rules]


def ids(*names: str) -> dict[str, tuple[str, ...]]:
    return {"id": names}


@pytest.mark.parametrize(("settings", "message"), [
    ({"tenant_marks": frozenset({"keep", "kep"})}, "policy marks: tenant_marks: there is no mark 'kep'; there are keep, no_live_migration, "),
    ({"tenant_weight": 0.0}, "policy marks: tenant_weight: 0.0: need more than 0 and at most 1000000"),
    ({"tenant_weight": float("nan")}, "tenant_weight: nan: need"),
    ({"tenant_weight": float("inf")}, "tenant_weight: inf: need"),
    ({"tenant_weight": 1e7}, "tenant_weight: 10000000.0: need"),
    ({"tenant_marks": frozenset({"x", "y"}), "tenant_weight": -1.0}, "policy marks: 3 faults\n"),
])
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        MarksSettings(**settings)
    assert message in str(caught.value)


BAD = [
    ("kep", "true", "there is no such mark; there are keep, no_live_migration, automation, apart, apart_max, together, spread, latency, "),
    ("", "true", "there is no such mark"),
    ("keep", "maybe", "need true or false"),
    ("keep", "", "need true or false"),
    ("no_live_migration", "1", "need true or false"),
    ("automation", "on", "need off or advise"),
    ("apart", "", "need the name of a group: up to 60 letters, digits, spaces and - _ . :"),
    ("apart", "a/b", "need the name of a group"),
    ("together", "a\nb", "need the name of a group"),
    ("spread", "x" * 61, "need the name of a group"),
    ("apart_max", "0", "need a whole number from 1 to 9999"),
    ("apart_max", "2.5", "need a whole number"),
    ("apart_max", "٣", "need a whole number"),
    ("latency", "very", "need low, medium or high"),
    ("cost", "[red]", "need low, medium or high"),
]


@pytest.mark.parametrize(("key", "value", "why"), BAD)
@pytest.mark.parametrize("place", ["metadata", "tag"])
def test_what_a_tenant_writes_wrongly_is_a_note(place: str, key: str, value: str, why: str) -> None:
    server = marked("s1", f"{key}={value}") if place == "tag" else marked("s1", **{key: value})
    rules = read(cluster(server, marked("s2", "keep=true")))
    assert said(rules) == [{"rule": "keep", "servers": ids("s2")}]
    (note,) = rules.notes
    assert note.startswith(f"marks: server s1 (s1): placewright:{key}=")
    assert f" is ignored: {why}" in note
    assert note.isprintable()


@pytest.mark.parametrize(("key", "value", "why"), BAD)
def test_what_an_operator_writes_wrongly_is_an_error(key: str, value: str, why: str) -> None:
    of = cluster(marked("s1", flavor="big"), **{key: value})
    with pytest.raises(PolicyError) as caught:
        read(of)
    assert str(caught.value).startswith(f"policy marks: flavor big: placewright:{key}=")
    assert f": {why}" in str(caught.value)
    assert "until they are resized" in str(caught.value)
    assert read(of, ignored_flavors=frozenset({"big"})).rules == ()


def test_all_faults_of_flavors_are_told_at_once() -> None:
    of = cluster(keep="maybe", apart_max="3", latency="very")
    again = replace(of, flavors={**of.flavors, "big#2": of.flavors["big"]})
    with pytest.raises(PolicyError) as caught:
        read(again)
    assert [fault.partition(" (servers")[0] for fault in caught.value.faults] == [
        "flavor big: placewright:keep=maybe: need true or false", "flavor big: placewright:latency=very: need low, medium or high",
        "flavor big: placewright:apart_max: means nothing without placewright:apart"]


@pytest.mark.parametrize(("server", "note"), [
    (marked("s1", apart_max="2"), "placewright:apart_max is ignored: it means nothing without placewright:apart."),
    (marked("s1", "keep"), "placewright:keep= is ignored: need true or false."),
    (marked("s1", "latency=high", latency="low"), "placewright:latency=high is ignored: it is low already."),
    (marked("s1", "latency=high", "latency=medium"), "placewright:latency=medium is ignored: it is high already."),
    (marked("s1", keep="x" * 200), f"placewright:keep={'x' * 60}... is ignored: need true or false."),
    (marked("s1", keep="a\x1b[2J"), "placewright:keep=a\\x1b[2J is ignored: need true or false."),
])
def test_other_notes(server: Server, note: str) -> None:
    assert read(cluster(server)).notes == (f"marks: server s1 (s1): {note}",)


@pytest.mark.parametrize("key", sorted(MARKS))
def test_marks_that_tenants_may_not_set_are_ignored_and_told(key: str) -> None:
    value = {"automation": "off", "apart_max": "2"}.get(key, "high" if MARKS[key].right.startswith("low") else "true")
    beside = {"apart": "g"} if key == "apart_max" else {}
    servers = [marked(name, **{key: value}, **beside) for name in ("s1", "s2")]
    rules = read(cluster(*servers), ALL - {key})
    assert not any(rule.says.rule == key or getattr(rule.says, "property", "") == key for rule in rules.rules)
    assert rules.notes == (f"marks: server s1 (s1) and 1 more: placewright:{key}={value} is ignored: tenants may not set it in this cloud.",)
    operators = read(cluster(*(marked(name, flavor="big") for name in ("s1", "s2")), **{key: value}, **beside), frozenset())
    assert operators.notes == ()
    assert len(operators.rules) == 1


def test_wishes_alone_are_allowed_by_default() -> None:
    assert MarksSource() == MarksSource(MarksSettings(WISHES, 1.0, frozenset()))
    everything = {"keep": "true", "automation": "off", "no_live_migration": "true", "availability": "high", "latency": "high", "throughput": "high",
                  "cost": "high", "apart": "g", "together": "g", "spread": "g", "apart_max": "1"}
    of = cluster(marked("s1", **everything), marked("s2", **everything))
    policy = policy_of(Catalog(of), MarksSource().read(of).rules)
    assert (policy.constraints, policy.broken) == ((), ())
    assert (policy.cold_only, policy.live_only, policy.advised) == ({}, {}, {})


def test_notes_of_a_tenant_do_not_bury_those_of_others() -> None:
    noisy = [marked(f"s{n}", keep=f"x{n}", project="loud") for n in range(1000)]
    rules = read(cluster(*noisy, marked("quiet", keep="y", project="p2")))
    assert len(rules.notes) == 7
    assert rules.notes[5:] == ("marks: project loud: 995 more marks are ignored.",
                               "marks: server quiet (quiet): placewright:keep=y is ignored: need true or false.")


@pytest.mark.parametrize(("marks", "statement", "where"), [
    (("keep=true",), {"rule": "keep"}, "server s1 (s1): placewright:keep=true"),
    (("keep=TRUE ",), {"rule": "keep"}, "server s1 (s1): placewright:keep=true"),
    (("no_live_migration=true",), {"rule": "no_live_migration"}, "server s1 (s1): placewright:no_live_migration=true"),
    (("automation=off",), {"rule": "automation", "level": "off"}, "server s1 (s1): placewright:automation=off"),
    (("automation=Advise",), {"rule": "automation", "level": "advise"}, "server s1 (s1): placewright:automation=advise"),
    *(((f"{name}=high",), {"rule": "sensitivity", "property": name, "level": "high", "should": 1.0},
       f"placewright:{name}=high of project p1: s1") for name in ("latency", "throughput", "availability", "cost")),
])
def test_marks_of_one_server(marks: tuple[str, ...], statement: dict[str, Any], where: str) -> None:
    as_tags = read(cluster(marked("s1", *marks)))
    as_metadata = read(cluster(marked("s1", **dict(mark.split("=") for mark in marks))))
    assert as_tags == as_metadata
    assert said(as_tags) == [{**statement, "servers": ids("s1")}]
    assert [str(rule.origin) for rule in as_tags.rules] == [f"marks {where}"]
    assert as_tags.notes == ()


@pytest.mark.parametrize(("marks", "statement"), [
    ({"apart": "web"}, {"rule": "apart"}), ({"apart": "web", "apart_max": "2"}, {"rule": "apart", "max_per_host": 2}),
    ({"together": "web"}, {"rule": "together"}), ({"spread": "web"}, {"rule": "spread", "across": "zone"}),
    ({"cost": "low"}, {"rule": "sensitivity", "property": "cost", "level": "low"}),
])
def test_groups_are_of_one_project(marks: dict[str, str], statement: dict[str, Any]) -> None:
    """Of the tenant's with the weight of tenants, of the operator's as they must."""
    servers = [marked("s1", **marks), marked("s2", *(f"{key}={value}" for key, value in marks.items())), marked("s3", project="p2", **marks),
               marked("s4", project="p2", **marks), marked("s5")]
    rules = read(cluster(*servers), tenant_weight=0.5)
    assert said(rules) == [{**statement, "should": 0.5, "servers": ids(*some)} for some in (("s1", "s2"), ("s3", "s4"))]
    key, value = next(iter(marks.items()))
    assert rules.rules[0].origin.where == f"placewright:{key}={value} of project p1: s1, s2"
    of_flavor = read(cluster(*(marked(f"s{n}", flavor="big") for n in range(5)), marked("s5", project="p2", flavor="big"), **marks))
    assert said(of_flavor)[0] == {**statement, "servers": ids("s0", "s1", "s2", "s3", "s4")}
    assert of_flavor.rules[0].origin.where == f"placewright:{key}={value} of project p1: s0, s1, s2 and 2 more"


def test_a_group_of_one_is_no_rule() -> None:
    assert said(read(cluster(marked("s1", apart="g", spread="g"), marked("s2", apart="g", project="p2")))) == []


def test_a_server_may_be_in_several_groups() -> None:
    rules = read(cluster(marked("s1", "apart=x", apart="y"), marked("s2", "apart=x"), marked("s3", "apart=y", "apart=y ")))
    assert said(rules) == [{"rule": "apart", "should": 1.0, "servers": ids("s1", "s3")}, {"rule": "apart", "should": 1.0, "servers": ids("s1", "s2")}]


def test_the_smallest_of_several_bounds_counts() -> None:
    rules = read(cluster(marked("s1", apart="g", apart_max="3"), marked("s2", apart="g"), marked("s3", apart="g", apart_max="2")))
    assert said(rules) == [{"rule": "apart", "max_per_host": 2, "should": 1.0, "servers": ids("s1", "s2", "s3")}]


def test_tenant_and_operator_count_each_by_themselves() -> None:
    servers = [marked(name, flavor="big", apart="g", keep="false") for name in ("s1", "s2")]
    rules = read(cluster(*servers, marked("s3", apart="g"), apart="g", apart_max="2", keep="true"))
    assert said(rules) == [
        {"rule": "keep", "servers": ids("s1", "s2")},
        {"rule": "apart", "max_per_host": 2, "servers": ids("s1", "s2")},
        {"rule": "apart", "should": 1.0, "servers": ids("s1", "s2", "s3")}]
    assert rules.rules[0].origin.where == "flavor big: placewright:keep=true"


def test_what_is_no_mark() -> None:
    server = make_server("s1", "a", tags=("placewright", "keep=true", "Placewright:keep=true"), metadata={"keep": "true", "placewright": "keep"})
    assert read(cluster(server)) == RuleSet("marks", (), "2026-01-01T00:00:00Z")
    assert read(make_cluster([])).rules == ()


@given(data=st.data())
def test_nothing_that_tenants_write_stops_an_audit(data: st.DataObject) -> None:
    """And none of it speaks of servers of another project."""
    text = st.text(max_size=20) | st.sampled_from(("true", "off", "high", "g", "2", "x=y"))
    key = st.sampled_from([f"placewright:{mark}" for mark in MARKS]) | text.map("placewright:".__add__) | text
    servers = []
    for n in range(data.draw(st.integers(0, 6))):
        tags = data.draw(st.lists(st.builds("{}={}".format, key, text) | key, max_size=4))
        servers.append(make_server(f"s{n}", "a", project=data.draw(st.sampled_from(("p1", "p2"))), tags=tuple(tags),
                                   metadata=data.draw(st.dictionaries(key, text, max_size=4))))
    of = cluster(*servers)
    rules = read(of, data.draw(st.frozensets(st.sampled_from(sorted(MARKS)))))
    policy_of(Catalog(of), rules.rules)
    for rule in rules.rules:
        assert len({of.server_by_id[one].project for one in rule.says.servers.id}) == 1  # type: ignore[attr-defined]
        assert str(rule.origin).isprintable()
    assert all(note.isprintable() for note in rules.notes)
