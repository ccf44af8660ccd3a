"""placewright strategy: what can be asked for, and with which parameters."""

import argparse
import json
from typing import Any

from placewright.cli.common import Rows
from strategies.registry import strategies, strategy


class StrategyList(Rows):
    """List the strategies."""

    def take_action(self, options: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """A row for each strategy."""
        return ("Name", "Goal", "What it does"), [(kind.name, kind.goal, kind.title) for _, kind in sorted(strategies().items())]


class StrategyShow(Rows):
    """Show the parameters of a strategy."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="Name of the strategy.")
        return parser

    def take_action(self, options: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """A row for each parameter."""
        schema = strategy(options.name).parameters.model_json_schema()
        required = schema.get("required", [])
        return ("Parameter", "Default", "Description"), [
            (name, "(required)" if name in required else json.dumps(field.get("default")), field.get("description", ""))
            for name, field in schema["properties"].items()]
