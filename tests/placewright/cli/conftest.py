"""The program in this process, and snapshots to run it on."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from optimizer.cluster import Cluster
from optimizer.snapshot import read_snapshot, write_snapshot
from placewright.cli.app import main
from tests.support.clusters import LOAD, make_cluster, make_group, make_host, make_server


@dataclass(frozen=True)
class Ended:
    """How a run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Stdout of a run with -f json."""
        return json.loads(self.out)  # type: ignore[no-any-return]


Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings and clouds of whoever runs the tests."""
    for name in ("OS_CLOUD", "OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_REGION_NAME", "OS_TOKEN", "CLIFF_MAX_TERM_WIDTH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program; a traceback is a failure whatever else is expected."""

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        seen = capsys.readouterr()
        assert "Traceback" not in seen.out + seen.err
        assert "internal error" not in seen.err, seen.err
        return Ended(code, seen.out, seen.err)

    return call


def named() -> Cluster:
    """Host a is hot, d nearly empty, b has a pair kept apart with one on c."""
    servers = [make_server(f"web{n}", "a", cpu_cores=1.0) for n in range(5)]
    servers += [make_server(f"db{n}", host, cpu_cores=0.5, vcpus=2) for n, host in enumerate("bc")]
    servers += [make_server("batch", "b", cpu_cores=0.2), make_server("lonely", "d", cpu_cores=0.1, status="SHUTOFF")]
    return make_cluster([make_host(name) for name in "abcd"], servers, load=LOAD, groups=(make_group("anti-affinity", "db0", "db1"),))


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """The named cluster as a file."""
    path = tmp_path / "snapshot.json"
    write_snapshot(named(), path)
    return path


Edit = Callable[[Callable[[Cluster], Cluster]], Path]


@pytest.fixture
def edited(snapshot: Path, tmp_path: Path) -> Edit:
    """Write the snapshot again with a change in it."""

    def edit(change: Callable[[Cluster], Cluster]) -> Path:
        path = tmp_path / "edited.json"
        write_snapshot(change(read_snapshot(snapshot)), path)
        return path

    return edit


@pytest.fixture
def plan(run: Run, snapshot: Path, tmp_path: Path) -> Path:
    """A plan that drains host a of the snapshot."""
    path = tmp_path / "plan.json"
    ended = run("audit", "run", "host_maintenance", "--snapshot", snapshot, "--param", "maintenance_node=a", "--out", path)
    assert ended.code == 0, ended.err
    return path


def without_load(cluster: Cluster) -> Cluster:
    """The cluster before anybody measured anything."""
    return replace(cluster, load=None, servers=tuple(replace(server, usage=None) for server in cluster.servers))
