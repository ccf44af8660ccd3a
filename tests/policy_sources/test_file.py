"""Rules in a file: what is refused and how it is told, and that what is written comes back."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policy_sources import file
from policy_sources.base import PolicyError, PolicyUnavailable
from policy_sources.file import FileSource
from policy_sources.vocabulary.kinds import parse
from tests.support.clusters import make_cluster
from tests.support.statements import statements

NOBODY = make_cluster([])
HEAD = "version: 1\nrules:\n"


def read(path: Path, content: str | bytes) -> Any:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return FileSource(path).read(NOBODY)


def faults(path: Path, content: str | bytes) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as caught:
        read(path, content)
    assert str(caught.value).startswith(f"policy file:{path}: ")
    return caught.value.faults


@pytest.fixture(params=["c", "python"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With libyaml and without."""
    if request.param == "python":
        monkeypatch.setattr(file, "_LOADER", yaml.SafeLoader)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


@pytest.mark.parametrize(("content", "expected"), [
    ("", ["line 1: a mapping with the keys version and rules is expected"]),
    ("# nothing\n", ["line 1: a mapping with the keys version and rules is expected"]),
    ("\n- rule: keep\n", ["line 2: a mapping with the keys version and rules is expected"]),
    ("5", ["line 1: a mapping with the keys version and rules is expected"]),
    ("{}", ["line 1: rules: need a list of rules; [] for none", "line 1: version: need 1, the version of the format that this program reads"]),
    ("version: 2\nrules: []", ["line 1: version: need 1, the version of the format that this program reads (got 2)"]),
    ("rules: []\nversion: '1'", ["line 2: version: need 1, the version of the format that this program reads (got 1)"]),
    ("rules: []\nversion: true", ["line 2: version: need 1, the version of the format that this program reads (got true)"]),
    ("rules: []\nversion: 1.0", ["line 2: version: need 1, the version of the format that this program reads (got 1.0)"]),
    ("rules: []\nversion: [1]", ["line 2: version: need 1, the version of the format that this program reads"]),
    ("version: 1\nrules:\n# - rule: keep\n", ["line 2: rules: need a list of rules; [] for none"]),
    ("version: 1\nrules: {rule: keep}", ["line 2: rules: need a list of rules; [] for none"]),
    ("version: 1\nrules: []\nrulez: 1\n", ["line 3: rulez: there is no such key; known are version, rules"]),
    ("version: 1\nrules: []\nrules: []\n", ["line 3: rules: is there twice, in line 2 too"]),
    ("version: 1\nrules: []\n---\nversion: 1\n", ["line 3, column 1: is not YAML: expected a single document in the stream"]),
    (HEAD + "- {rule: keep, servers: {tag: *web}}", ["line 3, column 31: is not YAML: found undefined alias"]),
    (HEAD + "- rule: keep\n servers: x\n", ["line 4, column 2: is not YAML: "]),
    (HEAD + "- why: \"a\n", ["line 4, column 1: is not YAML: while scanning a quoted scalar, found unexpected end of stream"]),
    (HEAD + "- why: @x\n", ["line 3, column 8: is not YAML: while scanning for the next token, found character"]),
    (HEAD + "- why: é\x07\n", ["line 3: is not YAML: holds the control character U+0007"]),
    (HEAD.encode() + b"- why: caf\xe9\n", ["line 3: is not UTF-8 (byte 0xe9); save it in that encoding"]),
    ((HEAD + "- why: x\n").encode("utf-16"), ["line 1: is not UTF-8 (byte 0xff)"]),
])
def test_what_is_no_file_of_rules(path: Path, content: str | bytes, expected: list[str]) -> None:
    found = faults(path, content)
    assert len(found) == len(expected)
    assert all(one.startswith(begin) for one, begin in zip(found, expected, strict=True)), found


