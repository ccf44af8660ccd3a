"""Load in two requests, whatever the number of servers; who has no measures is named and never guessed."""

import socket
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from openstack.connection import Connection

from benchmarks.synthetic_cloud import SyntheticCloud
from benchmarks.synthetic_http import Refusal, SyntheticServer
from datasources.errors import (
    AccessDenied,
    CloudError,
    LoadError,
    LoadMissing,
    ServiceMissing,
    UnexpectedAnswer,
    Unreachable,
)
from datasources.gnocchi import GnocchiSettings, attach_load
from datasources.inventory import read_cluster
from optimizer.cluster import Cluster, Usage

Serve = Callable[..., tuple[SyntheticServer, Connection]]
Cloud = tuple[SyntheticCloud, SyntheticServer, Connection, Cluster]

STEP_S = 300


@pytest.fixture
def read(serve: Serve) -> Cloud:
    """Two hosts, four servers, no measures."""
    cloud = SyntheticCloud(2, 4)
    server, connection = serve(cloud)
    return cloud, server, connection, read_cluster(connection)


def points(cluster: Cluster, values: list[float], steps: list[int] | None = None) -> list[list[object]]:
    end = datetime.fromisoformat(cluster.taken_at)
    places = steps or list(range(len(values)))
    return [
        [(end - timedelta(seconds=STEP_S * (places[-1] + 1 - place))).isoformat(), float(STEP_S), value]
        for place, value in zip(places, values, strict=True)
    ]


def measure(cloud: SyntheticCloud, cluster: Cluster, cpu: list[float], memory: list[float]) -> None:
    for server in cluster.servers:
        cloud.measures[server.id] = {"cpu": points(cluster, cpu), "memory.usage": points(cluster, memory)}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"statistic": "median"}, ["'median'", "mean", "p95"]),
        ({"statistic": "p101"}, ["'p101'"]),
        ({"statistic": "p"}, ["'p'"]),
        ({"window_s": 200}, ["200 s", "300 s"]),
        ({"window_s": -1, "granularity_s": -5}, ["-5 s"]),
        ({"settings": GnocchiSettings(resource_type="vm")}, ["'vm'", "instance", "Ceilometer"]),
    ],
)
def test_bad_questions(read: Cloud, asked: dict[str, object], said: list[str]) -> None:
    cloud, _, connection, cluster = read
    measure(cloud, cluster, [1e9], [1.0])
    with pytest.raises(LoadError) as caught:
        attach_load(connection, cluster, **asked)  # type: ignore[arg-type]
    assert all(part in str(caught.value) for part in said), str(caught.value)


def refused(status: int, description: object) -> Refusal:
    return Refusal(status, {"code": status, "title": "", "description": description})


# The texts are those of Gnocchi 4.7.1.
NO_RATE = {"cause": "Metrics with unknown aggregation", "detail": [["0-0", "rate:mean"]]}
NO_GRAIN = {
    "cause": "Metrics cannot be aggregated",
    "reason": "Granularities are missing",
    "detail": [["cpu", "rate:mean", 300.0]],
}


@pytest.mark.parametrize(
    ("refusal", "error", "said"),
    [
        (refused(404, NO_RATE), LoadError, "archive policy without rate:mean.*ceilometer-low-rate"),
        (refused(400, NO_GRAIN), LoadError, "archive policy without a granularity of 300 s"),
        (refused(403, "not yours"), AccessDenied, "gnocchi.*403"),
        (refused(500, "boom"), UnexpectedAnswer, "gnocchi.*500"),
        (Refusal(200, {"measures": []}), UnexpectedAnswer, "series"),
        (Refusal(200, "<html>"), UnexpectedAnswer, "not JSON"),
    ],
)
def test_gnocchi_refuses(read: Cloud, refusal: Refusal, error: type[CloudError], said: str) -> None:
    _, server, connection, cluster = read
    server.refusals[".*/aggregates"] = refusal
    with pytest.raises(error, match=said):
        attach_load(connection, cluster, missing="idle")


def test_no_gnocchi_in_the_catalog(serve: Serve) -> None:
    _, connection = serve(SyntheticCloud(1, 1), services=("identity", "compute", "placement"))
    with pytest.raises(ServiceMissing, match=r"no gnocchi.*set missing_load"):
        attach_load(connection, read_cluster(connection))


def test_gnocchi_is_down(read: Cloud) -> None:
    _, _, connection, cluster = read
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    connection.config.config["metric_endpoint_override"] = url
    with pytest.raises(Unreachable, match=f"gnocchi at {url}"):
        attach_load(connection, cluster)


