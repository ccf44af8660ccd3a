"""The Rego policies that come with Placewright: what each derives, the same by every engine as by hand."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from optimizer.cluster import Aggregate, Cluster
from policy_sources.base import PolicyError, PolicySource
from policy_sources.opa import OpaSource
from policy_sources.rego import READY, RegoSource
from policy_sources.vocabulary.kinds import parse
from tests.support.clusters import make_cluster, make_group, make_host, make_server
from tests.support.opa import Opa, labelled_clusters, opa, opa_evaluate

NAMES = sorted(path.stem for path in READY.glob("*.rego") if path.stem != "lib")
Row = dict[str, Any]


def keyed(cluster: Cluster, key: str) -> Iterator[tuple[tuple[str, str], Any]]:
    """((project, value of the metadata), server)."""
    return (((server.project, server.metadata[key]), server) for server in cluster.servers if key in server.metadata)


def gathered(pairs: Iterable[tuple[Any, str]]) -> dict[Any, set[str]]:
    found = defaultdict(set)
    for key, value in pairs:
        found[key].add(value)
    return found


def hosts_of(cluster: Cluster) -> dict[str, set[str]]:
    return gathered((key, host.id) for host in cluster.hosts for key in host.aggregates)


def apart(cluster: Cluster) -> Iterator[Row]:
    prefix = "policy:apart="
    tagged = [((server.project, tag[len(prefix):]), server.id) for server in cluster.servers for tag in server.tags if tag.startswith(prefix)]
    for (project, name), ids in gathered([(key, server.id) for key, server in keyed(cluster, "policy:apart")] + tagged).items():
        if len(ids) > 1:
            yield {"rule": "apart", "servers": {"id": ids}, "origin": f"apart {name} of project {project}"}


def spread(cluster: Cluster) -> Iterator[Row]:
    over = gathered((key, server.metadata["policy:spread-over"]) for key, server in keyed(cluster, "policy:spread")
                    if "policy:spread-over" in server.metadata)
    for key, ids in gathered((key, server.id) for key, server in keyed(cluster, "policy:spread")).items():
        row = {"rule": "spread", "servers": {"id": ids}, "across": "zone", "origin": f"spread {key[1]} of project {key[0]}"}
        if len(ids) > 1:
            numbers = over.get(key)
            yield from ({**row, "at_least": int(text) if re.fullmatch("[1-9][0-9]*", text) else text} for text in numbers) if numbers else [row]


def hosts(cluster: Cluster) -> Iterator[Row]:
    for aggregate in cluster.aggregates:
        ids = hosts_of(cluster).get(aggregate.id)
        if ids and "policy:hosts" in aggregate.metadata:
            yield {"rule": aggregate.metadata["policy:hosts"], "hosts": {"id": ids}, "origin": f"aggregate {aggregate.name} ({aggregate.id})"}


def exclusive(cluster: Cluster) -> Iterator[Row]:
    for aggregate in cluster.aggregates:
        ids = hosts_of(cluster).get(aggregate.id)
        if ids and "policy:exclusive" in aggregate.metadata:
            yield {"rule": "exclusive", "hosts": {"id": ids}, "origin": f"exclusive aggregate {aggregate.name} ({aggregate.id})",
                   "servers": {"project": {text.strip() for text in aggregate.metadata["policy:exclusive"].split(",")}}}


def movement(cluster: Cluster) -> Iterator[Row]:
    means = {"policy:keep": {"rule": "keep"}, "policy:advise": {"rule": "automation", "level": "advise"},
             "policy:no-live-migration": {"rule": "no_live_migration"}}
    for tag, ids in gathered((tag, server.id) for server in cluster.servers for tag in server.tags if tag in means).items():
        yield {**means[tag], "servers": {"id": ids}, "origin": f"tag {tag}"}


def intent(cluster: Cluster) -> Iterator[Row]:
    means: dict[str, Row] = {"survive-host": {"rule": "apart"}, "survive-zone": {"rule": "spread", "across": "zone", "at_least": 2},
                             "fast-network": {"rule": "together", "within": "zone", "should": 1},
                             "steady": {"rule": "automation", "level": "advise"}}
    members = gathered((key, server.id) for key, server in keyed(cluster, "policy:service"))
    words = gathered((key, word.strip()) for key, server in keyed(cluster, "policy:service")
                     if "policy:intent" in server.metadata for word in server.metadata["policy:intent"].split(","))
    for (project, service), wanted in words.items():
        for word in wanted:
            sensitive, colon, level = word.partition(":")
            means[word] = {"rule": "sensitivity", "property": sensitive, "level": level} if colon else means.get(word, {"rule": word})
            yield {**means[word], "servers": {"id": members[project, service]},
                   "origin": f"service {service} of project {project}: {word}"}


def server_groups(cluster: Cluster) -> Iterator[Row]:
    for group in cluster.groups:
        ids = [member for member in group.members if member in cluster.server_by_id]
        if len(ids) > 1:
            yield {"rule": "apart" if "anti" in group.policy else "together", "servers": {"id": ids},
                   "origin": f"server group {group.name} ({group.id})", **({"should": 1} if "soft" in group.policy else {}),
                   **({"max_per_host": group.max_server_per_host} if "anti" in group.policy else {})}


BY_HAND: dict[str, Callable[[Cluster], Iterator[Row]]] = {
    "apart": apart, "exclusive": exclusive, "hosts": hosts, "intent": intent, "movement": movement, "server_groups": server_groups, "spread": spread}


def canonical(value: Any) -> Any:
    """The same for what means the same: lists and sets are in order."""
    if isinstance(value, dict):
        return {key: canonical(inner) for key, inner in value.items()}
    return sorted(value) if isinstance(value, list | tuple | set | frozenset) else value


def text(row: Row) -> str:
    return json.dumps(canonical(row), sort_keys=True)


def read(source: PolicySource, cluster: Cluster) -> Counter[str]:
    """Every rule with its origin, or every line of the error."""
    try:
        found = source.read(cluster)
    except PolicyError as error:
        return Counter(str(error).removeprefix(f"policy {source.name}: ").splitlines())
    return Counter(text({**rule.says.model_dump(mode="json"), "origin": rule.origin.where}) for rule in found.rules)


def by_hand(cluster: Cluster, names: Iterable[str]) -> Counter[str]:
    rows = [row for name in names for row in BY_HAND[name](cluster)]
    statements, faults = parse([{key: canonical(value) for key, value in row.items() if key != "origin"} for row in rows])
    assert not faults
    return Counter(text({**says.model_dump(mode="json"), "origin": row["origin"]}) for says, row in zip(statements, rows, strict=True))


def files(names: Iterable[str]) -> tuple[Any, ...]:
    return tuple(READY / f"{name}.rego" for name in (*names, "lib"))


def test_each_is_computed_by_hand_here() -> None:
    assert list(BY_HAND) == NAMES


@settings(max_examples=250)
@given(labelled_clusters())
def test_every_engine_derives_the_same_as_by_hand(cluster: Cluster) -> None:
    embedded = read(RegoSource((READY,)), cluster)
    assert embedded == by_hand(cluster, NAMES)
    assert embedded == read(RegoSource((READY,), engine=opa_evaluate), cluster)
    assert embedded == read(OpaSource(emulator().url), cluster)


_RUNNING: list[Opa] = []


def emulator() -> Opa:
    return _RUNNING[0]


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[None]:
    """One for all examples; it evaluates with OPA's own evaluator."""
    with opa(Opa(evaluate=opa_evaluate)) as state:
        _RUNNING.append(state)
        yield
    _RUNNING.clear()


