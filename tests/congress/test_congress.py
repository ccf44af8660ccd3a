"""The ready policies and the source of rules against a real Congress: 1,000 servers, 250 groups of four by tag."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from benchmarks.policy_pull import measure
from migrate.duration import TimeModel
from migrate.plan import MigrateInput, Plan
from optimizer.cluster import Cluster
from optimizer.placement import Move
from placewright.audit import run_audit
from policy_sources.base import PolicyError, PolicyUnavailable
from policy_sources.congress import CongressSource, load_policy, ready_policy
from policy_sources.http import HttpSettings, JsonService
from policy_sources.vocabulary.kinds import parse
from strategies.registry import strategy
from tests.support.clusters import make_cluster, make_host, make_server

SERVERS, HOSTS, GROUPS, PROJECTS = 1000, 53, 250, 20
FAILING = "compute-7"
POLICIES = Path(__file__).parents[2] / "policy_sources" / "policies" / "congress"


@dataclass(frozen=True)
class Facts:
    """What Nova and the operator say: server -> host, group, project; all else follows from the number of the server or group."""

    host: dict[str, str] = field(default_factory=lambda: {str(UUID(int=n + 1)): f"compute-{n % HOSTS}" for n in range(SERVERS)})

    @property
    def servers(self) -> list[str]:
        """Their ids; number n is in group n % GROUPS and project n % PROJECTS."""
        return list(self.host)

    def hypervisor(self, host: str) -> str:
        """Two hypervisors are not called like their hosts."""
        return f"{host}.example" if host in ("compute-1", "compute-2") else host

    def cluster(self) -> Cluster:
        """As the optimizer sees them."""
        return make_cluster([make_host(f"compute-{n}") for n in range(HOSTS)], [make_server(one, host) for one, host in self.host.items()])

    def nova(self) -> dict[str, Any]:
        """As Nova shows them."""
        servers = [{"id": one, "name": f"web-{n}", "hostId": "", "status": "ACTIVE", "tenant_id": f"p{n % PROJECTS}", "user_id": "u", "image": "",
                    "flavor": {"id": "1"}, "OS-EXT-AZ:availability_zone": "nova", "created": "2026-01-01T00:00:00Z", "addresses": {},
                    "OS-EXT-SRV-ATTR:hypervisor_hostname": self.hypervisor(host), "tags": [f"group-{n % GROUPS}", "all"]}
                   for n, (one, host) in enumerate(self.host.items())]
        services = [{"id": n, "binary": "nova-compute", "host": f"compute-{n}", "zone": "nova", "state": "up", "updated_at": "2026-01-01T00:00:00Z",
                     "status": "disabled" if n in (3, 4) else "enabled", "disabled_reason": {3: "repair", 4: "other"}.get(n)} for n in range(HOSTS)]
        return {"servers": servers, "services": services, "flavors": [], "hypervisors": [], "availability_zones": []}

    def operator(self) -> list[str]:
        """What the operator says: groups 0 to 199 apart, 200 to 229 together, 230 to 239 spread, 240 kept, 241 on two hosts, project p3 on three."""
        return [*(f'apart_tag("group-{n}")' for n in range(200)), *(f'together_tag("group-{n}")' for n in range(200, 230)),
                *(f'spread_tag("group-{n}", "zone")' for n in range(230, 240)), 'keep_tag("group-240")', 'apart_max("group-5", 2)',
                'tag_on("group-241", "compute-20")', 'tag_on("group-241", "compute-21")', 'leave_reason("repair")', 'rivals("p1", "p2")',
                *(f'project_on("p3", "compute-{n}")' for n in (30, 31, 32)),
                *(f'hypervisor_of("{host}", "{self.hypervisor(host)}")' for host in ("compute-1", "compute-2"))]

    def rules(self) -> list[tuple[str, dict[str, Any]]]:
        """What must come of it, worked out here without Datalog: (where it is written, statement)."""
        members = defaultdict(list)
        for n, one in enumerate(self.servers):
            members[n % GROUPS].append(one)
        groups: list[tuple[str, dict[str, Any]]] = []
        for n in range(240):
            kind, more, tail = ("apart", {}, "") if n < 200 else ("together", {}, "") if n < 230 else ("spread", {"across": "zone"}, ', "zone"')
            more = {"max_per_host": 2} if n == 5 else more
            groups.append((f'{kind}("group-{n}", *{tail})', {"rule": kind, "servers": {"id": members[n]}, **more}))
        keeps = [(f'keep("{one}")', {"rule": "keep", "servers": {"id": [one]}}) for one in members[240]]
        places = [(f'on("{group}", "{one}", *)', {"rule": "on", "servers": {"id": [one]}, "hosts": {"name": hosts}}) for group, some, hosts in (
            ("group-241", members[241], ["compute-20", "compute-21"]), ("p3", self.servers[3::PROJECTS], ["compute-30", "compute-31", "compute-32"]))
            for one in some]
        return [*groups, *keeps, *places, ('evacuate("compute-3")', {"rule": "evacuate", "hosts": {"name": ["compute-3"]}})]

    def objections(self, moves: Iterable[Move]) -> set[tuple[str, str, str]]:
        """What the ready policy must object to, worked out without Datalog."""
        to = {move.server: move.destination for move in moves}
        at, found = {**self.host, **to}, set()
        on = defaultdict(set)
        for n, one in enumerate(self.servers):
            on[at[one]].add(n)
        for n, one in enumerate(self.servers):
            others = on[at[one]] - {n}
            group, project = n % GROUPS, n % PROJECTS
            wrong = {"apart": group < 200 and group != 5 and any(other % GROUPS == group for other in others),
                     "not its host": (group == 241 and at[one] not in ("compute-20", "compute-21"))
                                     or (project == 3 and at[one] not in ("compute-30", "compute-31", "compute-32")),
                     "evacuated": at[one] == "compute-3",
                     "rivals": project in (1, 2) and any(other % PROJECTS == 3 - project for other in others)}
            found |= {(reason, one, at[one]) for reason, broken in wrong.items() if one in to and broken}
        return found


FACTS = Facts()


@pytest.fixture(scope="module")
def service(congress: str, tmp_path_factory: pytest.TempPathFactory) -> JsonService:
    """Congress with the facts and both ready policies."""
    service = JsonService("congress", congress, HttpSettings())
    nova = Path(tmp_path_factory.mktemp("nova"), "nova.json")
    nova.write_text(json.dumps(FACTS.nova()))
    service.ask("POST", "/v1/data-sources", {"name": "nova", "driver": "nova_from_file", "config": {"path": str(nova)}})
    doctor = service.ask("POST", "/v1/data-sources", {"name": "doctor", "driver": "doctor", "config": {}}).body["id"]
    load_policy(service, "placewright", [*ready_policy("placewright"), *({"rule": fact} for fact in FACTS.operator())])
    # As an operator does it, with curl.
    service.ask("POST", "/v1/policies", json.loads((POLICIES / "placewright_doctor.json").read_text()))
    event = {"time": "2026-01-01T00:00:00Z", "type": "compute.host.down",
             "details": {"hostname": FAILING, "status": "down", "monitor": "m", "monitor_event_id": "1"}}
    _until(lambda: service.ask("PUT", f"/v1/data-sources/{doctor}/tables/events/rows", [event], accept=frozenset({404})).status == 200)
    _until(lambda: len(service.ask("GET", "/v1/policies/placewright/tables/located/rows").body["results"]) == SERVERS)
    return service


def _until(holds: Callable[[], object]) -> None:
    """Wait for Congress, which polls its data sources."""
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(1)


def source(service: JsonService, policy: str = "placewright") -> CongressSource:
    return CongressSource(policy, service.url)


def test_the_rules_are_those_that_follow_from_the_facts(service: JsonService) -> None:
    read = source(service).read(FACTS.cluster())
    expected = FACTS.rules()
    statements, faults = parse([statement for _, statement in expected])
    assert not faults
    assert {rule.origin.where: rule.says for rule in read.rules} == {where: says for (where, _), says in zip(expected, statements, strict=True)}
    assert len(read.rules) == len(expected)
    assert read.notes == ()


def test_a_host_that_a_monitor_calls_failing_is_evacuated(service: JsonService) -> None:
    def seen() -> list[str]:
        return [rule.origin.where for rule in source(service, "placewright_doctor").read(FACTS.cluster()).rules]

    _until(seen)
    assert seen() == [f'evacuate("{FAILING}")']


def test_servers_and_hosts_that_the_cluster_does_not_have_are_noted(service: JsonService) -> None:
    cluster = FACTS.cluster()
    fewer = make_cluster([host for host in cluster.hosts if host.name != "compute-3"],
                         [server for server in cluster.servers if server.id != FACTS.servers[0] and server.host != "compute-3"])
    read = source(service).read(fewer)
    assert 'evacuate: 1 of its hosts is not in the cloud, as in evacuate("compute-3").' in read.notes[-1]
    assert [len(rule.says.servers.id) for rule in read.rules if rule.origin.where == 'apart("group-0", *)'] == [3]


def to(number: int, host: int) -> Move:
    """A move of the server of that number."""
    one = FACTS.servers[number]
    return Move(one, FACTS.host[one], f"compute-{host}")


@pytest.mark.parametrize(("moves", "reasons"), [
    ([to(210, 50)], []),
    ([to(0, 45), to(250, 45)], ["apart", "apart"]),
    ([to(0, 38), to(250, 45)], []),  # where 250 was; it is the outcome that counts
    ([to(5, 45), to(255, 45)], []),  # apart_max allows two
    ([to(210, 3)], ["evacuated"]),
    ([to(491, 22)], ["not its host"]),
    ([to(21, 2)], ["rivals"]),
])
def test_objections_are_those_that_the_moves_bring_about(service: JsonService, moves: list[Move], reasons: list[str]) -> None:
    found = source(service).simulate(moves)
    assert {one.values for one in found} == FACTS.objections(moves)
    assert sorted(str(one.values[0]) for one in found) == reasons


def test_objections_to_many_moves(service: JsonService) -> None:
    rng = Random(1)
    moves = [to(number, rng.randrange(HOSTS)) for number in rng.sample(range(SERVERS), 100)]
    moves = [move for move in moves if move.source != move.destination]
    found = source(service).simulate(moves)
    assert {one.values for one in found} == FACTS.objections(moves)
    assert len(found) > 20


@dataclass
class Here:
    """A source that holds the cluster itself, with room for everybody."""

    now: Cluster

    def cluster(self) -> Cluster:
        return self.now

    def with_load(self, cluster: Cluster, need: object) -> Cluster:
        return cluster


def roomy() -> Cluster:
    """The servers of the facts on hosts that are a third full, in two zones."""
    hosts = [make_host(f"compute-{n}", vcpus=64, memory_mb=65536, disk_gb=640, zone=("east", "west")[n % 2]) for n in range(HOSTS)]
    return make_cluster(hosts, [make_server(one, host) for one, host in FACTS.host.items()])


def test_from_policy_to_a_plan_that_congress_has_nothing_against(service: JsonService) -> None:
    """And one that it objects to for a reason that is none of the rules: rivals."""
    def audit() -> Plan:
        policy = source(service)
        return run_audit(Here(roomy()), strategy("repair"), {}, policies=(policy,), vetoes=(policy,), max_moves=None, time_limit_s=30, seed=1,
                         threads=2, model=TimeModel(), say=lambda text: None)

    vetoed = audit()
    assert vetoed.actions == ()
    assert vetoed.message.startswith("No move is proposed: congress:placewright objects to the plan")
    assert {one.text.partition("(")[2].partition(",")[0] for one in vetoed.refused if one.rule == "veto"} == {'"rivals"'}
    (rivals,) = [one["id"] for one in service.ask("GET", "/v1/policies/placewright/rules").body["results"] if one["rule"].startswith("rivals(")]
    service.ask("DELETE", f"/v1/policies/placewright/rules/{rivals}")
    try:
        plan = audit()
        moves = [Move(one.resource_id, one.source_node, one.destination_node) for one in (action.input_parameters for action in plan.actions)
                 if isinstance(one, MigrateInput)]
        assert (plan.levels[0].value, plan.clashes) == (0.0, ())
        assert len(moves) > 50  # project p3, group 241 and compute-3
        assert all(action.policy and action.policy[0].startswith("congress:placewright ") for action in plan.actions)
        assert source(service).simulate(moves) == ()
    finally:
        service.ask("POST", "/v1/policies/placewright/rules", {"rule": 'rivals("p1", "p2")'})


def test_what_is_simulated_is_not_done(service: JsonService) -> None:
    source(service).simulate([Move(FACTS.servers[0], "compute-0", "compute-3")])
    for table in ("leaves", "arrives", "error"):
        assert service.ask("GET", f"/v1/policies/placewright/tables/{table}/rows").body == {"results": []}


@pytest.mark.parametrize(("rules", "fault"), [
    (['helper("x")'], "none of its tables holds rules (helper); need one or more of together,"),
    ([], "none of its tables holds rules (it has no tables)"),
    (['apart("g", "s", 1)'], 'apart("g", "s", 1) has 3 columns; need apart(group, server)'),
    (['keep("gone")', "evacuate(5)"], "evacuate(5): host is 5; need the service host name of a host"),
])
def test_policies_that_are_refused(service: JsonService, rules: list[str], fault: str) -> None:
    load_policy(service, "faulty", [{"rule": rule} for rule in rules])
    try:
        with pytest.raises(PolicyError) as caught:
            source(service, "faulty").read(FACTS.cluster())
        assert fault in str(caught.value)
        with pytest.raises(PolicyError, match="it has no rule for error"):
            source(service, "faulty").simulate([Move(FACTS.servers[0], "compute-0", "compute-1")])
    finally:
        service.ask("DELETE", "/v1/policies/faulty")


def test_a_data_source_that_congress_cannot_read(service: JsonService, tmp_path: Path) -> None:
    service.ask("POST", "/v1/data-sources", {"name": "broken", "driver": "nova_from_file", "config": {"path": str(tmp_path / "missing.json")}})
    load_policy(service, "blind", [{"rule": "keep(server) :- broken:servers(id=server)"}, {"rule": "apart(1, 2) :- neutron:ports(1)"},
                                   {"rule": "error(server) :- arrives(server, host), broken:servers(id=server)"}])
    for ask in (lambda: source(service, "blind").read(FACTS.cluster()), lambda: source(service, "blind").simulate([to(0, 1)])):
        with pytest.raises(PolicyError, match="it looks at tables of neutron, and there is no data source"):
            ask()
    service.ask("DELETE", "/v1/policies/blind")
    load_policy(service, "blind", [{"rule": "keep(server) :- broken:servers(id=server)"},
                                   {"rule": "error(server) :- arrives(server, host), broken:servers(id=server)"}])
    for ask in (lambda: source(service, "blind").read(FACTS.cluster()), lambda: source(service, "blind").simulate([to(0, 1)])):
        with pytest.raises(PolicyUnavailable, match=r"data source broken could not be read by Congress: .*No such file"):
            ask()
    service.ask("DELETE", "/v1/policies/blind")


def test_a_policy_that_does_not_exist(service: JsonService) -> None:
    for ask in (lambda: source(service, "nope").read(FACTS.cluster()), lambda: source(service, "nope").simulate([Move("s", "a", "b")])):
        with pytest.raises(PolicyError, match=r"there is no policy 'nope' in http.*; there are action, classification, placewright, placewright_doc"):
            ask()


@pytest.mark.parametrize(("name", "rule", "fault"), [
    ("placewright", "keep(1)", "policy placewright is refused: Policy with name placewright already exists"),
    ("new", "keep(x) :- other(y)", "policy new is refused: Syntax error for rule::Variable x found in head but not in body"),
    ("new", "keep(x) :- ", "policy new is refused: Syntax error for rule::Parse failure"),
    ("new", "keep(x) :- missing:servers(id=x)", "uses named arguments, but the schema is unknown"),
    ("new-one", "keep(1)", "'new-one' cannot name a policy"),
])
def test_policies_that_cannot_be_loaded(service: JsonService, name: str, rule: str, fault: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(service, name, [{"rule": rule}])
    assert fault in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_what_it_takes_to_read_is_measured(congress: str) -> None:
    found = measure(congress, rows=120, rounds=3)
    assert (found["rows"], found["rules"]) == (120, 30)
    assert found["source_s"] > 0 < found["bare_get_s"]
