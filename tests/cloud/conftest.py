"""The cloud that the tests in this directory run against, once for the whole session."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openstack
import pytest
from openstack.connection import Connection

from tests.cloud import scenario
from tests.cloud.scenario import Scenario

TESTBED = Path(__file__).parent / "testbed" / "testbed.py"
COMPUTES = 8


@dataclass(frozen=True)
class Cloud:
    """A running cloud: a connection as its administrator, and the environment that names it to a subprocess."""

    connection: Connection
    environment: dict[str, str]
    clouds_yaml: Path


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """The testbed with eight computes, or the cloud `testbed` of the file in $PLACEWRIGHT_TESTBED_RUNNING.

    A testbed that was started here is stopped at the end; its installation stays.
    """
    running = os.environ.get("PLACEWRIGHT_TESTBED_RUNNING")
    try:
        clouds_yaml = Path(running).resolve() if running else _start()
        if not clouds_yaml.is_file():
            pytest.exit(f"PLACEWRIGHT_TESTBED_RUNNING is {running}; it must name a clouds.yaml", returncode=1)
        # What the caller has set for a cloud of his own must not mix with ours.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        environment = {**inherited, "OS_CLIENT_CONFIG_FILE": str(clouds_yaml), "OS_CLOUD": "testbed"}
        config = openstack.config.OpenStackConfig(config_files=[str(clouds_yaml)], load_envvars=False)
        with Connection(config=config.get_one(cloud="testbed")) as connection:
            yield Cloud(connection, environment, clouds_yaml)
    finally:
        if not running:
            subprocess.run([sys.executable, TESTBED, "stop"], check=True, capture_output=True)


@pytest.fixture
def fresh_scenario(cloud: Cloud) -> Iterator[Scenario]:
    """The acceptance scenario, built anew for one test and cleared after it."""
    yield scenario.build(cloud.connection)
    scenario.clear(cloud.connection)


def _start() -> Path:
    for action in (["install"], ["start", "--computes", str(COMPUTES)]):
        done = subprocess.run([sys.executable, TESTBED, *action], text=True, capture_output=True)
        if done.returncode:
            said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
            pytest.exit(f"testbed.py {action[0]} failed:\n{said}", returncode=1)
    # The last line is: export OS_CLIENT_CONFIG_FILE=<path> OS_CLOUD=testbed
    return Path(done.stdout.split("OS_CLIENT_CONFIG_FILE=")[-1].split(" OS_CLOUD=")[0])
