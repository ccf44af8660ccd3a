"""Nova's answers get lost and its requests go wrong while plans are carried out: no wrong move, and none that the report does not tell of."""

import json
import os
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

from tests.cloud import scenario
from tests.cloud.command import Command
from tests.cloud.conftest import Cloud
from tests.cloud.faults import faults
from tests.cloud.ledger import Ledger
from tests.cloud.scenario import Scenario

FAULTS = int(os.environ.get("PLACEWRIGHT_TEST_FAULTS", "60"))
"""How many in all; docs/execution.md has the figures of a longer run."""

TIMEOUT_S = 4
"""Of an answer: longer than any that is only slow, and soon over where none comes."""


def test_faults_between_us_and_nova(cloud: Cloud, fresh_scenario: Scenario, tmp_path: Path) -> None:
    """Hosts are drained in turn, until enough has gone wrong."""
    connection, seed = cloud.connection, int(os.environ.get("PLACEWRIGHT_TEST_SEED", "0"))
    nova = urlsplit(connection.compute.get_endpoint())
    total = 0
    for number, host in enumerate(cycle(("compute-3", "compute-5", "compute-1"))):
        directory = tmp_path / str(number)
        directory.mkdir()
        plan = Command(cloud, directory).audit("host_maintenance", "--param", f"maintenance_node={host}")
        ledger = Ledger(connection, plan)
        with faults(f"{nova.scheme}://{nova.netloc}", 0.1, seed + number) as proxy:
            behind = directory / "clouds.yaml"
            document = json.loads(cloud.clouds_yaml.read_text())
            document["clouds"]["testbed"]["compute_endpoint_override"] = f"{proxy.url}{nova.path}"
            behind.write_text(json.dumps(document))
            environment = {**cloud.environment, "OS_CLIENT_CONFIG_FILE": str(behind)}
            done, report = Command(replace(cloud, environment=environment), directory, settings=f"[nova]\ntimeout = {TIMEOUT_S}").apply()
        total += proxy.total
        assert done.code in (0, 3), done.remarks
        ledger.agrees_with(report)
        print(f"{host}: {report['counts']}, {proxy.total} faults: {dict(proxy.done)}")
        scenario.enable_host(connection, host)
        if total >= FAULTS:
            break
