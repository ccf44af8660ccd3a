"""Every command in every format: data on stdout, remarks on stderr."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from optimizer.snapshot import read_snapshot, write_snapshot
from tests.placewright.cli.conftest import Edit, Run, without_load
from tests.support.clusters import make_cluster, make_host, make_server

FORMATS = ["table", "json", "yaml", "csv", "value"]
PROGRAM = [sys.executable, "-m", "placewright"]


def arguments(command: str, snapshot: Path, plan: Path) -> list[object]:
    return {
        "cluster show": ["cluster", "show", "--snapshot", snapshot],
        "strategy list": ["strategy", "list"],
        "strategy show": ["strategy", "show", "workload_stabilization"],
        "audit run": ["audit", "run", "workload_stabilization", "--snapshot", snapshot],
        "plan show": ["plan", "show", plan],
        "plan apply": ["plan", "apply", plan, "--simulate", snapshot, "--yes"],
    }[command]


ROWS = {"cluster show": ("Host", 4), "strategy list": ("Name", 5), "strategy show": ("Parameter", 17), "audit run": ("Step", None),
        "plan show": ("Step", 6), "plan apply": ("Step", 6)}
SAID = {"cluster show": "4 hosts, 9 servers, 1 server groups", "audit run": "workload_stabilization on test", "plan show": "host_maintenance on test",
        "plan apply": "6 SUCCEEDED"}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("command", list(ROWS))
def test_data_on_stdout_remarks_on_stderr(run: Run, snapshot: Path, plan: Path, command: str, form: str) -> None:
    ended = run(*arguments(command, snapshot, plan), "-f", form)
    assert ended.code == 0, ended.err
    assert SAID.get(command, "") in ended.err
    assert not SAID.get(command) or SAID[command] not in ended.out
    if command in ("strategy list", "strategy show"):
        assert ended.err == ""
    first, count = ROWS[command]
    rows = parsed(form, ended.out)
    assert len(rows) == count if count else rows
    if form in ("json", "csv"):
        assert next(iter(rows[0])) == first


def parsed(form: str, text: str) -> list[Any]:
    """The rows in a text; fails on anything that is not of the format."""
    if form == "json":
        return json.loads(text)  # type: ignore[no-any-return]
    if form == "yaml":
        return yaml.safe_load(text)  # type: ignore[no-any-return]
    if form == "csv":
        return list(csv.DictReader(io.StringIO(text), strict=True))
    lines = text.splitlines()
    if form == "table":
        assert all(line[0] in "+|" for line in lines), text
        lines = [line for line in lines if line.startswith("|")][1:]
    return lines


def test_cluster_show(run: Run, snapshot: Path) -> None:
    rows = run("cluster", "show", "--snapshot", snapshot, "-f", "json").rows
    assert rows[0] == {"Host": "a", "Zone": "nova", "Service": "enabled, up", "Servers": 5, "VCPU": "5 / 8", "MEMORY_MB": "5120 / 16384",
                       "cpu load %": 62.5, "memory load %": 15.6}


def test_cluster_show_without_load(run: Run, edited: Edit) -> None:
    assert "cpu load %" not in run("cluster", "show", "--snapshot", edited(without_load), "-f", "json").rows[0]


def test_cluster_show_with_a_server_that_has_no_load(run: Run, edited: Edit) -> None:
    path = edited(lambda c: c.with_servers((*c.servers, make_server("new", "a"))))
    ended = run("cluster", "show", "--snapshot", path, "-f", "json")
    assert ended.code == 0, ended.err
    assert ended.rows[0]["Servers"] == 6


def test_cluster_show_names_what_is_broken_and_what_cannot_move(run: Run, edited: Edit) -> None:
    def change(cluster: Any) -> Any:
        servers = tuple(replace(s, host="b", locked=True) if s.id == "db1" else s for s in cluster.servers)
        return replace(cluster, servers=servers, notes=("the reader [guessed]",))
    ended = run("cluster", "show", "--snapshot", edited(change))
    assert "broken: anti_affinity: anti-affinity group group: 2 members on b (db0, db1)" in ended.err
    assert "1 servers cannot be moved: 1 locked" in ended.err
    assert "note: the reader [guessed]" in ended.err


def test_strategy_show_tells_what_must_be_given(run: Run) -> None:
    rows = {row["Parameter"]: row for row in run("strategy", "show", "host_maintenance", "-f", "json").rows}
    assert rows["maintenance_node"]["Default"] == "(required)"
    assert rows["backup_node"]["Default"] == "null"
    assert all(row["Description"] for row in rows.values())


def test_names_that_look_like_markup(run: Run, tmp_path: Path, edited: Edit) -> None:
    name = "[/red] web[0] :smile:"

    def change(cluster: Any) -> Any:
        servers = tuple(replace(s, name=name, locked=s.id == "web0") if s.id in ("web0", "web1") else s for s in cluster.servers)
        return replace(cluster, name="[bold]cloud[/]", servers=servers)

    path, out = edited(change), tmp_path / "p.json"
    audit = run("audit", "run", "host_maintenance", "--snapshot", path, "--param", "maintenance_node=a", "--out", out)
    assert audit.code == 0
    assert f"{name} cannot be moved: it is locked" in audit.err
    assert "host_maintenance on [bold]cloud[/]" in audit.err
    later = edited(lambda c: change(c).with_servers(tuple(s for s in change(c).servers if s.id != "web1")))
    applied = run("plan", "apply", out, "--simulate", later, "--yes")
    assert applied.code == 3
    assert f"SKIPPED live migration of {name} from a" in applied.err
    missing = run("plan", "show", "[/x].json")
    assert (missing.code, missing.err) == (1, "placewright: [/x].json: 1 fault\n  cannot be read: No such file or directory\n")


@pytest.mark.parametrize("words", [[], ["-v"], ["nonsense"], ["cluster"], ["cluster", "burn"], ["plan", "show"], ["cluster", "show"],
                                   ["cluster", "show", "--snapshot", "a", "--cloud", "b"], ["cluster", "save", "f"], ["strategy", "show"],
                                   ["audit", "run", "--snapshot", "x"], ["plan", "apply", "p"], ["strategy", "list", "-f", "xml"]])
def test_wrong_usage(run: Run, words: list[str]) -> None:
    ended = run(*words)
    assert ended.code == 2
    assert ended.err.strip()
    assert ended.out == ""


def test_a_column_that_is_not_there(run: Run) -> None:
    ended = run("strategy", "list", "-c", "Nope")
    assert ended.code == 2
    assert "Nope" in ended.err
    assert run("strategy", "list", "-c", "Goal", "-f", "value").out.split() == ["host_recovery", "cluster_maintaining", "policy_compliance",
                                                                                       "server_consolidation", "workload_balancing"]


@pytest.mark.parametrize("words", [["--help"], ["help"], ["help", "audit", "run"], ["audit", "run", "--help"]])
def test_help(run: Run, words: list[str]) -> None:
    ended = run(*words)
    assert ended.code == 0
    assert "placewright" in ended.out


def test_version(run: Run) -> None:
    assert run("--version").out.split()[-1] == version("placewright")


@pytest.mark.parametrize("cluster", [make_cluster([]), make_cluster([make_host("a")])])
@pytest.mark.parametrize("strategy", ["workload_stabilization", "vm_workload_consolidation"])
def test_nothing_there(run: Run, edited: Edit, cluster: Any, strategy: str) -> None:
    path = edited(lambda _: cluster)
    assert run("cluster", "show", "--snapshot", path).code == 0
    ended = run("audit", "run", strategy, "--snapshot", path, "-f", "json")
    assert (ended.code, ended.rows) == (0, [])
    assert "No move is needed" in ended.err


def test_as_a_program(snapshot: Path) -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run([*PROGRAM, "cluster", "show", "--snapshot", snapshot, "-f", "json"], cwd=root, capture_output=True, text=True,
                          check=False, timeout=60)
    assert done.returncode == 0
    assert [row["Host"] for row in json.loads(done.stdout)] == ["a", "b", "c", "d"]
    assert "9 servers" in done.stderr


def test_compressed_snapshots(run: Run, snapshot: Path, tmp_path: Path) -> None:
    for ending in (".gz", ".xz"):
        path = tmp_path / f"s.json{ending}"
        write_snapshot(read_snapshot(snapshot), path)
        assert len(run("cluster", "show", "--snapshot", path, "-f", "json").rows) == 4
