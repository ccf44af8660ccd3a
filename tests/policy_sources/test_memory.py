"""Last good rules: when they stand in for a source, when they do not, and what is told."""

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.cluster import Cluster
from policy_sources.base import PolicyError, PolicyUnavailable, RuleSet, rules_of
from policy_sources.memory import OnFailure, memory_file, read_rules
from tests.support.clusters import make_cluster
from tests.support.statements import statements

NOBODY = make_cluster([])
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEEP = {"rule": "keep", "servers": {"tag": ["a"]}}


@dataclass(frozen=True)
class Said:
    """A source that says what it is told to, or fails as it is told to."""

    rows: Sequence[Mapping[str, Any]] = (KEEP,)
    error: PolicyError | None = None
    name: str = "test:/etc/rules"
    notes: tuple[str, ...] = ("a note.",)

    def read(self, cluster: Cluster) -> RuleSet:
        if self.error is not None:
            raise self.error
        return RuleSet(self.name, rules_of(self.name, [(f"row {n}", row) for n, row in enumerate(self.rows)], "r1"), "2026-01-01T11:59:59+00:00",
                       "r1", self.notes)


GONE = Said(error=PolicyUnavailable("test:/etc/rules", ["cannot be reached"]))
GARBAGE = Said(error=PolicyError("test:/etc/rules", ["row 1: is garbage", "row 2: too"]))


def read(source: Said, memory: Path, later_s: float = 0, on_failure: OnFailure = "last_good", max_age_s: float = 3600) -> RuleSet:
    return read_rules(source, NOBODY, memory, on_failure, max_age_s, NOW + timedelta(seconds=later_s))


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "rules"


@pytest.mark.parametrize(("content", "why"), [
    (None, "there are no last good rules yet"),
    ("", "the last good rules in FILE are not understood: Invalid JSON"),
    ("{", "the last good rules in FILE are not understood: Invalid JSON"),
    ("[]", "the last good rules in FILE are not understood: "),
    ("{}", "the last good rules in FILE are not understood: format: Field required"),
    ({"version": 2}, "the last good rules in FILE are not understood: version: Input should be 1"),
    ({"had_at": "yesterday"}, "the last good rules in FILE are not understood: had_at: "),
    ({"had_at": "2026-01-01T12:00:00"}, "the last good rules in FILE are not understood: had_at: Input should have timezone info"),
    ({"token": "x"}, "the last good rules in FILE are not understood: token: "),
    ({"source": "test:other"}, "the last good rules in FILE are those of test:other"),
    ({"rules": [{"statement": {"rule": "levitate"}, "source": "s", "where": "w", "revision": ""}]},
     "the last good rules in FILE are not understood: rule 0: rule: 'levitate' is no kind of rule"),
])
@pytest.mark.parametrize("source", [GONE, GARBAGE], ids=["gone", "garbage"])
def test_a_memory_that_is_of_no_use(memory: Path, source: Said, content: str | dict[str, Any] | None, why: str) -> None:
    path = memory_file(memory, source.name)
    if content is not None:
        read(Said(), memory)
        path.write_text(json.dumps({**json.loads(path.read_text()), **content}) if isinstance(content, dict) else content)
    with pytest.raises(PolicyError) as caught:
        read(source, memory)
    assert source.error is not None
    assert type(caught.value) is type(source.error)
    assert caught.value.faults[:-1] == source.error.faults
    assert caught.value.faults[-1].replace(str(path), "FILE").startswith(why)


def test_rules_that_are_too_old(memory: Path) -> None:
    read(Said(), memory)
    assert read(GONE, memory, later_s=3600).age_s == 3600
    with pytest.raises(PolicyUnavailable, match="the last good rules are 2 h old, and at most 60 min is allowed"):
        read(GONE, memory, later_s=7200)


def test_a_memory_that_cannot_be_read(memory: Path) -> None:
    memory_file(memory, GONE.name).mkdir(parents=True)
    with pytest.raises(PolicyUnavailable, match=r"cannot be reached\n  the last good rules in .* cannot be read: Is a directory"):
        read(GONE, memory)


