"""A synthetic cloud: what it is made of, and what is told of solving it."""

import json

import pytest

from benchmarks import scale
from optimizer.constraints.base import check
from optimizer.placement import placement_of
from policy_sources import nova


def test_the_cloud_obeys_its_rules_and_is_the_same_again() -> None:
    cluster = scale.make_cloud(12, 100, 1)
    assert (len(cluster.hosts), len(cluster.servers)) == (12, 100)
    assert check(nova.constraints(cluster), cluster, placement_of(cluster)) == []
    assert scale.make_cloud(12, 100, 1) == cluster
    assert scale.make_cloud(12, 100, 2) != cluster


def test_a_better_placement_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["scale", "--hosts", "12", "--servers", "100", "--seconds", "10", "--param", "aggressiveness=4"])
    assert scale.main() == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["hosts"], told["servers"], told["breaches"]) == (12, 100, 0)
    assert told["moved"] > 0
    assert told["values"][0] < told["trace"][0][1]
    assert told["trace"][-1][1:-1] == told["values"]
