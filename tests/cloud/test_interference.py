"""What others do between audit and apply, and what fails under way: the action is skipped or fails with the reason, and the rest goes on."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasources.inventory import read_cluster
from optimizer.constraints.base import check
from optimizer.placement import placement_of
from policy_sources import nova
from tests.cloud import scenario
from tests.cloud.command import Command
from tests.cloud.conftest import COMPUTES, TESTBED, Cloud
from tests.cloud.ledger import Ledger
from tests.cloud.scenario import Scenario

sys.path.append(str(TESTBED.parent))
from daemons import kill


def moves(plan: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The input of each migration by its action's uuid."""
    return {a["uuid"]: a["input_parameters"] for a in plan["actions"] if a["action_type"] == "migrate"}


def test_the_cloud_changed_after_the_audit(cloud: Cloud, fresh_scenario: Scenario, tmp_path: Path) -> None:
    """A host is to be drained, so that each move is worth it whatever becomes of the others."""
    command, connection = Command(cloud, tmp_path), cloud.connection
    plan = command.audit("host_maintenance", "--param", "maintenance_node=compute-3")
    inputs = list(moves(plan).items())
    assert len(inputs) >= 4
    (first, gone), (second, moved) = inputs[:2]
    closed = next(what["destination_node"] for _, what in inputs[2:])
    arrivals = Counter(what["destination_node"] for _, what in inputs)
    hosts = {h.name for h in read_cluster(connection).hosts} - {moved["source_node"], moved["destination_node"], closed, "compute-1"}

    scenario.delete_server(connection, gone["resource_id"])
    # Where few are to come, so that it takes the room of none of them.
    elsewhere = next(h for h in sorted(hosts, key=lambda host: (arrivals[host], host)) if _goes(connection, moved["resource_id"], h))
    scenario.disable_host(connection, closed)
    done, report = command.apply()
    scenario.enable_host(connection, closed)

    assert done.code == 3, done.remarks
    ended = {action["uuid"]: action for action in report["actions"]}
    assert ended[first]["state"] == "SKIPPED"
    assert "does not exist any more" in ended[first]["text"]
    assert ended[second]["state"] == "SKIPPED"
    assert elsewhere in ended[second]["text"]
    for uuid, what in inputs[2:]:
        assert ended[uuid]["state"] == ("SKIPPED" if what["destination_node"] == closed else "SUCCEEDED"), ended[uuid]
        if what["destination_node"] == closed:
            assert "disabled" in ended[uuid]["text"]
    after = read_cluster(connection)
    assert check(nova.constraints(after), after, placement_of(after)) == []


def test_the_cloud_changes_under_way(cloud: Cloud, fresh_scenario: Scenario, tmp_path: Path) -> None:
    """A host is drained; while the first servers move, others delete, resize and move some of those to come, and close a host."""
    command, connection = Command(cloud, tmp_path), cloud.connection
    compute = connection.compute
    plan = command.audit("host_maintenance", "--param", "maintenance_node=compute-3")
    planned = list(moves(plan).items())
    (_, first), *_, (resized, other), (deleted, gone), (moved, away) = planned
    before = len(scenario.migrations(connection, first["resource_id"]))
    closed = next(what["destination_node"] for _, what in reversed(planned[1:-3]))
    elsewhere = [h for h in ("compute-2", "compute-4", "compute-6") if h not in (away["destination_node"], closed)]
    report_file = tmp_path / "report.json"
    program = command.begin(*command.application, "--report", str(report_file))
    scenario.until(lambda: len(scenario.migrations(connection, first["resource_id"])) > before, "the first migration to begin")
    scenario.disable_host(connection, closed)
    compute.delete_server(gone["resource_id"])
    bigger = next(flavor for flavor in compute.flavors() if flavor.name == "pw-large")
    compute.resize_server(other["resource_id"], bigger.id)
    assert any(_goes(connection, away["resource_id"], host) for host in elsewhere)
    _, remarks = program.communicate(timeout=600)
    scenario.enable_host(connection, closed)

    assert program.returncode == 3, remarks
    report = json.loads(report_file.read_text())
    ended = {action["uuid"]: action for action in report["actions"]}
    cluster = read_cluster(connection)
    for uuid in (deleted, moved, resized):
        assert ended[uuid]["state"] == "SKIPPED", ended[uuid]
    assert "does not exist any more" in ended[deleted]["text"]
    assert "it was moved since the plan was made" in ended[moved]["text"]
    for uuid, what in planned[:-3]:
        done = ended[uuid]
        assert done["state"] == "SUCCEEDED" or ("disabled" in done["text"] and what["destination_node"] == closed), done
        host = cluster.server_by_id[what["resource_id"]].host
        assert host == what["destination_node"] if done["state"] == "SUCCEEDED" else host not in ("compute-3", closed), done
    more = [action for action in report["actions"] if action["plan"] != report["plan"]]
    skipped = {what["resource_name"] for uuid, what in planned[:-3] if ended[uuid]["state"] == "SKIPPED"}
    assert skipped
    assert len(more) == len(skipped)
    assert all(action["state"] == "SUCCEEDED" and f"instead of {closed}: " in action["text"] for action in more), more
    assert check(nova.constraints(cluster), cluster, placement_of(cluster)) == []


