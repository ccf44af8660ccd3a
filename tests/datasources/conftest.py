"""A synthetic cloud on loopback, and a connection to it made the way an operator's would be."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection

from benchmarks.synthetic_cloud import SyntheticCloud
from benchmarks.synthetic_http import PASSWORD, SyntheticServer
from datasources.connection import connect

Serve = Callable[..., tuple[SyntheticServer, Connection]]


@pytest.fixture(autouse=True)
def no_cloud_of_mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the clouds of whoever runs the tests out of them."""
    for name in ("OS_CLOUD", "OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_REGION_NAME", "OS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def clouds_yaml(tmp_path: Path) -> Callable[[str], None]:
    """Write the clouds.yaml that the next connection reads."""

    def write(text: str) -> None:
        (tmp_path / "clouds.yaml").write_text(text)

    return write


@pytest.fixture
def serve(clouds_yaml: Callable[[str], None]) -> Iterator[Serve]:
    """Serve a synthetic cloud until the test ends; returns the server and a connection to it."""
    with ExitStack() as stack:

        def start(
            cloud: SyntheticCloud, password: str = PASSWORD, **options: Any
        ) -> tuple[SyntheticServer, Connection]:
            server = stack.enter_context(SyntheticServer(cloud, **options).running())
            clouds_yaml(server.clouds_yaml(password))
            return server, connect("synthetic")

        yield start
    logging.getLogger("keystoneauth").setLevel(logging.NOTSET)
