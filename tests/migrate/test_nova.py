"""Nova's side of the executor, against a small HTTP double of the few calls it makes."""

import json
import re
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import openstack
import pytest

from migrate.cloud import CallFailed, NotNow, Outcome, Progress
from migrate.nova import NovaCloud
from optimizer.cluster import ServerGroup
from tests.migrate.instances import cluster, host, move, server, switch

LIVE, COLD, EVACUATION = move("a", "h1", "h2"), move("a", "h1", "h2", kind="cold"), move("a", "h1", "h2", kind="evacuate")
ERROR_409 = (409, {"conflictingRequest": {"code": 409, "message": "Cannot do it in task_state migrating"}})


class Double:
    """The state of a small Nova and Placement; tests change it between two looks."""

    def __init__(self):
        self.newest = "2.96"
        self.server = {"id": "a", "status": "ACTIVE", "OS-EXT-STS:task_state": None}
        self.records = [{"id": 4, "uuid": "old", "status": "completed", "migration_type": "live-migration"}]
        self.running = {}  # the answer of /servers/a/migrations/{id}
        self.allocations = {}  # by consumer
        self.events = []
        self.left = {}  # completed live migrations by source
        self.services = [{"id": "svc", "host": "h1", "binary": "nova-compute", "status": "enabled", "state": "up"}]
        self.aggregates = []
        self.broken = {}  # "METHOD /path" -> (status, body), or a list of such answers
        self.silent = set()  # "METHOD /path" that is carried out, and never answered
        self.over = threading.Event()
        self.date = "Sun, 01 Mar 2026 12:00:00 GMT"
        self.retry_after = None  # with answers of 400 and more
        self.log = []  # (method, path, body, microversion)

    def record(self, status, kind="live-migration", number=5):
        self.records = [entry for entry in self.records if entry["id"] != number]
        self.records.insert(0, {"id": number, "uuid": f"m{number}", "status": status, "migration_type": kind})

    def answer(self, method, path, query, body, version):
        self.log.append((method, path, body, version))
        broken = self.broken.get(f"{method} {path}")
        if isinstance(broken, list):
            broken = broken.pop(0) if broken else None
        if broken:
            return broken
        for verb, pattern, handle in self.ROUTES:
            found = re.fullmatch(pattern, path)
            if found and verb == method:
                return handle(self, query, body, *found.groups())
        return 404, {"itemNotFound": {"code": 404, "message": f"no {path}"}}

    def versions(self, query, body):
        return 200, {
            "version": {
                "id": "v2.1",
                "status": "CURRENT",
                "version": self.newest,
                "min_version": "2.1",
                "links": [{"rel": "self", "href": f"{self.url}/compute/v2.1/"}],
            }
        }

    def migrations(self, query, body):
        if "source_compute" in query:
            self.asked = query
            return 200, {"migrations": self.left.get(query["source_compute"][0], [])}
        assert query == {"instance_uuid": ["a"]}
        return 200, {"migrations": self.records}

    def show_server(self, query, body):
        if self.server is None:
            return 404, {"itemNotFound": {"code": 404, "message": "Instance a could not be found."}}
        return 200, {"server": self.server}

    def act(self, query, body):
        return 202, None

    def show_migration(self, query, body, number):
        return (
            (200, {"migration": self.running}) if self.running else (404, {"itemNotFound": {"message": "not running"}})
        )

    def intervene(self, query, body, number):
        return 202, None

    def actions(self, query, body):
        return 200, {"instanceAction": {"message": "Error", "events": self.events}}

    def list_services(self, query, body):
        return 200, {"services": [s for s in self.services if [s["host"]] == query["host"]]}

    def put_service(self, query, body):
        self.services[0].update(body)
        return 200, {"service": self.services[0]}

    def list_aggregates(self, query, body):
        return 200, {"aggregates": self.aggregates}

    def make_aggregate(self, query, body):
        self.aggregates.append({"id": len(self.aggregates) + 1, "hosts": [], "metadata": {}, **body["aggregate"]})
        return 200, {"aggregate": {"id": len(self.aggregates), **body["aggregate"]}}  # Nova's answer has neither hosts nor metadata

    def change_aggregate(self, query, body, number):
        one = self.aggregates[int(number) - 1]
        one["metadata"].update(body.get("set_metadata", {}).get("metadata", {}))
        one["hosts"] += [what["host"] for what in body.values() if "host" in what]
        return 200, {"aggregate": one}

    def allocation(self, query, body, consumer):
        return 200, {"allocations": self.allocations.get(consumer, {})}

    def placement_versions(self, query, body):
        return 200, {
            "versions": [
                {
                    "id": "v1.0",
                    "status": "CURRENT",
                    "min_version": "1.0",
                    "max_version": "1.39",
                    "links": [{"rel": "self", "href": ""}],
                }
            ]
        }

    ROUTES = (
        ("GET", "/compute/v2.1/?", versions),
        ("GET", "/compute/v2.1/os-migrations", migrations),
        ("GET", "/compute/v2.1/servers/a", show_server),
        ("POST", "/compute/v2.1/servers/a/action", act),
        ("GET", r"/compute/v2.1/servers/a/migrations/(\d+)", show_migration),
        ("DELETE", r"/compute/v2.1/servers/a/migrations/(\d+)", intervene),
        ("POST", r"/compute/v2.1/servers/a/migrations/(\d+)/action", intervene),
        ("GET", "/compute/v2.1/servers/a/os-instance-actions/req-1", actions),
        ("GET", "/compute/v2.1/os-services", list_services),
        ("PUT", "/compute/v2.1/os-services/svc", put_service),
        ("GET", "/compute/v2.1/os-aggregates", list_aggregates),
        ("POST", "/compute/v2.1/os-aggregates", make_aggregate),
        ("POST", r"/compute/v2.1/os-aggregates/(\d+)/action", change_aggregate),
        ("GET", r"/placement/allocations/(\w+)", allocation),
        ("GET", "/placement/?", placement_versions),
    )

    def sent(self, method, path):
        """The bodies of the requests to a path below /compute/v2.1."""
        return [body for verb, where, body, _ in self.log if (verb, where) == (method, f"/compute/v2.1{path}")]


