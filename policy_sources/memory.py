"""The last good rules of each source, kept for when the source does not answer: never silently old ones, and never silently none.

A memory is a directory for one cloud that only its owner may read, with a JSON file for each source.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from optimizer.cluster import Cluster
from policy_sources.base import Origin, PolicyError, PolicySource, PolicyUnavailable, Rule, RuleSet
from policy_sources.vocabulary.kinds import parse

OnFailure = Literal["fail", "last_good"]
_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A rule with its origin."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    statement: Mapping[str, Any]
    source: str
    where: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """What a source said, and when it was had (``had_at``)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    format: Literal["placewright.rules"]
    version: Literal[1]
    source: str
    had_at: AwareDatetime
    read_at: str
    revision: str
    notes: tuple[str, ...]
    rules: tuple[_Kept, ...]


_ADAPTER: TypeAdapter[_Document] = TypeAdapter(_Document)


class _Lacking(Exception):
    """Why there are no rules to fall back on."""


def read_rules(source: PolicySource, cluster: Cluster, memory: Path, on_failure: OnFailure, max_age_s: float, now: datetime) -> RuleSet:
    """The rules of a source, or the last good ones when it fails: when it does not answer, and when what it answers is not understood.

    Good rules are remembered; where that fails a note says so. ``now`` has a time zone. Last good rules come with a note of their age and of what
    is wrong with the source. With ``on_failure`` "fail", without any such rules, and when they are older than ``max_age_s`` seconds, the
    error of the source is raised: PolicyError, or PolicyUnavailable.
    """
    try:
        fresh = source.read(cluster)
    except PolicyError as error:
        if on_failure == "fail":
            raise
        try:
            return _last_good(source.name, memory, max_age_s, now, error)
        except _Lacking as lacking:
            kind = PolicyUnavailable if isinstance(error, PolicyUnavailable) else PolicyError
            raise kind(source.name, [*error.faults, str(lacking)]) from None
    return _remembered(fresh, memory, now)


def memory_file(memory: Path, source: str) -> Path:
    """The file of a source in a memory."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", source)[:60]
    return memory / f"{readable}-{hashlib.sha256(source.encode()).hexdigest()[:12]}.json"


def _remembered(fresh: RuleSet, memory: Path, now: datetime) -> RuleSet:
    rules = tuple(_Kept(statement=rule.says.model_dump(mode="json", exclude_defaults=True), source=rule.origin.source, where=rule.origin.where,
                        revision=rule.origin.revision) for rule in fresh.rules)
    document = _Document(format="placewright.rules", version=1, source=fresh.source, had_at=now, read_at=fresh.read_at, revision=fresh.revision,
                         notes=fresh.notes, rules=rules)
    path = memory_file(memory, fresh.source)
    try:
        memory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, _ADAPTER.dump_json(document))
    except OSError as error:
        return _noted(fresh, f"The rules of {fresh.source} are not remembered for when it fails: {path}: {error.strerror or error}.")
    return fresh


def _last_good(source: str, memory: Path, max_age_s: float, now: datetime, error: PolicyError) -> RuleSet:
    kept = _recalled(source, memory)
    age_s = max(0.0, (now - kept.had_at).total_seconds())
    if age_s > max_age_s:
        raise _Lacking(f"the last good rules are {_span(age_s)} old, and at most {_span(max_age_s)} is allowed")
    statements, faults = parse([rule.statement for rule in kept.rules])
    if faults:
        first = f"rule {faults[0].row}: {faults[0].path}: {faults[0].text}"
        raise _Lacking(f"the last good rules in {memory_file(memory, source)} are not understood: {first}")
    rules = tuple(Rule(says, Origin(rule.source, rule.where, rule.revision)) for says, rule in zip(statements, kept.rules, strict=True))
    old = RuleSet(source, rules, kept.read_at, kept.revision, kept.notes, age_s)
    why = "; ".join(error.faults[:_TOLD]) + (f"; and {len(error.faults) - _TOLD} more faults" if len(error.faults) > _TOLD else "")
    return _noted(old, f"The rules of {source} are those of {_span(age_s)} ago, as they cannot be had afresh: {why}.")


def _recalled(source: str, memory: Path) -> _Document:
    path = memory_file(memory, source)
    try:
        kept = _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise _Lacking("there are no last good rules yet") from None
    except OSError as error:
        raise _Lacking(f"the last good rules in {path} cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{step}: " for step in first["loc"][-1:])
        raise _Lacking(f"the last good rules in {path} are not understood: {where}{first['msg']}") from None
    if kept.source != source:
        raise _Lacking(f"the last good rules in {path} are those of {kept.source}")
    return kept


def _replace(path: Path, content: bytes) -> None:
    """Replace a file at once; the new one is whole on disk before, and only its owner may read it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
        try:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            os.replace(stream.name, path)
        except BaseException:
            os.unlink(stream.name)
            raise


def _noted(rules: RuleSet, note: str) -> RuleSet:
    return replace(rules, notes=(note, *rules.notes))


def _span(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