@pytest.mark.parametrize(("rule", "expected"), [
    ("keep", ["line 3: rules.0: a rule is a mapping with a key \"rule\", not 'keep'"]),
    ("~", ["line 3: rules.0: a rule is a mapping with a key \"rule\", not None"]),
    ("{}", ["line 3: rules.0.rule: is missing; there are together, apart,"]),
    ("why: x\n  servers: {}", ["line 3: rules.0.rule: is missing; there are together,"]),
    ("why: x\n  rule: appart", ["line 4: rules.0.rule: 'appart' is no kind of rule; there are together,"]),
    ("rule: apart", ["line 3: rules.0.servers: is missing"]),
    ("rule: apart\n  servers:\n    tagg: web", ["line 5: rules.0.servers.tagg: there is no such key; known are id, name,"]),
    ("rule: apart\n  servers:\n    {}\n  max_per_host:\n    0", [
        "line 4: rules.0.servers: nothing is selected", "line 6: rules.0.max_per_host: Input should be greater than or equal to 1 (got 0)"]),
    ("rule: keep\n  servers:\n    name:\n    - a\n    - 0.5", ["line 7: rules.0.servers.name.1: Input should be a valid string (got 0.5); put it in "
                                                           "quotes: \"0.5\""]),
    ("rule: keep\n  servers: {name: 5}", ["line 4: rules.0.servers.name: Input should be a valid tuple (got 5); put it in quotes: \"5\""]),
    ("rule: keep\n  servers: {metadata: {a.b: x, a: true}}", [
        "line 4: rules.0.servers.metadata.a: Input should be a valid string (got True); put it in quotes: \"true\""]),
    ("rule: keep\n  servers:\n    metadata:\n      a: x\n      a.b: 1", [
        "line 7: rules.0.servers.metadata.a.b: Input should be a valid string (got 1); put it in quotes: \"1\""]),
    ("rule: keep\n  servers: {metadata: {5: x}}", ["line 4: rules.0.servers.metadata.5: a key has to be a text; put it in quotes",
                                                  "line 4: rules.0.servers.metadata: Dictionary should have at least 1 item"]),
    ("{rule: keep, servers: {tag: x}, [1]: x}", ["line 3: rules.0.?: a key has to be a text"]),
    ("rule: keep\n  servers: {tag: x}\n  rule: keep", ["line 5: rules.0.rule: is there twice, in line 3 too"]),
    ("rule: keep\n  why: 2026-01-01\n  servers: {tag: x}", ["line 4: rules.0.why: 2026-01-01 is read as a timestamp; put it in quotes"]),
    ("rule: keep\n  why: =\n  servers: {tag: x}", ["line 4: rules.0.why: = is read as a value; put it in quotes"]),
    ("rule: keep\n  servers: {project: 0755}", ["line 4: rules.0.servers.project: 0755 is no plain decimal number; put it in quotes where"]),
    ("rule: keep\n  servers: {name: 12:30}", ["line 4: rules.0.servers.name: 12:30 is no plain decimal number"]),
    ("rule: apart\n  servers: {name: x}\n  max_per_host: 010", ["line 5: rules.0.max_per_host: 010 is no plain decimal number"]),
    ("rule: apart\n  servers: {name: x}\n  max_per_host: 1_0", ["line 5: rules.0.max_per_host: 1_0 is no plain decimal number"]),
    ("rule: apart\n  servers: {name: x}\n  max_per_host: !!int ''", ["line 5: rules.0.max_per_host:  is no plain decimal number"]),
    ("rule: apart\n  servers: {name: x}\n  should: .inf", ["line 5: rules.0.should: .inf is no plain decimal number"]),
    ("rule: apart\n  servers: {name: x}\n  should: " + "9" * 5000, ["line 5: rules.0.should: 9999"]),
    ("rule: apart\n  servers: {name: x}\n  should: 9999999", ["line 5: rules.0.should: Input should be less than or equal to 1000000"]),
    ("rule: keep\n  servers: !!set {name}", ["line 4: rules.0.servers: is a set; write a plain mapping"]),
    ("rule: keep\n  servers: {name: !!omap [a: b]}", ["line 4: rules.0.servers.name: is a omap; write a plain list"]),
    ("rule: keep\n  servers: !!python/object/apply:os.getcwd []", ["line 4: rules.0.servers: is a python/object/apply:os.getcwd; write"]),
    ("rule: keep\n  servers: {name: !x y}", ["line 4: rules.0.servers.name: y is read as a !x; put it in quotes"]),
    ("rule: keep\n  servers: " + "[" * 400 + "]" * 400, ["line 4: rules.0.servers" + ".0" * 19 + ": is nested too deep"]),
    ("rule: keep\n  why: &a x\n  servers: {tag: *a, tagg: x}", [
        "line 5: *a: aliases are not taken; write out what it stands for", "line 5: rules.0.servers.tagg: there is no such key"]),
    ("rule: keep\n  servers: &a {tag: x}\n- rule: keep\n  servers:\n    <<: *a", [
        "line 7: rules.1.servers.<<: mappings are not merged; write out the keys", "line 6: rules.1.servers: nothing is selected"]),
    ("&a\n  rule: keep\n  servers: *a", ["line 5: *a: aliases are not taken"]),
])
def test_what_is_wrong_with_a_rule(path: Path, rule: str, expected: list[str]) -> None:
    found = faults(path, f"{HEAD}- {rule}\n")
    assert len(found) == len(expected), found
    for one in expected:
        assert any(text.startswith(one) for text in found), found


