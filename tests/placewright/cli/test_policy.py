"""The commands about rules, and audits by rules: what is told, and what is refused."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from migrate.cloud import CallFailed, Outcome
from migrate.plan import ServiceStateInput
from optimizer.cluster import Aggregate, Cluster
from optimizer.snapshot import read_snapshot
from placewright.sources import CloudSource
from tests.placewright.cli.conftest import Run

RULES = """version: 1
rules:
  - rule: apart
    servers: {name: "web[0-2]"}
    why: one broken host takes one of them
  - rule: on
    servers: {name: web4}
    hosts: {name: c}
    should: 2
  - rule: keep
    servers: {name: nobody}
"""


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """A file of rules, in the current folder."""
    (tmp_path / "rules.yaml").write_text(RULES)
    return "file:rules.yaml"


@pytest.mark.parametrize(("words", "code", "said"), [
    (["check"], 2, "the following arguments are required: SOURCE"),
    (["check", "file:none.yaml"], 1, "policy file:none.yaml: cannot be read: No such file or directory"),
    (["check", "yaml:x"], 1, "policy yaml:x: there is no such source of rules; there are congress:POLICY, file:RULES.yaml"),
    (["list", "--policy", "file:rules.yaml"], 2, "one of the arguments --cloud --snapshot is required"),
    (["list", "--policy", "opa:rules", "--snapshot", "SNAPSHOT"], 1, "'rules' is no path of a rule"),
    (["list", "--policy", "congress:p", "--snapshot", "SNAPSHOT"], 1, "its address and our token come from Keystone, which needs --cloud"),
    (["explain", "--snapshot", "SNAPSHOT"], 2, "the following arguments are required: SERVER"),
    (["explain", "ghost", "--snapshot", "SNAPSHOT"], 1, "there is no server 'ghost' in "),
    (["explain", "web0", "--host", "ghost", "--snapshot", "SNAPSHOT"], 1, "there is no host 'ghost'"),
    (["export", "--snapshot", "SNAPSHOT"], 2, "the following arguments are required: --to"),
    (["export", "--to", "keystone", "--snapshot", "SNAPSHOT"], 2, "invalid choice: 'keystone'"),
    (["export", "--to", "nova"], 2, "one of the arguments --cloud --snapshot is required"),
    (["export", "--to", "nova", "--snapshot", "SNAPSHOT", "--cloud", "x"], 2, "not allowed with argument"),
    (["export", "--to", "nova", "--snapshot", "SNAPSHOT", "--apply"], 2, "--apply changes Nova, and a snapshot is only a file: give --cloud"),
    (["export", "--to", "nova", "--snapshot", "none.json"], 1, "none.json"),
    (["export", "--to", "nova", "--cloud", "none", "--apply"], 1, "There is no cloud 'none' in clouds.yaml"),
    (["export", "--to", "nova", "--snapshot", "SNAPSHOT", "--policy", "file:none.yaml"], 1, "cannot be read: No such file or directory"),
])
def test_what_is_refused(run: Run, snapshot: Path, rules: str, words: list[str], code: int, said: str) -> None:
    ended = run("policy", *(snapshot if word == "SNAPSHOT" else word for word in words))
    assert ended.code == code
    assert said in ended.err
    assert ended.out == ""


def test_faults_of_several_sources_are_told_together(run: Run, tmp_path: Path) -> None:
    for number, text in enumerate(("version: 1\nrules: [{rule: kep}]\n", "version: 2\nrules: []\n")):
        (tmp_path / f"{number}.yaml").write_text(text)
    ended = run("policy", "check", "file:0.yaml", "file:1.yaml", "file:2.yaml")
    assert ended.code == 1
    for said in ("'kep' is no kind of rule", "version: need 1", "file:2.yaml: cannot be read"):
        assert said in ended.err


def test_check(run: Run, snapshot: Path, rules: str) -> None:
    alone = run("policy", "check", rules, "-f", "json")
    assert (alone.code, [(row["Source"], row["Rules"], row["Kinds"]) for row in alone.rows]) == (0, [(rules, 3, "apart, keep, on")])
    assert "selects no server" not in alone.err
    assert "line 10 (revision " in (told := run("policy", "check", rules, "--snapshot", snapshot)).err
    assert "selects no server (name nobody)" in told.err


def test_list(run: Run, snapshot: Path, rules: str) -> None:
    ended = run("policy", "list", "--policy", rules, "--snapshot", snapshot, "-f", "json")
    assert ended.code == 0
    found = {(row["Source"], row["Where"]): row for row in ended.rows}
    assert {source for source, _ in found} == {"nova", rules}
    apart = found[rules, "line 3"]
    assert (apart["Rule"], apart["Weight"], apart["Servers"], apart["Why"]) == ("apart", "must", "3", "one broken host takes one of them")
    assert apart["Broken"] > 0
    assert (found[rules, "line 6"]["Weight"], found[rules, "line 6"]["Hosts"]) == ("2", "1")


def test_explain(run: Run, snapshot: Path, rules: str) -> None:
    ended = run("policy", "explain", "web0", "--policy", rules, "--snapshot", snapshot, "-f", "json")
    assert ended.code == 0
    assert [(row["Where"], row["Holds"]) for row in ended.rows] == [("line 3", "no")]


def test_explain_rules_about_hosts(run: Run, snapshot: Path, tmp_path: Path) -> None:
    """A rule about hosts speaks of who is on them; one about other servers does not, though it names the host."""
    host = run("policy", "explain", "web0", "--snapshot", snapshot).err.split(" is on ")[1].split()[0]
    others = next(name for name in "abcd" if name != host)
    (tmp_path / "hosts.yaml").write_text(f"version: 1\nrules:\n  - {{rule: evacuate, hosts: {{name: {host}}}}}\n"
                                         f"  - {{rule: evacuate, hosts: {{name: {others}}}}}\n"
                                         f"  - {{rule: not_on, servers: {{name: web1}}, hosts: {{name: {host}}}}}\n"
                                         f"  - {{rule: exclusive, servers: {{name: web0}}, hosts: {{name: {others}}}}}\n")
    ended = run("policy", "explain", "web0", "--policy", "file:hosts.yaml", "--snapshot", snapshot, "-f", "json")
    assert [(row["Where"], row["Holds"] == "yes") for row in ended.rows if row["Where"] != "line 6"] == [("line 3", False)]
    assert "line 6" in {row["Where"] for row in ended.rows}


def test_explain_a_host(run: Run, snapshot: Path, rules: str) -> None:
    listed = run("policy", "explain", "web1", "--policy", rules, "--snapshot", snapshot)
    assert "web1 (" in listed.err
    host = listed.err.split(" is on ")[1].split()[0]
    other = next(name for name in "abcd" if name != host)
    assert f"web1 is on {host} now" in run("policy", "explain", "web1", "--host", host, "--policy", rules, "--snapshot", snapshot).err
    told = run("policy", "explain", "web1", "--host", other, "--policy", rules, "--snapshot", snapshot, "-f", "json")
    assert f"web1 may{'' if not [row for row in told.rows if row['Weight'] == 'must'] else ' not'} go to {other}" in told.err


def test_audit_and_apply_by_rules(run: Run, snapshot: Path, rules: str) -> None:
    """From the option and from the settings it is the same."""
    ended = run("audit", "run", "repair", "--policy", rules, "--snapshot", snapshot, "--out", "plan.json", "-f", "json")
    assert ended.code == 0, ended.err
    plan = json.loads(Path("plan.json").read_text())
    assert plan["levels"][0]["value"] == 0
    assert [one["source"] for one in plan["policies"]] == [rules]
    assert any("line 3" in row["Reason"] for row in ended.rows)
    assert run("plan", "apply", "plan.json", "--simulate", snapshot, "--yes").code == 0
    Path("site.conf").write_text(f"[policy]\nsources = {rules}\n")
    again = run("--config-file", "site.conf", "audit", "run", "repair", "--snapshot", snapshot, "-f", "json")
    assert len(again.rows) == len(ended.rows)


EXPORTED = """version: 1
rules:
  - rule: exclusive
    hosts: {name: [c, d]}
    servers: {project: p1}
  - rule: quarantine
    hosts: {name: b}
    why: broken fan
  - rule: keep
    servers: {name: web0}
