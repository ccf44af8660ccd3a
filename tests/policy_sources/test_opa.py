"""Rules from OPA's Data API: what it may answer, and what is sent."""

import json
from pathlib import Path
from typing import Any

import pytest

from optimizer.snapshot import as_json
from policy_sources.base import Origin, PolicyError, PolicyUnavailable
from policy_sources.http import HttpSettings
from policy_sources.opa import OpaSource
from policy_sources.rego import RULES, read_bundle
from tests.support.clusters import make_cluster, make_host, make_server
from tests.support.opa import Opa, opa, write

CLUSTER = make_cluster([make_host("a")], [make_server("s1", "a", tags=("policy:keep",))])
ONCE = HttpSettings(timeout_s=5, attempts=1)
KEEP = {"rule": "keep", "servers": {"id": "s1"}}


def answering(status: int, body: Any) -> Opa:
    return Opa(answer=(status, body if isinstance(body, bytes) else json.dumps(body).encode()))


def failure(state: Opa, settings: HttpSettings = ONCE, **options: Any) -> PolicyError:
    with opa(state), pytest.raises(PolicyError) as error:
        OpaSource(state.url, settings=settings, **options).read(CLUSTER)
    assert str(error.value).startswith("policy opa:placewright/rules: ")
    return error.value


FAILED = {"code": "internal_error", "message": "error(s) occurred while evaluating query", "errors": [
    {"code": "eval_conflict_error", "message": "complete rules must not produce multiple outputs", "location": {"file": "x.rego", "row": 4}},
    {"code": "eval_builtin_error", "message": "divide by zero"}]}


@pytest.mark.parametrize(("status", "body", "message", "kind"), [
    (200, {}, "placewright/rules is undefined in the OPA at http://127.0.0.1", PolicyError),
    (200, {"decision_id": "1", "provenance": {}}, "it has no policy", PolicyError),
    (200, [], "the answer is no object with a result; is http://127.0.0.1", PolicyError),
    (200, b"", "the answer is no object with a result", PolicyError),
    (200, b"<html>welcome</html>", "the answer is not JSON: '<html>welcome</html>'", PolicyError),
    (200, b'{"result": [', "the answer is not JSON", PolicyError),
    (200, {"result": {"rule": "keep"}}, "the rule yields an object; need a set or an array", PolicyError),
    (200, {"result": True}, "the rule yields true or false", PolicyError),
    (200, {"result": None}, "the rule yields null", PolicyError),
    (200, {"result": [KEEP, {**KEEP, "origin": "here", "until": 7}]}, "here: until: there is no such key; known are", PolicyError),
    (200, {"result": [{"rule": "kept"}, 7]}, "2 faults\n  rule 1: rule: 'kept' is no kind of rule", PolicyError),
    (204, b"", "answers 204: no reason given", PolicyError),
    (400, {"code": "invalid_parameter", "message": "bad input"}, "answers 400: bad input", PolicyError),
    (401, {"code": "unauthorized", "message": "request rejected"}, "answers 401: request rejected (no token file is set)", PolicyError),
    (403, b"forbidden", "answers 403: forbidden (no token file is set)", PolicyError),
    (404, b"404 page not found", "answers 404: 404 page not found (is this the address of an OPA?)", PolicyError),
    (500, FAILED, "answers 500: error(s) occurred while evaluating query; x.rego:4: complete rules must not produce multiple outputs; divide by zero",
     PolicyError),
    (500, b"upstream", "answers 500: upstream", PolicyUnavailable),
    (503, b"no backend", "answers 503: no backend", PolicyUnavailable),
])
def test_answers_that_are_no_rules(status: int, body: Any, message: str, kind: type[PolicyError]) -> None:
    error = failure(answering(status, body))
    assert message in str(error)
    assert isinstance(error, PolicyUnavailable) == (kind is PolicyUnavailable)


def test_an_answer_that_is_too_large() -> None:
    error = failure(answering(200, {"result": ["x" * 2**20]}), HttpSettings(timeout_s=5, attempts=1, max_mb=0.5))
    assert "the answer is larger than 0.5 MB" in str(error)


def test_an_opa_that_is_slow() -> None:
    error = failure(Opa(delay_s=0.6), HttpSettings(timeout_s=0.2, attempts=1))
    assert isinstance(error, PolicyUnavailable)
    assert "did not answer within 0.2 s" in str(error)


def test_an_opa_that_is_not_there() -> None:
    with opa() as state:
        url = state.url
    with pytest.raises(PolicyUnavailable, match="cannot be reached"):
        OpaSource(url, settings=ONCE).read(CLUSTER)