@pytest.fixture
def double():
    state = Double()

    class Handler(BaseHTTPRequestHandler):
        def respond(self):
            url = urlsplit(self.path)
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            version = self.headers.get("OpenStack-API-Version")
            status, answer = state.answer(self.command, url.path, parse_qs(url.query), body, version)
            if f"{self.command} {url.path}" in state.silent:
                state.over.wait(30)
                self.close_connection = True
                return
            content = b"" if answer is None else answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("x-openstack-request-id", "req-1")
            self.send_header("Date", state.date)
            if state.retry_after and status >= 400:
                self.send_header("Retry-After", state.retry_after)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = respond

        def log_message(self, *args):
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{service.server_port}"
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    state.over.set()
    service.shutdown()
    service.server_close()
    thread.join()


@pytest.fixture
def cloud(double, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between repeated requests
    return connect(double)


def connect(double, **options):
    connection = openstack.connection.Connection(
        auth_type="none",
        connect_retries=2,  # as the application connects
        compute_endpoint_override=f"{double.url}/compute/v2.1",
        placement_endpoint_override=f"{double.url}/placement",
    )
    return NovaCloud(connection, lambda servers, hosts: None, **options)


def started(cloud, action):
    return cloud.start(action, cloud.prepare(action))


def later(cloud, monkeypatch, seconds):
    moment = time.monotonic() + seconds
    monkeypatch.setattr(cloud, "now", lambda: moment)


# ---- the connection


@pytest.mark.parametrize(
    ("newest", "used"), [("2.59", "compute 2.59"), ("2.96", "compute 2.96"), ("2.200", "compute 2.100")]
)
def test_microversion(double, newest, used):
    double.newest = newest
    started(connect(double), LIVE)
    assert {version for method, _, _, version in double.log if method == "POST"} == {used}


def test_nova_too_old(double):
    double.newest = "2.58"
    with pytest.raises(CallFailed, match=r"Nova offers microversion 2.58; 2.59 \(Queens\) or later is needed"):
        connect(double)


def test_nobody_there(double):
    double.url = "http://127.0.0.1:9"
    with pytest.raises(CallFailed, match="Nova"):
        connect(double)


# ---- requests that Nova refuses or does not answer


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            (400, {"badRequest": {"code": 400, "message": "Compute host h2 could not be found."}}),
            "HTTP 400: Compute host h2 could",
        ),
        ((403, {"forbidden": {"code": 403, "message": "Policy doesn't allow it"}}), "HTTP 403: Policy"),
        ((404, {"itemNotFound": {"code": 404, "message": "Instance a could not be found."}}), "HTTP 404: Instance a"),
        (ERROR_409, "HTTP 409: Cannot do it"),
        ((418, b"<html>teapot</html>"), "HTTP 418: <html>teapot"),
        ((418, b"[]"), r"HTTP 418: \[\]"),
    ],
)
def test_refused_migration(double, cloud, broken, message):
    double.broken["POST /compute/v2.1/servers/a/action"] = broken
    with pytest.raises(CallFailed, match=message):
        started(cloud, LIVE)


