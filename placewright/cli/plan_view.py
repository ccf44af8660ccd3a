"""How a plan is shown: a row for each action, and remarks around it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from migrate.plan import Action, MigrateInput, Plan, write_plan
from placewright.cli.common import figures

SHOWN_REFUSALS = 8
COLUMNS = ("Step", "Action", "What", "From", "To", "After", "GB", "Seconds", "Reason")


def rows(plan: Plan) -> list[tuple[Any, ...]]:
    """The actions as rows of COLUMNS; steps count from 1 in the order of the plan."""
    number = {action.uuid: n for n, action in enumerate(plan.actions, 1)}
    return [_row(action, number) for action in plan.actions]


def _row(action: Action, number: Mapping[str, int]) -> tuple[Any, ...]:
    what = action.input_parameters
    after = " ".join(str(number[parent]) for parent in action.parents)
    cost = (round(action.cost.copy_gb, 1), round(action.cost.expected_s))
    if isinstance(what, MigrateInput):
        return (number[action.uuid], f"migrate {what.migration_type}", what.resource_name, what.source_node, what.destination_node,
                after, *cost, action.reason)
    return number[action.uuid], f"service {what.state}", what.resource_name, "", "", after, *cost, action.reason


def shown(plan: Plan, out: Console, file: Path | None) -> list[tuple[Any, ...]]:
    """Write a new plan to a file, where one is named, and say all there is to say of it; the rows of its actions."""
    if file is not None:
        write_plan(plan, file)
    remarks(plan, out)
    if file is not None:
        out.print(f"plan written to {file}", soft_wrap=True)
    return rows(plan)


def remarks(plan: Plan, out: Console) -> None:
    """Figures now and after, the proof, what was refused and why."""
    out.print(figures(f"{plan.strategy} on {plan.cluster.name}", {"now": dict(plan.before), "after": dict(plan.after)}))
    out.print(plan.message, soft_wrap=True)
    if plan.expected_s:
        out.print(f"expected to take {plan.expected_s:.0f} s and to copy {plan.copy_gb:.1f} GiB", soft_wrap=True)
    for level in plan.levels:
        proof = "no bound known" if level.bound is None else f"proven bound {level.bound:.6g}, gap {100 * (level.gap or 0):.2f} %"
        out.print(f"{level.name}: {level.value:.6g} ({proof})", soft_wrap=True)
    for refused in plan.refused[:SHOWN_REFUSALS]:
        out.print(f"refused by {refused.origin or refused.rule}: {refused.text}", soft_wrap=True)
    if len(plan.refused) > SHOWN_REFUSALS:
        out.print(f"... and {len(plan.refused) - SHOWN_REFUSALS} more refusals (in the plan file)")
    for clash in plan.clashes:
        out.print(f"clash: {clash.text}", soft_wrap=True)
    for note in plan.notes:
        out.print(f"note: {note}", soft_wrap=True)
