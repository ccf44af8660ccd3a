"""The measurement of rules in Rego: as many rules as asked for, whatever engine derives them."""

import json

import pytest

from benchmarks import policy_rules
from tests.support.opa import Opa, opa, opa_evaluate, ready


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, float]:
    monkeypatch.setattr("sys.argv", ["policy_rules", "--servers", "60", "--rules", "40", "--runs", "1", *arguments])
    assert policy_rules.main() == 0
    found: dict[str, float] = json.loads(capsys.readouterr().out)
    return found


def test_every_rule_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(monkeypatch, capsys)
    assert (found["servers"], found["rules"], found["found"]) == (60, 40, 40)
    with opa(Opa(bundle=ready("apart"), evaluate=opa_evaluate)) as state:
        found = told(monkeypatch, capsys, "--opa", state.url)
    assert found["found"] == 40
    assert found["opa_read_s"] > 0


@pytest.mark.parametrize("arguments", [["--servers", "1"], ["--rules", "0"], ["--runs", "x"]])
def test_what_it_refuses(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["policy_rules", *arguments])
    with pytest.raises(SystemExit):
        policy_rules.main()
    assert "need a whole number" in capsys.readouterr().err


def test_an_opa_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        told(monkeypatch, capsys, "--opa", "nowhere")
    assert stopped.value.code == 1
    assert "policy opa:placewright/rules" in capsys.readouterr().err
