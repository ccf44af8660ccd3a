"""What the tables of a Congress policy mean: the table of tables, how their rows become statements, and what can be wrong with a row."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from optimizer.cluster import Cluster
from policy_sources.vocabulary.kinds import KINDS, Fault

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Column:
    """What a column holds and where that goes in a statement (nowhere for the name of a group).

    Rows that agree in their keys are one rule: it takes the members of all of them, and they must agree in the settings. A row about a
    server or host that does not exist says nothing, unless that is in a column of objects: what it asks for is still asked for.
    """

    name: str
    holds: Literal["group", "server", "host", "count", "number", "text"]
    role: Literal["key", "member", "object", "setting"]
    into: str = ""


_GROUP = Column("group", "group", "key")
_SERVER = Column("server", "server", "key", "servers.id")
_SERVERS = Column("server", "server", "member", "servers.id")
_HOST = Column("host", "host", "key", "hosts.name")
_WEIGHT = Column("weight", "number", "setting", "should")

_MUST: Mapping[str, tuple[Column, ...]] = {
    "together": (_GROUP, _SERVERS),
    "apart": (_GROUP, _SERVERS),
    "spread": (_GROUP, _SERVERS, Column("across", "text", "setting", "across")),
    "near": (_GROUP, _SERVER, Column("needed", "server", "object", "needs.id")),
    "on": (_GROUP, _SERVER, Column("host", "host", "object", "hosts.name")),
    "not_on": (_SERVER, Column("host", "host", "member", "hosts.name")),
    "exclusive": (_HOST, Column("server", "server", "object", "servers.id")),
    "evacuate": (_HOST,),
    "quarantine": (_HOST,),
    "keep": (_SERVER,),
    "no_live_migration": (_SERVER,),
    "no_cold_migration": (_SERVER,),
    "automation": (_SERVER, Column("level", "text", "key", "level")),
    "window": (_SERVER, Column("cron", "text", "key", "cron"), Column("minutes", "count", "key", "minutes"),
               Column("timezone", "text", "key", "timezone")),
    "budget": (_SERVER, Column("moves", "count", "key", "moves"), Column("hours", "number", "key", "hours")),
    "host_budget": (_HOST, Column("moves", "count", "key", "moves"), Column("hours", "number", "key", "hours")),
    "cap": (_HOST, Column("resource", "text", "key", "resource"), Column("percent", "number", "key", "percent")),
    "spare": (_GROUP, Column("host", "host", "member", "hosts.name")),
    "sensitivity": (_GROUP, _SERVERS, Column("property", "text", "key", "property"), Column("level", "text", "setting", "level")),
}


def kind_of(table: str) -> str:
    """The kind of rule in a table."""
    return "budget" if table == "host_budget" else table.removeprefix("should_")


_SHOULD = {f"should_{name}": (*columns, _WEIGHT) for name, columns in _MUST.items()
           if KINDS[kind_of(name)].model_fields["should"].annotation is not type(None)}

TABLES: Mapping[str, tuple[Column, ...]] = {**_MUST, **_SHOULD}
"""Table -> its columns."""

DETAILS: Mapping[str, tuple[str, tuple[Column, ...]]] = {
    "together_within": ("together", (_GROUP, Column("within", "text", "setting", "within"))),
    "apart_max": ("apart", (_GROUP, Column("max", "count", "setting", "max_per_host"))),
    "spread_at_least": ("spread", (_GROUP, Column("at_least", "count", "setting", "at_least"))),
    "spare_count": ("spare", (_GROUP, Column("count", "count", "setting", "count"))),
    "near_within": ("near", (_GROUP, Column("within", "text", "setting", "within"))),
}
"""Table -> the kind of rule, and its columns: what groups have that want something else than is usual, with ``should_`` or without."""

_WILD = frozenset("*?[")
_MOST_FAULTS = 10  # told of one table: of 15,000 rows with the same mistake a few will do


@dataclass(frozen=True, slots=True)
class Written:
    """A statement as plain data, the row or rows it was read from, and the row of each detail (path in the statement -> row)."""

    table: str
    where: str
    statement: Mapping[str, Any]
    details: Mapping[str, str] = field(default_factory=dict)


class Reader:
    """Reads what Congress answers, for one cluster; the faults and notes it comes across add up."""

    def __init__(self, cluster: Cluster) -> None:
        """Nothing is read yet."""
        self._known = {"server": cluster.server_by_id.keys(), "host": cluster.host_by_name.keys()}
        self._instead = {"server": {server.name: server.id for server in cluster.servers}, "host": {host.id: host.name for host in cluster.hosts}}
        self._faults: dict[str, list[str]] = defaultdict(list)
        self._gone: dict[tuple[str, str], dict[Value, str]] = defaultdict(dict)
        self._notes: list[str] = []
        self.elsewhere: set[str] = set()
        """Data sources and policies whose tables the policy looks at."""

    @property
    def faults(self) -> list[str]:
        """A sentence each; of a table with many, the first ones."""
        return [text for table, found in self._faults.items() for text in (
            found if len(found) <= _MOST_FAULTS else [*found[:_MOST_FAULTS], f"{table}: {len(found) - _MOST_FAULTS} more faults"])]

    @property
    def notes(self) -> list[str]:
        """What an operator should know: servers and hosts that do not exist, tables and groups that may be misspelt."""
        return [*self._notes, *(f"{table}: {len(rows)} of its {kind}s {'is' if len(rows) == 1 else 'are'} not in the cloud, as in "
                                f"{next(iter(rows.values()))}." for (table, kind), rows in self._gone.items())]

    def tables(self, answer: object) -> list[str]:
        """Those of a policy that are ours; a fault where there is none."""
        rows = self._results("tables", answer, lambda row: isinstance(row, Mapping) and isinstance(row.get("id"), str), '{"id": TABLE}')
        there = {row["id"] for row in rows}
        self.elsewhere = {name.partition(":")[0] for name in there if ":" in name}
        for name in sorted(there - TABLES.keys() - DETAILS.keys()):
            close = get_close_matches(name, [*TABLES, *DETAILS], 1, 0.85)
            if name.startswith("should_"):
                self._fault(name, f"{name}: there is no such table of rules; of those that should hold there are {', '.join(_SHOULD)}")
            elif close:
                self._notes.append(f"Table {name} is not read; one with rules would be called {close[0]}.")
        if not self._faults and not there & TABLES.keys():
            self._fault("tables", f"none of its tables holds rules ({', '.join(sorted(there)) or 'it has no tables'}); "
                                  f"need one or more of {', '.join(TABLES)}")
        return [name for name in (*TABLES, *DETAILS) if name in there] if there & TABLES.keys() else []

    def statements(self, answers: Mapping[str, object]) -> list[Written]:
        """What our tables (name -> answer) say: the same for the same rows, in whatever order they come."""
        details = {name: self._details(name, answer) for name, answer in answers.items() if name in DETAILS}
        found, groups = [], set()
        for table, answer in answers.items():
            if table in TABLES:
                for rows in self._by_key(table, answer):
                    group = (kind_of(table), str(rows[0].values[0]))
                    groups.add(group)
                    found.append(self._statement(table, rows, {name: those[group[1]] for name, those in details.items()
                                                               if DETAILS[name][0] == group[0] and group[1] in those}))
        self._notes += [f"{row.text} has no effect: {DETAILS[name][0]} has no such group."
                        for name, those in details.items() for group, row in those.items() if (DETAILS[name][0], group) not in groups]
        return found

    def refuse(self, written: Written, fault: Fault) -> None:
        """Add what the vocabulary finds wrong with a statement, in the words of the table."""
        columns = (*TABLES[written.table], *(columns[1] for kind, columns in DETAILS.values() if kind == kind_of(written.table)))
        name = next((column.name for column in columns if column.into == fault.path), fault.path)
        self._fault(written.table, f"{written.details.get(fault.path, written.where)}: {name}: {fault.text}")

    def _fault(self, table: str, text: str) -> None:
        self._faults[table].append(text)

    def _by_key(self, table: str, answer: object) -> list[list["_Row"]]:
        """The rows that make up one rule each."""
        columns = TABLES[table]
        found: dict[tuple[Value, ...], list[_Row]] = defaultdict(list)
        for row in self._rows(table, columns, answer):
            found[tuple(value for column, value in zip(columns, row.values, strict=True) if column.role == "key")].append(row)
        return list(found.values())

    def _statement(self, table: str, rows: Sequence["_Row"], details: Mapping[str, "_Row"]) -> Written:
        statement: dict[str, Any] = {"rule": kind_of(table)}
        where = []
        for number, column in enumerate(TABLES[table]):
            values = list(dict.fromkeys(row.values[number] for row in rows))
            where.append(_shown(values[0]) if len(values) == 1 else "*")
            if column.role == "setting" and len(values) > 1:
                other = next(row for row in rows if row.values[number] != values[0])
                self._fault(table, f"{rows[0].text} and {other.text} are of one rule; need the same {column.name} in all its rows")
            _put(statement, column, values)
        for name, row in details.items():
            _put(statement, DETAILS[name][1][1], row.values[1:])
        return Written(table, f"{table}({', '.join(where)})" if len(rows) > 1 else rows[0].text, statement,
                       {DETAILS[name][1][1].into: row.text for name, row in details.items()})

    def _details(self, table: str, answer: object) -> Mapping[str, "_Row"]:
        """Group -> the row about it."""
        found: dict[str, _Row] = {}
        for row in self._rows(table, DETAILS[table][1], answer):
            first = found.setdefault(str(row.values[0]), row)
            if first.values != row.values:
                self._fault(table, f"{first.text} and {row.text} contradict each other")
        return found

    def _rows(self, table: str, columns: Sequence[Column], answer: object) -> list["_Row"]:
        """The rows that can be used, in an order that depends on nothing but what is in them."""
        found = []
        rows = self._results(table, answer, lambda row: isinstance(row, Mapping) and isinstance(row.get("data"), list), '{"data": [VALUE, ...]}')
        for raw in sorted((row["data"] for row in rows), key=repr):
            if len(raw) != len(columns):
                need = f"{table}({', '.join(column.name for column in columns)})"
                self._fault(table, f"{_cited(table, raw)} has {len(raw)} columns; need {need}")
                continue
            values = tuple(value for column, one in zip(columns, raw, strict=True) if (value := self._value(table, column, one, raw)) is not None)
            if len(values) == len(columns):
                found.append(_Row(table, raw, values))
        return found

    def _results(self, table: str, answer: object, fits: Callable[[Any], bool], shape: str) -> list[Any]:
        """The list that is in every answer of Congress."""
        results = answer.get("results") if isinstance(answer, Mapping) else None
        if not isinstance(results, list):
            self._fault(table, f'{table}: the answer has no list "results" ({_short(answer)}); is this the address of Congress?')
            return []
        for row in results:
            if not fits(row):
                self._fault(table, f"{table}: {_short(row)} is no row; need {shape}")
        return [row for row in results if fits(row)]

    def _value(self, table: str, column: Column, value: object, row: Sequence[object]) -> Value | None:
        """What stands in a column; None when the row cannot be used."""
        if column.holds in ("count", "number"):
            number = _number(value)
            if number is not None and (column.holds == "number" or number == int(number)):
                return int(number) if column.holds == "count" else number
        elif isinstance(value, str) and value.strip():
            return self._thing(table, column, value, row) if column.holds in self._known else value
        elif column.holds == "group" and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        self._fault(table, f"{_cited(table, row)}: {column.name} is {_shown(value)}; need {_NEED[column.holds]}")
        return None

    def _thing(self, table: str, column: Column, name: str, row: Sequence[object]) -> str | None:
        """A server or host, by the name we know it by."""
        if name in self._known[column.holds]:
            return name
        instead = self._instead[column.holds].get(name)
        if instead is not None or _WILD.intersection(name):
            self._fault(table, f"{_cited(table, row)}: {column.name} is {_shown(name)}; need {_NEED[column.holds]}"
                               + (f", here {instead}" if instead is not None else ""))
            return None
        self._gone[table, column.holds].setdefault(name, _cited(table, row))
        return name if column.role == "object" else None


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as Congress has it, and as we read it."""

    table: str
    raw: Sequence[object]
    values: tuple[Value, ...]

    @property
    def text(self) -> str:
        """As it is cited."""
        return _cited(self.table, self.raw)


_NEED = {"group": "a name", "text": "a text", "server": "the UUID of a server", "host": "the service host name of a host",
         "count": "a whole number", "number": "a number"}


def _put(statement: dict[str, Any], column: Column, values: Sequence[Value]) -> None:
    """Put what a column holds where it belongs: selectors take a list."""
    field_, _, key = column.into.partition(".")
    if key:
        statement.setdefault(field_, {})[key] = list(values)
    elif field_:
        statement[field_] = values[0]


def _number(raw: object) -> float | None:
    """A number, or a text that is one: Datalog has both."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        number = float(raw)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _cited(table: str, row: Sequence[object]) -> str:
    return f"{table}({', '.join(map(_shown, row))})"


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _short(value: object) -> str:
    text = _shown(value)
    return text if len(text) <= 60 else text[:57] + "..."
