"""The time model, worked out by hand."""

from dataclasses import replace

import pytest

from migrate.duration import MIN_SAMPLES, TimeModel, cost_of, fitted
from migrate.plan import Cost
from optimizer.cluster import Cluster, Flavor, Server

FLAVOR = Flavor(name="f", vcpus=1, memory_mb=10240, disk_gb=20, ephemeral_gb=5, swap_mb=1024)
LOCAL = Server(id="local", name="local", host="h", flavor="f", resources={})
VOLUME = Server(id="volume", name="volume", host="h", flavor="f", resources={}, boot_from_volume=True)
CLUSTER = Cluster(name="c", taken_at="t", hosts=(), servers=(), flavors={"f": FLAVOR})
MODEL = TimeModel(bandwidth_mb_per_s=1024, dirty_page_factor=1.5, live_overhead_s=2, cold_overhead_s=10)


@pytest.mark.parametrize(
    ("server", "kind", "model", "copy_gb", "seconds"),
    [
        (LOCAL, "live", MODEL, 15 + 26, 2 + 41),
        (VOLUME, "live", MODEL, 15 + 6, 2 + 21),
        (LOCAL, "cold", MODEL, 26, 10 + 26),
        (VOLUME, "cold", MODEL, 6, 10 + 6),
        (LOCAL, "cold", TimeModel(shared_storage=True), 0, 30),
        (LOCAL, "live", TimeModel(shared_storage=True), 12, 5 + 12 * 1024 / 500),
    ],
)
def test_cost(server, kind, model, copy_gb, seconds):
    assert cost_of(CLUSTER, server, kind, model) == Cost(copy_gb=copy_gb, expected_s=pytest.approx(seconds))


def line(overhead_s, bandwidth, sizes):
    return [(float(size), overhead_s + size / bandwidth) for size in sizes]


@pytest.mark.parametrize(("samples", "overhead_s", "bandwidth"), [
    ([], 2, 1024),
    (line(7, 200, [1000, 2000, 4000, 8000]), 2, 1024),  # too few
    (line(7, 200, [1000, 2000, 4000, 8000, 500]), 7, 200),
    ([*line(7, 200, [1000, 2000, 4000, 8000, 500, 700, 900]), (3000.0, 900.0), (600.0, 300.0)], 7, 200),  # two were held up
    (line(7, 1024, [2048] * 9), 7, 1024),  # of one size: the bandwidth stays
    ([(1000.0 * n, 4.0) for n in range(1, 9)], 4 - 4500 / 1024 if 4 > 4500 / 1024 else 0, 1024),  # size does not matter: the overhead is what is left
])
def test_fitted(samples, overhead_s, bandwidth):
    found = fitted(MODEL, samples)
    assert (found.live_overhead_s, found.bandwidth_mb_per_s) == pytest.approx((overhead_s, bandwidth))
    assert replace(found, live_overhead_s=2, bandwidth_mb_per_s=1024) == MODEL
    assert len(samples) >= MIN_SAMPLES or found is MODEL
