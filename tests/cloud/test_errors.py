"""Clouds that cannot be read: one clear message, exit code 1."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.command import Command
from tests.cloud.conftest import Cloud

AUDIT = ("audit", "run", "workload_stabilization", "--cloud", "testbed")


def spoiled(cloud: Cloud, directory: Path, spoil: Callable[[dict[str, Any]], None]) -> str:
    """A clouds.yaml like the real one, with one thing wrong."""
    document = json.loads(cloud.clouds_yaml.read_text())
    spoil(document["clouds"]["testbed"])
    path = directory / "clouds.yaml"
    path.write_text(json.dumps(document))
    return str(path)


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda c: c["auth"].update(password="wrong"), ("401",)),
    (lambda c: c["auth"].update(auth_url="http://127.0.0.1:9/v3"), ("http://127.0.0.1:9",)),
    (lambda c: c["auth"].update(project_name="nobody"), ("nobody",)),
    (lambda c: c.update(compute_endpoint_override="http://127.0.0.1:9/v2.1"), ("http://127.0.0.1:9",)),
    (lambda c: c.update(metric_endpoint_override="http://127.0.0.1:9"), ("http://127.0.0.1:9",)),
], ids=["wrong password", "unreachable identity", "unknown project", "unreachable nova", "unreachable gnocchi"])
def test_a_cloud_that_cannot_be_read(cloud: Cloud, tmp_path: Path, spoil: Callable[[dict[str, Any]], None], words: tuple[str, ...]) -> None:
    out = tmp_path / "plan.json"
    done = Command(cloud, tmp_path).run(*AUDIT, "--out", str(out), OS_CLIENT_CONFIG_FILE=spoiled(cloud, tmp_path, spoil))
    assert done.code == 1
    assert done.out == ""
    assert all(word in done.remarks for word in words), done.remarks
    assert not out.exists()


def test_unknown_cloud(cloud: Cloud, tmp_path: Path) -> None:
    done = Command(cloud, tmp_path).run("cluster", "show", "--cloud", "nowhere")
    assert done.code == 1
    assert "nowhere" in done.remarks
    assert "testbed" in done.remarks


def test_no_gnocchi_in_the_catalog(cloud: Cloud, tmp_path: Path) -> None:
    (service,) = cloud.connection.identity.services(type="metric")
    cloud.connection.identity.update_service(service, is_enabled=False)
    try:
        done = Command(cloud, tmp_path).run(*AUDIT)
        assumed = Command(cloud, tmp_path).run(*AUDIT, "--param", "missing_load=flavor", "--time-limit", "1")
    finally:
        cloud.connection.identity.update_service(service, is_enabled=True)
    assert done.code == 1
    assert "no gnocchi endpoint" in done.remarks
    assert "missing_load" in done.remarks
    assert assumed.code == 0, assumed.remarks
