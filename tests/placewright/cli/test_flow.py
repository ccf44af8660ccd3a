"""From the audit to the end of its plan, as an operator goes: predicted is reached, and what others changed meanwhile is skipped."""

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrate.executor import ActionReport, Report
from migrate.plan import read_plan
from optimizer.cluster import Cluster
from optimizer.snapshot import read_snapshot
from placewright.apply import Outcome
from placewright.cli.plan import advice
from placewright.goal import Achieved
from tests.placewright.cli.conftest import Edit, Ended, Run, named
from tests.support.clusters import make_group

STRATEGIES = [
    ("workload_stabilization", ["--param", "aggressiveness=5"]),
    ("vm_workload_consolidation", []),
    ("host_maintenance", ["--param", "maintenance_node=a"]),
    ("host_maintenance", ["--param", "maintenance_node=id-a", "--param", "backup_node=d", "--param", "disable_live_migration=true"]),
]


def audit(run: Run, strategy: str, snapshot: Path, out: Path, *more: object) -> dict[str, Any]:
    ended = run("audit", "run", strategy, "--snapshot", snapshot, "--out", out, *more)
    assert ended.code == 0, ended.err
    return json.loads(out.read_text())  # type: ignore[no-any-return]


def apply(run: Run, plan: Path, snapshot: Path, report: Path) -> tuple[Ended, dict[str, Any]]:
    ended = run("plan", "apply", plan, "--simulate", snapshot, "--yes", "-f", "json", "--report", report)
    return ended, json.loads(report.read_text())


@pytest.mark.parametrize(("strategy", "parameters"), STRATEGIES)
def test_what_is_predicted_is_reached(run: Run, snapshot: Path, tmp_path: Path, strategy: str, parameters: list[str]) -> None:
    plan = audit(run, strategy, snapshot, tmp_path / "plan.json", *parameters)
    assert plan["state"] == "RECOMMENDED"
    assert plan["status"] == "optimal"
    ended, report = apply(run, tmp_path / "plan.json", snapshot, tmp_path / "report.json")
    assert ended.code == 0
    assert report["reached"] == plan["after"] != plan["before"]
    assert report["before"] == plan["before"]
    assert (report["misplaced"], report["broken"]) == ([], [])
    assert [row["State"] for row in ended.rows] == ["SUCCEEDED"] * len(plan["actions"])
    assert "note:" not in ended.err
    assert len(ended.rows) == len(plan["actions"]) > 0


@pytest.mark.parametrize(("strategy", "parameters"), STRATEGIES)
def test_the_plan_file(run: Run, snapshot: Path, tmp_path: Path, strategy: str, parameters: list[str]) -> None:
    plan = audit(run, strategy, snapshot, tmp_path / "plan.json", *parameters)
    assert {"actions", "before", "after", "objective", "bound", "gap", "refused"} <= plan.keys()
    assert plan["gap"] == pytest.approx(0, abs=1e-6)
    assert plan["bound"] == pytest.approx(plan["objective"])
    for action in plan["actions"]:
        assert {"uuid", "action_type", "input_parameters", "parents", "reason", "benefit", "cost"} <= action.keys()
        wanted = {"resource_id", "resource_name", "migration_type", "source_node", "destination_node"}
        if action["action_type"] == "change_nova_service_state":
            wanted = {"resource_id", "resource_name", "state"}
        assert wanted <= action["input_parameters"].keys()
        assert action["reason"]
        assert action["cost"]["expected_s"] > 0
    kinds = {a["input_parameters"]["migration_type"] for a in plan["actions"] if a["action_type"] == "migrate"}
    assert ("live" not in kinds) == ("disable_live_migration=true" in parameters)


def test_soft_groups_move_although_they_are_apart_on_the_way(run: Run, edited: Edit, tmp_path: Path) -> None:
    path = edited(lambda c: replace(c, groups=(make_group("soft-affinity", "web0", "web1", "web2"),)))
    plan = audit(run, "host_maintenance", path, tmp_path / "plan.json", "--param", "maintenance_node=a")
    to = {a["input_parameters"]["resource_name"]: a["input_parameters"].get("destination_node") for a in plan["actions"]}
    assert len({to["web0"], to["web1"], to["web2"]}) == 1
    ended, report = apply(run, tmp_path / "plan.json", path, tmp_path / "report.json")
    assert ended.code == 0, ended.err
    assert report["reached"] == plan["after"]


def lost(name: str) -> Callable[[Cluster], Cluster]:
    return with_host(name, state="down", forced_down=True)