@pytest.mark.parametrize(
    ("statistic", "cores", "memory_mb"), [("mean", 0.4, 250.0), ("p50", 0.3, 200.0), ("p100", 1.0, 500.0)]
)
def test_cpu_time_becomes_cores(read: Cloud, statistic: str, cores: float, memory_mb: float) -> None:
    cloud, server, connection, cluster = read
    # 90e9 ns of CPU time in 300 s are 0.3 of a core.
    measure(cloud, cluster, [30e9, 90e9, 60e9, 120e9, 300e9], [100.0, 200.0, 300.0, 150.0, 500.0])
    found = attach_load(connection, cluster, statistic=statistic)
    usages = [one.usage for one in found.servers if one.usage]
    assert [one.cpu_cores for one in usages] == [pytest.approx(cores)] * 4
    assert {(one.memory_mb, one.assumed) for one in usages} == {(memory_mb, False)}
    assert found.load is not None
    assert (found.load.source, found.load.window_s, found.load.statistic) == ("gnocchi", 3600, statistic)
    assert found.load.missing == ()
    assert server.requests["POST /metric/v1/aggregates"] == 2


def test_a_counter_that_begins_anew_and_a_gap(read: Cloud) -> None:
    cloud, _, connection, cluster = read
    for server in cluster.servers:
        cloud.measures[server.id] = {
            "cpu": points(cluster, [30e9, -900e9, 90e9], steps=[0, 1, 4]),
            "memory.usage": points(cluster, [1.0]),
        }
    found = attach_load(connection, cluster)
    # The restart at step 1 is dropped; the growth at step 4 is that of three steps.
    assert [one.usage.cpu_cores for one in found.servers if one.usage] == [pytest.approx(0.1)] * 4


def test_measures_closer_than_the_granularity(read: Cloud) -> None:
    cloud, _, connection, cluster = read
    measure(cloud, cluster, [30e9], [1.0])
    found = attach_load(connection, cluster, settings=GnocchiSettings(cpu_interval_s=60))
    assert [one.usage.cpu_cores for one in found.servers if one.usage] == [pytest.approx(0.5)] * 4


def unmeasured(cloud: SyntheticCloud, cluster: Cluster) -> tuple[str, str, str]:
    """One server with no resource in Gnocchi, one without points in the window, one without the CPU metric."""
    measure(cloud, cluster, [150e9], [100.0])
    gone, silent, half = (one.id for one in cluster.servers[:3])
    del cloud.measures[gone]
    cloud.measures[silent] = {"cpu": [], "memory.usage": []}
    del cloud.measures[half]["cpu"]
    return gone, silent, half


def test_missing_measures_fail_with_names_and_choices(read: Cloud) -> None:
    cloud, _, connection, cluster = read
    gone, silent, half = unmeasured(cloud, cluster)
    with pytest.raises(LoadMissing) as caught:
        attach_load(connection, cluster)
    text = str(caught.value)
    assert "3 of 4 servers" in text
    assert all(part in text for part in (gone, silent, f"({half}) lacks cpu;"[:-1], "'flavor'", "'idle'")), text


@pytest.mark.parametrize("missing", ["flavor", "idle"])
def test_missing_measures_by_choice(read: Cloud, missing: str) -> None:
    cloud, _, connection, cluster = read
    lacking = unmeasured(cloud, cluster)
    found = attach_load(connection, cluster, missing=missing)  # type: ignore[arg-type]
    assert found.load is not None
    assert (set(found.load.missing), found.load.missing_means) == (set(lacking), missing)
    for number, server in enumerate(found.servers):
        flavor = found.flavor_of(server)
        cores, memory = (flavor.vcpus, flavor.memory_mb) if missing == "flavor" else (0, 0)
        expected = [
            Usage(cpu_cores=cores, memory_mb=memory, assumed=True),
            Usage(cpu_cores=cores, memory_mb=memory, assumed=True),
            Usage(cpu_cores=cores, memory_mb=100.0, assumed=True),
            Usage(cpu_cores=0.5, memory_mb=100.0),
        ]
        assert server.usage == expected[number]


def test_no_server_has_the_metric(read: Cloud) -> None:
    _, _, connection, cluster = read
    with pytest.raises(LoadMissing, match="4 of 4 servers"):
        attach_load(connection, cluster)
    found = attach_load(connection, cluster, missing="idle")
    assert {one.usage for one in found.servers} == {Usage(cpu_cores=0, memory_mb=0, assumed=True)}
