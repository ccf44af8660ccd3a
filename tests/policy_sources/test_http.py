"""JSON over HTTP, against a small server: what goes wrong and how it is told, what is tried again, and that no secret is shown."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from policy_sources.base import PolicyError, PolicyUnavailable
from policy_sources.http import HttpSettings, JsonService

SECRET = "s3cret"


@dataclass
class Server:
    """Answers the given (status, body, delay in seconds) one after the other, and the last one from then on; keeps what it was sent."""

    answers: list[tuple[int, bytes, float]] = field(default_factory=list)
    asked: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    location: str = ""
    url: str = ""

    def next(self) -> tuple[int, bytes, float]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def server() -> Iterator[Server]:
    known = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            known.asked.append((self.path, dict(self.headers), self.rfile.read(size)))
            status, body, delay = known.next()
            time.sleep(delay)
            self.send_response(status)
            if known.location:
                self.send_header("Location", known.location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    known.url = f"http://127.0.0.1:{http.server_port}"
    yield known
    http.shutdown()
    thread.join()
    http.server_close()


def ask(server: Server, attempts: int = 1, max_mb: float = 1, headers: Callable[[], Mapping[str, str]] = lambda: {"X-Auth-Token": SECRET}) -> Any:
    return JsonService("test", server.url, HttpSettings(timeout_s=0.5, attempts=attempts, max_mb=max_mb), headers).ask("POST", "/v1", {"a": 1})


@pytest.mark.parametrize(("answer", "kind", "said"), [
    ((404, b'{"error": {"message": "no such thing"}}', 0), PolicyError, "answers 404: no such thing"),
    ((400, b'{"code": "x", "message": "bad"}', 0), PolicyError, "answers 400: bad"), ((403, b"", 0), PolicyError, "answers 403: no reason given"),
    ((401, b"<html>who?</html>", 0), PolicyError, "answers 401: <html>who?</html>"),
    ((503, b'{"error": {"message": "later"}}', 0), PolicyUnavailable, "answers 503: later"),
    ((502, b"<html>", 0), PolicyUnavailable, "answers 502: <html>"),
    ((200, b"{", 0), PolicyError, "the answer is not JSON: '{'"), ((200, b"x" * 1_100_000, 0), PolicyError, "the answer is larger than 1 MB"),
    ((200, b"{}", 1.5), PolicyUnavailable, "did not answer within 0.5 s"), ((302, b"", 0), PolicyError, "answers 302"),
])
def test_what_goes_wrong(server: Server, answer: tuple[int, bytes, float], kind: type[PolicyError], said: str) -> None:
    server.answers = [answer]
    with pytest.raises(PolicyError) as caught:
        ask(server)
    assert type(caught.value) is kind or (kind is PolicyUnavailable and isinstance(caught.value, kind))
    assert str(caught.value).startswith("policy test: POST http://127.0.0.1:")
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_nobody_listens() -> None:
    with pytest.raises(PolicyUnavailable, match="cannot be reached"):
        JsonService("test", "http://127.0.0.1:9", HttpSettings(attempts=1)).ask("GET", "/")


@pytest.mark.parametrize("url", ["nowhere", "http://", "ftp://x"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(PolicyError, match="test"):
        JsonService("test", url, HttpSettings(attempts=1, timeout_s=1)).ask("GET", "/")


def test_what_is_tried_again(server: Server) -> None:
    server.answers = [(503, b"", 0), (429, b"", 0), (200, b'{"b": [2]}', 0)]
    assert ask(server, attempts=3).body == {"b": [2]}
    assert [json.loads(body) for _, _, body in server.asked] == [{"a": 1}] * 3
    server.answers = [(400, b"", 0)]
    with pytest.raises(PolicyError):
        ask(server, attempts=3)
    assert len(server.asked) == 4


def test_a_token_that_has_run_out_is_asked_for_anew(server: Server) -> None:
    server.answers, tokens = [(401, b"", 0), (200, b"[]", 0)], iter(["old", "new"])
    assert ask(server, headers=lambda: {"X-Auth-Token": next(tokens)}).body == []
    assert [headers["X-Auth-Token"] for _, headers, _ in server.asked] == ["old", "new"]


def test_a_token_is_not_sent_elsewhere(server: Server) -> None:
    server.answers, server.location = [(307, b"", 0)], f"{server.url}/elsewhere"
    with pytest.raises(PolicyError, match="answers 307"):
        ask(server)
    assert [path for path, _, _ in server.asked] == ["/v1"]


def test_who_we_are_is_not_shown() -> None:
    with pytest.raises(PolicyUnavailable) as caught:
        JsonService("test", f"http://user:{SECRET}@127.0.0.1:9", HttpSettings(attempts=1)).ask("GET", "/")
    assert SECRET not in str(caught.value)