@pytest.mark.parametrize(("strategy", "parameters"), [
    ("host_evacuation", ["--param", "failed_node=a"]),
    ("repair", ["--param", "evacuate_fenced=true", "--policy", "file:rules.yaml"]),
])
def test_a_host_that_has_failed(run: Run, edited: Edit, tmp_path: Path, strategy: str, parameters: list[str]) -> None:
    (tmp_path / "rules.yaml").write_text("version: 1\nrules:\n- {rule: evacuate, hosts: {name: a}}\n")
    path = edited(lost("a"))
    plan = audit(run, strategy, path, tmp_path / "plan.json", *parameters)
    assert {a["input_parameters"]["migration_type"] for a in plan["actions"]} == {"evacuate"}
    ended, report = apply(run, tmp_path / "plan.json", path, tmp_path / "report.json")
    assert ended.code == 0, ended.err
    assert report["reached"] == plan["after"]
    assert len(ended.rows) == 5
    assert {row["Action"] for row in ended.rows} == {"migrate evacuate"}

    ended, _ = apply(run, tmp_path / "plan.json", edited(lambda cluster: cluster), tmp_path / "report.json")
    assert {row["State"] for row in ended.rows} == {"SKIPPED"}
    assert "host a is up and not forced down" in ended.err


def test_without_being_told_nobody_is_evacuated(run: Run, edited: Edit, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("version: 1\nrules:\n- {rule: evacuate, hosts: {name: a}}\n")
    for strategy, parameters in (("repair", ["--policy", "file:rules.yaml"]), ("host_maintenance", ["--param", "maintenance_node=a"])):
        plan = audit(run, strategy, edited(lost("a")), tmp_path / "plan.json", *parameters)
        assert [a for a in plan["actions"] if a["action_type"] == "migrate"] == []
        assert any("can only be evacuated, once the host is fenced" in one["text"] for one in plan["refused"]), plan["refused"]


# ---- nothing worth doing


@pytest.mark.parametrize(("strategy", "parameters", "said"), [
    ("workload_stabilization", ["--param", "thresholds.instance_cpu_usage=0.9"], "No move is needed: the goal is met as it is."),
    ("workload_stabilization", ["--max-moves", "0"], "No beneficial move"),
    ("vm_workload_consolidation", ["--param", "max_cpu_percent=0.1"], "No beneficial move"),
])
def test_nothing_worth_doing_is_a_result(run: Run, snapshot: Path, tmp_path: Path, strategy: str, parameters: list[str], said: str) -> None:
    out = tmp_path / "plan.json"
    ended = run("audit", "run", strategy, "--snapshot", snapshot, "--out", out, "-f", "json", *parameters)
    assert (ended.code, ended.rows) == (0, [])
    plan = json.loads(out.read_text())
    assert plan["state"] == "SUCCEEDED"
    assert plan["actions"] == []
    assert plan["message"].startswith(said), plan["message"]
    assert plan["message"] in ended.err
    assert plan["before"] == plan["after"]
    applied = run("plan", "apply", out, "--simulate", snapshot)
    assert applied.code == 0
    assert "nothing to do" in applied.err


def test_what_is_refused_is_named(run: Run, edited: Edit, tmp_path: Path) -> None:
    path = edited(lambda c: c.with_servers(tuple(replace(s, locked=s.id == "web3") for s in c.servers)))
    plan = audit(run, "host_maintenance", path, tmp_path / "plan.json", "--param", "maintenance_node=a")
    (refused,) = [one for one in plan["refused"] if one["server"] == "web3"]
    assert refused["rule"] == "movable"
    assert "locked" in refused["text"]


@pytest.mark.parametrize(("strategy", "parameters"), STRATEGIES[:3])
def test_twice_in_a_row_the_second_audit_finds_nothing(run: Run, edited: Edit, snapshot: Path, tmp_path: Path, strategy: str,
                                                       parameters: list[str]) -> None:
    plan = audit(run, strategy, snapshot, tmp_path / "plan.json", *parameters)
    to = {a["input_parameters"]["resource_id"]: a["input_parameters"].get("destination_node") for a in plan["actions"]}
    state = {a["input_parameters"]["resource_name"]: a["input_parameters"].get("state") for a in plan["actions"]}

    def carried_out(cluster: Cluster) -> Cluster:
        return replace(cluster, servers=tuple(replace(s, host=to.get(s.id, s.host)) for s in cluster.servers),
                       hosts=tuple(replace(h, status=state.get(h.name) or h.status) for h in cluster.hosts))

    again = audit(run, strategy, edited(carried_out), tmp_path / "again.json", *parameters)
    assert again["actions"] == []
    assert again["state"] == "SUCCEEDED"


# ---- what others did between audit and apply


def without(name: str) -> Callable[[Cluster], Cluster]:
    return lambda cluster: replace(cluster, servers=tuple(s for s in cluster.servers if s.id != name))


def moved(name: str, host: str) -> Callable[[Cluster], Cluster]:
    return lambda cluster: cluster.with_servers(tuple(replace(s, host=host) if s.id == name else s for s in cluster.servers))


def with_host(name: str, **fields: Any) -> Callable[[Cluster], Cluster]:
    return lambda cluster: replace(cluster, hosts=tuple(replace(h, **fields) if h.name == name else h for h in cluster.hosts))


@pytest.mark.parametrize(("change", "skipped", "said"), [
    (without("web0"), {"web0"}, "server web0 does not exist any more"),
    (moved("web0", "c"), {"web0"}, "web0 is "),
    (with_host("a", status="disabled", disabled_reason="somebody"), {"a"}, "nova-compute on a is already disabled"),
])
def test_what_others_did_is_skipped_and_the_rest_goes_on(run: Run, edited: Edit, plan: Path, tmp_path: Path, change: Callable[[Cluster], Cluster],
                                                         skipped: set[str], said: str) -> None:
    ended, report = apply(run, plan, edited(change), tmp_path / "report.json")
    assert ended.code == 3
    states = {row["What"]: row["State"] for row in ended.rows}
    assert {name for name, state in states.items() if state == "SKIPPED"} == skipped
    assert set(states.values()) == {"SKIPPED", "SUCCEEDED"}
    assert f"{len(skipped)} SKIPPED, {len(states) - len(skipped)} SUCCEEDED" in ended.err
    assert said in ended.err
    assert all(said in row["Text"] for row in ended.rows if row["State"] == "SKIPPED")
    assert report["exit_code"] == 3


@pytest.mark.parametrize("replan", [True, False])
def test_a_destination_disabled_meanwhile(run: Run, edited: Edit, plan: Path, tmp_path: Path, replan: bool) -> None:
    """Who was to go there is skipped, and goes elsewhere unless the site does not want that."""
    planned = json.loads(plan.read_text())
    going = [a["input_parameters"] for a in planned["actions"] if a["action_type"] == "migrate"]
    shut = going[0]["destination_node"]
    hit = {what["resource_name"] for what in going if what["destination_node"] == shut}
    (tmp_path / "site.conf").write_text(f"[execution]\nreplan = {replan}\n")
    path = edited(with_host(shut, status="disabled", disabled_reason="it smokes"))
    ended = run("--config-file", tmp_path / "site.conf", "plan", "apply", plan, "--simulate", path, "--yes", "-f", "json", "--report",
                tmp_path / "report.json", "--page", tmp_path / "page.html")
    report = json.loads((tmp_path / "report.json").read_text())
    own, more = ended.rows[:len(planned["actions"])], ended.rows[len(planned["actions"]):]
    assert {row["What"] for row in own if row["State"] == "SKIPPED"} == hit
    assert all(row["Text"] == f"host {shut} is disabled and up (it smokes)" for row in own if row["State"] == "SKIPPED")
    assert ended.code == report["exit_code"] == (0 if replan else 3)
    assert {text.split()[0] for text in report["misplaced"]} == (set() if replan else hit)
    assert {row["What"] for row in more} == (hit if replan else set())
    assert all(row["State"] == "SUCCEEDED" and f"instead of {shut}: host {shut} is disabled" in row["Text"] for row in more)
    assert [row["Step"] for row in ended.rows] == list(range(1, len(ended.rows) + 1))
    said = f"Follows plan {planned['uuid']}: {len(hit)} of {len(hit)} servers that were skipped are planned again."
    assert (said in ended.err) == (said in (tmp_path / "page.html").read_text()) == replan
    assert (report["follow_up"] is not None) == replan
    assert report["reached"] != planned["after"]


def test_a_host_that_is_not_empty_after_all_is_not_disabled(run: Run, edited: Edit, snapshot: Path, tmp_path: Path) -> None:
    plan = audit(run, "vm_workload_consolidation", snapshot, tmp_path / "plan.json")
    emptied = [a["input_parameters"]["resource_name"] for a in plan["actions"] if a["action_type"] == "change_nova_service_state"]
    assert "d" in emptied
    path = edited(lambda c: c.with_servers((*c.servers, replace(c.server_by_id["batch"], id="new", name="new", host="d"))))
    ended, _ = apply(run, tmp_path / "plan.json", path, tmp_path / "report.json")
    (row,) = [row for row in ended.rows if row["State"] == "SKIPPED"]
    assert (ended.code, row["What"], row["Action"]) == (3, "d", "service disabled")
    assert "d is not empty, it carries new" in row["Text"]


@pytest.mark.parametrize(("stuck", "said"), [(1, None), (2, "note: 60 % of what was promised was reached (remaining: 0.5556 -> 0.2222, promised 0)")])
def test_much_less_than_was_promised(run: Run, edited: Edit, plan: Path, tmp_path: Path, stuck: int, said: str | None) -> None:
    locked = {f"web{n}" for n in range(stuck)}
    path = edited(lambda c: c.with_servers(tuple(replace(s, locked=s.id in locked) for s in c.servers)))
    ended, report = apply(run, plan, path, tmp_path / "report.json")
    assert report["achieved_percent"] == 100 * (5 - stuck) / 5
    assert (said in ended.err) if said else ("of what was promised" not in ended.err)
    assert "plan undo" not in ended.err  # nothing is left of a simulation to be taken back


@pytest.mark.parametrize(("interrupted", "percent", "undo", "words"), [
    (False, 80.0, "undo it", []), (False, None, "undo it", []), (True, None, None, ["the plan was broken off"]),
    (True, 90.0, "undo it", ["the plan was broken off", "undo it makes the plan that takes back what was done"]),
    (False, 79.0, "undo it", ["79 % of what was promised was reached (moves: 100 -> 21, promised 0)",
                              "undo it makes the plan that takes back what was done"]),
    (True, -10.0, None, ["-10 % of what was promised was reached (moves: 100 -> 110, promised 0)", "the plan was broken off"]),
])
def test_what_is_advised(plan: Path, interrupted: bool, percent: float | None, undo: str | None, words: list[str]) -> None:
    report = Report(tuple(ActionReport(action, "SUCCEEDED", "", 0.0, 1.0) for action in read_plan(plan).actions), 1.0, interrupted)
    reached = None if percent is None else Achieved("moves", 100.0, 0.0, 100.0 - percent)
    cluster = named()
    assert advice(Outcome(report, cluster, cluster, {}, {}, {}, (), (), (), reached), 80.0, undo) == "; ".join(words)
    nothing = replace(report, actions=tuple(replace(one, state="SKIPPED") for one in report.actions))
    assert "undo it" not in advice(Outcome(nothing, cluster, cluster, {}, {}, {}, (), (), (), reached), 80.0, undo)


# ---- asking first


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_yes_must_be_given(run: Run, snapshot: Path, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    ended = run("plan", "apply", plan, "--simulate", snapshot)
    assert (ended.code, ended.out) == (1, "")
    assert "--yes" in ended.err


@pytest.mark.parametrize(("answer", "done"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_the_question_is_asked_on_stderr(run: Run, snapshot: Path, plan: Path, monkeypatch: pytest.MonkeyPatch, answer: str, done: bool) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    ended = run("plan", "apply", plan, "--simulate", snapshot, "-f", "json")
    assert ended.code == 0
    assert "Carry out 6 actions on test? [y/N]" in ended.err
    assert len(ended.rows) == (6 if done else 0)
    assert ("Nothing was changed." in ended.err) != done


def test_neither_snapshot_nor_plan_is_changed(run: Run, snapshot: Path, plan: Path, tmp_path: Path) -> None:
    before = snapshot.read_bytes(), plan.read_bytes()
    apply(run, plan, snapshot, tmp_path / "report.json")
    assert (snapshot.read_bytes(), plan.read_bytes()) == before
    assert read_snapshot(snapshot).host_by_name["a"].status == "enabled"


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_takes_the_same_time(run: Run, snapshot: Path, plan: Path, seed: int) -> None:
    first, second = (run("plan", "apply", plan, "--simulate", snapshot, "--yes", "--seed", seed, "-f", "json") for _ in range(2))
    assert first.rows == second.rows


def test_plan_show_is_what_the_audit_showed(run: Run, snapshot: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    seen = run("audit", "run", "vm_workload_consolidation", "--snapshot", snapshot, "--out", out, "-f", "json")
    shown = run("plan", "show", out, "-f", "json")
    assert shown.rows == seen.rows
    assert shown.err == seen.err.replace(f"plan written to {out}\n", "")
    assert [row["Step"] for row in shown.rows] == list(range(1, len(shown.rows) + 1))


def test_a_page_is_written(run: Run, snapshot: Path, plan: Path, tmp_path: Path) -> None:
    ended = run("plan", "apply", plan, "--simulate", snapshot, "--yes", "--page", tmp_path / "page.html")
    assert ended.code == 0
    assert "<html" in (tmp_path / "page.html").read_text()
