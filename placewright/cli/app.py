"""The program: global options, the table of commands, and how errors end it."""

import argparse
import io
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from cliff.app import App
from cliff.command import Command
from cliff.commandmanager import CommandManager

from optimizer.errors import PlacewrightError
from placewright.cli.audit import AuditRun
from placewright.cli.cluster import ClusterSave, ClusterShow
from placewright.cli.common import UsageError, console
from placewright.cli.plan import PlanApply, PlanShow, PlanUndo
from placewright.cli.policy import PolicyCheck, PolicyExplain, PolicyExport, PolicyList
from placewright.cli.strategy import StrategyList, StrategyShow

COMMANDS: Mapping[str, type[Command]] = {
    "cluster show": ClusterShow, "cluster save": ClusterSave,
    "strategy list": StrategyList, "strategy show": StrategyShow,
    "audit run": AuditRun,
    "policy list": PolicyList, "policy check": PolicyCheck, "policy explain": PolicyExplain, "policy export": PolicyExport,
    "plan show": PlanShow, "plan apply": PlanApply, "plan undo": PlanUndo,
}


class PlacewrightApp(App):
    """cliff's application with our commands, our exit codes and no traceback."""

    NAME = "placewright"
    LOG = logging.getLogger("placewright")

    def __init__(self) -> None:
        """Register the commands."""
        manager = CommandManager("placewright.cli")
        for name, command in COMMANDS.items():
            manager.add_command(name, command)
        super().__init__(description="Keeps every server of an OpenStack cloud on the right host.", version=version("placewright"),
                         command_manager=manager, deferred_help=True)

    def build_option_parser(self, description: str | None, version: str | None,
                            argparse_kwargs: dict[str, Any] | None = None) -> argparse.ArgumentParser:
        """Add our global option to cliff's."""
        parser: argparse.ArgumentParser = super().build_option_parser(description, version, {"prog": self.NAME, **(argparse_kwargs or {})})
        parser.add_argument("--config-file", action="append", default=[], metavar="FILE",
                            help="Settings of the site (oslo.config format); may be given several times. docs/configuration.md lists them.")
        return parser

    def configure_logging(self) -> None:
        """Warnings to stderr; --debug shows everything, -v what the program does, -q errors only. A log file hears at least as much as -v."""
        level = {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO}.get(self.options.verbose_level, logging.DEBUG)
        to_stderr = logging.StreamHandler(sys.stderr)
        to_stderr.setLevel(level)
        to_stderr.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        handlers: list[logging.Handler] = [to_stderr]
        if self.options.log_file:
            try:
                to_file = logging.FileHandler(self.options.log_file, encoding="utf-8", errors="backslashreplace")
            except OSError as error:
                raise PlacewrightError(f"log file {self.options.log_file} cannot be written: {error.strerror}") from None
            to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            handlers.append(to_file)
            level = min(level, logging.INFO)
        logging.basicConfig(level=level, handlers=handlers, force=True)

    def interact(self) -> None:
        """No shell of our own: without a command, say what there is."""
        self.parser.error("a command is needed; placewright --help lists them")

    def run_subcommand(self, argv: list[str]) -> int:
        """Run a command; every error becomes one message on stderr and exit code 1, wrong usage 2."""
        wanted = [word for word in argv[1:] if not word.startswith("-")] if argv[0] == "help" else argv
        try:
            command, _, rest = self.command_manager.find_command(argv)
            if wanted and not any(name.startswith(wanted[0]) for name, _ in self.command_manager):
                raise ValueError(wanted)
        except ValueError:
            # Not cliff's own answer: it goes to stdout.
            near = self.get_fuzzy_matches(wanted[0])
            console().print(f"placewright: there is no command {' '.join(wanted)!r}; near to it are {', '.join(near)}; "
                            "placewright --help lists all", soft_wrap=True)
            return 2
        name = " ".join(argv[:len(argv) - len(rest)])
        try:
            instance = command(self, self.options, cmd_name=name)
            parsed = instance.get_parser(f"placewright {name}").parse_args(rest)
            return int(instance.run(parsed) or 0)
        except PlacewrightError as error:
            if self.options.debug:
                raise
            self.LOG.info("ended by %s: %s", type(error).__name__, error)
            console().print(f"placewright: {error}", soft_wrap=True)
            return 2 if isinstance(error, UsageError) else 1
        except ValueError as error:
            if not str(error).startswith("No recognized column"):  # what cliff says to a wrong -c
                raise
            console().print(f"placewright {name}: {error}", soft_wrap=True)
            return 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if sys.stdout is None:  # closed by the caller, who does not want to see it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for the rest of the program)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where the terminal's encoding lacks a character
    try:
        code = int(PlacewrightApp().run(arguments) or 0)
        sys.stdout.flush()
        return code
    except OSError as error:
        # What is left of the output would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        print(f"placewright: the output cannot be written: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("placewright: interrupted", file=sys.stderr)
        return 130
    except Exception as error:  # the last resort: a defect must not look like a traceback to an operator
        if "--debug" in arguments:
            raise
        print(f"placewright: internal error: {type(error).__name__}: {error} (run again with --debug and report it)", file=sys.stderr)
        return 1
