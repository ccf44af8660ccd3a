"""The Congress that the tests in this directory run against, once for the whole session."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTBED = Path(__file__).parent / "testbed" / "testbed.py"


@pytest.fixture(scope="session")
def congress() -> Iterator[str]:
    """The address of a Congress without policies; it is stopped at the end, its installation stays."""
    try:
        for action in ("install", "stop", "start"):
            done = subprocess.run([sys.executable, TESTBED, action], text=True, capture_output=True)
            if done.returncode:
                pytest.exit(f"testbed.py {action} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}", returncode=1)
        yield done.stdout.strip()
    finally:
        subprocess.run([sys.executable, TESTBED, "stop"], check=True, capture_output=True)
