"""Rules that OpenStack Congress derives, and what its policies object to in a plan (docs/congress.md).

API: https://docs.openstack.org/congress/latest/user/api.html. Policies are addressed by name: by id Congress answers 404.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from optimizer.cluster import Cluster
from optimizer.placement import Move
from policy_sources.base import Origin, PolicyError, PolicyUnavailable, Rule, RuleSet
from policy_sources.congress_tables import Reader
from policy_sources.http import Answer, HttpSettings, JsonService
from policy_sources.vocabulary.kinds import parse

ERRORS, LEAVES, ARRIVES = "error", "leaves", "arrives"
"""Tables of a policy with a veto: what must not be, and where servers go away and where they come."""

_ACTION_POLICY = "action"  # Congress has it from the start
_PUSHED = frozenset({"doctor", "vitrage", "monasca_webhook"})  # drivers that wait for others to bring data, who may have had nothing to say yet
_ELSEWHERE = re.compile(r"(\w+):\w")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')


@dataclass(frozen=True, slots=True)
class Objection:
    """A row that comes into the table ``error`` when a plan is carried out."""

    text: str
    values: tuple[str | int | float, ...]


@dataclass(frozen=True)
class CongressSource:
    """One policy of a Congress at ``url`` (without ``/v1``); ``headers`` gives those that prove who we are, none for noauth."""

    policy: str
    url: str
    settings: HttpSettings = field(default_factory=HttpSettings)
    headers: Callable[[], Mapping[str, str]] = field(default=dict)

    @property
    def name(self) -> str:
        """The name."""
        return f"congress:{self.policy}"

    def read(self, cluster: Cluster) -> RuleSet:
        """The rules of the policy, as its tables are now.

        Raises PolicyUnavailable when Congress, or a data source of the policy, cannot be asked, PolicyError when there is no such policy, when
        none of its tables is ours, and with every fault of every row at once.
        """
        service, reader = self._service(), Reader(cluster)
        read_at = datetime.now(UTC).isoformat(timespec="seconds")
        tables = reader.tables(self._ask(service, "GET", "/tables").body)
        self._check_data(service, reader.elsewhere)
        written = reader.statements({table: self._ask(service, "GET", f"/tables/{table}/rows").body for table in tables})
        statements, faults = parse([one.statement for one in written])
        for fault in faults:
            reader.refuse(written[fault.row], fault)
        if reader.faults:
            raise PolicyError(self.name, reader.faults)
        rules = tuple(Rule(says, Origin(self.name, one.where)) for says, one in zip(statements, written, strict=True))
        return RuleSet(self.name, rules, read_at, notes=tuple(f"{self.name}: {note}" for note in reader.notes))

    def simulate(self, moves: Iterable[Move]) -> tuple[Objection, ...]:
        """What the policy objects to in what the moves bring about, all of them together; nothing is changed.

        Raises PolicyUnavailable when Congress, or a data source of the policy, cannot be asked, PolicyError when the policy has no veto or
        Congress cannot carry it out.
        """
        sequence = _sequence(moves)
        if not sequence:
            return ()
        service = self._service()
        rules = self._rules(service)
        columns = self._columns_of_errors(rules)
        self._check_data(service, {name for rule in rules for name in _ELSEWHERE.findall(rule)} - {"builtin"})
        query = f"{ERRORS}({', '.join(f'c{number}' for number in range(columns))})"
        answer = self._ask(service, "POST", "", {"query": query, "sequence": sequence, "action_policy": _ACTION_POLICY},
                           {"action": "simulate", "delta": "true"})
        result = answer.body.get("result") if isinstance(answer.body, Mapping) else None
        if not isinstance(result, list) or not all(isinstance(row, str) for row in result):
            raise PolicyError(self.name, [f'the answer to a simulation has no list "result" of texts: {str(answer.body)[:200]}'])
        return tuple(_objection(row) for row in sorted(result) if row.startswith(f"{ERRORS}+"))

    def _service(self) -> JsonService:
        return JsonService(self.name, self.url.rstrip("/").removesuffix("/v1"), self.settings, self.headers)

    def _ask(self, service: JsonService, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None) -> Answer:
        """Ask for something of the policy; one that does not exist is answered with those that do."""
        asked = f"/v1/policies/{quote(self.policy, safe='')}{path}"
        answer = service.ask(method, asked, body, params, accept=frozenset({400, 404}))
        if answer.status == 404:
            there = [row["name"] for row in _named(service, "/v1/policies")]
            if self.policy not in there:
                raise PolicyError(self.name, [f"there is no policy {self.policy!r} in {service.url}; there are {', '.join(sorted(there)) or 'none'}"])
        if answer.status >= 400:
            raise PolicyError(self.name, [f"{method} {service.url}{asked} answers {answer.status}: {_reason(answer)}"])
        return answer

    def _check_data(self, service: JsonService, names: Iterable[str]) -> None:
        """Data sources must have data: Congress takes the tables of one that it cannot read, or does not have, for empty."""
        drivers = {row["name"]: row.get("driver") for row in _named(service, "/v1/data-sources")} if names else {}
        unknown = set(names) - drivers.keys()
        if unknown:
            unknown -= {row["name"] for row in _named(service, "/v1/policies")}
        if unknown:
            raise PolicyError(self.name, [f"it looks at tables of {name}, and there is no data source (or policy) of that name; "
                                          f"there are {', '.join(sorted(drivers)) or 'none'}" for name in sorted(unknown)])
        faults = []
        for name in sorted(set(names) & drivers.keys()):
            status = service.ask("GET", f"/v1/data-sources/{quote(name, safe='')}/status").body
            if not isinstance(status, Mapping) or not {"last_error", "number_of_updates"} <= status.keys():
                raise PolicyError(self.name, [f'the status of data source {name} has no "last_error" and "number_of_updates": {str(status)[:200]}'])
            if str(status["last_error"]) != "None":
                faults.append(f"data source {name} could not be read by Congress: {status['last_error']}")
            elif str(status["number_of_updates"]) == "0" and drivers[name] not in _PUSHED:
                faults.append(f"data source {name} has not been read by Congress yet; try again in a few seconds")
        if faults:
            raise PolicyUnavailable(self.name, faults)

    def _rules(self, service: JsonService) -> list[str]:
        """The rules of the policy, with 0 for each text in them."""
        answer = self._ask(service, "GET", "/rules").body
        rows = answer.get("results") if isinstance(answer, Mapping) else None
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) and isinstance(row.get("rule"), str) for row in rows):
            raise PolicyError(self.name, [f'the rules of the policy are no list "results" of {{"rule": TEXT}}: {str(answer)[:200]}'])
        return [_STRING.sub("0", row["rule"]) for row in rows]

    def _columns_of_errors(self, rules: Sequence[str]) -> int:
        """How many columns the table of errors has: Congress answers a query with another number as if there were no errors at all."""
        errors = _columns(ERRORS, (rule.partition(":-")[0] for rule in rules))
        faults = [] if errors is not None else [f"it has no rule for {ERRORS}(...), so it can object to nothing"]
        leaves, arrives = _columns(LEAVES, rules), _columns(ARRIVES, rules)
        if leaves is None and arrives is None:
            faults.append(f"none of its rules looks at {LEAVES}(server, host) or {ARRIVES}(server, host), so it cannot see a move")
        faults += [f"{table} has {columns} columns in its rules; need {table}(server, host)"
                   for table, columns in ((LEAVES, leaves), (ARRIVES, arrives)) if columns not in (None, 2)]
        if faults or errors is None:
            raise PolicyError(self.name, faults)
        return errors


def ready_policy(name: str) -> list[dict[str, str]]:
    """The rules of a policy that comes with Placewright (``placewright``, ``placewright_doctor``), each with a comment."""
    rules: list[dict[str, str]] = json.loads(files("policy_sources").joinpath("policies", "congress", f"{name}.json").read_text("utf-8"))["rules"]
    return rules


def load_policy(service: JsonService, name: str, rules: Sequence[Mapping[str, str]]) -> None:
    """Make a policy of rules (``rule``, and ``comment`` where there is one); raises PolicyError for one that exists or has a faulty rule."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise PolicyError(service.source, [f"{name!r} cannot name a policy; need a letter, then letters, digits and _"])
    answer = service.ask("POST", "/v1/policies", {"name": name, "kind": "nonrecursive", "rules": list(rules)}, accept=frozenset({400, 409}))
    if answer.status >= 400:
        raise PolicyError(service.source, [f"policy {name} is refused: {_reason(answer)}"])