def test_all_faults_are_told_at_once_in_the_order_of_lines(path: Path) -> None:
    content = ("extra: 1\nversion: 3\nrules:\n- {rule: keep, servers: {tag: a}}\n- rule: keep\n  since: 2026-01-01\n  servers:\n    tagg: b\n"
               "  why: 1\n  why: 2\n- apart\n")
    assert [one.partition(": ")[::2] for one in faults(path, content)] == [
        ("line 1", "extra: there is no such key; known are version, rules"),
        ("line 2", "version: need 1, the version of the format that this program reads (got 3)"),
        ("line 6", "rules.1.since: 2026-01-01 is read as a timestamp; put it in quotes"),
        ("line 8", "rules.1.servers.tagg: there is no such key; known are id, name, project, tag, metadata, flavor, image, group, host, zone"),
        ("line 9", "rules.1.why: Input should be a valid string (got 1); put it in quotes: \"1\""),
        ("line 10", "rules.1.why: is there twice, in line 9 too"),
        ("line 11", "rules.2: a rule is a mapping with a key \"rule\", not 'apart'")]


def test_many_faults_are_counted(path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        read(path, HEAD + "- keep\n" * 200)
    assert len(caught.value.faults) == 200
    assert str(caught.value).startswith(f"policy file:{path}: 200 faults\n  line 3: ")
    assert str(caught.value).endswith("\n  ... and 150 more")


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000])
def test_a_tower_of_brackets_is_refused(path: Path, text: str) -> None:
    (fault,) = faults(path, text)
    assert "is not YAML: " in fault


def test_aliases_that_would_grow_without_end_are_not_followed(path: Path) -> None:
    bomb = "".join(f"- &x{n + 1} [{', '.join([f'*x{n}'] * 10)}]\n" for n in range(30))
    found = faults(path, f"{HEAD}- &x0 lol\n{bomb}")
    assert len([one for one in found if "aliases are not taken" in one]) == 300


def test_what_cannot_be_read(tmp_path: Path, path: Path) -> None:
    with pytest.raises(PolicyUnavailable, match=r"^policy file:.*rules.yaml: cannot be read: No such file or directory$"):
        FileSource(path).read(NOBODY)
    with pytest.raises(PolicyError, match=r"^policy file:.*: is not a file$"):
        FileSource(tmp_path).read(NOBODY)
    os.mkfifo(path)
    with pytest.raises(PolicyError, match="is not a file"):
        FileSource(path).read(NOBODY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else(path: Path) -> None:
    path.touch(mode=0)
    with pytest.raises(PolicyUnavailable, match="cannot be read: Permission denied"):
        FileSource(path).read(NOBODY)


def test_a_file_that_is_too_large(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "_MAX_MB", 1)
    content = f"{HEAD.replace('rules:', 'rules: []')}# ".ljust(2**20)
    assert read(path, content).rules == ()
    assert faults(path, content + " ") == ("is larger than 1 MiB, the most that is taken; spread the rules over several files",)


def test_rules_with_their_origin(path: Path) -> None:
    said = read(path, "# ours\nversion: 1\nrules:\n- {rule: keep, servers: {tag: a}}\n\n- why: b\n  rule: apart\n  servers: {name: 'b*'}\n"
                      "  max_per_host: 2\n  should: 1e1\n")
    revision = said.revision
    assert len(revision) == 12
    assert [str(rule.origin) for rule in said.rules] == [f"file:{path} line {line} (revision {revision})" for line in (4, 6)]
    assert [rule.says.model_dump(exclude_defaults=True) for rule in said.rules] == [
        {"rule": "keep", "servers": {"tag": ("a",)}},
        {"rule": "apart", "servers": {"name": ("b*",)}, "max_per_host": 2, "should": 10.0, "why": "b"}]
    assert (said.source, said.notes, said.age_s) == (f"file:{path}", (), 0)
    assert read(path, path.read_text() + "\n").revision != revision


@pytest.mark.parametrize("content", ["version: 1\nrules: []\n", "{version: 1, rules: []}", "\ufeffversion: 1\r\nrules: []\r\n"])
def test_no_rules_are_rules_too(path: Path, content: str) -> None:
    assert read(path, content).rules == ()


def test_words_stay_words(path: Path) -> None:
    """``rule: on`` would be ``rule: true`` to YAML 1.1."""
    content = ("- rule: on\n  why: no\n  servers: {metadata: {yes: on, no: off}}\n  hosts: {name: a}\n"
               "- {rule: automation, servers: {tag: y}, level: off}\n- {rule: apart, servers: {tag: x}, during_moves: no}\n")
    on, automation, apart = (rule.says.model_dump(exclude_defaults=True) for rule in read(path, HEAD + content).rules)
    assert on == {"rule": "on", "why": "no", "servers": {"metadata": {"yes": "on", "no": "off"}}, "hosts": {"name": ("a",)}}
    assert automation["level"] == "off"
    assert apart["during_moves"] is False


@given(rows=st.lists(statements(), max_size=5), flow=st.sampled_from((True, False, None)))
def test_what_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], flow: bool | None) -> None:
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    said = read(path, yaml.safe_dump({"version": 1, "rules": rows}, default_flow_style=flow, allow_unicode=True))
    assert [rule.says for rule in said.rules] == parse(rows)[0]
