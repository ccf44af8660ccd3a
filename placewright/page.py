"""A page about a plan."""
from pathlib import Path
from migrate.plan import Plan
from placewright.apply import Outcome


def write_page(plan: Plan, outcome: Outcome, path: Path) -> None:
    """Write the page."""
