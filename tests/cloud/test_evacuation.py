"""A host fails: only once it is fenced are its servers built anew elsewhere, and when it is back there is a plan for their return."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openstack.connection import Connection

from datasources.inventory import read_cluster
from optimizer.constraints.base import check
from optimizer.placement import placement_of
from policy_sources import nova
from tests.cloud import scenario
from tests.cloud.command import Command
from tests.cloud.conftest import COMPUTES, TESTBED, Cloud
from tests.cloud.scenario import Scenario

sys.path.append(str(TESTBED.parent))
from daemons import kill

FAILED = "compute-3"


def fence(connection: Connection, down: bool) -> bool:
    """What the operator, or his fencing, tells Nova; False when it does not agree."""
    (service,) = connection.compute.services(binary="nova-compute", host=FAILED)
    return bool(connection.compute.put(f"/os-services/{service.id}", json={"forced_down": down}, microversion="2.53").ok)


@pytest.fixture
def it_comes_back(cloud: Cloud) -> Iterator[None]:
    """Whatever the test has come to."""
    yield
    come_back(cloud.connection)


def come_back(connection: Connection) -> None:
    """It is up, and nobody says any more that it is down, which Nova takes only once what was evacuated is removed there."""
    with subprocess.Popen([sys.executable, TESTBED, "start", "--computes", str(COMPUTES)], stdout=subprocess.DEVNULL) as starting:
        scenario.until(lambda: fence(connection, False), f"{FAILED} to be clean")
    assert starting.returncode == 0


def test_a_host_fails_and_comes_back(cloud: Cloud, fresh_scenario: Scenario, tmp_path: Path, it_comes_back: None) -> None:
    command, connection = Command(cloud, tmp_path), cloud.connection
    before = read_cluster(connection)
    lost = {server.id: server.status for server in before.servers_on[FAILED]}
    first = next(server for server in lost if server in fresh_scenario.members["plain"])
    connection.compute.set_server_metadata(first, HA_Enabled="True")
    kill(f"nova-compute-{FAILED}")

    refused = command.run("audit", "run", "host_evacuation", "--cloud", "testbed", "--param", f"failed_node={FAILED}")
    assert refused.code == 1
    assert "not forced down" in refused.remarks

    assert fence(connection, True)
    plan = command.audit("host_evacuation", "--param", f"failed_node={FAILED}", "--param", "first=HA_Enabled=True")
    moves = [action["input_parameters"] for action in plan["actions"]]
    assert {what["resource_id"] for what in moves} == lost.keys()
    assert {what["migration_type"] for what in moves} == {"evacuate"}
    assert moves[0]["resource_id"] == first
    done, report = command.apply()
    assert done.code == 0, done.remarks
    assert report["reached"] == plan["after"]
    after = read_cluster(connection)
    for what in moves:
        server = after.server_by_id[what["resource_id"]]
        assert (server.host, server.status) == (what["destination_node"], lost[server.id])
        (record,) = scenario.migrations(connection, server.id)
        assert (record["migration_type"], record["status"]) == ("evacuation", "done")
    assert check(nova.constraints(after), after, placement_of(after)) == []

    come_back(connection)
    back = command.undo()
    assert {action["input_parameters"]["migration_type"] for action in back["actions"]} <= {"live", "cold"}
    assert {action["input_parameters"]["destination_node"] for action in back["actions"]} == {FAILED}
    returning = {action["input_parameters"]["resource_id"] for action in back["actions"]}
    may_stay = {server for role in ("soft-affinity", "soft-anti-affinity", "locked") for server in fresh_scenario.members[role]}
    assert lost.keys() - may_stay <= returning <= lost.keys()
    assert {one["server"] for one in back["refused"]} >= {server for server in fresh_scenario.members["locked"] if server in lost}
