"""Marks: rules that stand on the server itself, in its metadata or tags, or in the extra specs of its flavor.

Metadata and tags are the tenant's, extra specs the operator's; each counts by itself. What a tenant writes never stops an audit: a mark that
is not understood, or that tenants may not set, is a note. What an operator writes wrongly is an error. docs/marks.md is the guide.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optimizer.cluster import Cluster, Server
from policy_sources.base import PolicyError, RuleSet, rules_of

NAME = "marks"
PREFIX = "placewright:"


@dataclass(frozen=True, slots=True)
class _Values:
    """What a mark may be set to, in words and as a pattern; ``names`` are those of groups, which count as they are written, words in any case."""

    right: str
    pattern: re.Pattern[str]
    names: bool = False

    def read(self, text: str) -> str | None:
        """The value of a text; None where it is none."""
        stripped = text.strip()
        if not self.pattern.fullmatch(stripped):
            return None
        return stripped if self.names else stripped.lower()


_FLAG = _Values("true or false", re.compile("true|false", re.IGNORECASE))
_AUTOMATION = _Values("off or advise", re.compile("off|advise", re.IGNORECASE))
_LEVEL = _Values("low, medium or high", re.compile("low|medium|high", re.IGNORECASE))
_COUNT = _Values("a whole number from 1 to 9999", re.compile("[1-9][0-9]{0,3}"))
_GROUP = _Values("the name of a group: up to 60 letters, digits, spaces and - _ . :", re.compile("[A-Za-z0-9_.: -]{1,60}"), names=True)

MARKS: Mapping[str, _Values] = {
    "keep": _FLAG, "no_live_migration": _FLAG, "automation": _AUTOMATION,
    "apart": _GROUP, "apart_max": _COUNT, "together": _GROUP, "spread": _GROUP,
    "latency": _LEVEL, "throughput": _LEVEL, "availability": _LEVEL, "cost": _LEVEL,
}
"""The marks there are, and what they may be set to."""

WISHES = frozenset({"apart", "apart_max", "together", "spread", "latency", "throughput", "cost"})
"""The marks that never keep a server from being moved when a tenant sets them: ``availability`` may, by forbidding to shut it down for it."""

_NOTES = 5  # for each project


@dataclass(frozen=True, slots=True)
class MarksSettings:
    """``tenant_marks`` count when a tenant sets them, and weigh ``tenant_weight`` where they are no matter of must; the marks of flavors whose
    names are in ``ignored_flavors`` are not looked at. Raises PolicyError for values that cannot be.
    """

    tenant_marks: frozenset[str] = WISHES
    tenant_weight: float = 1.0
    ignored_flavors: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """All faults at once."""
        faults = [f"tenant_marks: there is no mark {mark!r}; there are {', '.join(MARKS)}" for mark in sorted(self.tenant_marks - MARKS.keys())]
        if not (math.isfinite(self.tenant_weight) and 0 < self.tenant_weight <= 1e6):
            faults.append(f"tenant_weight: {self.tenant_weight}: need more than 0 and at most 1000000")
        if faults:
            raise PolicyError(NAME, faults)


@dataclass(frozen=True, slots=True)
class MarksSource:
    """The marks of a cluster's servers and flavors."""

    settings: MarksSettings = MarksSettings()

    @property
    def name(self) -> str:
        """marks."""
        return NAME

    def read(self, cluster: Cluster) -> RuleSet:
        """The rules that marks stand for, as old as the cluster; raises PolicyError with every mark of a flavor that is not understood."""
        notes = _Notes()
        operators = list(_of_flavors(cluster, self.settings))
        tenants = [one for server in cluster.servers for one in _of_tenant(server, self.settings, notes)]
        rows = [*_rows(operators, {}), *_rows(tenants, {"should": self.settings.tenant_weight})]
        return RuleSet(NAME, rules_of(NAME, rows), cluster.taken_at, notes=tuple(notes.told()))


@dataclass(frozen=True, slots=True)
class _Mark:
    """One mark of one server; ``place`` is what it was written on."""

    key: str
    value: str
    server: Server
    place: str


