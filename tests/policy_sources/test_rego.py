"""Policies in Rego that are evaluated in this process."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from optimizer.cluster import Aggregate
from policy_sources.base import Origin, PolicyError
from policy_sources.rego import RegoSource
from policy_sources.vocabulary.movement import Keep
from policy_sources.vocabulary.selectors import Servers
from tests.support.clusters import make_cluster, make_host, make_server
from tests.support.opa import opa_evaluate, write

CLUSTER = make_cluster([make_host("a", aggregates=("1",))], [make_server("s1", "a", metadata={"x": "1"}), make_server("s2", "a"),
                                                              make_server("s3", "a", metadata={"x": "3"})],
                       aggregates=(Aggregate(id="1", name="rack"),))
KEEP = '{"rule": "keep", "servers": {"id": "s1"}}'


def read(folder: Path, text: str, **options: Any) -> Any:
    return RegoSource((write(folder, policy=text),), **options).read(CLUSTER)


@pytest.mark.parametrize(("text", "message"), [
    ("rules contains {", "policy.rego:"),
    ("rules contains x if y", "policy.rego:3:21: use of undefined variable `y` is unsafe"),
    ("rules[x] { x := 1 }", "`if` keyword is required before rule body"),
    ("rules := 1 / 0", "policy.rego:3:12: divide by zero"),
    ("rules := [1]\nrules := [2]", "policy.rego:4:1: rule conflicts with rule at"),
    ("rules := [x] if some x in input.cluster.servers", "policy.rego:3:"),
    ("rules := crypto.sha256(\"a\")", "policy.rego:3:23: could not find function crypto.sha256"),
    ("rules := http.send({})", "policy.rego:3: http.send, which the embedded engine does not have; ask an OPA server"),
    ("rules contains x if { y := http.send({\"url\": input.x}); x := y.body }", "policy.rego:3: http.send, which"),
    ("rules contains x if { [p, x] := walk(input) }", "policy.rego:3: walk with one argument, which"),
    ("other := 1", "placewright/rules is undefined; the files define the package placewright"),
    ("rules := [] if input.cluster.name == \"no\"", "placewright/rules is undefined"),
    (f"rules := {KEEP}", "the rule yields an object; need a set or an array of rules"),
    ("rules := \"keep\"", "the rule yields a text"),
    ("rules := 3.5", "the rule yields a number"),
    ("rules := true", "the rule yields true or false"),
    ("rules := null", "the rule yields null"),
    ("rules := [\"keep\"]", "rule 1: a rule is a mapping with a key \"rule\", not 'keep'"),
    (f"rules := [{KEEP}, {{}}]", "rule 2: rule: is missing"),
    ("rules := [{\"rule\": \"keep\", \"servers\": {\"id\": 1}, \"origin\": \"here\"}]", "here: servers.id"),
    ("rules := [{\"rule\": \"kept\", \"origin\": \"here\"}]", "here: rule: 'kept' is no kind of rule"),
    ("rules := [{\"rule\": \"keep\", \"servers\": {\"id\": \"s1\"}, \"origin\": 7}]", "rule 1: origin: need a text, not 7"),
    ("rules := [{\"rule\": \"keep\", \"servers\": {\"id\": \"s1\"}, \"origin\": \"\"}]", "rule 1: origin: need a text, not \"\""),
])
def test_policies_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PolicyError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"policy rego:{tmp_path}")
    assert message in str(error.value)
    assert "Stack backtrace" not in str(error.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    rows = [{"rule": "kept", "origin": "first"}, {"rule": "keep", "servers": {}, "origin": 5}, {"rule": "cap", "percent": 300}]
    with pytest.raises(PolicyError) as error:
        read(tmp_path, f"rules := {json.dumps(rows)}")
    assert [line.split(": ")[0].strip() for line in str(error.value).splitlines()[1:]] == [
        "rule 2", "first", "rule 2", *["rule 3"] * 3]


@pytest.mark.parametrize(("text", "loose"), [
    ("rules contains {\"rule\": s.metadata.x} if some s in input.cluster.servers", True),
    ("rules contains upper(s.metadata.x) if some s in input.cluster.servers", True),
    ("rules contains f(s) if some s in input.cluster.servers\nf(s) := s.metadata.x", True),
    ("rules contains input.cluster.servers[i].metadata.x if input.cluster.servers[i].id", True),
    ("rules contains v.metadata.x if walk(input, [p, v])", True),
    ("rules contains x if some x, _ in index\nindex[s.metadata.x] contains s.id if some s in input.cluster.servers", True),
    ("rules := x if some x in index\nindex[s.id] := s.metadata.x if some s in input.cluster.servers", True),
    ("rules contains x if { some s in input.cluster.servers; x := s.metadata.x }", False),
    ("rules contains [x | x := s.metadata.x] if some s in input.cluster.servers", False),
    ("rules contains sprintf(\"%s\", [x]) if { some s in input.cluster.servers; x := s.metadata.x }", False),
    ("rules contains input.cluster.name if count({s | some s in input.cluster.servers}) == 3", False),
    ("rules contains input.cluster.nothing\nrules contains 5", False),
])
def test_heads_that_would_lose_results(tmp_path: Path, text: str, loose: bool) -> None:
    """Those that are not refused mean the same to OPA's own evaluator."""
    with pytest.raises(PolicyError) as error:
        read(tmp_path, text)
    assert ("bind it in the body" in str(error.value)) == loose
    if not loose:
        with pytest.raises(PolicyError) as by_opa:
            read(tmp_path, text, engine=opa_evaluate)
        assert str(by_opa.value) == str(error.value)


