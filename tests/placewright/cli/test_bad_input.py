"""What can be wrong with what the operator gives: each is named, with its place and what would be right, and nothing is written."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synthetic_cloud import SyntheticCloud
from benchmarks.synthetic_http import PASSWORD, SyntheticServer
from optimizer.snapshot import read_snapshot
from tests.placewright.cli.conftest import Edit, Ended, Run, without_load


def refused(ended: Ended, code: int, *said: str) -> None:
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert all(part in ended.err for part in said), ended.err


def audit(run: Run, *more: object, strategy: str = "workload_stabilization") -> Ended:
    return run("audit", "run", strategy, *more)


# ---- the snapshot


def document() -> dict[str, Any]:
    host = {"id": "1", "name": "a", "inventory": {"VCPU": {"total": 4}}}
    server = {"id": "s", "name": "s", "host": "a", "flavor": "f", "resources": {"VCPU": 1}}
    flavor = {"name": "f", "vcpus": 1, "memory_mb": 1}
    return {"format": "placewright.snapshot", "version": 1,
            "cluster": {"name": "c", "taken_at": "2026-01-01T00:00:00Z", "hosts": [host], "servers": [server], "flavors": {"f": flavor}}}


def broken(change: str) -> bytes:
    whole = document()
    cluster = whole["cluster"]
    if change == "cut off":
        return json.dumps(whole).encode()[:100]
    if change == "no version":
        whole["version"] = 7
    if change == "two faults":
        cluster["servers"][0]["host"] = "nowhere"
        cluster["hosts"][0]["inventory"]["VCPU"]["total"] = -1
    if change == "unknown key":
        cluster["hosts"][0]["colour"] = "red"
    if change == "wrong types":
        cluster["hosts"][0]["name"] = 5
        del cluster["servers"][0]["resources"]
    if change == "a plan":
        whole = {"format": "placewright.plan", "version": 1}
    return json.dumps(whole).encode()


@pytest.mark.parametrize(("name", "content", "said"), [
    ("none.json", None, ["cannot be read: No such file"]),
    ("s.json", b"", ["Invalid JSON"]),
    ("s.json", b"\xff\xfe\x00", ["document"]),
    ("s.json", b"[1, 2]", ["1 fault", "document"]),
    ("s.json", broken("cut off"), ["Invalid JSON"]),
    ("s.json", broken("no version"), ["version", "1", "got 7"]),
    ("s.json", broken("two faults"), ["2 faults", "servers[0].host: there is no host 'nowhere'", "hosts[0].inventory.VCPU: total -1"]),
    ("s.json", broken("unknown key"), ["cluster.hosts[0].colour"]),
    ("s.json", broken("wrong types"), ["2 faults", "cluster.hosts[0].name", "got 5", "cluster.servers[0].resources"]),
    ("s.json", broken("a plan"), ["placewright.snapshot", "placewright.plan"]),
    ("s.json.gz", broken(""), ["cannot be read"]),
    ("s.json.xz", broken(""), ["is not a whole .xz file"]),
])
@pytest.mark.parametrize("words", [["cluster", "show"], ["audit", "run", "vm_workload_consolidation"]])
def test_snapshot(run: Run, tmp_path: Path, words: list[str], name: str, content: bytes | None, said: list[str]) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    refused(run(*words, "--snapshot", path), 1, f"placewright: {path}: ", *said)


def test_snapshot_is_a_directory(run: Run, tmp_path: Path) -> None:
    refused(run("cluster", "show", "--snapshot", tmp_path), 1, str(tmp_path), "directory")


# ---- strategy and parameters


@pytest.mark.parametrize(("words", "said"), [
    (["nope"], ["there is no strategy 'nope'", "host_maintenance, repair, vm_workload_consolidation, workload_stabilization"]),
    (["host_maintenance"], ["maintenance_node: Field required"]),
    (["host_maintenance", "--param", "maintenance_node=x"], ["there is no host 'x'; hosts are a, b, c, d"]),
    (["host_maintenance", "--param", "maintenance_node=x", "--param", "backup_node=y"], ["2 faults", "'x'", "'y'"]),
    (["workload_stabilization", "--param", "aggressiveness=9", "--param", "thresholds.cpu=0.1", "--param", "nope=1", "--param", "statistic=max"],
     ["4 faults", "aggressiveness: ", "got 9", "thresholds: cpu=0.1", "nope: there is no such parameter", "statistic"]),
    (["workload_stabilization", "--param", "thresholds=0.1", "--param", "thresholds.instance_cpu_usage=0.1"],
     ["thresholds.instance_cpu_usage", "as a value and as an object"]),
])
def test_strategy_and_parameters(run: Run, snapshot: Path, tmp_path: Path, words: list[str], said: list[str]) -> None:
    out = tmp_path / "plan.json"
    refused(run("audit", "run", *words, "--snapshot", snapshot, "--out", out), 1, *said)
    assert not out.exists()


@pytest.mark.parametrize(("option", "value", "said"), [
    ("--param", "aggressiveness", "'aggressiveness' is not KEY=VALUE"),
    ("--param", "=5", "'=5' is not KEY=VALUE"),
    ("--param", "a..b=5", "'a..b=5' is not KEY=VALUE"),
    ("--max-moves", "-1", "'-1' is not a whole number from 0"),
    ("--max-moves", "2.5", "'2.5' is not a whole number"),
    ("--max-moves", "99999999999999999999", "is not a whole number from 0 to 2147483647"),
    ("--seed", "99999999999999999999", "is not a whole number from 0 to 2147483647"),
    ("--seed", "x", "'x' is not a whole number"),
    ("--time-limit", "0", "'0' is not a number of seconds above 0"),
    ("--time-limit", "-3", "'-3' is not a number of seconds"),
    ("--time-limit", "nan", "'nan' is not a number of seconds"),
    ("--time-limit", "inf", "'inf' is not a number of seconds"),
    ("--time-limit", "soon", "'soon' is not a number of seconds"),
])
def test_options(run: Run, snapshot: Path, option: str, value: str, said: str) -> None:
    refused(audit(run, "--snapshot", snapshot, option, value), 2, option, said)


def test_values_are_json_or_text(run: Run, snapshot: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    ended = audit(run, "--snapshot", snapshot, "--out", out, "--param", 'metrics=["instance_ram_usage"]',
                  "--param", "thresholds.instance_ram_usage=0.5", "--param", "statistic=p95",
                  "--param", "move_locked=true", "--param", "statistic=p90")
    assert ended.code == 0, ended.err
    parameters = json.loads(out.read_text())["parameters"]
    assert parameters["metrics"] == ["instance_ram_usage"]
    assert parameters["thresholds"] == {"instance_cpu_usage": 0.1, "instance_ram_usage": 0.5}
    assert (parameters["statistic"], parameters["move_locked"]) == ("p90", True)


def test_snapshot_without_load(run: Run, edited: Edit, tmp_path: Path) -> None:
    path, out = edited(without_load), tmp_path / "p.json"
    refused(audit(run, "--snapshot", path, "--out", out), 1, "9 of 9 servers", "web0, web1", "missing_load", "flavor or idle")
    assert not out.exists()
    for choice in ("flavor", "idle"):
        ended = audit(run, "--snapshot", path, "--param", f"missing_load={choice}")
        assert ended.code == 0
        assert f"note: 9 of 9 servers have no measures; taken as {choice}." in ended.err
    assert run("audit", "run", "host_maintenance", "--snapshot", path, "--param", "maintenance_node=a").code == 0


# ---- files to be written


@pytest.mark.parametrize("words", [["audit", "run", "workload_stabilization", "--snapshot", "SNAPSHOT", "--out"],
                                   ["plan", "apply", "PLAN", "--simulate", "SNAPSHOT", "--yes", "--page"],
                                   ["plan", "apply", "PLAN", "--simulate", "SNAPSHOT", "--yes", "--report"],
                                   ["cluster", "save", "--cloud", "x"]])
def test_where_nothing_can_be_written_nothing_is_begun(run: Run, snapshot: Path, plan: Path, tmp_path: Path, words: list[str]) -> None:
    full = [{"SNAPSHOT": snapshot, "PLAN": plan}.get(word, word) for word in words]
    refused(run(*full, tmp_path / "no" / "such.json"), 1, f"{tmp_path}/no/such.json", "cannot be written", f"{tmp_path}/no does not exist")
    refused(run(*full, tmp_path), 1, "cannot be written: it is a directory")
    assert not (tmp_path / "no").exists()


def test_a_plan_file_stays_when_the_next_audit_fails(run: Run, snapshot: Path, plan: Path) -> None:
    before = plan.read_bytes()
    audit(run, "--snapshot", snapshot, "--out", plan, "--param", "aggressiveness=9")
    assert plan.read_bytes() == before
    assert sorted(path.name for path in plan.parent.iterdir()) == ["plan.json", "snapshot.json"]


# ---- the plan


def changed(plan: Path, **fields: Any) -> Path:
    path = plan.parent / "changed.json"
    path.write_text(json.dumps({**json.loads(plan.read_text()), **fields}))
    return path


def applied(run: Run, plan: Path, snapshot: Path, *more: object) -> Ended:
    return run("plan", "apply", plan, "--simulate", snapshot, "--yes", *more)


@pytest.mark.parametrize(("content", "said"), [
    (None, ["cannot be read: No such file"]),
    (b"", ["is not JSON"]),
    (b'{"format": "placewright.plan", "version": 1, "act', ["is not JSON"]),
    (b"[]", ['is not a plan file: an object with "format": "placewright.plan"']),
    (b'{"format": "placewright.plan", "version": 2}', ["version: 2, this program reads version 1"]),
    (b'{"format": "placewright.plan", "version": 1, "state": "DONE"}', ["uuid", "goal", "cluster", "state", "'DONE'"]),
])
def test_plan_file(run: Run, snapshot: Path, tmp_path: Path, content: bytes | None, said: list[str]) -> None:
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_bytes(content)
    refused(applied(run, path, snapshot), 1, f"placewright: {path}: ", *said)
    refused(run("plan", "show", path), 1, f"placewright: {path}: ", *said)


def test_plan_whose_parts_do_not_fit(run: Run, snapshot: Path, plan: Path) -> None:
    actions = json.loads(plan.read_text())["actions"]
    actions[1]["parents"] = ["nobody"]
    actions[2]["uuid"] = actions[0]["uuid"]
    refused(applied(run, changed(plan, actions=actions), snapshot), 1, "actions[1].parents[0]: no action has the uuid nobody", "actions[2].uuid")


def test_plan_of_another_cluster(run: Run, plan: Path, edited: Edit) -> None:
    other = edited(lambda c: replace(c, name="east", hosts=tuple(replace(host, id=f"other-{host.id}") for host in c.hosts)))
    refused(applied(run, plan, other), 1, "the plan was made for cluster 'test', this is 'east'", "host a is id-a in the plan and other-id-a here",
            "Run the audit")
    gone = edited(lambda c: replace(c, hosts=c.hosts[1:], servers=tuple(s for s in c.servers if s.host != "a")))
    refused(applied(run, plan, gone), 1, "host a does not exist here")


def test_plan_that_is_too_old(run: Run, snapshot: Path, plan: Path, tmp_path: Path) -> None:
    made = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
    refused(applied(run, changed(plan, created_at=made), snapshot), 1, "too old", "1500 minutes ago", "limit is 1440 minutes", "Run the audit again")
    (tmp_path / "c.conf").write_text("[execution]\nplan_max_age = 100000\n")
    ended = run("--config-file", tmp_path / "c.conf", "plan", "apply", changed(plan, created_at=made), "--simulate", snapshot, "--yes")
    assert ended.code == 0, ended.err


def test_plan_of_a_strategy_that_is_gone(run: Run, snapshot: Path, plan: Path) -> None:
    refused(applied(run, changed(plan, strategy="magic"), snapshot), 1, "there is no strategy 'magic'")
    refused(applied(run, changed(plan, parameters={"maintenance_node": "a", "x": 1}), snapshot), 1, "x: there is no such parameter")


# ---- the settings


@pytest.mark.parametrize(("text", "said"), [
    (None, ["does not exist"]),
    ("[execution]\nparallel_total = many\n", ["parallel_total", "many"]),
    ("[execution]\nparallel_per_host = 0\n", ["parallel_per_host", "0"]),
    ("[execution]\non_stall = force\n", ["on_stall = force", "abort, force_complete, wait"]),
    ("[execution]\nstall_timeout = 0\n", ["stall_timeout", "0"]),
    ("[time_model]\nbandwidth_mb_per_s = 0\n", ["bandwidth_mb_per_s", "0"]),
    ("[time_model]\nhost_bandwidth_mb_per_s = no\n", ["host_bandwidth_mb_per_s", "no"]),
    ("[time_model]\nhost_bandwidth_mb_per_s = 100\n", ["host_bandwidth_mb_per_s = 100", "bandwidth_mb_per_s = 500"]),
    ("[time_model]\nconvergence = pre_copy\n", ["convergence = pre_copy", "none, auto_converge, post_copy"]),
    ("[time_model]\nshared_storage = perhaps\n", ["shared_storage", "perhaps"]),
    ("[solver]\nthreads = -1\n", ["threads", "-1"]),
    ("this is no setting\n", ["c.conf"]),
    ("[execution\n", ["c.conf"]),
])
def test_config_file(run: Run, snapshot: Path, tmp_path: Path, text: str | None, said: list[str]) -> None:
    path = tmp_path / "c.conf"
    if text is not None:
        path.write_text(text)
    refused(run("--config-file", path, "audit", "run", "workload_stabilization", "--snapshot", snapshot), 1, str(path), *said)


# ---- the cloud


@contextmanager
def cloud(tmp_path: Path, password: str = PASSWORD, **options: Any) -> Iterator[SyntheticServer]:
    with SyntheticServer(SyntheticCloud(4, 8), **options).running() as server:
        (tmp_path / "clouds.yaml").write_text(server.clouds_yaml(password))
        yield server


def test_no_clouds_yaml(run: Run) -> None:
    refused(run("cluster", "show", "--cloud", "prod"), 1, "'prod'", "no clouds.yaml")


def test_unknown_cloud(run: Run, tmp_path: Path) -> None:
    with cloud(tmp_path):
        refused(run("cluster", "show", "--cloud", "prod"), 1, "'prod'", "known clouds: synthetic")


def test_wrong_password(run: Run, tmp_path: Path) -> None:
    with cloud(tmp_path, password="wrong"):
        refused(run("cluster", "show", "--cloud", "synthetic"), 1, "refused the credentials", "password")
        refused(run("cluster", "save", tmp_path / "s.json", "--cloud", "synthetic"), 1, "refused the credentials")
    assert not (tmp_path / "s.json").exists()


def test_unreachable_endpoint(run: Run, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"far": {"auth": {
        "auth_url": f"http://127.0.0.1:{port}/v3", "username": "u", "password": "p", "project_name": "p", "user_domain_name": "d",
        "project_domain_name": "d"}}}}))
    refused(run("cluster", "show", "--cloud", "far"), 1, f"http://127.0.0.1:{port}/v3")


def test_gnocchi_missing(run: Run, tmp_path: Path) -> None:
    with cloud(tmp_path, services=("identity", "compute", "placement", "image")):
        refused(audit(run, "--cloud", "synthetic"), 1, "gnocchi")
        ended = run("audit", "run", "host_maintenance", "--cloud", "synthetic", "--param", "maintenance_node=nope")
        refused(ended, 1, "there is no host 'nope'")


def test_servers_without_measures(run: Run, tmp_path: Path) -> None:
    with cloud(tmp_path):
        refused(audit(run, "--cloud", "synthetic"), 1, "no measures")
        assert audit(run, "--cloud", "synthetic", "--param", "missing_load=idle").code == 0


def test_a_cloud_can_be_shown_saved_and_audited(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "s.json.gz"
    with cloud(tmp_path):
        assert len(run("cluster", "show", "--cloud", "synthetic", "-f", "json").rows) == 4
        saved = run("cluster", "save", out, "--cloud", "synthetic")
        assert (saved.code, saved.out) == (0, "")
        assert f"{out}: 4 hosts, 8 servers" in saved.err
        refused(run("cluster", "save", out, "--cloud", "synthetic", "--load-window", "0"), 2, "--load-window", "'0' is not a whole number from 1")
    assert len(read_snapshot(out).servers) == 8
