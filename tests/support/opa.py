"""OPA for tests: an emulator of its Data API on loopback, OPA's own evaluator in this process, and clusters that policies speak of."""

import json
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from optimizer.cluster import Aggregate, Cluster
from policy_sources.rego import READY, read_bundle
from policy_sources.regorus import Bundle, RegoFault, RegoUndefined, evaluate
from tests.support.clusters import make_cluster, make_group, make_host, make_server

Evaluate = Callable[[Bundle, str, bytes], Any]


@cache
def ready(*names: str) -> Bundle:
    """Some of the ready policies; all of them without a name."""
    return read_bundle("test", [READY / f"{name}.rego" for name in (*names, "lib")] if names else [READY])


def opa_evaluate(bundle: Bundle, path: str, document: bytes) -> Any:
    """As policy_sources.regorus.evaluate, by OPA's own evaluator; fails where it is not installed and could be."""
    try:
        from opa_bindings import OpaError, OpaUndefinedError
    except ImportError:
        if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
            pytest.fail("OPA's evaluator is not installed: make test does that (or: pip install --no-deps --ignore-requires-python "
                        "opa-golib-python-bindings==0.4.4)")
        pytest.skip("OPA's evaluator is not to be had for this platform")
    try:
        return _opa_engine(tuple(bundle.modules.items()), json.dumps(bundle.data)).eval_document(path.replace("/", "."), json.loads(document))
    except OpaUndefinedError:
        raise RegoUndefined(["(not told)"]) from None
    except OpaError as error:
        raise RegoFault([error.message]) from None


@cache
def _opa_engine(modules: tuple[tuple[str, str], ...], data: str) -> Any:
    """Kept, as it compiles the policies when it is first asked."""
    from opa_bindings import OpaEngine

    engine = OpaEngine()
    for name, text in modules:
        engine.add_policy(name, text)
    for one in json.loads(data):
        engine.add_data(one)
    return engine


@dataclass
class Opa:
    """What the emulator does: the policies it has, or instead an ``answer`` (status, content) to every request, after ``delay_s``."""

    bundle: Bundle = field(default_factory=ready)
    evaluate: Evaluate = evaluate
    bundles: dict[str, str] = field(default_factory=dict)  # name -> revision
    token: str | None = None
    answer: tuple[int, bytes] | None = None
    delay_s: float = 0
    url: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # method, path, headers
    inputs: list[Any] = field(default_factory=list)


