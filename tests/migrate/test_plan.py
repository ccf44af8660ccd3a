"""The plan file: what is refused, what comes back as it was, and plans of another cloud or time."""

import copy
import json
import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrate.plan import (
    Action,
    ClusterRef,
    Cost,
    Level,
    MigrateInput,
    Plan,
    PlanError,
    Refused,
    ServiceStateInput,
    check_plan_matches,
    read_plan,
    write_plan,
)
from optimizer.cluster import Cluster, Host
from optimizer.snapshot import DocumentError

MOVE = Action(
    uuid="a1",
    action_type="migrate",
    parents=("a0",),
    reason="evens out the load",
    benefit={"cpu_spread": 0.25},
    cost=Cost(copy_gb=2.4, expected_s=9.9),
    input_parameters=MigrateInput(
        resource_id="s1", resource_name="web", migration_type="live", source_node="h1", destination_node="h2"
    ),
)
SWITCH = Action(
    uuid="a0",
    action_type="change_nova_service_state",
    input_parameters=ServiceStateInput(
        resource_id="u1", resource_name="h1", state="disabled", disabled_reason="maintenance", only_if_empty=True
    ),
)
PLAN = Plan(
    uuid="p",
    created_at="2026-03-01T12:00:00+00:00",
    state="RECOMMENDED",
    goal="server_consolidation",
    strategy="vm_workload_consolidation",
    parameters={"period": 3600, "hosts": ["h1"]},
    cluster=ClusterRef(name="east", taken_at="2026-03-01T11:59:00+00:00", hosts={"h1": "u1", "h2": "u2"}),
    status="feasible",
    objective=3.0,
    bound=2.0,
    gap=0.5,
    levels=(Level(name="hosts used", value=3, bound=2, gap=0.5),),
    before={"hosts_used": 4.0},
    after={"hosts_used": 3.0},
    message="one host is emptied",
    notes=("übung",),
    refused=(Refused(rule="capacity", text="too big", server="s9"),),
    actions=(SWITCH, MOVE),
)


def document(tmp_path, *changes):
    """The document of PLAN after changes ((path...), value); value None deletes the key."""
    write_plan(PLAN, tmp_path / "good.json")
    found = json.loads((tmp_path / "good.json").read_text())
    for path, value in changes:
        at = found
        for step in path[:-1]:
            at = at[step]
        if value is None:
            del at[path[-1]]
        else:
            at[path[-1]] = copy.deepcopy(value)
    return found


INPUT = ("actions", 1, "input_parameters")
BAD = [
    ((("objective",), "3"), "objective: Input should be a valid number"),
    ((("uuid",), None), "uuid: Field required"),
    ((("colour",), "red"), "colour: Unexpected keyword argument"),
    ((("state",), "DONE"), "state: Input should be 'RECOMMENDED' or 'SUCCEEDED'"),
    ((("cluster", "hosts", "h1"), 7), "cluster.hosts.h1: Input should be a valid string"),
    ((("created_at",), "yesterday"), "created_at: 'yesterday' is not a date and time in ISO 8601"),
    ((("created_at",), "2026-03-01T12:00:00"), "created_at: 2026-03-01T12:00:00 is not in UTC"),
    ((("created_at",), "2026-03-01T12:00:00+02:00"), "is not in UTC"),
    ((("actions", 1, "cost", "copy_gb"), -1), "actions[1].cost.copy_gb: Input should be greater than or equal to 0"),
    ((("actions", 1, "action_type"), "resize"), "actions[1].action_type: Input should be 'migrate' or"),
    (((*INPUT, "source_node"), None), "actions[1].input_parameters.source_node: Field required"),
    (((*INPUT, "state"), "enabled"), "actions[1].input_parameters.state: Unexpected keyword argument"),
    (
        ((*INPUT, "migration_type"), "warm"),
        "actions[1].input_parameters.migration_type: Input should be 'live', 'cold' or 'evacuate'",
    ),
    (((*INPUT, "source_node"), "h2"), "actions[1].input_parameters.destination_node: h2 is the source_node too"),
    (((*INPUT, "destination_node"), "h9"), "actions[1].input_parameters: host h9 is not in cluster.hosts"),
    ((INPUT, []), "actions[1].input_parameters: Input should be an object"),
    ((("actions", 0, "input_parameters", "resource_id"), "u2"), "actions[0].input_parameters.resource_id: u2, but"),
    ((("actions", 0, "input_parameters", "only_if_empty"), "yes"), "only_if_empty: Input should be a valid boolean"),
    ((("actions", 1, "uuid"), "a0"), "actions[1].uuid: a0 is also the uuid of actions[0]"),
    ((("actions", 1, "parents"), ["zz"]), "actions[1].parents[0]: no action has the uuid zz"),
    ((("actions", 0, "parents"), ["a1"]), "actions: parents form a circle: "),
    ((("actions", 0, "parents"), ["a0"]), "actions: parents form a circle: a0 <- a0"),
    (
        (("format",), "placewright.snapshot"),
        'is not a plan file: an object with "format": "placewright.plan" is expected',
    ),
    ((("version",), 2), "version: 2, this program reads version 1"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_bad_document(tmp_path, change, message):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document(tmp_path, change)))
    with pytest.raises(DocumentError) as caught:
        read_plan(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "is not a plan file"),
        (None, "No such file"),
    ],
)
def test_not_a_plan_at_all(tmp_path, content, message):
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DocumentError, match=message):
        read_plan(path)