def test_a_rule_and_where_it_comes_from(tmp_path: Path) -> None:
    found = read(tmp_path, f'rules := [{KEEP}, object.union({KEEP}, {{"origin": "licence 7", "why": "bound"}})]')
    who = Servers(id=("s1",))
    assert [rule.says for rule in found.rules] == [Keep(rule="keep", servers=who), Keep(rule="keep", servers=who, why="bound")]
    assert [rule.origin for rule in found.rules] == [Origin(found.source, where, found.revision) for where in ("rule 1", "licence 7")]
    assert found.source.startswith(f"rego:{tmp_path}")
    assert len(found.revision) == 12


def test_every_field_of_the_input_is_there(tmp_path: Path) -> None:
    """Also those that a snapshot file leaves out."""
    wanted = ["host.zone == \"nova\"", "host.status == \"enabled\"", "host.traits == []", "server.locked == false", "server.tags == []",
              "server.metadata == {}", "server.image == null", "input.version == 1", "input.cluster.groups == []"]
    body = "; ".join(["some host in input.cluster.hosts", "some server in input.cluster.servers", "server.id == \"s2\"", *wanted])
    assert len(read(tmp_path, f"rules contains rule if {{ {body}; rule := {KEEP} }}").rules) == 1


def test_files_of_one_package_add_up_under_any_path(tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text(f"package my.own\nimport rego.v1\nwanted contains {KEEP}\n")
    (tmp_path / "b.rego").write_text('package my.own\nimport rego.v1\nwanted contains {"rule": "keep", "servers": {"id": "s2"}}\n')
    assert len(RegoSource((tmp_path / "a.rego", tmp_path / "b.rego"), "my/own/wanted").read(CLUSTER).rules) == 2
    assert len(RegoSource((tmp_path,), "my/own/wanted").read(CLUSTER).rules) == 2


@pytest.mark.parametrize("path", ["", "rules", "placewright.rules", "/placewright/rules", "placewright/rules/", "placewright//rules", "data/x y",
                                  "a/b?pretty", "../x", "a/1"])
def test_paths_that_lead_nowhere(path: str) -> None:
    with pytest.raises(PolicyError, match="is no path of a rule; need PACKAGE/RULE, such as placewright/rules"):
        RegoSource((), path)


@pytest.mark.parametrize(("name", "content", "message"), [
    (".manifest", "[]", "need an object whose revision is a text"),
    (".manifest", '{"revision": 7}', "need an object whose revision is a text"),
    (".manifest", "{", "Expecting property name"),
    ("data.json", "[1]", "need an object at the top"),
    ("data.yaml", "a: [", "while parsing"),
    ("more.rego", "package placewright\n\udcff", "utf-8"),
])
def test_bundles_that_cannot_be_read(tmp_path: Path, name: str, content: str, message: str) -> None:
    write(tmp_path, policy="rules := []")
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(PolicyError) as error:
        RegoSource((tmp_path,)).read(CLUSTER)
    assert str(tmp_path / name) in str(error.value)
    assert message in str(error.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"2 faults\n.*one.rego cannot be read: No such file.*\n.*two.rego cannot be read"):
        RegoSource((tmp_path / "one.rego", tmp_path / "two.rego")).read(CLUSTER)
    with pytest.raises(PolicyError, match=r"no \.rego file in"):
        RegoSource((tmp_path,)).read(CLUSTER)
    with pytest.raises(PolicyError, match=r"no \.rego file in an empty list of files"):
        RegoSource(()).read(CLUSTER)


def test_data_of_a_bundle_are_under_their_folders(tmp_path: Path) -> None:
    write(tmp_path, policy='rules contains rule if {\n some id in data.sites.kept\n rule := {"rule": "keep", "servers": {"id": id}}\n}\n'
                           'rules contains {"rule": "keep", "servers": {"id": data.top}}')
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "data.json").write_text('{"kept": ["s1", "s2"]}')
    (tmp_path / "data.yaml").write_text("top: s3\n")
    (tmp_path / "sites" / "other.json").write_text("not read")
    assert {rule.says.servers.id for rule in RegoSource((tmp_path,)).read(CLUSTER).rules} == {("s1",), ("s2",), ("s3",)}  # type: ignore[attr-defined]


def test_data_that_contradict(tmp_path: Path) -> None:
    folders = [write(tmp_path / name, **{name: "rules := []"}) for name in "ab" if not (tmp_path / name).mkdir()]
    for n, folder in enumerate(folders):
        (folder / "data.json").write_text(json.dumps({"x": n}))
    with pytest.raises(PolicyError, match=f"rego:{folders[0]},{folders[1]}"):
        RegoSource(tuple(folders)).read(CLUSTER)


def test_the_revision_is_that_of_the_content(tmp_path: Path) -> None:
    def revision() -> str:
        found: str = RegoSource((tmp_path,)).read(CLUSTER).revision
        return found

    write(tmp_path, policy="rules := []")
    first = revision()
    assert revision() == first
    (tmp_path / "policy.rego").write_text((tmp_path / "policy.rego").read_text() + "\n")
    second = revision()
    (tmp_path / "data.json").write_text("{}")
    third = revision()
    assert len({first, second, third}) == 3
    (tmp_path / ".manifest").write_text('{"revision": "", "roots": [""]}')
    assert revision() not in {"", first, second, third}
    (tmp_path / ".manifest").write_text('{"revision": "v7"}')
    assert revision() == "v7"


def test_without_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "regorus", None)
    with pytest.raises(PolicyError, match=r"the embedded Rego engine is not installed; pip install 'placewright\[rego\]'"):
        read(tmp_path, "rules := []")
