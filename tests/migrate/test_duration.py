"""The time model, worked out by hand."""

from dataclasses import replace

import pytest

from migrate.duration import MIN_SAMPLES, TimeModel, cost_of, fitted, never_ends
from migrate.plan import Cost
from optimizer.cluster import Cluster, Flavor, Server, Usage

FLAVOR = Flavor(name="f", vcpus=4, memory_mb=10240, disk_gb=20, ephemeral_gb=5, swap_mb=1024)
LOCAL = Server(id="local", name="local", host="h", flavor="f", resources={})
VOLUME = Server(id="volume", name="volume", host="h", flavor="f", resources={}, boot_from_volume=True)
CLUSTER = Cluster(name="c", taken_at="t", hosts=(), servers=(), flavors={"f": FLAVOR})
MODEL = TimeModel(bandwidth_mb_per_s=1024, dirty_mb_per_core_s=256, live_overhead_s=2, cold_overhead_s=10)
ROUNDS = 10 * (1 + 1 / 2 + 1 / 4 + 1 / 8 + 1 / 16 + 1 / 32)  # GiB: half of the bandwidth is written, until 512 MiB are left


def busy(cores: float, *, assumed: bool = False) -> Server:
    return replace(VOLUME, usage=Usage(cpu_cores=cores, memory_mb=1, assumed=assumed))


@pytest.mark.parametrize(
    ("server", "kind", "model", "copy_gb", "seconds"),
    [
        (LOCAL, "live", MODEL, ROUNDS + 26, 2 + ROUNDS + 26),
        (VOLUME, "live", MODEL, ROUNDS + 6, 2 + ROUNDS + 6),
        (busy(2), "live", MODEL, ROUNDS + 6, 2 + ROUNDS + 6),
        (busy(0), "live", MODEL, 10 + 6, 2 + 16),
        (busy(0, assumed=True), "live", MODEL, ROUNDS + 6, 2 + ROUNDS + 6),  # nothing was measured: half of the vCPUs
        (replace(busy(2), status="PAUSED"), "live", MODEL, 10 + 6, 2 + 16),
        (busy(4), "live", MODEL, 20 + 6, 2 + 26),  # as fast as it is copied: forced
        (busy(4), "live", replace(MODEL, convergence="post_copy"), 20 + 6, 2 + 26),
        (busy(4), "cold", MODEL, 6, 10 + 6),
        (LOCAL, "cold", MODEL, 26, 10 + 26),
        (VOLUME, "cold", MODEL, 6, 10 + 6),
        (LOCAL, "cold", TimeModel(shared_storage=True), 0, 30),
        (LOCAL, "live", TimeModel(shared_storage=True, dirty_mb_per_core_s=0), 10, 5 + 10 * 1024 / 500),
    ],
)
def test_cost(server, kind, model, copy_gb, seconds):
    assert cost_of(CLUSTER, server, kind, model) == Cost(copy_gb=pytest.approx(copy_gb, abs=1e-3), expected_s=pytest.approx(seconds, abs=1e-3))


@pytest.mark.parametrize(("server", "convergence", "expected"), [
    (busy(2), "none", False), (busy(3.9), "none", False), (busy(4), "none", True), (busy(4), "post_copy", True), (busy(4), "auto_converge", False),
    (busy(500), "auto_converge", True),
])
def test_never_ends(server, convergence, expected):
    assert never_ends(CLUSTER, server, replace(MODEL, convergence=convergence)) == expected


def test_what_ends_after_nova_has_lost_patience_never_ends():
    slow = replace(MODEL, bandwidth_mb_per_s=2.0)
    assert not never_ends(CLUSTER, busy(0.5 / 256), slow)  # 1.3 times the memory, at 512 s for a GiB
    assert never_ends(CLUSTER, busy(1 / 256), slow)  # twice


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
