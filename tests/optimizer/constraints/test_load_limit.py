"""Measured load below a share of what a host has."""

import pytest

from optimizer.constraints.load_limit import LoadLimit
from optimizer.load import LoadMissing
from tests.support.clusters import make_cluster, make_host, make_server, moved

CLUSTER = make_cluster([make_host("a", vcpus=4), make_host("b", vcpus=2, memory_mb=2048), make_host("full", vcpus=1)],
                       [make_server("s1", "a", cpu_cores=1.0, used_mb=1024), make_server("s2", "a", cpu_cores=0.01, used_mb=0),
                        make_server("s3", "full", cpu_cores=0.9), make_server("idle", "a", cpu_cores=0, used_mb=0)])


def test_a_server_without_usage_is_an_error() -> None:
    cluster = make_cluster([make_host("a")], [make_server("s1", "a")])
    with pytest.raises(LoadMissing, match="s1"):
        list(LoadLimit("cpu", 50).violations(cluster, moved(cluster)))


@pytest.mark.parametrize(("metric", "percent", "to", "expected"), [
    ("cpu", 50, {"s1": "b", "s2": "b", "s3": "a"}, [("cpu load of b is 50.5 %, limit 50 %", "b", False)]),
    ("cpu", 80, {"s2": "full"}, [("cpu load of full is 91.0 %, limit 80 %", "full", False)]),
    ("memory", 49.9, {"s1": "b"}, [("memory load of b is 50.0 %, limit 49.9 %", "b", False)]),
    ("cpu", 80, {}, [("cpu load of full is 90.0 %, limit 80 %", "full", True)]),
    ("cpu", 80, {"idle": "full"}, [("cpu load of full is 90.0 %, limit 80 %", "full", True)]),
    ("cpu", 80, {"s3": "a"}, []),
    ("cpu", 50, {"s1": "b", "s3": "a"}, []),
    ("memory", 50, {"s1": "b"}, []),
])
def test_limits(metric: str, percent: float, to: dict[str, str], expected: list[object]) -> None:
    found = LoadLimit(metric, percent).violations(CLUSTER, moved(CLUSTER, **to))  # type: ignore[arg-type]
    assert [(v.text, v.host, v.inherited) for v in found] == expected
