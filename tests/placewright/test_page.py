"""The page: the facts are on it, names are escaped, nothing is missing when nothing is known."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from migrate.executor import ActionReport, Report
from migrate.plan import Action, ClusterRef, Cost, Level, MigrateInput, Plan, Refused
from optimizer.placement import placement_of
from optimizer.snapshot import DocumentError
from optimizer.summary import summary
from placewright.apply import Outcome
from placewright.page import number, render, write_page
from tests.support.clusters import LOAD, make_cluster, make_host, make_server

VOID = {"meta", "br", "link", "hr", "img", "input"}
SCRIPT = "<script>alert(1)</script>"


class Balanced(HTMLParser):
    """Collects tags that are not closed, or closed without having been opened, and attributes that load something."""

    def __init__(self):
        super().__init__()
        self.open, self.faults = [], []

    def handle_starttag(self, tag, attrs):
        self.faults += [
            f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href") or name.startswith("on")
        ]
        if tag in ("script", "link"):
            self.faults.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")


def cluster_of(load=True, name="web-1"):
    cores = 2.0 if load else None
    return make_cluster(
        [make_host("h1"), make_host("h2")],
        [make_server("s1", "h1", cpu_cores=cores, vcpus=3), make_server("s2", "h2", cpu_cores=cores)],
        load=LOAD if load else None,
    )


def action(name="web-1", uuid="a1", destination="h2"):
    return Action(
        uuid=uuid,
        action_type="migrate",
        reason=f"h1 is emptied of {name}",
        benefit={"hosts_in_use": 0.5},
        cost=Cost(copy_gb=1.5, expected_s=8),
        input_parameters=MigrateInput(
            resource_id="s1", resource_name=name, migration_type="live", source_node="h1", destination_node=destination
        ),
    )


def case(*actions, load=True, states=("SUCCEEDED",), goal="server_consolidation", refused=(), **fields):
    """A plan and its outcome: s1 is on h2 afterwards when its action succeeded."""
    before = cluster_of(load)
    done = tuple(
        ActionReport(one, state, "the cloud said so", None if state == "SKIPPED" else 0.0, 75.0)
        for one, state in zip(actions, states, strict=False)
    )
    arrived = any(one.state == "SUCCEEDED" for one in done)
    after = before.with_servers(tuple(replace(s, host="h2") if s.id == "s1" and arrived else s for s in before.servers))
    present = summary(before, placement_of(before))
    promised = summary(before, {"s1": "h2", "s2": "h2"}) if actions else present
    plan = Plan(
        **{
            "uuid": "p",
            "created_at": "2026-01-01T00:00:00+00:00",
            "state": "RECOMMENDED",
            "goal": goal,
            "strategy": "tidy",
            "status": "optimal",
            "cluster": ClusterRef(name="test", taken_at="t", hosts={"h1": "id-h1", "h2": "id-h2"}),
            "parameters": {"max_cpu_percent": 90.0, "disable_emptied": True},
            "before": present,
            "after": promised,
            "levels": (Level(name="hosts_in_use", value=0.5, bound=0.5, gap=0.0), Level(name="move_cost", value=0.25)),
            "refused": refused,
            "actions": actions,
            **fields,
        }
    )
    outcome = Outcome(
        Report(done, 75.0), before, after, present, promised, summary(after, placement_of(after)), (), (), ("a note",)
    )
    return plan, outcome


def checked(plan, outcome):
    text = render(plan, outcome)
    page = Balanced()
    page.feed(text)
    assert page.faults == []
    assert page.open == []
    return text


def test_facts_of_a_plan():
    text = checked(*case(action(), refused=(Refused(rule="capacity", text="s9 to h1 would help, but it is full"),)))
    for fact in (
        "1 host emptied with 1 migration: 1 now carry what 2 carried.",
        "Every action succeeded, and every figure is as promised.",
        "h1 is emptied of web-1",
        "s9 to h1 would help, but it is full",
        "h1: 25 % -&gt; 0 %, 1 -&gt; 0 servers",
        "h1: 25 % -&gt; 0 %, at most 25 %, 1 -&gt; 0 servers",
        "h1: 3 % -&gt; 0 %, at most 3 %, 1 -&gt; 0 servers",
        "a row is 100 % high",
        "1 min 15 s",
        "proven best",
        "none known",
        "disable emptied",
        "a note",
        "migrate live",
        "1.5 GiB",
        "mean over 1 h, from test",
    ):
        assert fact in text, fact


@pytest.mark.parametrize("state", ["FAILED", "SKIPPED", "CANCELLED"])
def test_what_did_not_happen_is_said(state):
    text = checked(*case(action(), states=(state,)))
    assert f"Of 1 action, 1 {state.lower()};" in text
    assert "differ from what was promised" in text
    assert "the cloud said so" in text
    assert "No host emptied" in text


def test_names_are_escaped_everywhere():
    plan, outcome = case(
        action(SCRIPT),
        strategy=SCRIPT,
        parameters={SCRIPT: SCRIPT},
        notes=(SCRIPT,),
        message=SCRIPT,
        refused=(Refused(rule=SCRIPT, text=SCRIPT),),
    )
    hosts = tuple(replace(host, name=host.name, zone=SCRIPT) for host in outcome.before.hosts)
    outcome = replace(outcome, before=replace(outcome.before, name=SCRIPT, hosts=hosts), misplaced=(SCRIPT,))
    text = checked(plan, outcome)
    assert SCRIPT not in text
    assert "&lt;script&gt;" in text


def test_without_load_the_bars_are_allocations_and_the_page_says_so():
    text = checked(*case(action(), load=False))
    assert "No load is known: the bars show what is allocated" in text
    assert "h1: 38 % -&gt; 0 %" in text  # 3 of 8 VCPU
    assert "CPU spread" not in text
    assert "limit for hosts that receive" not in text  # the limits are limits of measured load


def test_an_empty_plan_says_why():
    text = checked(
        *case(load=True, states=(), state="SUCCEEDED", message="No move is needed: the goal is met as it is.")
    )
    assert "<h1>No move is needed.</h1>" in text
    assert "No move is needed: the goal is met as it is. The plan is empty" in text
    assert "the cluster was left as it is" in text
    assert "Every action, and why" not in text


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ("workload_balancing", "1 migration carried out; the spread of the load is not below what it was."),
        ("cluster_maintaining", "h1 is empty after 1 migration."),
        ("unknown_goal", "1 migration carried out."),
    ],
)
def test_headline_of_each_goal(goal, words):
    assert words in checked(*case(action(), goal=goal, parameters={"maintenance_node": "id-h1"}))


def test_no_hosts_at_all():
    plan, outcome = case()
    empty = make_cluster([])
    checked(plan, replace(outcome, before=empty, after=empty, present={}, promised={}, reached={}))


def test_writing(tmp_path):
    plan, outcome = case(action())
    write_page(plan, outcome, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(DocumentError, match="cannot be written"):
        write_page(plan, outcome, tmp_path / "nowhere" / "page.html")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (2089.0, "2,089"),
        (0.00044803, "0.000448"),
        (9.493, "9.493"),
        (1526.42, "1,526.4"),
        (-3.0, "-3"),
    ],
)
def test_number(value, text):
    assert number(value) == text
