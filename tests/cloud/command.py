"""Runs the placewright command against the test cloud, as an operator would."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cloud.conftest import Cloud

# The load of the scenario is a wave of one hour: over that window its mean is exact at any time of day.
HOUR = {"workload_stabilization": ("--param", "periods.instance=3600"), "vm_workload_consolidation": ("--param", "period=3600")}


@dataclass(frozen=True)
class Done:
    """How a run of the command ended."""

    code: int
    out: str
    remarks: str


@dataclass(frozen=True)
class Command:
    """The command with its settings, and a directory for its files."""

    cloud: Cloud
    directory: Path
    database: str = ""  # its address; empty: a file in the directory
    settings: str = ""  # lines of the config file besides, of [execution] first

    def run(self, *arguments: str, **environment: str) -> Done:
        """Run it to its end; a traceback is a failure whatever the exit code."""
        with self.begin(*arguments, **environment) as program:
            out, remarks = program.communicate(timeout=900)
        assert "Traceback" not in remarks, remarks
        return Done(program.returncode, out, remarks)

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Run it without waiting for its end."""
        settings = self.directory / "placewright.conf"
        settings.write_text(f"[database]\nconnection = {self.database or f'sqlite:///{self.directory}/placewright.db'}\n"
                            f"[execution]\npoll_interval = 0.5\n{self.settings}\n")
        return subprocess.Popen([sys.executable, "-m", "placewright", "--config-file", str(settings), *arguments], text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env={**self.cloud.environment, **environment})

    @property
    def application(self) -> tuple[str, ...]:
        """What applies the plan of the last audit."""
        return ("plan", "apply", str(self.directory / "plan.json"), "--cloud", "testbed", "--yes")

    def audit(self, strategy: str, *arguments: str) -> dict[str, Any]:
        """Audit the cloud and return the plan."""
        path = self.directory / "plan.json"
        path.unlink(missing_ok=True)
        done = self.run("audit", "run", strategy, "--cloud", "testbed", "--out", str(path), "--time-limit", "60", *HOUR.get(strategy, ()), *arguments)
        assert done.code == 0, done.remarks
        return dict(json.loads(path.read_text()))

    def undo(self) -> dict[str, Any]:
        """Make the plan that takes back the one of the last audit, put it in its place, and return it."""
        back = self.directory / "undo.json"
        done = self.run("plan", "undo", str(self.directory / "plan.json"), "--cloud", "testbed", "--out", str(back))
        assert done.code == 0, done.remarks
        back.replace(self.directory / "plan.json")
        return dict(json.loads((self.directory / "plan.json").read_text()))

    def apply(self, *arguments: str) -> tuple[Done, dict[str, Any]]:
        """Carry out the plan of the last audit; the report with it."""
        report = self.directory / "report.json"
        report.unlink(missing_ok=True)
        done = self.run(*self.application, "--report", str(report), *arguments)
        assert report.exists(), done.remarks
        return done, dict(json.loads(report.read_text()))
