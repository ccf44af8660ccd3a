"""The program is killed while it carries plans out, and another one goes on: nothing is lost, nothing is done twice."""

import json
import os
import random
import subprocess
from itertools import cycle
from pathlib import Path

from datasources.inventory import read_cluster
from tests.cloud import scenario
from tests.cloud.command import Command
from tests.cloud.conftest import Cloud
from tests.cloud.databases import mariadb, postgresql
from tests.cloud.ledger import Ledger
from tests.cloud.scenario import Scenario

KILLS = int(os.environ.get("PLACEWRIGHT_TEST_KILLS", "6"))
"""How often in all; docs/execution.md has the figures of a longer run."""

_LIVES_S = (1.5, 9.0)  # how long a program may live: it takes a second or two before it begins


def test_killed_at_random_moments(cloud: Cloud, fresh_scenario: Scenario, tmp_path: Path) -> None:
    """Hosts are drained in turn, until enough programs have been killed."""
    chance, kills = random.Random(os.environ.get("PLACEWRIGHT_TEST_SEED", "0")), 0
    for number, host in enumerate(cycle(("compute-3", "compute-5", "compute-1"))):
        directory = tmp_path / str(number)
        directory.mkdir()
        command = Command(cloud, directory)
        kills += _drained(command, host, chance, KILLS - kills)
        scenario.enable_host(cloud.connection, host)
        if kills >= KILLS:
            break


def test_two_programs_at_one_plan(cloud: Cloud, fresh_scenario: Scenario, tmp_path: Path) -> None:
    """Exactly one of them carries it out, on every kind of database."""
    with postgresql() as first, mariadb() as second:
        for kind, database in (("sqlite", ""), ("postgresql", first), ("mariadb", second)):
            directory = tmp_path / kind
            directory.mkdir()
            command = Command(cloud, directory, database)
            plan = command.audit("workload_stabilization", "--max-moves", "4", "--param", "aggressiveness=5",
                                 "--param", "thresholds.instance_cpu_usage=0.01")
            ledger = Ledger(cloud.connection, plan)
            reports = [directory / f"{n}.json" for n in range(2)]
            programs = [command.begin(*command.application, "--report", str(report)) for report in reports]
            said = [program.communicate(timeout=600)[1] for program in programs]
            (done,) = [n for n in range(2) if reports[n].exists()]
            assert programs[done].returncode == 0, said
            assert programs[1 - done].returncode == 1
            assert f"plan {plan['uuid']} is being carried out by another program" in said[1 - done]
            ledger.agrees_with(json.loads(reports[done].read_text()))
            again = command.run(*command.application)
            assert again.code == 1
            assert "was carried out at" in again.remarks


def _drained(command: Command, host: str, chance: random.Random, most: int) -> int:
    """Carry out the maintenance of a host, with so many programs killed at most; how many were."""
    plan = command.audit("host_maintenance", "--param", f"maintenance_node={host}")
    ledger = Ledger(command.cloud.connection, plan)
    report, kills = command.directory / "report.json", 0
    resume: tuple[str, ...] = ()
    while not report.exists():
        program = command.begin(*command.application, "--report", str(report), *resume)
        try:
            _, said = program.communicate(timeout=chance.uniform(*_LIVES_S) if kills < most else 900)
        except subprocess.TimeoutExpired:
            program.kill()
            program.communicate()
            kills, resume = kills + 1, ("--resume",)
            continue
        assert program.returncode in (0, 3) or "was never begun" in said, said
        resume = ()  # the one before was killed before it did anything
    ledger.agrees_with(json.loads(report.read_text()))
    switched = [action for action in json.loads(report.read_text())["actions"] if action["uuid"] not in ledger.moves]
    assert [action["state"] for action in switched] == ["SUCCEEDED"]
    assert read_cluster(command.cloud.connection).host_by_name[host].status == "disabled"
    return kills