@pytest.mark.parametrize(("status", "kind"), [(409, NotNow), (404, CallFailed)])
def test_refused_for_the_moment(double, cloud, status, kind):
    double.broken["POST /compute/v2.1/servers/a/action"] = (status, b"{}")
    with pytest.raises(CallFailed, match=f"HTTP {status}") as refused:
        started(cloud, LIVE)
    assert isinstance(refused.value, NotNow) == (kind is NotNow)


@pytest.mark.parametrize("status", [401, 408, 425, 429, 500, 503])
def test_what_says_nothing_of_the_request_itself_leaves_it_open(double, cloud, status, monkeypatch):
    """The record tells: here there is none, and the server is idle."""
    double.broken["POST /compute/v2.1/servers/a/action"] = (status, b"{}")
    handle = started(cloud, LIVE)
    later(cloud, monkeypatch, 20)
    assert cloud.poll(handle).state == "NOT_BEGUN"
    assert f"HTTP {status}" in cloud.poll(handle).text


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked", "after_s"), [("20", 20), ("3600", 60)])
def test_who_is_asked_to_come_again_does_so_later(double, cloud, status, asked, after_s):
    double.retry_after, double.broken["POST /compute/v2.1/servers/a/action"] = asked, (status, b"{}")
    with pytest.raises(NotNow, match=f"HTTP {status}") as refused:
        started(cloud, LIVE)
    assert refused.value.after_s == after_s


@pytest.mark.parametrize("asked", ["0", "Sun, 01 Mar 2026 12:00:30 GMT", "soon"])
def test_what_does_not_say_for_how_long(double, cloud, asked):
    double.retry_after, double.broken["POST /compute/v2.1/servers/a/action"] = asked, (503, b"{}")
    assert cloud.poll(started(cloud, LIVE)) is None
def test_a_request_that_is_carried_out_and_never_answered_is_sent_once(double):
    """Whether it has to be sent again is for the record to tell, not for the HTTP library to guess."""
    cloud = connect(double, timeout_s=0.3)
    double.silent.add("POST /compute/v2.1/servers/a/action")
    began = time.monotonic()
    handle = started(cloud, LIVE)
    assert time.monotonic() - began < 10
    double.record("completed")
    assert cloud.poll(handle).state == "SUCCEEDED"
    assert len(double.sent("POST", "/servers/a/action")) == 1


def test_a_migration_of_another_program_is_found_by_its_trace(double, cloud, monkeypatch):
    trace = cloud.prepare(LIVE)
    double.record("running")
    handle = cloud.adopt(LIVE, trace)
    assert isinstance(cloud.poll(handle), Progress)
    double.record("completed")
    assert cloud.poll(handle).state == "SUCCEEDED"


def test_a_migration_that_another_program_never_asked_for(double, cloud, monkeypatch):
    double.record("completed", number=7)  # long ago
    handle = cloud.adopt(LIVE, cloud.prepare(LIVE))
    assert cloud.poll(handle) is None
    later(cloud, monkeypatch, 20)
    assert cloud.poll(handle).state == "NOT_BEGUN"


@pytest.mark.parametrize("broken", [(500, {"computeFault": {"message": "boom"}}), (503, b"busy"), (200, b"not json")])
def test_no_answer_before_the_request(double, cloud, broken):
    """The records cannot be read: nothing is asked for."""
    double.broken["GET /compute/v2.1/os-migrations"] = broken
    with pytest.raises(CallFailed, match="os-migrations"):
        started(cloud, LIVE)
    assert double.sent("POST", "/servers/a/action") == []
    assert len(double.sent("GET", "/os-migrations")) == 3


def test_a_short_fault_before_the_request_is_got_over(double, cloud):
    double.broken["GET /compute/v2.1/os-migrations"] = [(503, b"busy"), (503, b"busy")]
    started(cloud, LIVE)
    assert len(double.sent("POST", "/servers/a/action")) == 1


def test_lost_answer_of_a_request_that_was_carried_out(double, cloud):
    double.broken["POST /compute/v2.1/servers/a/action"] = (502, b"bad gateway")
    handle = started(cloud, LIVE)
    double.record("completed")
    assert cloud.poll(handle) == Outcome("SUCCEEDED", "migration 5 completed")
    assert len(double.sent("POST", "/servers/a/action")) == 1


