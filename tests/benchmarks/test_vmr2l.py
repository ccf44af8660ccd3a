"""The reader of VMR2L's mappings, and the ordered moves for them."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import vmr2l
from optimizer.cluster import Cluster, NumaNode
from optimizer.errors import PlacewrightError
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.placement import placement_of
from optimizer.snapshot import read_snapshot
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime

MEDIUM = Path(vmr2l.__file__).parent / "data" / "vmr2l" / "medium.json.xz"


def machine(name: str, status: str = "ACTIVE") -> dict[str, Any]:
    nodes = [{"node": k, "total_cpu": 44, "free_cpu": 7.0, "memory_huge_total_mb": 184388.0, "memory_huge_free_mb": 1.0} for k in (1, 0)]
    return {"node_id": name, "status": status, "node_cpu": 88, "node_mem_mb": 368776.0, "numa": nodes, "rack_id": 2}


def vm(name: str, host: str, cpu: int, *nodes: int, allow: bool = True) -> dict[str, Any]:
    return {"instance_id": name, "instance_type": "xxx.xxx.2xlarge", "host_id": host, "allow_migration": allow,
            "numa": [{"node": node, "cpu": cpu, "mem_mb": 2048.0 * cpu} for node in nodes]}


SMALL: dict[str, Any] = {
    "cluster_list": [
        {"cluster_name": "east", "host_info": [machine("pm_0"), machine("pm_1")],
         "vm_instance": [vm("vm_0", "pm_0", 32, 0), vm("vm_1", "pm_0", 4, 1), vm("vm_2", "pm_0", 8, 1, 0), vm("vm_3", "pm_1", 4, 0, allow=False)]},
        {"cluster_name": "west", "host_info": [machine("pm_2"), machine("pm_3", "OFFLINE")],
         "vm_instance": [vm("vm_4", "pm_2", 44, 0), vm("vm_5", "pm_2", 24, 1), vm("vm_6", "pm_3", 8, 0), vm("vm_7", "pm_2", 8, 1)]}],
    "vm_type_list": [], "general_requirement": {}}


def written(folder: Path, document: Any) -> Path:
    path = folder / "mapping.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def without(*path: str | int) -> dict[str, Any]:
    """The small mapping less one entry."""
    document = copy.deepcopy(SMALL)
    inner: Any = document
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return document


@pytest.mark.parametrize("document", [
    "", "[]", "null", "{}", "{", {"cluster_list": [1]}, without("cluster_list"), without("cluster_list", 0, "cluster_name"),
    without("cluster_list", 0, "host_info", 0, "numa"), without("cluster_list", 0, "host_info", 0, "numa", 0, "total_cpu"),
    without("cluster_list", 1, "vm_instance", 0, "host_id"), without("cluster_list", 1, "vm_instance", 0, "numa", 0, "cpu"),
    {**SMALL, "format": "placewright.snapshot"},
])
def test_files_that_are_no_mapping(tmp_path: Path, document: Any) -> None:
    with pytest.raises(PlacewrightError, match=r"mapping\.json"):
        vmr2l.read_mapping(written(tmp_path, document))


def test_a_mapping_as_a_cluster(tmp_path: Path) -> None:
    cluster = vmr2l.read_mapping(written(tmp_path, SMALL))
    assert [(host.name, host.zone, host.available) for host in cluster.hosts] == [
        ("pm_0", "east", True), ("pm_1", "east", True), ("pm_2", "west", True), ("pm_3", "west", False)]
    assert cluster.hosts[0].numa == (NumaNode(cpus=44, memory_mb=184388),) * 2
    assert [(server.id, server.host, server.numa, server.resources["VCPU"], bool(server.obstacles)) for server in cluster.servers] == [
        ("vm_0", "pm_0", (0,), 32, False), ("vm_1", "pm_0", (1,), 4, False), ("vm_2", "pm_0", (0, 1), 16, False), ("vm_3", "pm_1", (0,), 4, True),
        ("vm_4", "pm_2", (0,), 44, False), ("vm_5", "pm_2", (1,), 24, False), ("vm_6", "pm_3", (0,), 8, True), ("vm_7", "pm_2", (1,), 8, False)]
    # pm_0: 44 - 32 - 8 and 44 - 4 - 8; pm_1: 40 and 44; pm_2: 0 and 12; pm_3 does not count.
    free = Fragmentation(16, numa=True).free(cluster, placement_of(cluster))
    assert list(free.values()) == [4, 32, 40, 44, 0, 12]


def carried_out(cluster: Cluster, moves: list[list[Any]]) -> int:
    """Carry out moves by nothing but arithmetic, each when the one before has ended; the 16-core slots that are free then."""
    free = {(host.name, k): [node.cpus, node.memory_mb] for host in cluster.hosts for k, node in enumerate(host.numa)}
    at = {server.id: [(server.host, k) for k in server.numa] for server in cluster.servers}
    need = {server.id: [server.resources[name] // len(server.numa) for name in ("VCPU", "MEMORY_MB")] for server in cluster.servers}
    active = {host.name for host in cluster.hosts if host.available}

    def take(server: str, sign: int) -> None:
        for node in at[server]:
            free[node] = [have - sign * want for have, want in zip(free[node], need[server], strict=True)]

    for server in at:
        take(server, 1)
    for server, host, *node in moves:
        before = at[server]
        at[server] = [(host, k) for k in (node if node else [k for _, k in before])]
        assert at[server] != before
        assert host in active
        assert all(have >= want for spot in at[server] for have, want in zip(free[spot], need[server], strict=True)), (server, host, node)
        take(server, 1)
        after, at[server] = at[server], before
        take(server, -1)
        at[server] = after
    return sum(cpu // 16 for (host, _), (cpu, _) in free.items() if host in active)


@pytest.mark.parametrize(("max_moves", "slots"), [(25, 24), (50, 37), (100, 62)])
def test_the_published_mapping_is_solved_and_proven(max_moves: int, slots: int) -> None:
    problem = vmr2l.problem_of(read_snapshot(MEDIUM), max_moves)
    result = solve(problem, MaxRuntime(120), seed=1)
    moves, reached = vmr2l.ordered_moves(problem, result.placement)
    assert problem.values(reached) == result.values
    assert result.status == "optimal"
    assert len(moves) == result.values[1] <= max_moves
    assert carried_out(problem.cluster, moves) == slots


def test_clusters_are_crossed_unless_told_otherwise(tmp_path: Path) -> None:
    # 12 cores are free on a node of pm_2: vm_7 makes a slot of them when it leaves, and has a place with cores to spare on pm_1 alone.
    cluster = vmr2l.read_mapping(written(tmp_path, SMALL))
    for same_cluster, slots in ((False, 7), (True, 6)):
        problem = vmr2l.problem_of(cluster, 2, same_cluster=same_cluster)
        result = solve(problem, MaxRuntime(60), seed=1)
        assert Fragmentation(16, numa=True).slots(cluster, result.placement) == slots, result.placement


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    case, out, snapshot = written(tmp_path, SMALL), tmp_path / "moves.json", tmp_path / "snapshot.json"
    monkeypatch.setattr(sys, "argv", ["vmr2l", "--case", str(case), "--mnl", "2", "--seconds", "30", "--out", str(out)])
    assert vmr2l.main() == 0
    said = json.loads(capsys.readouterr().out)
    moves = json.loads(out.read_text())
    assert said["moves"] == len(moves) <= 2
    assert carried_out(vmr2l.read_mapping(case), moves) == said["slots_after"] > said["slots_before"]
    monkeypatch.setattr(sys, "argv", ["vmr2l", "--case", str(case), "--snapshot", str(snapshot)])
    assert vmr2l.main() == 0
    assert read_snapshot(snapshot) == vmr2l.read_mapping(snapshot) == vmr2l.read_mapping(case)


@pytest.mark.parametrize("arguments", [[], ["--out", "x", "--mnl", "-1"], ["--out", "x", "--core", "0"], ["--out", "x", "--seconds", "0"]])
def test_bad_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["vmr2l", "--case", str(written(tmp_path, SMALL)), *arguments])
    with pytest.raises(SystemExit) as stopped:
        vmr2l.main()
    assert stopped.value.code == 1
