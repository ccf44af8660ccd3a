"""The reader of the clusters of Watcher's benchmark, and plans that its replay admits."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import watcher
from migrate.order import Step
from optimizer.errors import PlacewrightError
from optimizer.placement import placement_of

PEERS = Path(watcher.__file__).parent / "peers" / "watcher"


def peer(name: str) -> ModuleType:
    """A script of the peers' folder as a module."""
    spec = importlib.util.spec_from_file_location(name, PEERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return peer("gen_cluster").generate(12, 100, 4)


@pytest.fixture(scope="module")
def path(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("watcher") / "cluster.json"
    file.write_text(json.dumps(document))
    return file


def test_the_cluster_is_that_of_the_file(document: dict[str, Any], path: Path) -> None:
    cluster = watcher.read_cluster(path)
    assert [host.name for host in cluster.hosts] == [one["name"] for one in document["hosts"]]
    for host, one in zip(cluster.hosts, document["hosts"], strict=True):
        assert (host.zone, host.traits, host.physical_cores) == (one["az"], tuple(one["traits"]), one["vcpus"])
        assert host.inventory["MEMORY_MB"].capacity == one["ram_mb"] - one["reserved_ram_mb"]
        assert host.inventory["VCPU"].capacity == 3 * one["vcpus"]
    for server, one in zip(cluster.servers, document["vms"], strict=True):
        assert server.usage is not None
        assert (server.id, server.host, server.pinned_zone) == (one["id"], one["host"], one.get("pinned_az"))
        assert server.usage.cpu_cores == pytest.approx(one["vcpus"] * one["cpu_util"] / 100)
        assert cluster.flavor_of(server).extra_specs == {f"trait:{name}": "required" for name in one.get("required_traits", ())}
    assert [group.members for group in cluster.groups] == [tuple(one["members"]) for one in document["server_groups"]]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"hosts": [{}], "vms": []}', '{"hosts": [], "vms": [{"id": "a", "state": "lost"}]}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(PlacewrightError, match=r"other\.json: not a cluster file"):
        watcher.read_cluster(file)


def test_the_figures_are_those_of_the_peer(document: dict[str, Any], path: Path) -> None:
    cluster = watcher.read_cluster(path)
    theirs = peer("watcher_bench").Cluster(document).metrics()
    ours = watcher.figures(cluster, placement_of(cluster))
    assert {name: theirs[name] for name in ours if name in theirs} == {name: value for name, value in ours.items() if name in theirs}


@pytest.mark.parametrize("strategy", sorted(watcher.DEFAULTS))
def test_no_move_is_refused(document: dict[str, Any], path: Path, strategy: str) -> None:
    found = watcher.run(path, strategy, {}, 60, 1, 1)
    cluster, refused, done, _ = peer("watcher_bench").replay(document, [("migrate", *move) for move in found["plan"]], admit=True)
    after = cluster.metrics()
    assert (refused, done, found["left_out"]) == ({}, len(found["plan"]), 0)
    assert after["hosts_over_capacity"] == sum(after["policy_violations"].values()) == 0
    assert {name: after[name] for name in found["after"] if name in after} == {k: v for k, v in found["after"].items() if k in after}
    if strategy == "workload_stabilization":
        assert after["cpu_sd"] <= 0.1
        assert found["levels"][1]["bound"] > len(found["plan"]) - 1
    else:
        assert found["levels"][0]["gap"] == 0
        assert after["hosts_empty"] == found["after"]["hosts_empty"] > 2
        assert after["cpu_max"] <= 0.95


def steps(*parents: tuple[int, ...]) -> list[Step]:
    return [Step(n, 0, 1, waits) for n, waits in enumerate(parents)]


@pytest.mark.parametrize(("given", "expected"), [
    ((), []), (((),), [0]), (((), (0,)), [0, 1]), (((), (0,), ()), [0, 2, 1]), (((), (0,), (1,), (), ()), [0, 3, 1, 4, 2]),
    (((), (), (0, 1), (0,)), [0, 1, 2, 3]),
])
def test_no_step_of_a_pair_waits_for_the_other(given: tuple[tuple[int, ...], ...], expected: list[int]) -> None:
    assert watcher.in_batches(steps(*given), 2) == expected


def test_the_command_line(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.watcher", "--cluster", str(path), "--seconds", "20", "--threads", "1", "--out", str(out)]
    done = subprocess.run([*command, "--param", "max_cpu_percent=80"], check=True, capture_output=True, text=True)
    shown, written = json.loads(done.stdout), json.loads(out.read_text())
    assert "plan" not in shown
    assert written["plan"]
    assert written["parameters"] == {"max_cpu_percent": 80}
    refused = subprocess.run([*command, "--param", "max_cpu_percent"], check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "NAME=VALUE" in refused.stderr