def test_lost_answer_of_a_request_that_was_not(double, cloud, monkeypatch):
    double.broken["POST /compute/v2.1/servers/a/action"] = (502, b"bad gateway")
    handle = started(cloud, LIVE)
    assert cloud.poll(handle) is None
    later(cloud, monkeypatch, 20)
    assert cloud.poll(handle).state == "NOT_BEGUN"
    assert "HTTP 502: bad gateway" in cloud.poll(handle).text


def test_lost_answer_while_nova_is_slow(double, cloud, monkeypatch):
    """The server is busy: the request has come through, and its record will follow."""
    double.broken["POST /compute/v2.1/servers/a/action"] = (504, b"gateway timeout")
    handle = started(cloud, LIVE)
    double.server["OS-EXT-STS:task_state"] = "migrating"
    later(cloud, monkeypatch, 20)
    assert cloud.poll(handle) == Progress(None, "no record yet, but the server is migrating")
    double.record("completed")
    double.server["OS-EXT-STS:task_state"] = None
    assert cloud.poll(handle) == Outcome("SUCCEEDED", "migration 5 completed")


def test_an_answer_that_takes_long_leaves_time_for_the_record(double, cloud, monkeypatch):
    send = cloud._send

    def slowly(method, path, body=None):
        if method == "POST":
            later(cloud, monkeypatch, 60)
        return send(method, path, body)

    monkeypatch.setattr(cloud, "_send", slowly)
    double.broken["POST /compute/v2.1/servers/a/action"] = (504, b"gateway timeout")
    assert cloud.poll(started(cloud, LIVE)) is None


@pytest.mark.parametrize(("host", "state"), [("h2", "SUCCEEDED"), ("h1", "FAILED")])
def test_the_record_is_lost(double, cloud, host, state):
    handle = started(cloud, LIVE)
    double.record("running")
    double.server |= {"OS-EXT-STS:task_state": "migrating", "OS-EXT-SRV-ATTR:host": host}
    cloud.poll(handle)
    double.records = []
    assert cloud.poll(handle) == Progress(None, "the record of migration 5 is gone; the server is migrating")
    double.server["OS-EXT-STS:task_state"] = None
    assert cloud.poll(handle) == Outcome(state, f"the record of migration 5 is gone; the server is on {host}")


# ---- live migrations


def running(**mib):
    return {f"{name}_bytes": value if value is None else value << 20 for name, value in mib.items()}


RUNNING = [
    (running(memory_processed=256, memory_remaining=768, memory_total=1024), Progress(0.25, "768 of 1024 MiB left to copy")),
    # Written again and again: much was sent, and none of it helped.
    (running(memory_processed=4096, memory_remaining=1024, memory_total=1024), Progress(0.0, "1024 of 1024 MiB left to copy")),
    (running(memory_remaining=1024, memory_total=1024, disk_remaining=1536, disk_total=3072), Progress(0.375, "2560 of 4096 MiB left to copy")),
    (running(memory_remaining=1024, memory_total=1024, disk_remaining=None, disk_total=None), Progress(0.0, "1024 of 1024 MiB left to copy")),
    (running(memory_remaining=None, memory_total=None), Progress(None, "running")),
    (running(memory_remaining=None, memory_total=1024), Progress(None, "running")),
    (running(memory_remaining=0, memory_total=0), Progress(None, "running")),
    ({}, Progress(None, "running")),
]


def test_live_migration(double, cloud):
    handle = started(cloud, LIVE)
    assert double.sent("POST", "/servers/a/action") == [{"os-migrateLive": {"host": "h2", "block_migration": "auto"}}]
    assert cloud.poll(handle) is None  # the record of the last time is not ours
    double.server.update({"status": "MIGRATING", "OS-EXT-STS:task_state": "migrating"})
    for status in ("accepted", "preparing", "running", "post-migrating"):
        double.record(status)
        assert cloud.poll(handle) == Progress(None, status)
    double.record("running")
    for running, told in RUNNING:
        double.running = running
        assert cloud.poll(handle) == told
    double.record("completed")
    assert isinstance(cloud.poll(handle), Progress)  # the server is still busy
    double.server.update({"status": "ACTIVE", "OS-EXT-STS:task_state": None})
    assert cloud.poll(handle) == Outcome("SUCCEEDED", "migration 5 completed")
    seen = len(double.log)
    assert cloud.poll(handle) == Outcome("SUCCEEDED", "migration 5 completed")
    assert len(double.log) == seen


