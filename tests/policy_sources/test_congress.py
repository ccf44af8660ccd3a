"""Congress as a source of rules, against a small HTTP server: every fault first, then what rows mean, then objections to plans."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.cluster import Cluster
from optimizer.placement import Move
from policy_sources.base import PolicyError, PolicyUnavailable
from policy_sources.congress import CongressSource, Objection, load_policy, ready_policy
from policy_sources.congress_tables import DETAILS, TABLES, Reader, kind_of
from policy_sources.http import HttpSettings, JsonService
from policy_sources.vocabulary.kinds import KINDS, parse
from tests.support.clusters import make_cluster, make_host, make_server

CLUSTER = make_cluster([make_host("h1"), make_host("h2"), make_host("h3")],
                       [make_server(f"s{n}", "h1") for n in range(1, 5)])
ONE_TRY = HttpSettings(timeout_s=5, attempts=1)


class Fake:
    """A Congress with one policy ``p``; ``answers`` (path -> body, or status and body, or bytes as they are) go before its tables."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        """``tables``: name -> rows."""
        self.answers: dict[str, Any] = {
            "GET /v1/policies": {"results": [{"name": "p"}, {"name": "classification"}]},
            "GET /v1/data-sources": {"results": []},
            "GET /v1/policies/p/tables": {"results": [{"id": name} for name in tables]},
            **{f"GET /v1/policies/p/tables/{name}/rows": {"results": [{"data": row} for row in rows]} for name, rows in tables.items()}}
        self.asked: list[tuple[str, Any]] = []
        self.token: str | None = None
        self.delay_s = 0.0

    @contextmanager
    def running(self) -> Iterator[str]:
        """Answer on loopback; yields the address."""
        http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()
            http.server_close()

    def read(self, cluster: Cluster = CLUSTER, policy: str = "p", settings: HttpSettings = ONE_TRY, **fields: Any) -> Any:
        """What the source reads here."""
        with self.running() as url:
            return CongressSource(policy, url, settings, **fields).read(cluster)

    def simulate(self, *moves: tuple[str, str, str]) -> tuple[Objection, ...]:
        """What the policy here objects to."""
        with self.running() as url:
            return CongressSource("p", url, ONE_TRY).simulate([Move(*move) for move in moves])


def _handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._do("GET")

        def do_POST(self) -> None:
            self._do("POST")

        def _do(self, method: str) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            fake.asked.append((f"{method} {self.path}", json.loads(self.rfile.read(size)) if size else None))
            time.sleep(fake.delay_s)
            status, body = 200, fake.answers.get(f"{method} {self.path}", (404, {"error": {"message": "Not found", "error_code": 404}}))
            if fake.token is not None and self.headers.get("X-Auth-Token") != fake.token:
                body = (401, {"error": {"message": "The request you have made requires authentication.", "code": 401}})
            if isinstance(body, tuple):
                status, body = body
            whole = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole[:len(whole) // 2] if whole.startswith(b"half") else whole)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


def faults_of(fake: Fake, **fields: Any) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        fake.read(**fields)
    return str(caught.value).removeprefix("policy congress:p: ").splitlines()


ROWS = "GET /v1/policies/p/tables/apart/rows"


@pytest.mark.parametrize(("table", "row", "fault"), [
    ("apart", ["g"], 'apart("g") has 1 columns; need apart(group, server)'),
    ("apart", ["g", "s1", 1], 'apart("g", "s1", 1) has 3 columns; need apart(group, server)'),
    ("apart", [], "apart() has 0 columns"),
    ("apart", [None, "s1"], 'apart(null, "s1"): group is null; need a name'),
    ("apart", [" ", "s1"], 'group is " "; need a name'),
    ("apart", [True, "s1"], "group is true; need a name"),
    ("apart", [["g"], "s1"], 'group is ["g"]; need a name'),
    ("apart", ["g", 5], 'apart("g", 5): server is 5; need the UUID of a server'),
    ("apart", ["g", ""], 'server is ""; need the UUID of a server'),
    ("apart", ["g", "web"], 'server is "web"; need the UUID of a server, here id-of-web'),
    ("apart", ["g", "s*"], 'server is "s*"; need the UUID of a server'),
    ("evacuate", ["id-h1"], 'evacuate("id-h1"): host is "id-h1"; need the service host name of a host, here h1'),
    ("evacuate", ["h*"], 'host is "h*"; need the service host name of a host'),
    ("evacuate", [1], "host is 1; need the service host name of a host"),
    ("apart_max", ["g", "two"], 'apart_max("g", "two"): max is "two"; need a whole number'),
    ("apart_max", ["g", 1.5], "max is 1.5; need a whole number"),
    ("apart_max", ["g", True], "max is true; need a whole number"),
    ("apart_max", ["g", 0], 'apart_max("g", 0): max: Input should be greater than or equal to 1 (got 0)'),
    ("spread_at_least", ["g", 1], 'spread_at_least("g", 1): at_least: Input should be greater than or equal to 2 (got 1)'),
    ("together_within", ["g", "floor"], 'together_within("g", "floor"): within: '),
    ("near_within", ["g", 3], "within is 3; need a text"),
    ("spread", ["g", "s1", "floor"], 'spread("g", "s1", "floor"): across: '),
    ("cap", ["h1", "CPU", 80], 'cap("h1", "CPU", 80): resource: '),
    ("cap", ["h1", "VCPU", 180], "percent: Input should be less than or equal to 100 (got 180"),
    ("cap", ["h1", "VCPU", "full"], 'percent is "full"; need a number'),
    ("cap", ["h1", "VCPU", "nan"], 'percent is "nan"; need a number'),
    ("automation", ["s1", "full"], "level: Input should be 'off' or 'advise' (got 'full')"),
    ("sensitivity", ["g", "s1", "speed", "high"], "property: "),
    ("should_apart", ["g", "s1", 0], 'should_apart("g", "s1", 0): weight: Input should be greater than 0 (got 0'),
    ("should_evacuate", ["h1", "much"], 'weight is "much"; need a number'),
    ("should_evacuate", ["h1"], "has 1 columns; need should_evacuate(host, weight)"),
])
def test_a_row_that_is_refused(table: str, row: list[Any], fault: str) -> None:
    group = {DETAILS[table][0]: [["g", "s1", *({"spread": ["zone"], "near": ["s2"]}.get(DETAILS[table][0], []))]]} if table in DETAILS else {}
    cluster = make_cluster(CLUSTER.hosts, [*CLUSTER.servers, make_server("web", "h1", id="id-of-web")])
    found = faults_of(Fake({**group, table: [row], "keep": [["s1"]]}), cluster=cluster)
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(("body", "fault"), [
    ({"rows": []}, 'apart: the answer has no list "results" ({"rows": []}); is this the address of Congress?'),
    ({}, 'the answer has no list "results"'),
    ([], 'the answer has no list "results"'),
    (b"", 'the answer has no list "results"'),
    ({"results": None}, 'the answer has no list "results"'),
    ({"results": {"data": []}}, 'the answer has no list "results"'),
    ({"results": [["g", "s1"]]}, 'apart: ["g", "s1"] is no row; need {"data": [VALUE, ...]}'),
    ({"results": [{"data": "g"}]}, "is no row"),
    ({"results": [{"data": ["g", "s1"]}, 5]}, "apart: 5 is no row"),
    (b'{"results": [{"data": ["g", ', "tables/apart/rows: the answer is not JSON"),
    (b"<html>It works!</html>", "the answer is not JSON: '<html>It works!</html>'"),
    ((400, {"error": {"message": "unwell\nTraceback (most recent call last):\n..."}}), "answers 400: unwell"),
    ((404, {"error": {"message": "Not Found::table 'apart' doesn't exist"}}), "answers 404: Not Found::table 'apart' doesn't exist"),
    ((403, {"error": {"message": "Forbidden"}}), "answers 403: Forbidden"),
])
def test_an_answer_that_is_refused(body: Any, fault: str) -> None:
    fake = Fake({"apart": []})
    fake.answers[ROWS] = body
    found = faults_of(fake)
    assert len(found) == 1
    assert fault in found[0]
    assert not found[0].endswith("...")


@pytest.mark.parametrize(("tables", "fault"), [
    ({"results": []}, "none of its tables holds rules (it has no tables); need one or more of together, apart, spread,"),
    ({"results": [{"id": "vm"}, {"id": "p:servers"}, {"id": "apart_max"}]}, "none of its tables holds rules (apart_max, p:servers, vm); need"),
    ({"results": [{"id": "keep"}, {"id": "should_keep"}]}, "should_keep: there is no such table of rules; of those that should hold there are"),
    ({"results": [{"name": "keep"}]}, 'tables: {"name": "keep"} is no row; need {"id": TABLE}'),
    ({"tables": []}, 'tables: the answer has no list "results"'),
    ((404, {"error": {"message": "Not found"}}), "there is no policy 'p' in http://127.0.0.1:"),
])
def test_a_policy_without_our_tables(tables: Any, fault: str) -> None:
    fake = Fake({"keep": []})
    fake.answers["GET /v1/policies/p/tables"] = tables
    if isinstance(tables, tuple):
        fake.answers["GET /v1/policies"] = {"results": [{"name": "one"}, {"name": "action"}]}
    found = faults_of(fake)
    assert len(found) == 1
    assert fault in found[0]
    assert not isinstance(tables, tuple) or found[0].endswith("there are action, one")


FRESH = {"last_error": "None", "number_of_updates": "3"}


@pytest.mark.parametrize(("name", "status", "kind", "fault"), [
    ("nova", {**FRESH, "last_error": "401 Unauthorized"}, PolicyUnavailable, "data source nova could not be read by Congress: 401 Unauthorized"),
    ("nova", {**FRESH, "number_of_updates": "0"}, PolicyUnavailable, "data source nova has not been read by Congress yet; try again"),
    ("nova", {}, PolicyError, 'the status of data source nova has no "last_error" and "number_of_updates": {}'),
    ("nova", [], PolicyError, "the status of data source nova has no"),
    ("nova", (404, {"error": {"message": "Not found"}}), PolicyError, "/v1/data-sources/nova/status answers 404: Not found"),
    ("neutron", FRESH, PolicyError, "it looks at tables of neutron, and there is no data source (or policy) of that name; there are doctor, nova"),
    ("nova", FRESH, None, ""),
    ("doctor", {**FRESH, "number_of_updates": "0"}, None, ""),  # nothing was brought yet
    ("p", FRESH, None, ""),  # a policy
])
def test_data_that_congress_does_not_have(name: str, status: Any, kind: type[PolicyError] | None, fault: str) -> None:
    fake = veto({"result": []}, [f'error(s) :- {name}:servers(s, "other:x(y)"), arrives(s, h), not builtin:equal(s, h)'])
    fake.answers |= {"GET /v1/data-sources": {"results": [{"name": "nova", "driver": "nova"}, {"name": "doctor", "driver": "doctor"}]},
                     f"GET /v1/data-sources/{name}/status": status, "GET /v1/policies/p/tables/keep/rows": {"results": []},
                     "GET /v1/policies/p/tables": {"results": [{"id": "keep"}, {"id": f"{name}:servers"}]}}
    for ask in (fake.read, lambda: fake.simulate(("s1", "h1", "h2"))):
        if kind is None:
            ask()
            continue
        with pytest.raises(PolicyError) as caught:
            ask()
        assert type(caught.value) is kind
        assert fault in str(caught.value)


def test_data_sources_that_cannot_be_listed() -> None:
    fake = Fake({"keep": [], "nova:servers": []})
    fake.answers["GET /v1/data-sources"] = {"data": []}
    assert faults_of(fake)[0].endswith('/v1/data-sources has no list "results"; is this the address of Congress?')


def test_all_faults_of_all_tables_are_told_at_once_and_many_like_one_another_are_counted() -> None:
    found = faults_of(Fake({"apart": [["g"], ["g", 5]], "cap": [["h1", "CPU", 80]], "apart_max": [["g", "x"]], "keep": [[n] for n in range(500)]}))
    assert len(found) == 1 + 4 + 11
    assert found[0].endswith("15 faults")
    assert "  keep: 490 more faults" in found


@pytest.mark.parametrize(("tables", "fault"), [
    ({"should_apart": [["g", "s1", 1], ["g", "s2", 2]]},
     'should_apart("g", "s1", 1) and should_apart("g", "s2", 2) are of one rule; need the same weight in all its rows'),
    ({"spread": [["g", "s1", "zone"], ["g", "s2", "rack"]]}, "need the same across in all its rows"),
    ({"apart": [["g", "s1"]], "apart_max": [["g", 1], ["g", 2]]}, 'apart_max("g", 1) and apart_max("g", 2) contradict each other'),
    ({"should_apart": [["g", "s1", -1], ["g", "s2", -1]]}, 'should_apart("g", *, -1.0): weight: Input should be greater than 0'),
])
def test_rows_that_do_not_fit_together(tables: dict[str, Any], fault: str) -> None:
    found = faults_of(Fake(tables))
    assert len(found) == 1
    assert fault in found[0]


def test_a_token_that_is_not_accepted() -> None:
    fake = Fake({"keep": []})
    fake.token = "good"
    assert "tables answers 401: The request you have made requires authentication." in faults_of(fake)[0]
    tokens = iter(("old", "good", "good"))  # one that has run out is asked for anew
    assert fake.read(headers=lambda: {"X-Auth-Token": next(tokens)}).rules == ()


def test_a_congress_that_does_not_answer() -> None:
    fake = Fake({"keep": [["s1"]]})
    with fake.running() as url:
        pass
    with pytest.raises(PolicyUnavailable, match="cannot be reached"):
        CongressSource("p", url, ONE_TRY).read(CLUSTER)
    fake.delay_s = 0.5
    with pytest.raises(PolicyUnavailable, match=r"did not answer within 0\.1 s"):
        fake.read(settings=HttpSettings(timeout_s=0.1, attempts=1))
    fake.delay_s = 0.0
    fake.answers["GET /v1/policies/p/tables/keep/rows"] = b"half of what it said it would send"
    with pytest.raises(PolicyUnavailable, match="cannot be reached"):
        fake.read()
    fake.answers["GET /v1/policies/p/tables/keep/rows"] = (503, {"error": {"message": "engine is synchronizing"}})
    with pytest.raises(PolicyUnavailable, match=r"answers 503: .*engine is synchronizing"):
        fake.read()


def test_an_answer_that_is_too_large() -> None:
    with pytest.raises(PolicyError, match=r"larger than 0\.1 MB"):
        Fake({"apart": [["g", f"s{n}"] for n in range(15000)]}).read(settings=HttpSettings(max_mb=0.1))


@pytest.mark.parametrize(("tables", "where", "statement"), [
    ({"apart": [["g", "s2"], ["g", "s1"]]}, 'apart("g", *)', {"rule": "apart", "servers": {"id": ["s1", "s2"]}}),
    ({"apart": [[7, "s1"]]}, 'apart(7, "s1")', {"rule": "apart", "servers": {"id": ["s1"]}}),
    ({"apart": [["g", "s1"], ["g", "s2"]], "apart_max": [["g", "2"]]}, 'apart("g", *)',
     {"rule": "apart", "servers": {"id": ["s1", "s2"]}, "max_per_host": 2}),
    ({"should_apart": [["g", "s1", "1.5"], ["g", "s2", 1.5]], "apart_max": [["g", 2.0]]}, 'should_apart("g", *, 1.5)',
     {"rule": "apart", "servers": {"id": ["s1", "s2"]}, "max_per_host": 2, "should": 1.5}),
    ({"together": [["g", "s1"], ["g", "s2"]], "together_within": [["g", "zone"]]}, 'together("g", *)',
     {"rule": "together", "servers": {"id": ["s1", "s2"]}, "within": "zone"}),
    ({"spread": [["g", "s1", "zone"], ["g", "s2", "zone"]], "spread_at_least": [["g", 2]]}, 'spread("g", *, "zone")',
     {"rule": "spread", "servers": {"id": ["s1", "s2"]}, "across": "zone", "at_least": 2}),
    ({"near": [["g", "s1", "s2"], ["g", "s1", "s3"]], "near_within": [["g", "host"]]}, 'near("g", "s1", *)',
     {"rule": "near", "servers": {"id": ["s1"]}, "needs": {"id": ["s2", "s3"]}, "within": "host"}),
    ({"on": [["licence", "s1", "h2"], ["licence", "s1", "h1"]]}, 'on("licence", "s1", *)',
     {"rule": "on", "servers": {"id": ["s1"]}, "hosts": {"name": ["h1", "h2"]}}),
    ({"not_on": [["s1", "h2"]]}, 'not_on("s1", "h2")', {"rule": "not_on", "servers": {"id": ["s1"]}, "hosts": {"name": ["h2"]}}),
    ({"exclusive": [["h1", "s1"], ["h1", "s2"]]}, 'exclusive("h1", *)',
     {"rule": "exclusive", "hosts": {"name": ["h1"]}, "servers": {"id": ["s1", "s2"]}}),
    ({"evacuate": [["h1"]]}, 'evacuate("h1")', {"rule": "evacuate", "hosts": {"name": ["h1"]}}),
    ({"should_evacuate": [["h1", 3]]}, 'should_evacuate("h1", 3)', {"rule": "evacuate", "hosts": {"name": ["h1"]}, "should": 3.0}),
    ({"quarantine": [["h1"]]}, 'quarantine("h1")', {"rule": "quarantine", "hosts": {"name": ["h1"]}}),
    ({"keep": [["s1"]]}, 'keep("s1")', {"rule": "keep", "servers": {"id": ["s1"]}}),
    ({"no_live_migration": [["s1"]]}, 'no_live_migration("s1")', {"rule": "no_live_migration", "servers": {"id": ["s1"]}}),
    ({"no_cold_migration": [["s1"]]}, 'no_cold_migration("s1")', {"rule": "no_cold_migration", "servers": {"id": ["s1"]}}),
    ({"automation": [["s1", "off"]]}, 'automation("s1", "off")', {"rule": "automation", "servers": {"id": ["s1"]}, "level": "off"}),
    ({"budget": [["s1", 2, 24]]}, 'budget("s1", 2, 24)', {"rule": "budget", "servers": {"id": ["s1"]}, "moves": 2, "hours": 24.0}),
    ({"host_budget": [["h1", 2, 24]]}, 'host_budget("h1", 2, 24)', {"rule": "budget", "hosts": {"name": ["h1"]}, "moves": 2, "hours": 24.0}),
    ({"cap": [["h1", "VCPU", 80]]}, 'cap("h1", "VCPU", 80)', {"rule": "cap", "hosts": {"name": ["h1"]}, "resource": "VCPU", "percent": 80.0}),
    ({"sensitivity": [["app", "s1", "latency", "high"], ["app", "s2", "latency", "high"]]}, 'sensitivity("app", *, "latency", "high")',
     {"rule": "sensitivity", "servers": {"id": ["s1", "s2"]}, "property": "latency", "level": "high"}),
])
def test_what_rows_mean(tables: dict[str, Any], where: str, statement: dict[str, Any]) -> None:
    read = Fake(tables).read()
    assert [(rule.origin.source, rule.origin.where) for rule in read.rules] == [("congress:p", where)]
    assert read.rules[0].says == KINDS[statement["rule"]].model_validate(statement)
    assert read.notes == ()


def test_every_kind_of_rule_has_its_tables() -> None:
    assert {kind_of(name) for name in TABLES} == set(KINDS)
    assert {name for name in KINDS if f"should_{name}" not in TABLES} == {
        "quarantine", "keep", "no_live_migration", "no_cold_migration", "automation", "window", "budget"}
    for name, columns in {**TABLES, **{name: columns for name, (_, columns) in DETAILS.items()}}.items():
        fields = KINDS[DETAILS[name][0] if name in DETAILS else kind_of(name)].model_fields
        assert all(column.into.partition(".")[0] in fields for column in columns if column.into)


def test_rows_make_the_same_rules_in_whatever_order_they_come() -> None:
    rows = [[group, f"s{n}"] for group in ("a", "b") for n in (1, 2, 3)]
    assert Fake({"keep": [["s1"]], "apart": rows}).read().rules == Fake({"apart": rows[::-1], "keep": [["s1"]]}).read().rules


def test_empty_tables_are_no_fault() -> None:
    read = Fake({"apart": [], "vm": [["x", "y", "z"]]}).read()
    assert (read.source, read.rules, read.notes) == ("congress:p", (), ())
    assert read.read_at.endswith("+00:00")


def test_servers_and_hosts_that_do_not_exist_are_noted() -> None:
    read = Fake({"apart": [["g", "s1"], ["g", "gone"], ["other", "gone"]], "evacuate": [["h9"], ["h1"]], "apart_max": [["other", 2]],
                 "on": [["l", "s1", "h9"]], "exclusive": [["h2", "gone"]], "apartt": []}).read()
    assert [rule.origin.where for rule in read.rules] == ['apart("g", "s1")', 'on("l", "s1", "h9")', 'exclusive("h2", "gone")', 'evacuate("h1")']
    assert read.notes == (
        "congress:p: Table apartt is not read; one with rules would be called apart.",
        'congress:p: apart_max("other", 2) has no effect: apart has no such group.',
        'congress:p: apart: 1 of its servers is not in the cloud, as in apart("g", "gone").',
        'congress:p: on: 1 of its hosts is not in the cloud, as in on("l", "s1", "h9").',
        'congress:p: exclusive: 1 of its servers is not in the cloud, as in exclusive("h2", "gone").',
        'congress:p: evacuate: 1 of its hosts is not in the cloud, as in evacuate("h9").')


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from(["s1", "h1", "zone", "VCPU", "g"])
JUNK = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
    st.sampled_from(["data", "results", "x"]), inner, max_size=2), max_leaves=6)
ANSWERS = st.fixed_dictionaries({"results": st.lists(st.fixed_dictionaries({"data": st.lists(JUNK, max_size=4)}) | JUNK, max_size=4)}) | JUNK


@given(st.dictionaries(st.sampled_from([*TABLES, *DETAILS]), ANSWERS, max_size=3), ANSWERS)
def test_whatever_is_answered_becomes_rules_or_faults(answers: dict[str, Any], tables: Any) -> None:
    reader = Reader(CLUSTER)
    reader.tables(tables)
    written = reader.statements(answers)
    statements, faults = parse([one.statement for one in written])
    for fault in faults:
        reader.refuse(written[fault.row], fault)
    assert bool(faults) <= bool(reader.faults)
    assert len(statements) + len({fault.row for fault in faults}) == len(written)


def test_ten_times_the_rows() -> None:
    cluster = make_cluster([make_host("h1")], [make_server(f"s{n}", "h1") for n in range(15000)])
    rules = Fake({"apart": [[f"g{n % 2500}", f"s{n}"] for n in range(15000)]}).read(cluster).rules
    assert (len(rules), sum(len(rule.says.servers.id) for rule in rules)) == (2500, 15000)


def test_the_policy_is_asked_for_by_name_and_nothing_that_is_not_ours() -> None:
    fake = Fake({"keep": [["s1"]], "vm": [["s1", "h1"]]})
    with fake.running() as url:
        CongressSource("p", f"{url}/v1/", ONE_TRY).read(CLUSTER)
    assert [asked for asked, _ in fake.asked] == ["GET /v1/policies/p/tables", "GET /v1/policies/p/tables/keep/rows"]
    with pytest.raises(PolicyError, match="there is no policy 'a/b c'"):
        fake.read(policy="a/b c")
    assert ("GET /v1/policies/a%2Fb%20c/tables", None) in fake.asked


VETO = ['error("it", s, h) :- arrives(s, h), bad(h)', 'bad("error(x), leaves(x)")', "at(s, h) :- located(s, h), not leaves(s, h)"]
SIMULATE = "POST /v1/policies/p?action=simulate&delta=true"


def veto(result: Any, rules: list[str] = VETO) -> Fake:
    fake = Fake({})
    fake.answers |= {"GET /v1/policies/p/rules": {"results": [{"rule": rule} for rule in rules]}, SIMULATE: result}
    return fake


@pytest.mark.parametrize(("rules", "fault"), [
    (VETO[1:], "it has no rule for error(...), so it can object to nothing"),
    (["x(s) :- error(s)", *VETO[1:]], "it has no rule for error(...)"),
    (['error("it", s) :- located(s, h)'], "none of its rules looks at leaves(server, host) or arrives(server, host), so it cannot see a move"),
    (["error(s) :- other:arrives(s, h)"], "none of its rules looks at"),
    (["error(s) :- arrives(s)"], "arrives has 1 columns in its rules; need arrives(server, host)"),
    (["error(s) :- arrives(s, h), not leaves(s, h, 1)"], "leaves has 3 columns in its rules; need leaves(server, host)"),
])
def test_a_policy_without_a_veto(rules: list[str], fault: str) -> None:
    with pytest.raises(PolicyError) as caught:
        veto({"result": []}, rules).simulate(("s1", "h1", "h2"))
    assert fault in str(caught.value)


@pytest.mark.parametrize(("answer", "fault"), [
    ({}, 'has no list "result" of texts'),
    ([], 'has no list "result" of texts'),
    ({"result": "error+(1)"}, 'has no list "result" of texts'),
    ({"result": [1]}, 'has no list "result" of texts'),
    ((400, {"error": {"message": "Error in simulate procedure::Lex failure.\nTraceback"}}), "answers 400: Error in simulate procedure::Lex failure."),
    ((404, {"error": {"message": "Not found"}}), "answers 404: Not found"),
    (b'{"result": [', "is not JSON"),
])
def test_an_answer_to_a_simulation_that_is_refused(answer: Any, fault: str) -> None:
    with pytest.raises(PolicyError) as caught:
        veto(answer).simulate(("s1", "h1", "h2"))
    assert fault in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("rules", [{"results": [{"id": 1}]}, {"rules": []}, []])
def test_rules_that_cannot_be_read(rules: Any) -> None:
    fake = veto({"result": []})
    fake.answers["GET /v1/policies/p/rules"] = rules
    with pytest.raises(PolicyError, match='are no list "results" of'):
        fake.simulate(("s1", "h1", "h2"))


def test_what_a_policy_objects_to() -> None:
    fake = veto({"result": ['error+("it", "s2", "h2")', 'error-("it", "s1", "h1")', 'error+("a"b", 5)', "error+(1.5)"]})
    assert fake.simulate(("s1", "h1", "h2"), ("s2", "h1", "h3"), ("s1", "h2", "h3"), ("s3", "h1", "h2"), ("s3", "h2", "h1")) == (
        Objection('error("a"b", 5)', ('"a"b", 5',)), Objection('error("it", "s2", "h2")', ("it", "s2", "h2")), Objection("error(1.5)", (1.5,)))
    assert fake.asked[-1] == (SIMULATE, {
        "query": "error(c0, c1, c2)", "action_policy": "action",
        "sequence": 'leaves+("s1", "h1") arrives+("s1", "h3") leaves+("s2", "h1") arrives+("s2", "h3")'})


def test_without_a_move_there_is_nothing_to_ask() -> None:
    fake = veto({"result": ["error+(1)"]})
    assert fake.simulate() == fake.simulate(("s1", "h1", "h2"), ("s1", "h2", "h1")) == ()
    assert fake.asked == []


@pytest.mark.parametrize(("name", "answer", "fault"), [
    ("a-b", {}, "'a-b' cannot name a policy; need a letter, then letters, digits and _"),
    ("", {}, "'' cannot name a policy"),
    ("p", (409, {"error": {"message": "Policy with name p already exists"}}), "policy p is refused: Policy with name p already exists"),
    ("p", (400, {"error": {"message": "Syntax error for rule::Parse failure."}}), "policy p is refused: Syntax error for rule::Parse failure."),
])
def test_a_policy_that_cannot_be_loaded(name: str, answer: Any, fault: str) -> None:
    fake = Fake({})
    fake.answers["POST /v1/policies"] = answer
    with fake.running() as url, pytest.raises(PolicyError) as caught:
        load_policy(JsonService("congress", url, ONE_TRY), name, [{"rule": "keep(1)"}])
    assert str(caught.value).startswith(f"policy congress: {fault}")


def test_every_table_and_its_columns_are_in_congress_md() -> None:
    page = (Path(__file__).parents[2] / "docs" / "congress.md").read_text()
    for name, columns in {**TABLES, **{name: columns for name, (_, columns) in DETAILS.items()}}.items():
        if not name.startswith("should_"):
            assert f"| `{name}({', '.join(column.name for column in columns)})` |" in page
    assert all(f"`{name}`" in page for name in TABLES if name.startswith("should_"))


@pytest.mark.parametrize("name", ["placewright", "placewright_doctor"])
def test_every_rule_of_the_ready_policies_is_said_what_it_is_for(name: str) -> None:
    rules = ready_policy(name)
    assert rules
    assert all(set(rule) == {"rule", "comment"} and all(rule.values()) for rule in rules)


def test_a_policy_is_loaded_as_a_whole() -> None:
    fake = Fake({})
    fake.answers["POST /v1/policies"] = (201, {"name": "mine"})
    with fake.running() as url:
        load_policy(JsonService("congress", url, ONE_TRY), "mine", [{"rule": "keep(1)", "comment": "why"}])
    assert fake.asked == [("POST /v1/policies", {"name": "mine", "kind": "nonrecursive", "rules": [{"rule": "keep(1)", "comment": "why"}]})]