@given(labelled_clusters(understood=False))
def test_every_engine_tells_the_same_faults(cluster: Cluster) -> None:
    embedded = read(RegoSource((READY,)), cluster)
    assert embedded == read(RegoSource((READY,), engine=opa_evaluate), cluster)
    assert embedded == read(OpaSource(emulator().url), cluster)


@given(labelled_clusters(understood=False))
def test_each_by_itself_tells_the_faults_that_are_found_by_hand(cluster: Cluster) -> None:
    rows = {name: list(BY_HAND[name](cluster)) for name in NAMES}
    for name in NAMES:
        _, faults = parse([{key: canonical(value) for key, value in row.items() if key != "origin"} for row in rows[name]])
        found = read(RegoSource(files([name])), cluster)
        if faults:
            places = {rows[name][fault.row]["origin"] for fault in faults}
            told = {place for place in places if any(place in line for line in found)}
            assert told == places, name
        else:
            assert found == by_hand(cluster, [name]), name


def example(**server: Any) -> Cluster:
    """s1 and s2 in project p1 and s3 in p2, on hosts a and b; a is in the aggregate rack."""
    return make_cluster([make_host("a", aggregates=("1",)), make_host("b")],
                        [make_server("s1", "a", project="p1", **server), make_server("s2", "b", project="p1", **server),
                         make_server("s3", "b", project="p2", **server)],
                        aggregates=(Aggregate(id="1", name="rack", metadata={"policy:hosts": "evacuate", "policy:exclusive": "p1, p2"}),),
                        groups=(make_group("soft-anti-affinity", "s1", "s2", "gone", name="db"),))