"""


class FakeNova:
    """What the export asks of Nova is done to the cluster of the class; a host named in ``refuses`` is refused."""

    cluster: ClassVar[Cluster]
    asked: ClassVar[list[str]]
    refuses: ClassVar[str] = ""

    def __init__(self, connection: object, observe: object, timeout_s: float) -> None:
        """Nothing is asked yet."""

    def set_service(self, what: ServiceStateInput) -> Outcome:
        """Disable a service."""
        if what.resource_name == self.refuses:
            raise CallFailed("HTTP 403: Policy doesn't allow it")
        self.asked.append(f"disable {what.resource_name}")
        host = replace(self.cluster.host_by_name[what.resource_name], status="disabled", disabled_reason=what.disabled_reason)
        FakeNova.cluster = replace(self.cluster, hosts=tuple(host if one.name == host.name else one for one in self.cluster.hosts))
        return Outcome("SUCCEEDED")

    def reserve(self, aggregate: str, hosts: tuple[str, ...], metadata: Mapping[str, str]) -> None:
        """Make an aggregate."""
        self.asked.append(f"reserve {' '.join(hosts)}")
        inside = tuple(replace(one, aggregates=(*one.aggregates, "new")) if one.name in hosts else one for one in self.cluster.hosts)
        FakeNova.cluster = replace(self.cluster, hosts=inside, aggregates=(Aggregate(id="new", name=aggregate, metadata=metadata),))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, snapshot: Path, tmp_path: Path) -> type[FakeNova]:
    """A cloud that is the named cluster, and rules of which two can be exported."""
    (tmp_path / "rules.yaml").write_text(EXPORTED)
    FakeNova.cluster, FakeNova.asked, FakeNova.refuses = read_snapshot(snapshot), [], ""
    monkeypatch.setattr("placewright.export.NovaCloud", FakeNova)
    monkeypatch.setattr(CloudSource, "connection", None)
    monkeypatch.setattr(CloudSource, "cluster", lambda self: FakeNova.cluster)
    return FakeNova


def test_export_shows_first(run: Run, fake: type[FakeNova], snapshot: Path) -> None:
    for source in (("--snapshot", snapshot), ("--cloud", "x")):
        ended = run("policy", "export", "--to", "nova", "--policy", "file:rules.yaml", *source, "-f", "json")
        assert ended.code == 0, ended.err
        assert [(row["Where"], row["Rule"], row["Export"]) for row in ended.rows] == [
            ("line 3", "exclusive", "write"), ("line 6", "quarantine", "write"), ("line 9", "keep", "no")]
        assert "of 3 rules Nova enforces 0 already and cannot enforce 1; 2 can be written, with 2 changes that --apply makes" in ended.err
        assert "selects no server (project p1)" in ended.err
    assert fake.asked == []


def test_export_is_done_once(run: Run, fake: type[FakeNova]) -> None:
    words = ("policy", "export", "--to", "nova", "--policy", "file:rules.yaml", "--cloud", "x", "--apply", "-f", "json")
    first = run(*words)
    assert [row["Export"] for row in first.rows] == ["written", "written", "no"]
    assert "disabling nova-compute on b" in first.err
    assert "2 are written, with 2 changes" in first.err
    assert fake.asked == ["disable b", "reserve c d"]
    again = run(*words)
    assert [row["Export"] for row in again.rows] == ["there", "there", "no"]
    assert "nothing is to be changed" in again.err
    assert len(fake.asked) == 2
    Path("rules.yaml").write_text("version: 1\nrules: []\n")
    assert "note: b was disabled for file:rules.yaml line 6: broken fan; none of these rules asks for it any more" in run(*words).err
    assert len(fake.asked) == 2


def test_export_that_nova_refuses(run: Run, fake: type[FakeNova]) -> None:
    fake.refuses = "b"
    ended = run("policy", "export", "--to", "nova", "--policy", "file:rules.yaml", "--cloud", "x", "--apply")
    assert (ended.code, ended.out) == (1, "")
    assert ("placewright: disabling nova-compute on b: HTTP 403: Policy doesn't allow it (0 of 2 changes are made; the command can be run again)"
            in ended.err)
