"""What several commands share: where the cluster comes from, and how remarks are written."""

import argparse
import logging
import os
import signal
import stat
import tempfile
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cliff.command import Command
from cliff.lister import Lister
from oslo_config import cfg
from rich.console import Console
from rich.table import Table

from migrate.journal import JournalError
from optimizer.errors import PlacewrightError
from optimizer.snapshot import DocumentError
from placewright.config import database_url, gnocchi_settings, load_config
from placewright.policy_table import POLICY_SOURCES, policy_sources
from placewright.sources import CloudSource, SnapshotSource
from placewright.store.database import existing
from placewright.store.journal import handling_s
from policy_sources.base import PolicySource

_LOG = logging.getLogger(__name__)


class UsageError(PlacewrightError):
    """Options that do not go together; the exit code is 2."""


class _Remarks(Console):
    """rich's console; names in a text cannot steer the terminal, and a reader that has gone stops nothing."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, with control characters made visible."""
        super().print(*(plain(one, keep="\n") if isinstance(one, str) else one for one in objects), **options)

    def on_broken_pipe(self) -> None:
        """Say no more; rich would end the program here, with migrations under way."""
        self.quiet = True


def console(command: Command | None = None) -> Console:
    """Where progress and remarks go: stderr, so that stdout holds data only; silent where the command was given --quiet."""
    quiet = command is not None and getattr(command.app_args, "verbose_level", 1) == 0
    # Names of servers may hold what rich takes for markup.
    return _Remarks(stderr=True, quiet=quiet, highlight=False, markup=False, emoji=False)


def plain(text: str, keep: str = "") -> str:
    """A text with its control and direction characters escaped: a server's name is chosen by whoever owns it."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else
                   char.encode("unicode_escape", "backslashreplace").decode() for char in text)


class Rows(Lister):
    """A command that shows rows; as a table they are for eyes, so names cannot steer the terminal."""

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Sequence[Any]]) -> int:
        """Write the rows to stdout."""
        known = {name.lower().replace(" ", "_") for name in column_names}
        for name in parsed_args.sort_columns:
            if name.lower().replace(" ", "_") not in known:
                raise UsageError(f"no column {name!r} to sort by; there are {', '.join(column_names)}")
        if parsed_args.formatter == "table":
            data = [[plain(cell) if isinstance(cell, str) else cell for cell in row] for row in data]
        return int(super().produce_output(parsed_args, column_names, data))


@contextmanager
def stopped_by_ctrl_c() -> Iterator[None]:
    """Inside the block, Ctrl-C ends the program at once with exit code 130; for work that leaves nothing behind.

    CP-SAT takes the signal for itself while it runs, and only ends its own search. Blocked in every thread, the signal
    waits for a thread of ours.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if signal.sigtimedwait({signal.SIGINT}, 0.2) is not None and not over.is_set():
                out = console()
                out.show_cursor()
                out.print("placewright: interrupted")
                os._exit(130)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Inside the block, SIGTERM is what Ctrl-C is; for work that has to be brought to an end when a service manager stops the program."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def config(command: Command) -> cfg.ConfigOpts:
    """The settings the program was started with."""
    return load_config(getattr(command.app_args, "config_file", ()))


def add_source(parser: argparse.ArgumentParser, *, snapshot: str = "--snapshot", verb: str = "Read", required: bool = True) -> None:
    """Add --cloud and the option for a snapshot file, one of which must be given (where ``required``)."""
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--cloud", metavar="NAME", help=f"{verb} this cloud of clouds.yaml; \"envvars\" is the one of the OS_* variables.")
    group.add_argument(snapshot, metavar="FILE", dest="snapshot", type=Path,
                       help=f"{verb} a snapshot file (plain, .gz or .xz)" + (" in the simulator." if snapshot == "--simulate" else "."))


def add_policies(parser: argparse.ArgumentParser) -> None:
    """Add --policy."""
    known = ", ".join(kind.usage for kind in POLICY_SOURCES.values())
    parser.add_argument("--policy", metavar="SOURCE", action="append", default=[],
                        help=f"Rules from this source, besides those of the settings: {known}. May be given several times.")


def policies_of(named: Sequence[str], source: CloudSource | SnapshotSource | None, conf: cfg.ConfigOpts,
                remember: bool = True) -> list[PolicySource]:
    """The sources of rules that are named, as the settings have them read; a cloud's Keystone proves to some of them who we are."""
    return policy_sources(named, conf, source if isinstance(source, CloudSource) else None, remember)


def source_of(options: argparse.Namespace, conf: cfg.ConfigOpts) -> CloudSource | SnapshotSource:
    """The source that the options name."""
    return SnapshotSource(options.snapshot) if options.cloud is None else CloudSource(options.cloud, gnocchi_settings(conf), conf.nova.timeout)


def handled(conf: cfg.ConfigOpts, cloud: str) -> float:
    """What passed besides migrations in the last hours (placewright.timing.Handled); a warning where the journal cannot be read."""
    hours, waits_s = conf.time_model.learn_hours, conf.execution.poll_interval / 2  # for the next look, which a timetable has by itself
    try:
        database = existing(database_url(conf)) if hours else None
        return 0.0 if database is None else max(0.0, handling_s(database, cloud, datetime.now(UTC) - timedelta(hours=hours)) - waits_s)
    except JournalError as error:  # no reason to make no plan
        _LOG.warning("plans are timed without what earlier ones took: %s", error)
        return 0.0


def whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """An argparse type: a whole number of at least ``least``; the solver takes no more than 32 bits."""
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return value
    return parse


def check_writable(*files: Path | None, read: Sequence[Path | None] = ()) -> None:
    """Raise DocumentError for a file that cannot be written, before hours of work go into its content.

    Raises UsageError for a file that is given twice, or that is one of those to ``read``.
    """
    taken = {file.resolve() for file in read if file is not None}
    for file in files:
        if file is None:
            continue
        if str(file) == "-":
            raise UsageError("- is not a file; stdout holds the rows, choose their format with -f")
        if file.is_dir():
            raise DocumentError(file, ["cannot be written: it is a directory"])
        # It would be replaced, as /dev/null must not be.
        if file.exists() and not stat.S_ISREG(file.stat().st_mode):
            raise DocumentError(file, ["cannot be written: it is not a regular file"])
        if file.resolve() in taken:
            raise UsageError(f"{file} is given twice; what is read or written already cannot be written again")
        taken.add(file.resolve())
        try:
            # Permissions do not tell everything: file systems may be read-only, or full.
            tempfile.TemporaryFile(dir=file.parent).close()
        except OSError as error:
            why = f"cannot be written to: {error.strerror}" if file.parent.is_dir() else "does not exist"
            raise DocumentError(file, [f"cannot be written: directory {file.parent} {why}"]) from None


def seconds(text: str) -> float:
    """An argparse type: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def figures(title: str, columns: dict[str, dict[str, float]]) -> Table:
    """A table of figures side by side; a row for each figure that any column has."""
    title = plain(title)
    table = Table(title=title, title_justify="left", min_width=len(title))
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for row in dict.fromkeys(name for column in columns.values() for name in column):
        table.add_row(row.replace("_percent", " %").replace("_", " "),
                      *(f"{column[row]:g}" if row in column else "" for column in columns.values()))
    return table
