"""placewright audit: look for a better placement and plan the way there. Nothing is changed."""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from placewright.audit import run_audit
from placewright.cli.common import (
    Rows,
    add_policies,
    add_source,
    check_writable,
    config,
    console,
    handled,
    policies_of,
    seconds,
    source_of,
    stopped_by_ctrl_c,
    whole,
)
from placewright.cli.plan_view import COLUMNS, shown
from placewright.config import limits, time_model
from placewright.policy_table import vetoes
from placewright.sources import CloudSource
from strategies.base import ParameterError
from strategies.registry import strategy


class AuditRun(Rows):
    """Audit a cluster with a strategy and show the plan; nothing is changed."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("strategy", metavar="STRATEGY", help="Name of the strategy (placewright strategy list).")
        add_source(parser)
        parser.add_argument("--param", metavar="KEY=VALUE", action="append", default=[], type=_assignment,
                            help="A parameter of the strategy; VALUE is JSON or plain text, KEY may go into an object with dots "
                                 "(thresholds.instance_cpu_usage=0.05). May be given several times.")
        add_policies(parser)
        parser.add_argument("--veto", metavar="SOURCE", action="append", default=[],
                            help="Ask this policy (congress:POLICY), besides those of the settings, whether it objects to the plan. "
                                 "May be given several times.")
        parser.add_argument("--max-moves", metavar="N", type=whole(0), help="Move at most so many servers.")
        parser.add_argument("--time-limit", metavar="SECONDS", type=seconds, default=60.0, help="Solve at most so long. Default: 60.")
        parser.add_argument("--seed", metavar="N", type=whole(0), default=0, help="Seed of everything random. Default: 0.")
        parser.add_argument("--out", metavar="PLAN.json", type=Path, help="Write the plan to this file.")
        return parser

    def take_action(self, options: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """A row for each action; figures, reasons against and remarks on stderr."""
        conf = config(self)
        check_writable(options.out, read=[options.snapshot])
        out = console(self)
        with stopped_by_ctrl_c(), out.status("starting") as status:
            source = source_of(options, conf)
            policies = policies_of([*conf.policy.sources, *options.policy], source, conf)
            objectors = vetoes([*conf.policy.vetoes, *options.veto], conf, source if isinstance(source, CloudSource) else None)
            plan = run_audit(source, strategy(options.strategy), _merged(options.param), policies=policies, vetoes=objectors,
                             max_moves=options.max_moves, time_limit_s=options.time_limit, seed=options.seed, threads=conf.solver.threads,
                             model=time_model(conf), say=status.update, limits=limits(conf),
                             learn_hours=conf.time_model.learn_hours, handled=partial(handled, conf))
        return COLUMNS, shown(plan, out, options.out)


def _assignment(text: str) -> tuple[list[str], Any]:
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key.split("."), json.loads(value)
    except (ValueError, RecursionError):
        return key.split("."), value


def _merged(assignments: list[tuple[list[str], Any]]) -> dict[str, Any]:
    """KEY=VALUE pairs as one object; dots lead into objects, the later of two equal keys counts."""
    merged: dict[str, Any] = {}
    for path, value in assignments:
        inside = merged
        for step in path[:-1]:
            inside = inside.setdefault(step, {})
            if not isinstance(inside, dict):
                raise ParameterError(f"--param {'.'.join(path)}: {step} is given as a value and as an object; one of them is right")
        inside[path[-1]] = value
    return merged
