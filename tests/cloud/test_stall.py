"""Live migrations whose copying makes no progress, through a real Nova: aborted, forced to complete, and broken off with the program."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasources.inventory import read_cluster
from tests.cloud import scenario
from tests.cloud.command import Command
from tests.cloud.conftest import Cloud
from tests.cloud.scenario import Plan

HOST = "compute-6"


@pytest.fixture(scope="module")
def plan(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A plan that moves one server away from a host; its live migrations stall (testbed/driver)."""
    steering = cloud.clouds_yaml.parent / "etc" / "sim.json"
    if not steering.exists():
        pytest.skip(f"{steering} is not there: only the testbed's migrations stall by request")
    before = steering.read_text()
    scenario.clear(cloud.connection)
    scenario.boot_all(cloud.connection, "pw", (Plan("still", "small", HOST, "plain"),), {})
    steering.write_text(json.dumps(json.loads(before) | {"faults": [{"phase": "stall", "server": "pw-still"}]}))
    command = Command(cloud, tmp_path_factory.mktemp("audit"))
    actions = command.audit("host_maintenance", "--param", f"maintenance_node={HOST}")["actions"]
    assert [action["action_type"] for action in actions] == ["change_nova_service_state", "migrate"]
    yield command.directory / "plan.json"
    steering.write_text(before)
    scenario.clear(cloud.connection)


def applying(cloud: Cloud, plan: Path, directory: Path, execution: str) -> Command:
    """The command that carries it out with these settings, as if for the first time."""
    scenario.enable_host(cloud.connection, HOST)
    shutil.copy(plan, directory / "plan.json")
    return Command(cloud, directory, settings=execution)


def ended(cloud: Cloud, plan: Path, report: dict[str, Any]) -> tuple[str, str, str, bool]:
    """State and text of the migration, the status of Nova's newest record, and whether the server has moved."""
    what, done = json.loads(plan.read_text())["actions"][1]["input_parameters"], report["actions"][1]
    record = scenario.migrations(cloud.connection, what["resource_id"])[0]
    host = read_cluster(cloud.connection).server_by_id[what["resource_id"]].host
    assert host in (what["source_node"], what["destination_node"])
    return done["state"], done["text"].replace(f"migration {record['id']} ", ""), record["status"], host == what["destination_node"]


def test_interrupted(cloud: Cloud, plan: Path, tmp_path: Path) -> None:
    """A service manager stops the program; the migration ends with it."""
    command, report = applying(cloud, plan, tmp_path, "on_interrupt = abort"), tmp_path / "report.json"
    program = command.begin(*command.application, "--report", str(report))
    server = json.loads(plan.read_text())["actions"][1]["input_parameters"]["resource_id"]
    scenario.until(lambda: scenario.migrations(cloud.connection, server), "the migration to begin")
    program.send_signal(signal.SIGTERM)
    _, said = program.communicate(timeout=60)
    assert program.returncode == 3, said
    assert ended(cloud, plan, json.loads(report.read_text())) == ("FAILED", "interrupted; Nova was asked to abort it; cancelled", "cancelled", False)


@pytest.mark.parametrize(("on_stall", "state", "said", "status"), [
    ("abort", "FAILED", "Nova was asked to abort it", "cancelled"),
    ("force_complete", "SUCCEEDED", "Nova was asked to force it to complete", "completed"),  # the last one: the server has moved then
])
def test_stalled(cloud: Cloud, plan: Path, tmp_path: Path, on_stall: str, state: str, said: str, status: str) -> None:
    _, report = applying(cloud, plan, tmp_path, f"stall_timeout = 3\non_stall = {on_stall}").apply()
    assert ended(cloud, plan, report) == (state, f"came no nearer to its end for 3 s; {said}; {status}", status, state == "SUCCEEDED")