def test_waits_until_the_source_is_free_in_placement(double, cloud):
    handle = started(cloud, LIVE)
    double.record("completed")
    double.allocations["m5"] = {"provider": {"resources": {"VCPU": 1}}}
    assert cloud.poll(handle) == Progress(None, "completed, but Nova still holds room on the other host")
    del double.allocations["m5"]
    assert cloud.poll(handle).state == "SUCCEEDED"


def test_does_not_wait_for_ever(double, cloud, monkeypatch):
    handle = started(cloud, LIVE)
    double.record("completed")
    double.allocations["m5"] = {"provider": {"resources": {"VCPU": 1}}}
    assert isinstance(cloud.poll(handle), Progress)
    later(cloud, monkeypatch, 31)
    assert cloud.poll(handle) == Outcome(
        "SUCCEEDED", "migration 5 completed, but Nova still holds room on the other host after 30 s"
    )


@pytest.mark.parametrize("broken", [(403, b""), (500, b""), (200, b"not json")])
def test_goes_on_without_placement(double, cloud, monkeypatch, broken):
    double.broken["GET /placement/allocations/m5"] = broken
    handle = started(cloud, LIVE)
    double.record("completed")
    assert "cannot be seen whether Nova is done" in cloud.poll(handle).text
    later(cloud, monkeypatch, 31)
    assert cloud.poll(handle).state == "SUCCEEDED"


@pytest.mark.parametrize(
    ("status", "events", "fault", "why"),
    [
        ("error", [{"result": "Error", "details": "No valid host was found."}], None, "No valid host was found."),
        ("failed", [{"result": "Success", "details": None}], {"message": "it broke"}, "it broke"),
        ("failed", [{"result": "Error"}], None, "Error"),
        ("failed", [], None, "Nova tells no reason, the log of nova-compute on h1 may"),
    ],
)
def test_failed_migration(double, cloud, status, events, fault, why):
    handle = started(cloud, LIVE)
    double.record(status)
    double.events, double.server["fault"] = events, fault
    assert cloud.poll(handle) == Outcome("FAILED", f"migration 5 {status}: {why}")


@pytest.mark.parametrize("status", ["queued", "preparing", "running"])
def test_progress_without_nova_compute_on_the_source(double, cloud, status):
    """Nobody goes on with it until that is started again."""
    handle = started(cloud, LIVE)
    double.record(status)
    double.running = {"memory_processed_bytes": None, "memory_total_bytes": None}
    double.services[0]["state"] = "down"
    assert cloud.poll(handle) == Progress(0.0, f"{status}, but nova-compute on h1 is down")


def test_a_running_migration_is_looked_at_with_two_requests(double, cloud):
    """Its record, and its progress: many run at once, and Nova has other things to do."""
    handle = started(cloud, LIVE)
    double.record("running")
    double.running = {"memory_remaining_bytes": 1 << 30, "memory_total_bytes": 4 << 30}
    before = len(double.log)
    assert cloud.poll(handle) == Progress(0.75, "1024 of 4096 MiB left to copy")
    assert len(double.log) == before + 2


@pytest.mark.parametrize(("action", "status", "took_s"), [(LIVE, "completed", 12.5), (COLD, "confirmed", None)])
def test_how_long_nova_was_at_a_live_migration(double, cloud, action, status, took_s):
    """By its record. That of a cold one ends when somebody has confirmed it."""
    handle = started(cloud, action)
    double.record(status, "live-migration" if action is LIVE else "migration")
    double.records[0] |= {"created_at": "2026-03-01T12:59:50.000000", "updated_at": "2026-03-01T13:00:02.500000"}
    assert cloud.poll(handle) == Outcome("SUCCEEDED", f"migration 5 {status}", took_s)


def test_a_failed_migration_that_has_brought_the_server_over(double, cloud):
    """So Nova leaves it when nova-compute on the destination ends at the last moment."""
    handle = started(cloud, LIVE)
    double.record("error")
    double.server["OS-EXT-SRV-ATTR:host"] = "h2"
    double.events = [{"result": "Error", "details": "MessagingTimeout"}]
    assert cloud.poll(handle) == Outcome("FAILED", "migration 5 error, but a is on h2 now: MessagingTimeout")


def test_cancelled_migration(double, cloud):
    handle = started(cloud, LIVE)
    double.record("cancelled")
    assert cloud.poll(handle) == Outcome("FAILED", "migration 5 cancelled")


def test_failed_without_a_record(double, cloud, monkeypatch):
    handle = started(cloud, LIVE)
    later(cloud, monkeypatch, 16)
    assert cloud.poll(handle) == Progress(None, "accepted by Nova, not begun yet")
    double.events = [{"result": "Error", "details": "conductor is away"}]
    assert cloud.poll(handle) == Outcome("FAILED", "conductor is away")