@pytest.mark.parametrize("url", ["", "localhost:8181", "http://", "ftp://x"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(PolicyError):
        OpaSource(url, settings=ONCE).read(CLUSTER)


def test_an_undefined_rule_is_no_empty_set_of_rules() -> None:
    with opa() as state, pytest.raises(PolicyError) as error:
        OpaSource(state.url, "placewright/rule", ONCE).read(CLUSTER)
    assert str(error.value) == (f"policy opa:placewright/rule: placewright/rule is undefined in the OPA at {state.url}; "
                                "it has the packages placewright")


def test_an_undefined_rule_where_policies_cannot_be_listed() -> None:
    with opa(answering(200, b"{}")) as state:
        state.answer = None

        def undefined_then_closed(*_: Any) -> Any:
            state.token = "another"
            return []

        state.evaluate = undefined_then_closed
        state.bundles = {}
        assert OpaSource(state.url, settings=ONCE).read(CLUSTER).rules == ()
        with pytest.raises(PolicyError, match="no token file is set"):
            OpaSource(state.url, settings=ONCE).read(CLUSTER)


def test_what_is_sent() -> None:
    with opa() as state:
        OpaSource(state.url + "/", settings=ONCE).read(CLUSTER)
    (method, path, headers), = state.asked
    assert (method, path) == ("POST", "/v1/data/placewright/rules?provenance=true")
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers
    assert state.inputs == [json.loads(as_json(CLUSTER))]


def test_rules_and_their_origin() -> None:
    with opa(Opa(bundles={"placement": "v12"})) as state:
        found = OpaSource(state.url, settings=ONCE).read(CLUSTER)
    assert (found.source, found.revision) == ("opa:placewright/rules", "v12")
    assert [rule.origin for rule in found.rules] == [Origin("opa:placewright/rules", "tag policy:keep", "v12")]


@pytest.mark.parametrize(("provenance", "revision"), [
    ({}, ""), (None, ""), ([], ""), ({"bundles": {}}, ""), ({"bundles": None}, ""), ({"revision": "old"}, "old"),
    ({"bundles": {"a": {"revision": "1"}}}, "1"), ({"bundles": {"b": {"revision": "2"}, "a": {"revision": "1"}}}, "a=1, b=2"),
    ({"bundles": {"a": {}}}, ""), ({"bundles": {"a": "x"}}, ""),
])
def test_revisions(provenance: Any, revision: str) -> None:
    with opa(answering(200, {"result": [KEEP], "provenance": provenance})) as state:
        found = OpaSource(state.url, settings=ONCE).read(CLUSTER)
    assert (found.revision, found.rules[0].origin.revision) == (revision, revision)


@pytest.mark.parametrize(("content", "message"), [
    (None, "cannot be read: No such file"), (b"", "holds no token"), (b" \n", "holds no token"), (b"a\nb", "holds no token"),
    ("é".encode(), "holds no token"), (b"\xff", "cannot be read: it is not UTF-8")])
def test_token_files_that_hold_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    assert message in str(failure(Opa(token="right"), token_file=tmp_path / "token"))


def test_a_token_is_sent_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    with opa(Opa(token="s3cret")) as state:
        source = OpaSource(state.url, settings=ONCE, token_file=file)
        assert len(source.read(CLUSTER).rules) == 1
        assert state.asked[0][2]["Authorization"] == "Bearer s3cret"
    error = failure(Opa(token="other"), token_file=file)
    assert f"request rejected by administrative policy (the token is that of {file})" in str(error)
    assert "s3cret" not in f"{error}{source}"


def test_a_token_that_is_renewed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    with opa(Opa(token="old")) as state:
        source = OpaSource(state.url, settings=ONCE, token_file=file)
        source.read(CLUSTER)
        file.write_text("new")
        state.token = "new"
        source.read(CLUSTER)


def test_a_user_in_the_address_is_sent_and_never_shown() -> None:
    with opa(answering(404, b"")) as state:
        url = state.url.replace("//", "//operator:s3cret@")
        with pytest.raises(PolicyError) as error:
            OpaSource(url, settings=ONCE).read(CLUSTER)
    assert state.asked[0][2]["Authorization"].startswith("Basic ")
    assert "s3cret" not in str(error.value)
    assert "operator" not in str(error.value)
    with pytest.raises(PolicyError, match="names a user and there is a token file"):
        OpaSource(url, token_file=Path("token"))


@pytest.mark.parametrize("path", ["rules", "data.placewright.rules", "/placewright/rules", "placewright/rules?pretty=true"])
def test_paths_that_lead_nowhere(path: str) -> None:
    with pytest.raises(PolicyError, match="is no path of a rule"):
        OpaSource("http://localhost:8181", path)


def test_a_policy_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    bundle = read_bundle("test", [write(tmp_path, policy="rules := 1 / 0")])
    error = failure(state := Opa(bundle=bundle), HttpSettings(timeout_s=5, attempts=3))
    assert "divide by zero" in str(error)
    assert len(state.asked) == 1


def test_what_another_attempt_mends() -> None:
    with opa(answering(503, b"starting")) as state:
        def soon(*_: Any) -> None:
            if len(state.asked) == 2:
                state.answer = None

        state.asked = _Watched(soon)
        assert len(OpaSource(state.url, RULES, HttpSettings(timeout_s=5, attempts=3)).read(CLUSTER).rules) == 1
    assert len(state.asked) == 2


class _Watched(list[Any]):
    """A list that says when something is appended."""

    def __init__(self, then: Any) -> None:
        super().__init__()
        self._then = then

    def append(self, value: Any) -> None:
        super().append(value)
        self._then()