@dataclass(frozen=True, slots=True)
class _Notes:
    """Marks that do not count: project -> (mark, why) -> the servers that bear them."""

    found: dict[str, dict[tuple[str, str], list[Server]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def add(self, server: Server, mark: str, why: str) -> None:
        """One more."""
        self.found[server.project][mark, why].append(server)

    def told(self) -> Iterator[str]:
        """A sentence for each mark, and a few for each project, so that no tenant can bury what else there is to say."""
        for project, marks in self.found.items():
            for (mark, why), servers in list(marks.items())[:_NOTES]:
                more = f" and {len(servers) - 1} more" if len(servers) > 1 else ""
                yield f"marks: {_called(servers[0])}{more}: {mark} is ignored: {why}."
            if len(marks) > _NOTES:
                yield f"marks: project {project}: {len(marks) - _NOTES} more marks are ignored."


def _of_flavors(cluster: Cluster, settings: MarksSettings) -> Iterator[_Mark]:
    """The marks that servers have from their flavors."""
    read: dict[str, dict[str, str]] = {}
    faults: dict[str, None] = {}
    for key, flavor in cluster.flavors.items():
        if flavor.name in settings.ignored_flavors:
            continue
        marks = read[key] = {}
        for mark, text in _prefixed(flavor.extra_specs.items()):
            value, why = _understood(mark, text)
            if value is not None:
                marks[mark] = value
            else:
                faults[f"flavor {flavor.name}: {_shown(mark, text)}: {why}"] = None
        if "apart_max" in marks and "apart" not in marks:
            faults[f"flavor {flavor.name}: {PREFIX}apart_max: means nothing without {PREFIX}apart"] = None
    if faults:
        raise PolicyError(NAME, [f"{fault} (servers keep the extra specs they were built with until they are resized; ignored_flavors leaves the "
                                 "marks of a flavor out)" for fault in faults])
    for server in cluster.servers:
        for mark, value in read.get(server.flavor, {}).items():
            yield _Mark(mark, value, server, f"flavor {cluster.flavor_of(server).name}")


def _of_tenant(server: Server, settings: MarksSettings, notes: _Notes) -> Iterator[_Mark]:
    """The marks of a server's metadata and tags that count. Of several values the first does, but a server may be in several groups."""
    tags = sorted(one.partition("=")[::2] for one in server.tags)
    values: dict[str, dict[str, None]] = defaultdict(dict)
    for mark, text in _prefixed([*server.metadata.items(), *tags]):
        value, why = _understood(mark, text)
        if mark in MARKS and mark not in settings.tenant_marks:
            notes.add(server, _shown(mark, text), "tenants may not set it in this cloud")
        elif value is None:
            notes.add(server, _shown(mark, text), why)
        elif not MARKS[mark].names and values[mark] and value not in values[mark]:
            notes.add(server, _shown(mark, text), f"it is {next(iter(values[mark]))} already")
        else:
            values[mark][value] = None
    if values["apart_max"] and not values["apart"]:
        notes.add(server, f"{PREFIX}apart_max", f"it means nothing without {PREFIX}apart")
    for mark, some in values.items():
        for value in some:
            yield _Mark(mark, value, server, _called(server))


def _prefixed(pairs: Iterable[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """The pairs that are marks, without what all of them begin with."""
    return ((key.removeprefix(PREFIX), text) for key, text in pairs if key.startswith(PREFIX))


def _understood(mark: str, text: str) -> tuple[str | None, str]:
    """The value of a mark, or None and what would be right."""
    if mark not in MARKS:
        return None, f"there is no such mark; there are {', '.join(MARKS)}"
    return MARKS[mark].read(text), f"need {MARKS[mark].right}"


def _rows(marks: Sequence[_Mark], weight: Mapping[str, float]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Statements, each with its place. About a server by itself: one for each place; about several: one for each group in each project."""
    alone: dict[tuple[str, str, str], list[Server]] = defaultdict(list)
    groups: dict[tuple[str, str, str], list[Server]] = defaultdict(list)
    most: dict[str, int] = {}
    for mark in marks:
        if mark.key == "apart_max":
            most[mark.server.id] = int(mark.value)
        elif MARKS[mark.key] in (_FLAG, _AUTOMATION):
            alone[mark.key, mark.value, mark.place].append(mark.server)
        else:
            groups[mark.key, mark.value, mark.server.project].append(mark.server)
    for (key, value, place), servers in alone.items():
        if value != "false":
            yield f"{place}: {PREFIX}{key}={value}", {"rule": key, "servers": _ids(servers), **({"level": value} if key == "automation" else {})}
    for (key, value, project), servers in groups.items():
        if MARKS[key].names and len(servers) < 2:
            continue
        names = ", ".join(server.name for server in servers[:3]) + (f" and {len(servers) - 3} more" if len(servers) > 3 else "")
        yield f"{PREFIX}{key}={value} of project {project}: {names}", {**_group(key, value, servers, most), "servers": _ids(servers), **weight}


def _group(key: str, value: str, servers: Iterable[Server], most: Mapping[str, int]) -> dict[str, Any]:
    """The statement of a group, but for its members; the smallest ``apart_max`` of a member counts for all."""
    if key == "apart":
        return {"rule": "apart", "max_per_host": min((most[server.id] for server in servers if server.id in most), default=1)}
    if key == "together":
        return {"rule": "together"}
    if key == "spread":
        return {"rule": "spread", "across": "zone"}
    return {"rule": "sensitivity", "property": key, "level": value}


def _ids(servers: Iterable[Server]) -> dict[str, list[str]]:
    return {"id": [server.id for server in servers]}


def _called(server: Server) -> str:
    return f"server {server.name} ({server.id})"


def _shown(mark: str, text: str) -> str:
    """As it is written, made safe to print and not too long."""
    shown = repr(f"{PREFIX}{mark}={text}")[1:-1]
    return shown if len(shown) <= 80 else shown[:77] + "..."
