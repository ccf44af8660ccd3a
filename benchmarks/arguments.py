"""The arguments that the measurements share, and what they refuse before anything is computed."""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """A parser with ``--seconds``, ``--threads`` and ``--seed``; what is wrong is told without the usage, with exit code 1."""

    def __init__(self, doc: str | None, seconds: float, clock: str) -> None:
        """``clock`` says what the seconds, with their default, are of."""
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_argument("--seconds", type=_seconds, default=seconds, help=f"{clock} (default {seconds:g})")
        self.add_argument("--threads", type=number(1), default=2, help="threads of the solver (default 2)")
        self.add_argument("--seed", type=number(0), default=1, help="seed of everything that is left to chance (default 1)")

    def error(self, message: str) -> NoReturn:
        """End with the message alone."""
        self.exit(1, f"{self.prog}: {message}\n")


def number(least: int) -> Any:
    """A type of argument: a whole number that is not below ``least``."""
    def parse(text: str) -> int:
        if not text.lstrip("+-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: need a whole number of {least} or more")
        return int(text)
    return parse


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: need seconds, more than 0")
    return value


def output(text: str) -> Path:
    """A type of argument: a file that can be written, so that no result is computed in vain."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; need a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: there is no folder {str(path.parent)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written")
    return path


def parameter(text: str) -> tuple[str, Any]:
    """A type of argument: NAME=VALUE, the value as JSON or text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r}: need NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