@pytest.mark.parametrize("source", [GONE, GARBAGE], ids=["gone", "garbage"])
def test_who_wants_no_old_rules_gets_the_error(memory: Path, source: Said) -> None:
    read(Said(), memory)
    with pytest.raises(PolicyError) as caught:
        read(source, memory, on_failure="fail")
    assert caught.value is source.error


def test_a_fault_of_the_program_is_not_covered_up(memory: Path) -> None:
    @dataclass(frozen=True)
    class Broken(Said):
        def read(self, cluster: Cluster) -> RuleSet:
            raise KeyError("x")

    read(Said(), memory)
    with pytest.raises(KeyError):
        read(Broken(), memory)


@pytest.mark.parametrize(("source", "why"), [(GONE, "cannot be reached"), (GARBAGE, "row 1: is garbage; row 2: too")], ids=["gone", "garbage"])
def test_last_good_rules_say_so(memory: Path, source: Said, why: str) -> None:
    fresh = read(Said(), memory)
    assert fresh == Said().read(NOBODY)
    old = read(source, memory, later_s=720)
    note = f"The rules of test:/etc/rules are those of 12 min ago, as they cannot be had afresh: {why}."
    assert old == replace(fresh, age_s=720, notes=(note, "a note."))


@pytest.mark.parametrize(("age_s", "told"), [
    (-5, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172800, "2 d")])
def test_ages_in_words(memory: Path, age_s: float, told: str) -> None:
    read(Said(), memory)
    old = read(GONE, memory, later_s=age_s, max_age_s=float("inf"))
    assert f" are those of {told} ago" in old.notes[0]
    assert old.age_s == max(0, age_s)


def test_many_faults_are_not_all_told(memory: Path) -> None:
    read(Said(), memory)
    old = read(Said(error=PolicyError("test:/etc/rules", [f"f{n}" for n in range(100)])), memory)
    assert old.notes[0].endswith(": f0; f1; f2; f3; f4; and 95 more faults.")


def test_each_good_reading_replaces_the_last(memory: Path) -> None:
    read(Said(), memory)
    none = read(Said(rows=(), notes=()), memory, later_s=60)
    assert (none.rules, none.age_s) == ((), 0)
    assert (read(GONE, memory, later_s=90).rules, read(GONE, memory, later_s=90).age_s) == ((), 30)
    assert [path.name for path in memory.iterdir()] == [memory_file(memory, GONE.name).name]


def test_sources_have_files_of_their_own(memory: Path) -> None:
    names = ["file:/etc/a.yaml", "file:/etc/a_yaml", "file:_etc_a.yaml", "marks", "x" * 300, "é", "../../x"]
    for name in names:
        read(Said(name=name, rows=[{**KEEP, "why": name}]), memory)
    assert len(list(memory.iterdir())) == len(names)
    assert [read(replace(GONE, name=name), memory).rules[0].says.why for name in names] == names


def test_only_the_owner_may_read_a_memory(memory: Path) -> None:
    mask = os.umask(0)
    try:
        read(Said(), memory)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(memory.stat().st_mode) == 0o700
    assert stat.S_IMODE(memory_file(memory, GONE.name).stat().st_mode) == 0o600


def test_rules_that_cannot_be_remembered_are_still_good(memory: Path) -> None:
    memory.parent.mkdir()
    memory.touch()
    fresh = read(Said(), memory)
    assert fresh.rules == Said().read(NOBODY).rules
    assert fresh.notes[0].startswith("The rules of test:/etc/rules are not remembered for when it fails: ")
    assert fresh.notes[1:] == ("a note.",)


def test_a_write_that_fails_leaves_the_old_file(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(Said(), memory)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert read(Said(rows=()), memory).notes[0].endswith(": No space left on device.")
    assert len(list(memory.iterdir())) == 1
    assert len(read(GONE, memory).rules) == 1


@given(rows=st.lists(statements(), max_size=5))
def test_what_is_remembered_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    memory = tmp_path_factory.mktemp("memory")
    fresh = read(Said(rows=rows), memory)
    old = read(GONE, memory, later_s=1)
    assert old.rules == fresh.rules
    assert (old.read_at, old.revision, old.age_s) == (fresh.read_at, fresh.revision, 1)