def test_all_faults_at_once(tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(
        json.dumps(
            document(
                tmp_path,
                (("uuid",), None),
                (("gap",), "x"),
                ((*INPUT, "source_node"), None),
                (("actions", 0, "action_type"), None),
            )
        )
    )
    with pytest.raises(DocumentError) as caught:
        read_plan(path)
    starts = [fault.split(":")[0] for fault in caught.value.faults]
    assert starts == ["uuid", "gap", "actions[0].action_type", "actions[1].input_parameters.source_node"]


@pytest.mark.parametrize("name", ["plan.json", "plan.json.gz"])
def test_round_trip(tmp_path, name):
    write_plan(PLAN, tmp_path / name)
    assert read_plan(tmp_path / name) == PLAN


def test_the_documented_example(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "plan-format.md"
    (example,) = re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "plan.json").write_text(example)
    plan = read_plan(tmp_path / "plan.json")
    assert {action.action_type for action in plan.actions} == {"migrate", "change_nova_service_state"}
    rows = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    named = {key for row in rows for key in re.findall(r"`(\w+)", row)}
    for kind in (Plan, Action, MigrateInput, ServiceStateInput):
        assert {field.name for field in fields(kind)} <= named, kind


def test_keys_are_watchers(tmp_path):
    move = document(tmp_path)["actions"][1]
    assert set(move) >= {"uuid", "action_type", "input_parameters", "parents"}
    assert set(move["input_parameters"]) == {
        "resource_id",
        "resource_name",
        "migration_type",
        "source_node",
        "destination_node",
    }


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "plan.json"
    write_plan(PLAN, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        write_plan(replace(PLAN, objective=float("nan")), path)
    assert path.read_bytes() == before
    with pytest.raises(DocumentError, match="cannot be written"):
        write_plan(PLAN, tmp_path / "nowhere" / "plan.json")
    assert [file.name for file in tmp_path.iterdir()] == ["plan.json"]


# ---- is it a plan for this cluster, now?

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
HERE = Cluster(
    name="east", taken_at="now", hosts=(Host(id="u1", name="h1", inventory={}), Host(id="u2", name="h2", inventory={}))
)


def test_matches():
    check_plan_matches(PLAN, HERE, NOW, max_age_s=3600)


def test_hosts_that_no_action_names_do_not_matter():
    check_plan_matches(replace(PLAN, actions=()), replace(HERE, hosts=()), NOW, max_age_s=3600)


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ((Host(id="other", name="h1", inventory={}), HERE.hosts[1]), "host h1 is u1 in the plan and other here"),
        ((HERE.hosts[0],), "host h2 does not exist here"),
    ],
)
def test_of_another_cluster(hosts, message):
    with pytest.raises(PlanError, match=message) as caught:
        check_plan_matches(PLAN, replace(HERE, name="west", hosts=hosts), NOW, max_age_s=3600)
    assert "made for cluster 'east', this is 'west'" in str(caught.value)


def test_a_plan_that_was_begun_goes_on_without_hosts_that_have_gone():
    check_plan_matches(PLAN, replace(HERE, hosts=HERE.hosts[:1]), NOW, max_age_s=3600, begun=True)
    for hosts in ((), (Host(id="other", name="h1", inventory={}),)):  # none to know the cloud by, or another one
        with pytest.raises(PlanError, match="made for cluster 'east', this is 'west'"):
            check_plan_matches(PLAN, replace(HERE, name="west", hosts=hosts), NOW, max_age_s=3600, begun=True)


def test_too_old():
    with pytest.raises(PlanError, match=r"too old: made 30 minutes ago .*, the limit is 29 minutes"):
        check_plan_matches(PLAN, HERE, NOW, max_age_s=29 * 60)
    check_plan_matches(PLAN, HERE, NOW - timedelta(minutes=1), max_age_s=29 * 60)


def test_made_in_the_future():
    """A clock may be a little wrong, not more."""
    made = NOW - timedelta(minutes=30)
    check_plan_matches(PLAN, HERE, made - timedelta(minutes=4), max_age_s=3600)
    with pytest.raises(PlanError, match="in the future"):
        check_plan_matches(PLAN, HERE, made - timedelta(minutes=6), max_age_s=3600)
