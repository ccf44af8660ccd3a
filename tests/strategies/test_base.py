"""Parameters: every fault at once, each with its name, its value and what would be right."""

from typing import Any

import pytest

from optimizer.errors import PlacewrightError
from strategies.base import ParameterError
from strategies.registry import BUILT_IN, strategies, strategy

STABILIZE, CONSOLIDATE, MAINTAIN = "workload_stabilization", "vm_workload_consolidation", "host_maintenance"
NODE = {"maintenance_node": "a"}


@pytest.mark.parametrize(("name", "given", "said"), [
    (MAINTAIN, {}, ["maintenance_node: Field required"]),
    (MAINTAIN, {"maintenance_node": ""}, ["maintenance_node", "at least 1 character", "''"]),
    (MAINTAIN, {"maintenance_node": 5}, ["maintenance_node", "valid string", "got 5"]),
    (MAINTAIN, {"maintenance_node": None}, ["maintenance_node", "None"]),
    (MAINTAIN, {**NODE, "backup_node": ""}, ["backup_node", "at least 1 character"]),
    (MAINTAIN, {**NODE, "backup_node": "a"}, ["backup_node and maintenance_node are both a"]),
    (MAINTAIN, {**NODE, "period": 1}, ["period: there is no such parameter; known are backup_node, ", "maintenance_node"]),
    (MAINTAIN, {**NODE, "move_locked": "perhaps"}, ["move_locked", "valid boolean", "perhaps"]),
    (MAINTAIN, {**NODE, "disable_live_migration": True, "disable_cold_migration": True}, ["no way to move a server"]),
    (CONSOLIDATE, {"disable_live_migration": True, "disable_cold_migration": True}, ["no way to move a server"]),
    (STABILIZE, {"disable_live_migration": True, "disable_cold_migration": True}, ["no way to move a server"]),
    (CONSOLIDATE, {"aggressiveness": 0}, ["aggressiveness", "greater than or equal to 1", "got 0"]),
    (CONSOLIDATE, {"aggressiveness": 6}, ["aggressiveness", "less than or equal to 5", "got 6"]),
    (CONSOLIDATE, {"aggressiveness": 2.5}, ["aggressiveness", "got 2.5"]),
    (CONSOLIDATE, {"max_cpu_percent": 0}, ["max_cpu_percent", "greater than 0"]),
    (CONSOLIDATE, {"max_cpu_percent": 1001}, ["max_cpu_percent", "less than or equal to 1000"]),
    (CONSOLIDATE, {"max_cpu_percent": float("nan")}, ["max_cpu_percent", "nan"]),
    (CONSOLIDATE, {"max_memory_percent": "much"}, ["max_memory_percent", "valid number", "'much'"]),
    (CONSOLIDATE, {"period": 0}, ["period", "got 0"]),
    (CONSOLIDATE, {"granularity": -300}, ["granularity", "got -300"]),
    (CONSOLIDATE, {"statistic": "median"}, ["statistic", "'median'"]),
    (CONSOLIDATE, {"statistic": "p0"}, ["statistic", "'p0'"]),
    (CONSOLIDATE, {"statistic": "p101"}, ["statistic", "'p101'"]),
    (CONSOLIDATE, {"missing_load": "guess"}, ["missing_load", "'fail', 'flavor' or 'idle'", "'guess'"]),
    (CONSOLIDATE, {"disable_emptied": "maybe"}, ["disable_emptied", "'maybe'"]),
    (CONSOLIDATE, {"treshold": 1, "Period": 2}, ["2 faults", "treshold: there is no such", "Period: there is no such"]),
    (STABILIZE, {"metrics": []}, ["metrics", "at least 1 item"]),
    (STABILIZE, {"metrics": ["cpu"]}, ["metrics.0", "'instance_cpu_usage' or 'instance_ram_usage'", "'cpu'"]),
    (STABILIZE, {"metrics": "instance_cpu_usage"}, ["metrics", "instance_cpu_usage"]),
    (STABILIZE, {"thresholds": 0.1}, ["thresholds", "valid dictionary", "0.1"]),
    (STABILIZE, {"thresholds": {"instance_cpu_usage": 1.1}}, ["thresholds", "instance_cpu_usage=1.1", "share from 0 to 1"]),
    (STABILIZE, {"thresholds": {"instance_cpu_usage": -0.1}}, ["thresholds", "-0.1"]),
    (STABILIZE, {"thresholds": {"instance_cpu_usage": float("nan")}}, ["thresholds", "nan"]),
    (STABILIZE, {"thresholds": {"cpu": 0.1}}, ["thresholds", "cpu=0.1", "instance_cpu_usage or instance_ram_usage"]),
    (STABILIZE, {"weights": {"instance_cpu_usage": 1}}, ["weights", "instance_cpu_usage_weight"]),
    (STABILIZE, {"weights": {"instance_cpu_usage_weight": 101}}, ["weights", "0 to 100"]),
    (STABILIZE, {"weights": {"instance_cpu_usage_weight": 0}}, ["weights", "above 0"]),
    (STABILIZE, {"periods": {"instance": 0}}, ["periods", "instance=0", "1 second"]),
    (STABILIZE, {"periods": {"month": 5}}, ["periods.month", "'instance', 'compute_node' or 'node'"]),
    (STABILIZE, {"aggregation_method": {"instance": "sum"}}, ["aggregation_method.instance", "'sum'"]),
    (STABILIZE, {"host_choice": "random"}, ["host_choice", "'random'"]),
    (STABILIZE, {"retry_count": 0}, ["retry_count", "got 0"]),
    (STABILIZE, {"aggressiveness": 9, "thresholds": {"x": 3}, "metrics": [], "nonsense": 1, "statistic": "max"},
     ["5 faults", "aggressiveness", "thresholds", "metrics", "nonsense", "statistic"]),
])
def test_bad_parameters(name: str, given: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(ParameterError) as caught:
        strategy(name).parameters.parse(name, given)
    text = str(caught.value)
    assert text.startswith(f"strategy {name}: ")
    assert all(part in text for part in said), text


@pytest.mark.parametrize(("name", "given"), [
    (MAINTAIN, {**NODE, "backup_node": "b", "move_locked": True, "disable_live_migration": True}),
    (CONSOLIDATE, {"aggressiveness": 1, "period": 60, "statistic": "p100", "max_cpu_percent": 1000}),
    (CONSOLIDATE, {"statistic": "p5", "missing_load": "idle", "disable_emptied": False}),
    (STABILIZE, {}),
    (STABILIZE, {"metrics": ["instance_ram_usage", "instance_cpu_usage"], "thresholds": {"instance_ram_usage": 0}, "weights": {}}),
    # What an audit template of Watcher holds.
    (STABILIZE, {"metrics": ["instance_cpu_usage"], "thresholds": {"instance_cpu_usage": 0.2, "instance_ram_usage": 0.2},
                 "weights": {"instance_cpu_usage_weight": 1.0, "instance_ram_usage_weight": 1.0}, "host_choice": "fullsearch", "retry_count": 2,
                 "instance_metrics": {"instance_cpu_usage": "host_cpu_usage", "instance_ram_usage": "host_ram_usage"},
                 "periods": {"instance": 720, "compute_node": 600, "node": 0}, "granularity": 300,
                 "aggregation_method": {"instance": "mean", "compute_node": "mean", "node": ""}}),
])
def test_good_parameters_survive_being_written_in_a_plan(name: str, given: dict[str, Any]) -> None:
    kind = strategy(name).parameters
    parameters = kind.parse(name, given)
    assert kind.parse(name, parameters.model_dump(mode="json")) == parameters


@pytest.mark.parametrize("name", ["", "basic", "Workload_Stabilization"])
def test_an_unknown_strategy_is_told_the_known_ones(name: str) -> None:
    with pytest.raises(PlacewrightError, match="host_maintenance, repair, vm_workload_consolidation, workload_stabilization") as caught:
        strategy(name)
    assert repr(name) in str(caught.value)


def test_every_strategy_describes_itself_and_its_parameters() -> None:
    assert {kind.name for kind in BUILT_IN} <= set(strategies())
    for kind in BUILT_IN:
        assert kind.goal
        assert kind.title
        assert all(field.description for field in kind.parameters.model_fields.values()), kind.name