@pytest.mark.parametrize(("name", "cluster", "expected"), [
    ("apart", example(metadata={"policy:apart": "web"}),
     [{"rule": "apart", "servers": {"id": ["s1", "s2"]}, "origin": "apart web of project p1"}]),
    ("apart", example(tags=("policy:apart=web",)),
     [{"rule": "apart", "servers": {"id": ["s1", "s2"]}, "origin": "apart web of project p1"}]),
    ("spread", example(metadata={"policy:spread": "db"}),
     [{"rule": "spread", "servers": {"id": ["s1", "s2"]}, "across": "zone", "origin": "spread db of project p1"}]),
    ("spread", example(metadata={"policy:spread": "db", "policy:spread-over": "2"}),
     [{"rule": "spread", "servers": {"id": ["s1", "s2"]}, "across": "zone", "at_least": 2, "origin": "spread db of project p1"}]),
    ("hosts", example(), [{"rule": "evacuate", "hosts": {"id": ["id-a"]}, "origin": "aggregate rack (1)"}]),
    ("exclusive", example(), [{"rule": "exclusive", "hosts": {"id": ["id-a"]}, "servers": {"project": ["p1", "p2"]},
                               "origin": "exclusive aggregate rack (1)"}]),
    ("movement", example(tags=("policy:keep",)), [{"rule": "keep", "servers": {"id": ["s1", "s2", "s3"]}, "origin": "tag policy:keep"}]),
    ("intent", example(metadata={"policy:service": "shop", "policy:intent": "survive-host"}),
     [{"rule": "apart", "servers": {"id": ["s1", "s2"]}, "origin": "service shop of project p1: survive-host"},
      {"rule": "apart", "servers": {"id": ["s3"]}, "origin": "service shop of project p2: survive-host"}]),
    ("intent", example(metadata={"policy:service": "shop", "policy:intent": "latency:high"}),
     [{"rule": "sensitivity", "property": "latency", "level": "high", "servers": {"id": ids},
       "origin": f"service shop of project {project}: latency:high"}
      for project, ids in (("p1", ["s1", "s2"]), ("p2", ["s3"]))]),
    ("server_groups", example(), [{"rule": "apart", "servers": {"id": ["s1", "s2"]}, "max_per_host": 1, "should": 1,
                                   "origin": "server group db (id-db)"}]),
])
def test_the_example_of_each(name: str, cluster: Cluster, expected: list[Row]) -> None:
    statements, faults = parse([{key: value for key, value in row.items() if key != "origin"} for row in expected])
    assert not faults
    assert [(rule.says, rule.origin.where) for rule in RegoSource(files([name])).read(cluster).rules] == [
        (says, row["origin"]) for says, row in zip(statements, expected, strict=True)]


@pytest.mark.parametrize(("name", "fields", "fault"), [
    ("spread", {"metadata": {"policy:spread": "db", "policy:spread-over": "many"}}, "spread db of project p1: at_least: "),
    ("intent", {"metadata": {"policy:service": "shop", "policy:intent": "latency:high:er"}},
     "service shop of project p1: latency:high:er: level: Input should be 'low', 'medium' or 'high' (got 'high:er')"),
    ("intent", {"metadata": {"policy:service": "shop", "policy:intent": "be quick"}},
     "service shop of project p1: be quick: rule: 'be quick' is no kind of rule"),
])
def test_what_they_do_not_understand_is_told(name: str, fields: Row, fault: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(fault)):
        RegoSource(files([name])).read(example(**fields))


def test_a_cluster_without_any_of_it() -> None:
    assert RegoSource((READY,)).read(make_cluster([make_host("a")])).rules == ()


PAGE = (Path(__file__).parents[2] / "docs" / "opa.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```rego\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_of_the_page(block: str, tmp_path: Path) -> None:
    head = "" if "package" in block else "package placewright\nimport rego.v1\n"
    (tmp_path / "example.rego").write_text(head + block)
    cluster = example(metadata={"tier": "db"})
    source = RegoSource((tmp_path / "example.rego", READY / "lib.rego"))
    assert [rule.says for rule in source.read(cluster).rules] == parse([{"rule": "apart", "servers": {"id": ["s1", "s2"]}}])[0]
    assert read(source, cluster) == read(replace(source, engine=opa_evaluate), cluster)


def test_the_page_names_every_ready_policy() -> None:
    assert set(re.findall(r"^\| `([a-z_]+)\.rego`", PAGE, re.MULTILINE)) == set(NAMES)