@pytest.mark.parametrize("with_record", [True, False])
def test_server_deleted(double, cloud, monkeypatch, with_record):
    handle = started(cloud, LIVE)
    double.server = None
    if with_record:
        double.record("running")
    else:
        later(cloud, monkeypatch, 16)
    assert cloud.poll(handle).state == "FAILED"
    assert "was deleted" in cloud.poll(handle).text


def test_an_answer_that_fails_is_no_news(double, cloud):
    handle = started(cloud, LIVE)
    double.record("completed")
    double.broken["GET /compute/v2.1/os-migrations"] = [(500, {"computeFault": {"message": "database"}}), (401, b"")]
    for message in ("HTTP 500: database", "HTTP 401"):
        news = cloud.poll(handle)
        assert isinstance(news, Progress)
        assert message in news.text
    assert cloud.poll(handle).state == "SUCCEEDED"


# ---- cold migrations


def test_cold_migration_is_confirmed_once_it_can_be(double, cloud):
    handle = started(cloud, COLD)
    assert double.sent("POST", "/servers/a/action") == [{"migrate": {"host": "h2"}}]
    double.server.update({"status": "RESIZE", "OS-EXT-STS:task_state": "resize_migrating"})
    for status in ("pre-migrating", "migrating", "post-migrating", "finished"):
        double.record(status, "migration")
        assert cloud.poll(handle) == Progress(None, status)
    double.server.update({"status": "VERIFY_RESIZE", "OS-EXT-STS:task_state": None})
    assert cloud.poll(handle) == Progress(None, "confirming")
    assert double.sent("POST", "/servers/a/action")[1:] == [{"confirmResize": None}]
    double.record("confirming", "migration")
    assert cloud.poll(handle) == Progress(None, "confirming")
    double.record("confirmed", "migration")
    assert isinstance(cloud.poll(handle), Progress)  # VERIFY_RESIZE is no state to end in
    double.server["status"] = "SHUTOFF"
    assert cloud.poll(handle) == Outcome("SUCCEEDED", "migration 5 confirmed")
    assert len(double.sent("POST", "/servers/a/action")) == 2


@pytest.mark.parametrize(
    ("broken", "text"),
    [(ERROR_409, "confirming"), ((403, {"forbidden": {"message": "no"}}), "cannot be confirmed: HTTP 403: no")],
)
def test_confirm_refused(double, cloud, broken, text):
    handle = started(cloud, COLD)
    double.record("finished", "migration")
    double.server["status"] = "VERIFY_RESIZE"
    double.broken["POST /compute/v2.1/servers/a/action"] = broken
    assert cloud.poll(handle) == Progress(None, text)


@pytest.mark.parametrize("status", ["error", "reverted"])
def test_cold_migration_that_comes_to_nothing(double, cloud, status):
    handle = started(cloud, COLD)
    double.record(status, "migration")
    assert cloud.poll(handle).state == "FAILED"


# ---- evacuations


@pytest.mark.parametrize(("newest", "asked"), [("2.59", "2.59"), ("2.94", "2.94"), ("2.96", "2.94")])
def test_an_evacuated_server_runs_again_if_it_ran_before(double, newest, asked):
    double.newest = newest
    started(connect(double), EVACUATION)
    (sent,) = [entry for entry in double.log if entry[0] == "POST"]
    assert (sent[2], sent[3].removeprefix("compute ")) == ({"evacuate": {"host": "h2"}}, asked)


@pytest.mark.parametrize(("status", "state"), [("error", "FAILED"), ("failed", "FAILED"), ("done", "SUCCEEDED"), ("completed", "SUCCEEDED")])
def test_evacuation(double, cloud, status, state):
    handle = started(cloud, EVACUATION)
    double.server.update({"status": "REBUILD", "OS-EXT-STS:task_state": "rebuilding"})
    for under_way in ("accepted", "pre-migrating"):
        double.record(under_way, "evacuation")
        assert cloud.poll(handle) == Progress(None, under_way)
    with pytest.raises(CallFailed, match="Nova can abort live migrations alone"):
        cloud.cancel(handle)
    double.record(status, "evacuation")
    assert isinstance(cloud.poll(handle), Progress)  # the server is not at rest
    double.server.update({"status": "ACTIVE", "OS-EXT-STS:task_state": None})
    assert cloud.poll(handle).state == state


