"""The table of kinds of rules, and how plain data becomes statements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from policy_sources.vocabulary.base import Statement
from policy_sources.vocabulary.groups import Apart, Near, Spread, Together
from policy_sources.vocabulary.hosts import Evacuate, Exclusive, NotOn, On, Quarantine
from policy_sources.vocabulary.intent import Sensitivity
from policy_sources.vocabulary.movement import Automation, Budget, Keep, NoColdMigration, NoLiveMigration, Window
from policy_sources.vocabulary.room import Capped, Spare

KINDS: Mapping[str, type[Statement]] = {
    "together": Together, "apart": Apart, "spread": Spread, "near": Near,
    "on": On, "not_on": NotOn, "exclusive": Exclusive, "evacuate": Evacuate, "quarantine": Quarantine,
    "keep": Keep, "no_live_migration": NoLiveMigration, "no_cold_migration": NoColdMigration, "automation": Automation,
    "window": Window, "budget": Budget,
    "cap": Capped, "spare": Spare, "sensitivity": Sensitivity,
}
"""The one table that joins the name of each kind with what it means."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a statement: its number, where in it, and what would be right."""

    row: int
    path: str
    text: str


def parse(rows: Sequence[object]) -> tuple[list[Statement], list[Fault]]:
    """Statements from plain data, and every fault of those that are none; use the statements only when there is no fault."""
    statements: list[Statement] = []
    faults: list[Fault] = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            faults.append(Fault(number, "", f"a rule is a mapping with a key \"rule\", not {_shown(row)}"))
            continue
        kind = row.get("rule")
        if not isinstance(kind, str) or kind not in KINDS:
            given = "is missing" if "rule" not in row else f"{_shown(kind)} is no kind of rule"
            faults.append(Fault(number, "rule", f"{given}; there are {', '.join(KINDS)}"))
            continue
        try:
            statements.append(KINDS[kind].model_validate(row))
        except ValidationError as error:
            faults += [_fault(number, KINDS[kind], fault) for fault in error.errors()]
    return statements, faults


def _fault(number: int, kind: type[Statement], fault: Any) -> Fault:
    path, text = ".".join(str(step) for step in fault["loc"]), fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        parent = _model_at(kind, fault["loc"][:-1])
        known = f"; known are {', '.join(parent.model_fields)}" if parent is not None else ""
        return Fault(number, path, f"there is no such key{known}")
    if fault["type"] == "missing":
        return Fault(number, path, "is missing")
    return Fault(number, path, text if fault["type"] == "value_error" else f"{text} (got {_shown(fault['input'])})")


def _model_at(kind: Any, steps: Sequence[Any]) -> Any:
    """The model that a path leads to; None where it is no model."""
    for step in steps:
        field = kind.model_fields.get(step)
        if field is None or not hasattr(field.annotation, "model_fields"):
            return None
        kind = field.annotation
    return kind


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
