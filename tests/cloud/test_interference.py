"""What others do between audit and apply: the action is skipped with the reason, the rest goes on, exit code 3."""

import json
from pathlib import Path
from typing import Any

from datasources.inventory import read_cluster
from optimizer.constraints.base import check
from optimizer.placement import placement_of
from policy_sources import nova
from tests.cloud import scenario
from tests.cloud.command import Command
from tests.cloud.conftest import Cloud
from tests.cloud.scenario import Scenario


def moves(plan: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The input of each migration by its action's uuid."""
    return {a["uuid"]: a["input_parameters"] for a in plan["actions"] if a["action_type"] == "migrate"}


def test_the_cloud_changed_after_the_audit(cloud: Cloud, fresh_scenario: Scenario, tmp_path: Path) -> None:
    command, connection = Command(cloud, tmp_path), cloud.connection
    plan = command.audit("workload_stabilization", "--param", "aggressiveness=5", "--param", "thresholds.instance_cpu_usage=0.05")
    planned = moves(plan)
    assert len(planned) >= 4
    inputs = list(planned.items())
    (first, gone), (second, moved) = inputs[:2]
    closed = next(what["destination_node"] for _, what in inputs[2:])
    hosts = {h.name for h in read_cluster(connection).hosts}

    scenario.delete_server(connection, gone["resource_id"])
    elsewhere = next(h for h in sorted(hosts) if h not in (moved["source_node"], moved["destination_node"], closed) and h != "compute-1"
                     and _goes(connection, moved["resource_id"], h))
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
    ended = {action["uuid"]: action for action in json.loads(report_file.read_text())["actions"]}
    cluster = read_cluster(connection)
    for uuid in (deleted, moved, resized):
        assert ended[uuid]["state"] == "SKIPPED", ended[uuid]
    assert "does not exist any more" in ended[deleted]["text"]
    assert "it was moved since the plan was made" in ended[moved]["text"]
    for uuid, what in planned[:-3]:
        done = ended[uuid]
        assert done["state"] == "SUCCEEDED" or ("disabled" in done["text"] and what["destination_node"] == closed), done
        assert cluster.server_by_id[what["resource_id"]].host == what["destination_node" if done["state"] == "SUCCEEDED" else "source_node"]
    assert check(nova.constraints(cluster), cluster, placement_of(cluster)) == []


def _goes(connection: Any, server: str, host: str) -> bool:
    try:
        scenario.move_server(connection, server, host)
    except RuntimeError:
        return False
    return True