def test_another_kind_of_migration_is_not_ours(double, cloud):
    handle = started(cloud, LIVE)
    double.record("confirmed", "migration")
    assert cloud.poll(handle) is None


# ---- the scheduler's memory of anti-affinity groups


def group_of(*members, most=1):
    group = ServerGroup(
        id="g", name="apart", policy="anti-affinity", members=members, rules={"max_server_per_host": most}
    )
    return replace(
        cluster([host("h1"), host("h2")], [server("a", "h1"), server("b", "h1"), server("c", "h2")]), groups=(group,)
    )


def departure(name, at):
    return {"id": 1, "instance_uuid": name, "updated_at": f"2026-03-01T{at}.000000"}


@pytest.mark.parametrize(
    ("seen", "left", "seconds"),
    [
        (group_of("a", "b"), [], None),
        (group_of("a", "b"), [departure("b", "11:59:30")], 95),
        (group_of("a", "b"), [departure("b", "11:57:00")], None),  # long enough ago
        (group_of("a"), [departure("b", "11:59:30")], None),  # of no group with a
        (group_of("b"), [departure("b", "11:59:30")], None),  # a is in no group
        (group_of("a", "b", most=2), [departure("b", "11:59:30")], None),  # room for both
        (group_of("a", "b", "d", most=2), [departure("b", "11:59:30"), departure("d", "11:59:00")], 65),
        (group_of("a", "b", "d"), [departure("b", "11:59:30"), departure("d", "11:59:00")], 95),
        (group_of("a", "b", "c", most=2), [departure("b", "11:59:30")], 95),  # c is there
        (group_of("a", "b", "c", most=2), [departure("c", "11:59:30")], None),  # c came back
        (
            replace(group_of("a", "b"), groups=(replace(group_of("a", "b").groups[0], policy="affinity"),)),
            [departure("b", "11:59:30")],
            None,
        ),
    ],
)
def test_hold(double, cloud, seen, left, seconds):
    double.left["h2"] = left
    held = cloud.hold(LIVE, seen)
    assert (held and held.seconds) == seconds
    if held:
        assert held.text == "Nova's scheduler may still count a member of anti-affinity group apart on h2"
        assert double.asked["status"] == ["completed"]
        assert double.asked["migration_type"] == ["live-migration"]


@pytest.mark.parametrize(("answer", "seconds"), [((403, {"forbidden": {"message": "no"}}), None), ((500, b"x"), 10.0)])
def test_hold_without_an_answer(double, cloud, answer, seconds):
    double.broken["GET /compute/v2.1/os-migrations"] = answer
    held = cloud.hold(LIVE, group_of("a", "b"))
    assert (held and held.seconds) == seconds


def test_services_are_never_held(cloud):
    assert cloud.hold(switch("h1", "enabled"), group_of("a", "b")) is None


# ---- abort and force


@pytest.mark.parametrize(
    ("verb", "method", "path", "said"),
    [
        ("cancel", "DELETE", "/servers/a/migrations/5", "Nova was asked to abort it"),
        ("force_complete", "POST", "/servers/a/migrations/5/action", "Nova was asked to force it to complete"),
    ],
)
def test_abort_and_force(double, cloud, verb, method, path, said):
    handle, name = started(cloud, LIVE), said.split()[4]
    with pytest.raises(CallFailed, match=f"Nova has no record of it to {name}"):
        getattr(cloud, verb)(handle)
    double.record("running")
    cloud.poll(handle)
    assert getattr(cloud, verb)(handle) == said
    assert double.sent(method, path) == [{"force_complete": None} if method == "POST" else None]
    double.broken[f"{method} /compute/v2.1{path}"] = ERROR_409
    with pytest.raises(CallFailed, match=f"Nova did not {name} it: HTTP 409: Cannot do it in task_state migrating"):
        getattr(cloud, verb)(handle)


def test_abort_where_nobody_is_to_do_it(double, cloud):
    handle = started(cloud, LIVE)
    double.record("running")
    cloud.poll(handle)
    double.services[0]["state"] = "down"
    assert cloud.cancel(handle) == "Nova was asked to abort it, but nova-compute on h1 is down"
    double.broken["GET /compute/v2.1/os-services"] = ERROR_409
    assert cloud.cancel(handle) == "Nova was asked to abort it"


@pytest.mark.parametrize("verb", ["cancel", "force_complete"])
def test_a_cold_migration_goes_its_way(double, cloud, verb):
    handle = started(cloud, COLD)
    double.record("migrating", "migration")
    cloud.poll(handle)
    with pytest.raises(CallFailed, match="live migrations alone"):
        getattr(cloud, verb)(handle)
    assert not [entry for entry in double.log if "/migrations/" in entry[1]]


