"""placewright plan: look at a plan, or carry it out."""

import argparse
import json
import logging
import sys
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from oslo_config import cfg
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from migrate.executor import Event
from migrate.journal import Journal
from migrate.plan import Plan, read_plan
from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError
from optimizer.snapshot import write_bytes
from placewright.apply import Outcome, apply_plan
from placewright.cli.common import (
    Rows,
    UsageError,
    add_source,
    check_writable,
    config,
    console,
    figures,
    handled,
    plain,
    seconds,
    sigterm_as_ctrl_c,
    source_of,
    stopped_by_ctrl_c,
    whole,
)
from placewright.cli.plan_view import COLUMNS, remarks, rows, shown
from placewright.config import database_url, gnocchi_settings, limits, time_model
from placewright.page import write_page
from placewright.sources import CloudSource
from placewright.store.database import Database
from placewright.store.journal import execution_of, journal_of
from placewright.undo import undo_plan

LOG = logging.getLogger(__name__)


class PlanShow(Rows):
    """Show a plan: its actions in order, what each waits for, costs, and why."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("plan", metavar="PLAN.json", type=Path, help="A plan file.")
        return parser

    def take_action(self, options: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """A row for each action; the rest on stderr."""
        plan = read_plan(options.plan)
        remarks(plan, console(self))
        return COLUMNS, rows(plan)


class PlanApply(Rows):
    """Carry out a plan, on a cloud or in the simulator, and compare what it promised with what came of it."""

    exit_code = 0

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("plan", metavar="PLAN.json", type=Path, help="A plan file.")
        add_source(parser, snapshot="--simulate", verb="Act on")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")
        parser.add_argument("--resume", action="store_true", help="Go on where an earlier run of this plan ended without warning.")
        parser.add_argument("--advised", action="store_true", help="Also carry out what a policy only allows as advice.")
        parser.add_argument("--seed", metavar="N", type=whole(0), default=0, help="Seed of the simulator. Default: 0.")
        parser.add_argument("--pace", metavar="FACTOR", type=_factor, default=0.0,
                            help="Real seconds per simulated second; 0 is as fast as possible. Default: 0.")
        parser.add_argument("--page", metavar="FILE.html", type=Path,
                            help="Write a page with the plan and the hosts' load before and after, and what ran when.")
        parser.add_argument("--report", metavar="FILE.json", type=Path, help="Write what became of each action, and the figures, to this file.")
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Exit code 3 when an action failed, or was skipped and not made good."""
        return int(super().run(parsed_args) or self.exit_code)

    def take_action(self, options: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """A row for each action; progress and the comparison on stderr."""
        conf, plan = config(self), read_plan(options.plan)
        check_writable(options.page, options.report, read=[options.plan, options.snapshot])
        source = source_of(options, conf)
        if options.resume and options.cloud is None:
            raise UsageError("--resume needs --cloud: a simulation is over when its program is")
        columns = ("Step", "Action", "What", "From", "To", "State", "Seconds", "Text")
        with sigterm_as_ctrl_c(), Progress(TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                                           console=console(self), transient=True) as progress:
            bar = progress.add_task("reading the cluster", total=max(1, len(plan.actions)))
            known, ended = {action.uuid for action in plan.actions}, set[str]()

            def report(event: Event) -> None:
                if event.state not in ("PENDING", "ONGOING"):
                    ended.add(event.action.uuid)
                known.add(event.action.uuid)
                progress.update(bar, total=len(known), completed=len(ended), description=plain(f"{event.action}: {event.state.lower()}"))
                LOG.info("%s: %s: %s", event.state, event.action, event.text)
                if event.state in ("SKIPPED", "FAILED", "CANCELLED"):
                    progress.console.print(f"{event.state} {event.action}: {event.text}", soft_wrap=True)

            def confirm(cluster: Cluster) -> bool:
                if options.yes or not plan.actions:
                    return True
                if not sys.stdin.isatty():
                    raise PlacewrightError("carrying out a plan changes the cloud: give --yes, or answer at a terminal")
                progress.stop()
                # Not input(): it asks on stdout, where data belongs.
                console().print(f"Carry out {len(plan.actions)} actions on {cluster.name}? [y/N] ", end="", soft_wrap=True)
                answer = sys.stdin.readline()
                progress.start()
                return answer.strip().lower() in ("y", "yes")

            outcome = apply_plan(plan, source, limits=limits(conf), model=time_model(conf), max_age_s=conf.execution.plan_max_age,
                                 advised=options.advised, seed=options.seed, pace=options.pace, report=report, confirm=confirm,
                                 resume=options.resume, journals=partial(_journal, conf),
                                 replan_threads=conf.solver.threads if conf.execution.replan else None)
        if outcome is None:
            console(self).print("Nothing was changed.")
            return columns, []
        self.exit_code = outcome.exit_code
        self._remarks(plan, outcome)
        undo = f"placewright plan undo {options.plan} --cloud {options.cloud}" if options.cloud else None
        if text := advice(outcome, conf.execution.undo_below, undo):
            console(self).print(f"note: {text}", soft_wrap=True, markup=False)
        self._write(plan, outcome, options.report, options.page)
        return columns, [(*row[:5], done.state, None if done.seconds is None else round(done.seconds, 1), done.text)
                         for row, done in zip(rows(plan if outcome.follow_up is None else plan.then(outcome.follow_up)), outcome.report.actions,
                                              strict=True)]

    def _write(self, plan: Plan, outcome: Outcome, report: Path | None, page: Path | None) -> None:
        """A file that fails now must cost neither the other one nor the rows: what was done cannot be done again."""
        for name, file, write in (("report", report, _write_report), ("page", page, write_page)):
            if file is None:
                continue
            try:
                write(plan, outcome, file)
                console(self).print(f"{name} written to {file}", soft_wrap=True)
            except PlacewrightError as error:
                console().print(f"placewright: {error}", soft_wrap=True)
                self.exit_code = self.exit_code or 1

    def _remarks(self, plan: Plan, outcome: Outcome) -> None:
        out = console(self)
        out.print(figures(f"{plan.strategy} on {plan.cluster.name}", {
            "before": outcome.present, "promised": outcome.promised, "reached": outcome.reached}))
        counts = ", ".join(f"{n} {state}" for state, n in sorted(outcome.report.counts.items())) or "nothing to do"
        expected = f" (expected: {plan.expected_s:.0f} s)" if plan.expected_s else ""
        out.print(f"{counts}, in {outcome.report.seconds:.0f} s{expected}", soft_wrap=True)
        if outcome.follow_up is not None:
            out.print(outcome.follow_up.message, soft_wrap=True)
        for text in (*outcome.misplaced, *outcome.notes):
            out.print(f"note: {text}", soft_wrap=True)
        for broken in outcome.broken:
            out.print(f"broken: {broken.rule}: {broken.text}", soft_wrap=True)


def advice(outcome: Outcome, least_percent: float, undo: str | None) -> str:
    """That a plan came off badly, or was broken off, and the command (``undo``, None in the simulator) that takes it back; empty when all is well."""
    told, got = [], outcome.achieved
    if got is not None and got.percent < least_percent:
        told.append(f"{got.percent:.0f} % of what was promised was reached ({got.level}: {got.before:.4g} -> {got.reached:.4g}, promised "
                    f"{got.promised:.4g})")
    if outcome.report.interrupted:
        told.append("the plan was broken off")
    if told and undo and outcome.report.counts.get("SUCCEEDED"):
        told.append(f"{undo} makes the plan that takes back what was done")
    return "; ".join(told)


class PlanUndo(Rows):
    """Make a plan that takes back what was carried out of another one; nothing is changed."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("plan", metavar="PLAN.json", type=Path, help="The plan that was carried out.")
        parser.add_argument("--cloud", metavar="NAME", required=True, help="The cloud of clouds.yaml it was carried out on.")
        parser.add_argument("--time-limit", metavar="SECONDS", type=seconds, default=60.0, help="Solve at most so long. Default: 60.")
        parser.add_argument("--seed", metavar="N", type=whole(0), default=0, help="Seed of everything random. Default: 0.")
        parser.add_argument("--out", metavar="UNDO.json", type=Path, help="Write the plan to this file.")
        return parser

    def take_action(self, options: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """A row for each action; remarks on stderr."""
        conf, plan = config(self), read_plan(options.plan)
        check_writable(options.out, read=[options.plan])
        out = console(self)
        with stopped_by_ctrl_c(), out.status("starting") as status:
            whole, entries = execution_of(Database(database_url(conf)), plan)
            undo = undo_plan(whole, entries, CloudSource(options.cloud, gnocchi_settings(conf)), time_limit_s=options.time_limit, seed=options.seed,
                             threads=conf.solver.threads, model=time_model(conf), say=status.update, limits=limits(conf),
                             learn_hours=conf.time_model.learn_hours, handled=partial(handled, conf))
        return COLUMNS, shown(undo, out, options.out)


def _journal(conf: cfg.ConfigOpts, plan: Plan, resume: bool) -> AbstractContextManager[Journal]:
    return journal_of(Database(database_url(conf)), plan, resume=resume)


def _write_report(plan: Plan, outcome: Outcome, file: Path) -> None:
    write_bytes(file, json.dumps(outcome.document(plan), indent=1).encode() + b"\n")


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1000")
    return value
