"""The reader of BtrPlace's instances, and the plans for them."""

import copy
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import btrplace
from migrate.order import Step
from optimizer.constraints.among import Among
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.errors import PlacewrightError
from optimizer.growth import NOT_RUNNING
from optimizer.placement import placement_of

DATA = Path(btrplace.__file__).parent / "data" / "btrplace"

SMALL: dict[str, Any] = {
    "model": {
        "mapping": {"readyVMs": [7, 8], "onlineNodes": {"0": {"sleepingVMs": [], "runningVMs": [1, 2]}, "1": {"sleepingVMs": [], "runningVMs": [3]},
                                                        "10": {"sleepingVMs": [], "runningVMs": []}}, "offlineNodes": {"5": {}}},
        "views": [{"rcId": "cpu", "defCapacity": 8, "nodes": {"1": 4}, "defConsumption": 1, "vms": {"1": 4, "2": 3}},
                  {"id": "ns", "type": "vm", "map": {}}]},
    "constraints": [{"id": "preserve", "rc": "cpu", "vm": 2, "amount": 6}, {"id": "preserve", "rc": "cpu", "vm": 2, "amount": 5},
                    {"id": "spread", "continuous": True, "vms": [1, 3]}, {"id": "among", "continuous": True, "vms": [2, 7], "parts": [[0, 10], [1]]},
                    {"id": "among", "continuous": True, "vms": [1], "parts": [[0, 10], [1]]},
                    {"id": "running", "vm": 7}, {"id": "online", "node": 1}, {"id": "offline", "node": 5}],
    "objective": {"id": "minimizeMTTR"}}


def written(folder: Path, document: Any) -> Path:
    path = folder / "instance.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def broken(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The small instance with one value replaced; None removes it."""
    document: Any = copy.deepcopy(SMALL)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return document


@pytest.mark.parametrize(("document", "message"), [
    ("", "not an instance"), ("[]", "not an instance"), ("{}", "not an instance of BtrPlace: KeyError"),
    (broken(("model", "mapping"), None), "KeyError 'mapping'"),
    (broken(("model", "views", 0, "defCapacity"), None), "KeyError 'defCapacity'"),
    (broken(("constraints", 0, "rc"), None), "KeyError 'rc'"),
    (broken(("constraints", 2, "id"), "gather"), "constraint gather is not read; among, offline, online, preserve, running, spread are"),
    (broken(("constraints", 6, "node"), 5), "node 5 is to be online and is not"),
    (broken(("constraints", 7, "node"), 0), "node 0 is to be offline and is not"),
    (broken(("model", "mapping", "onlineNodes", "0", "sleepingVMs"), [9]), "node 0 has sleeping VMs"),
    (broken(("constraints", 5, "vm"), 99), "VM 99 is to run, and is neither running nor ready"),
    (broken(("constraints", 2, "continuous"), False), ""),  # holds at every moment all the same
    (broken(("constraints", 5, "vm"), 3), ""),  # it runs: nothing to do
])
def test_what_it_cannot_express_is_refused(document: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, document)
    if not message:
        assert btrplace.read_problem(path)
        return
    with pytest.raises(PlacewrightError, match="^" + str(path)) as error:
        btrplace.read_problem(path)
    assert message in str(error.value)


def test_the_problem_says_what_the_instance_says(tmp_path: Path) -> None:
    problem = btrplace.read_problem(written(tmp_path, SMALL))
    cluster = problem.cluster
    assert [(h.name, h.state, h.status, {n: i.capacity for n, i in h.inventory.items()}) for h in cluster.hosts] == [
        ("0", "up", "enabled", {"cpu": 8}), ("1", "up", "enabled", {"cpu": 4}), ("5", "down", "enabled", {"cpu": 8}),
        ("10", "up", "enabled", {"cpu": 8}), (NOT_RUNNING, "up", "disabled", {})]
    assert [(s.id, s.host, s.resources) for s in cluster.servers] == [  # 8 need not run and is left out
        ("1", "0", {"cpu": 4}), ("2", "0", {"cpu": 3}), ("3", "1", {"cpu": 1}), ("7", NOT_RUNNING, {"cpu": 1})]
    assert [rule.members for rule in problem.constraints if isinstance(rule, AntiAffinity)] == [("1", "3")]
    among = [rule for rule in problem.constraints if isinstance(rule, Among)]
    assert [rule.members for rule in among] == [("2", "7"), ("1",)]
    assert among[0].sets == (frozenset({"0", "10"}), frozenset({"1"}))
    assert among[0].sets is among[1].sets
    assert problem.values(placement_of(cluster)) == (1 + 2 / 8, 0)