def _named(service: JsonService, path: str) -> list[Mapping[str, Any]]:
    """What there is of policies or data sources."""
    answer = service.ask("GET", path).body
    rows = answer.get("results") if isinstance(answer, Mapping) else None
    if not isinstance(rows, list):
        raise PolicyError(service.source, [f'{service.url}{path} has no list "results"; is this the address of Congress?'])
    return [row for row in rows if isinstance(row, Mapping) and isinstance(row.get("name"), str)]


def _sequence(moves: Iterable[Move]) -> str:
    """The rows that moves add: for each server where it was before the first and is after the last."""
    ends: dict[str, tuple[str, str]] = {}
    for move in moves:
        source, _ = ends.get(move.server, (move.source, ""))
        ends[move.server] = (source, move.destination)
    return " ".join(f'{LEAVES}+("{server}", "{source}") {ARRIVES}+("{server}", "{destination}")'
                    for server, (source, destination) in ends.items() if source != destination)


def _columns(table: str, rules: Iterable[str]) -> int | None:
    """How many columns a table has where rules (without strings) speak of it; None where they do not."""
    atom = re.compile(rf"(?<![\w:.]){table}\s*\(([^()]*)\)")
    found = next((match for rule in rules if (match := atom.search(rule))), None)
    return None if found is None else len(found[1].split(",")) if found[1].strip() else 0


def _objection(row: str) -> Objection:
    inner = row.removeprefix(f"{ERRORS}+(").removesuffix(")")
    try:
        values = tuple(json.loads(f"[{inner}]"))
    except ValueError:  # Congress does not escape what is in a text
        values = (inner,)
    return Objection(f"{ERRORS}({inner})", values)


def _reason(answer: Answer) -> str:
    """What Congress says, without the traceback it appends."""
    error = answer.body.get("error") if isinstance(answer.body, Mapping) else None
    message = str(error["message"]) if isinstance(error, Mapping) and "message" in error else str(answer.body)[:200]
    return message.partition("\nTraceback")[0]
