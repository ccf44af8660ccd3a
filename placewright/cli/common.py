"""What several commands share: where the cluster comes from, and how remarks are written."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from cliff.command import Command
from oslo_config import cfg
from rich.console import Console
from rich.table import Table

from optimizer.snapshot import DocumentError
from placewright.config import gnocchi_settings, load_config
from placewright.sources import CloudSource, SnapshotSource


def console() -> Console:
    """Where progress and remarks go: stderr, so that stdout holds data only."""
    # Names of servers may hold what rich takes for markup.
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def config(command: Command) -> cfg.ConfigOpts:
    """The settings the program was started with."""
    return load_config(getattr(command.app_args, "config_file", ()))


def add_source(parser: argparse.ArgumentParser, *, snapshot: str = "--snapshot", verb: str = "Read") -> None:
    """Add --cloud and the option for a snapshot file, one of which must be given."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--cloud", metavar="NAME", help=f"{verb} this cloud of clouds.yaml; \"envvars\" is the one of the OS_* variables.")
    group.add_argument(snapshot, metavar="FILE", dest="snapshot", type=Path,
                       help=f"{verb} a snapshot file (plain, .gz or .xz)" + (" in the simulator." if snapshot == "--simulate" else "."))


def source_of(options: argparse.Namespace, conf: cfg.ConfigOpts) -> CloudSource | SnapshotSource:
    """The source that the options name."""
    return SnapshotSource(options.snapshot) if options.cloud is None else CloudSource(options.cloud, gnocchi_settings(conf))


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


def check_writable(*files: Path | None) -> None:
    """Raise DocumentError for a file that cannot be written, before hours of work go into its content."""
    for file in files:
        if file is not None and file.is_dir():
            raise DocumentError(file, ["cannot be written: it is a directory"])
        if file is not None and not os.access(file.parent, os.W_OK | os.X_OK):
            why = "has no write permission" if file.parent.is_dir() else "does not exist"
            raise DocumentError(file, [f"cannot be written: directory {file.parent} {why}"])


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
    table = Table(title=title, title_justify="left", min_width=len(title))
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for row in dict.fromkeys(name for column in columns.values() for name in column):
        table.add_row(row.replace("_percent", " %").replace("_", " "),
                      *(f"{column[row]:g}" if row in column else "" for column in columns.values()))
    return table
