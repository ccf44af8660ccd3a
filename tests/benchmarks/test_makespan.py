"""Plans of a synthetic cloud: what is told of their times."""

import json

import pytest

from benchmarks import makespan


def test_plans_are_scheduled_and_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["makespan", "--hosts", "12", "--servers", "100", "--seconds", "1", "--plans", "2"])
    assert makespan.main() == 0
    plans = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [plan["seed"] for plan in plans] == [1, 2]
    for plan in plans:
        assert plan["moves"] > 0
        assert 0 < plan["bound_s"] <= plan["after_s"] <= plan["before_s"]


def test_more_servers_than_room_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["makespan", "--hosts", "1", "--servers", "1000"])
    with pytest.raises(SystemExit, match="1"):
        makespan.main()
    assert "1000 servers do not fit on 1 hosts" in capsys.readouterr().err