@pytest.mark.skipif(not os.environ.get("PLACEWRIGHT_TEST_COMPUTES"), reason="takes five minutes: PLACEWRIGHT_TEST_COMPUTES=1")
def test_nova_compute_ends_without_warning(cloud: Cloud, fresh_scenario: Scenario, tmp_path: Path, all_computes_afterwards: None) -> None:
    """On a host that servers leave and on another that servers come to, each while they do: it is told, not waited for, and the rest goes on."""
    connection, report = cloud.connection, tmp_path / "report.json"
    # A migration whose source has no nova-compute stays as it is: the less it is expected to take, the sooner it is given up.
    command = Command(cloud, tmp_path, settings="replan = false\naction_timeout = 30\n[time_model]\nlive_overhead = 2\nbandwidth_mb_per_s = 5000")
    plan = command.audit("workload_stabilization", "--param", "aggressiveness=5", "--param", "thresholds.instance_cpu_usage=0.01")
    ledger, planned = Ledger(connection, plan), moves(plan)
    left = Counter(what["source_node"] for what in planned.values()).most_common(1)[0][0]
    entered = Counter(what["destination_node"] for what in planned.values() if what["source_node"] != left).most_common(1)[0][0]
    alive = {left: [what["resource_id"] for what in planned.values() if what["source_node"] == left],
             entered: [what["resource_id"] for what in planned.values() if what["destination_node"] == entered and what["source_node"] != left]}

    def both_killed() -> bool:
        for host, servers in list(alive.items()):
            if any(one["status"] == "running" for server in servers for one in scenario.migrations(connection, server)[:1]):
                kill(f"nova-compute-{host}")
                del alive[host]
        return not alive

    program = command.begin(*command.application, "--report", str(report))
    scenario.until(both_killed, f"migrations from {left} and to {entered}")
    _, remarks = program.communicate(timeout=600)
    assert program.returncode == 3, remarks
    done = json.loads(report.read_text())
    print(left, entered, done["counts"], *(action["text"] for action in done["actions"]), sep="\n")
    ledger.agrees_with(done)
    for action in done["actions"]:
        what = planned[action["uuid"]]
        touched = {left, entered} & {what["source_node"], what["destination_node"]}
        assert touched or action["state"] == "SUCCEEDED", action
        assert action["state"] != "SKIPPED" or "down" in action["text"], action
    assert any(f"nova-compute on {left} is down" in action["text"] for action in done["actions"] if action["state"] == "FAILED")
    _start_computes()
    after = read_cluster(connection)
    assert check(nova.constraints(after), after, placement_of(after)) == []


@pytest.fixture
def all_computes_afterwards(cloud: Cloud, fresh_scenario: Scenario) -> Iterator[None]:
    """Whatever was killed in the test runs after it, and holds nothing for migrations that were broken off: Nova itself frees that never."""
    yield
    _start_computes()
    for server in fresh_scenario.guests:
        for record in scenario.migrations(cloud.connection, server):
            cloud.connection.placement.delete(f"/allocations/{record['uuid']}")


def _start_computes() -> None:
    subprocess.run([sys.executable, TESTBED, "start", "--computes", str(COMPUTES)], check=True, capture_output=True)


def _goes(connection: Any, server: str, host: str) -> bool:
    try:
        scenario.move_server(connection, server, host)
    except RuntimeError:
        return False
    return True
