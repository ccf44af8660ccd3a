"""The table of strategies, and strategies of other packages."""

from importlib.metadata import EntryPoint

import pytest

from optimizer.errors import PlacewrightError
from strategies import registry
from strategies.workload_stabilization import WorkloadStabilization


def offered(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint(name, value, group)])


@pytest.mark.parametrize(("name", "value", "words"), [
    ("mine", "no_such_module:Mine", "'mine'.*no_such_module:Mine.*cannot be loaded: ModuleNotFoundError"),
    ("mine", "strategies.base:Nothing", "'mine'.*cannot be loaded: AttributeError"),
    ("host_maintenance", "strategies.base:Strategy", "'host_maintenance'.*name of another"),
])
def test_bad_packages(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    offered(monkeypatch, name, value)
    with pytest.raises(PlacewrightError, match=words):
        registry.strategies()


def test_a_package_adds_a_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, "mine", "strategies.workload_stabilization:WorkloadStabilization")
    assert registry.strategies()["mine"] is WorkloadStabilization
    assert set(registry.strategies()) == {"mine", *(kind.name for kind in registry.BUILT_IN)}


def test_an_unknown_name() -> None:
    with pytest.raises(PlacewrightError, match="no strategy 'nope'; there are host_evacuation, host_maintenance, "):
        registry.strategy("nope")