# ---- services


def test_disable_and_enable(double, cloud):
    assert cloud.poll(started(cloud, switch("h1", "disabled"))) == Outcome("SUCCEEDED", "nova-compute on h1 is disabled")
    assert cloud.poll(started(cloud, switch("h1", "enabled"))) == Outcome("SUCCEEDED", "nova-compute on h1 is enabled")
    assert double.sent("PUT", "/os-services/svc") == [
        {"status": "disabled", "disabled_reason": "test"},
        {"status": "enabled"},
    ]


def test_service_request_is_repeated(double, cloud):
    double.broken["PUT /compute/v2.1/os-services/svc"] = [(503, b"busy"), (504, b"slow")]
    assert cloud.poll(started(cloud, switch("h1", "disabled"))).state == "SUCCEEDED"
    assert len(double.sent("PUT", "/os-services/svc")) == 3


def test_service_that_stays_as_it_is(double, cloud):
    double.broken["PUT /compute/v2.1/os-services/svc"] = (200, {"service": {"status": "enabled"}})
    assert cloud.poll(started(cloud, switch("h1", "disabled"))) == Outcome(
        "FAILED", "Nova says that nova-compute on h1 is enabled"
    )


@pytest.mark.parametrize(
    ("name", "broken", "message"),
    [
        ("h7", {}, "Nova has 0 nova-compute services on h7, 1 is expected"),
        ("h1", {"PUT /compute/v2.1/os-services/svc": (403, {"forbidden": {"message": "no"}})}, "HTTP 403: no"),
        ("h1", {"PUT /compute/v2.1/os-services/svc": (500, b"x")}, "HTTP 500"),
        ("h1", {"GET /compute/v2.1/os-services": (500, b"x")}, "HTTP 500"),
    ],
)
def test_service_refused(double, cloud, name, broken, message):
    double.broken.update(broken)
    with pytest.raises(CallFailed, match=message):
        started(cloud, switch(name, "disabled"))


# ---- aggregates

KEPT = {"filter_tenant_id": "p1", "placewright_rule": "file:rules.yaml line 3"}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"GET /compute/v2.1/os-aggregates": (500, b"x")}, "HTTP 500"),
        ({"POST /compute/v2.1/os-aggregates": (403, {"forbidden": {"message": "no"}})}, "HTTP 403: no"),
        ({"POST /compute/v2.1/os-aggregates": (409, {"conflictingRequest": {"message": "exists"}})}, "HTTP 409: exists"),
        ({"POST /compute/v2.1/os-aggregates/1/action": (404, {"itemNotFound": {"message": "no host"}})}, "no host"),
    ],
)
def test_aggregate_refused(double, cloud, broken, message):
    double.broken.update(broken)
    with pytest.raises(CallFailed, match=message):
        cloud.reserve("kept", ("h1",), KEPT)


def test_an_aggregate_is_made_and_hosts_join_it_last(double, cloud):
    cloud.reserve("kept", ("h1", "h2"), KEPT)
    assert double.sent("POST", "/os-aggregates") == [{"aggregate": {"name": "kept"}}]
    joining = [{"add_host": {"host": "h1"}}, {"add_host": {"host": "h2"}}]
    assert double.sent("POST", "/os-aggregates/1/action") == [{"set_metadata": {"metadata": KEPT}}, *joining]


def test_an_aggregate_gets_only_what_it_lacks(double, cloud):
    double.aggregates = [{"id": 1, "name": "kept", "hosts": ["h1", "h3"], "metadata": {**KEPT, "ssd": "true"}}]
    cloud.reserve("kept", ("h1", "h2"), KEPT)
    assert double.sent("POST", "/os-aggregates/1/action") == [{"add_host": {"host": "h2"}}]
    cloud.reserve("kept", ("h1", "h2"), KEPT)
    assert len([entry for entry in double.log if entry[0] == "POST"]) == 1
    assert double.aggregates[0]["hosts"] == ["h1", "h3", "h2"]


def test_an_aggregate_that_was_begun_is_completed(double, cloud):
    double.broken["POST /compute/v2.1/os-aggregates/1/action"] = [(503, b"busy")] * 3
    with pytest.raises(CallFailed, match="HTTP 503"):
        cloud.reserve("kept", ("h1",), KEPT)
    cloud.reserve("kept", ("h1",), KEPT)
    assert double.aggregates == [{"id": 1, "name": "kept", "hosts": ["h1"], "metadata": KEPT}]