@contextmanager
def opa(settings: Opa | None = None) -> Iterator[Opa]:
    """An emulator that listens while the block runs."""
    state = settings or Opa()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """https://www.openpolicyagent.org/docs/rest-api"""

    state: Opa
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Policies; a real OPA also has the raw text and the whole tree."""
        self.state.asked.append(("GET", self.path, dict(self.headers)))
        if self._refused():
            return
        found = [{"id": name, "ast": {"package": {"path": [{"type": "var", "value": "data"}, {"type": "string", "value": "placewright"}]}}}
                 for name in self.state.bundle.modules]
        self._send(200, {"result": found} if self.path == "/v1/policies" else {})

    def do_POST(self) -> None:
        """A document for an input."""
        self.state.asked.append(("POST", self.path, dict(self.headers)))
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refused():
            return
        path, _, query = self.path.removeprefix("/v1/data/").partition("?")
        try:
            given = json.loads(raw)["input"]
        except (ValueError, KeyError):
            return self._send(400, {"code": "invalid_parameter", "message": "body contains malformed input document"})
        self.state.inputs.append(given)
        body: dict[str, Any] = {"decision_id": "1"}
        if "provenance=true" in query:
            revisions = {name: {"revision": revision} for name, revision in self.state.bundles.items()}
            body["provenance"] = {"version": "1.9.0", **({"bundles": revisions} if revisions else {})}
        try:
            body["result"] = self.state.evaluate(self.state.bundle, path, json.dumps(given).encode())
        except RegoUndefined:
            pass
        except RegoFault as fault:
            errors = [{"code": "eval_conflict_error", "message": text, "location": {"file": "x.rego", "row": 3, "col": 1}} for text in fault.texts]
            return self._send(500, {"code": "internal_error", "message": "error(s) occurred while evaluating query", "errors": errors})
        return self._send(200, body)

    def _refused(self) -> bool:
        time.sleep(self.state.delay_s)
        if self.state.token is not None and self.headers.get("Authorization") != f"Bearer {self.state.token}":
            self._send(401, {"code": "unauthorized", "message": "request rejected by administrative policy"})
            return True
        if self.state.answer is not None:
            self._send(*self.state.answer)
            return True
        return False

    def _send(self, status: int, body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def write(folder: Path, **files: str) -> Path:
    """Rego files of these names, each in package placewright."""
    for name, text in files.items():
        (folder / f"{name}.rego").write_text(f"package placewright\nimport rego.v1\n{text}\n")
    return folder


NAMES = ("web", "db", "käse 1")
_TAGS = ("policy:keep", "policy:advise", "policy:no-live-migration", "policy:apart=web", "policy:apart=käse 1", "other")
_SERVER_VALUES = {
    "policy:apart": NAMES, "policy:spread": NAMES, "policy:spread-over": ("2", "3"), "policy:service": NAMES, "other": ("x",),
    "policy:intent": ("survive-host", "survive-zone, steady", "fast-network,survive-host", "steady", "latency:high, cost:low")}
_AGGREGATE_VALUES = {"policy:hosts": ("evacuate", "quarantine"), "policy:exclusive": ("p1", "p1, p2", "p3,p1"), "other": ("x",)}
_NOT_UNDERSTOOD = {"policy:spread-over": ("007", "many", ""), "policy:intent": ("be quick", "a:b:c", "steady,"),
                   "policy:hosts": ("evacute",), "policy:exclusive": ("p2,",)}


def _some(values: dict[str, tuple[str, ...]], understood: bool) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(texts + (() if understood else _NOT_UNDERSTOOD.get(key, ())))
                                               for key, texts in values.items()})


@st.composite
def labelled_clusters(draw: st.DrawFn, understood: bool = True, hosts: int = 5, servers: int = 10) -> Cluster:
    """Clusters with metadata, tags and groups that the ready policies speak of; unless ``understood``, with values that are faults too."""
    aggregates = tuple(Aggregate(id=str(n), name=f"rack [{n}]", metadata=draw(_some(_AGGREGATE_VALUES, understood)))
                       for n in range(draw(st.integers(0, 3))))
    keys = [aggregate.id for aggregate in aggregates]
    made = [make_host(f"h{n}", zone=draw(st.sampled_from(("nova", "east", "west"))),
                      aggregates=tuple(draw(st.lists(st.sampled_from(keys), unique=True))) if keys else ())
            for n in range(draw(st.integers(1, hosts)))]
    members = [make_server(f"s{n}", f"h{draw(st.integers(0, len(made) - 1))}", project=draw(st.sampled_from(("p1", "p2"))),
                           metadata=draw(_some(_SERVER_VALUES, understood)),
                           tags=tuple(draw(st.lists(st.sampled_from(_TAGS), max_size=3, unique=True))))
               for n in range(draw(st.integers(0, servers)))]
    ids = [server.id for server in members] + ["deleted"]
    groups = []
    for n in range(draw(st.integers(0, 3))):
        policy = draw(st.sampled_from(("affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity")))
        rules = draw(st.sampled_from(({}, {"max_server_per_host": 2}))) if policy == "anti-affinity" else {}
        group = make_group(policy, *draw(st.lists(st.sampled_from(ids), max_size=5, unique=True)), name=draw(st.sampled_from(NAMES)), **rules)
        groups.append(replace(group, id=f"g{n}"))
    return make_cluster(made, members, aggregates=aggregates, groups=tuple(groups))