def test_a_small_plan(tmp_path: Path) -> None:
    plan, figures = btrplace.run(written(tmp_path, SMALL), 10)
    assert (figures["status"], figures["broken"], figures["moves"], figures["bound"]) == ("optimal", 0, 2, 2)
    assert (figures["migrations"], figures["boots"], figures["without_safe_moment"]) == (1, 1, 0)
    check(SMALL, plan)


def test_waves_wait_for_parents() -> None:
    steps = tuple(Step(n, 0, 1, parents) for n, parents in enumerate(((), (0,), (), (1, 2), (2,))))
    assert [[step.server for step in wave] for wave in btrplace.waves(steps)] == [[0, 2], [1, 4], [3]]
    assert btrplace.waves(()) == []


@pytest.mark.parametrize(("name", "moves"), [("li_r4_c33", 13), ("nr_r3_c33", 753)])
def test_published_instances_are_repaired_with_the_fewest_moves(name: str, moves: int) -> None:
    path = DATA / f"{name}.json.gz"
    plan, figures = btrplace.run(path, 30)
    assert (figures["status"], figures["broken"], figures["moves"], figures["bound"]) == ("optimal", 0, moves, moves)
    check(json.loads(btrplace.read_bytes(path)), plan)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "plan.json"
    monkeypatch.setattr("sys.argv", ["btrplace", "--instance", str(written(tmp_path, SMALL)), "--out", str(out)])
    assert btrplace.main() == 0
    assert json.loads(capsys.readouterr().out)["moves"] == 2
    check(SMALL, json.loads(out.read_text()))
    monkeypatch.setattr("sys.argv", ["btrplace", "--instance", str(tmp_path / "none"), "--out", str(out)])
    with pytest.raises(SystemExit) as error:
        btrplace.main()
    assert error.value.code == 1
    assert "cannot be read" in capsys.readouterr().err


def check(document: dict[str, Any], plan: list[list[list[int]]]) -> None:
    """Replay a plan on the instance itself: capacity while a wave runs and at the end, replicas apart, tiers inside, servers running."""
    mapping, rules = document["model"]["mapping"], defaultdict(list)
    for rule in document["constraints"]:
        rules[rule["id"]].append(rule)
    host = {vm: int(node) for node, on in mapping["onlineNodes"].items() for vm in on["runningVMs"]}
    views = {view["rcId"]: view for view in document["model"]["views"] if "rcId" in view}
    now = {rc: Counter({vm: view["vms"].get(str(vm), view["defConsumption"]) for vm in (*host, *mapping["readyVMs"])}) for rc, view in views.items()}
    end = {rc: now[rc] | Counter({rule["vm"]: rule["amount"] for rule in sorted(rules["preserve"], key=lambda r: r["amount"]) if rule["rc"] == rc})
           for rc in views}
    load = {rc: Counter[int]() for rc in views}
    for vm, node in host.items():
        for rc in views:
            load[rc][node] += now[rc][vm]
    arrived: set[int] = set()
    for wave in plan:
        assert len({vm for vm, _ in wave}) == len(wave)
        for rc, view in views.items():
            for vm, node in wave:
                load[rc][node] += end[rc][vm]
            assert all(load[rc][node] <= view["nodes"].get(str(node), view["defCapacity"]) for _, node in wave)
        both = defaultdict(set)
        for vm, node in wave:
            assert str(node) in mapping["onlineNodes"]
            both[vm] = {node} | ({host[vm]} if vm in host else set())
        for rule in rules["spread"]:
            on = [node for vm in rule["vms"] for node in both.get(vm) or ({host[vm]} if vm in host else set())]
            assert len(set(on)) == len(on)
        for vm, node in wave:
            for rc in views:
                if vm in host:
                    load[rc][host[vm]] -= end[rc][vm] if vm in arrived else now[rc][vm]
            host[vm] = node
            arrived.add(vm)
        for rule in rules["among"]:
            assert any({host[vm] for vm in rule["vms"] if vm in host} <= set(part) for part in rule["parts"])
    for rc, view in views.items():
        final = Counter[int]()
        for vm, node in host.items():
            final[node] += end[rc][vm]
        assert all(amount <= view["nodes"].get(str(node), view["defCapacity"]) for node, amount in final.items())
    assert all(rule["vm"] in host for rule in rules["running"])
