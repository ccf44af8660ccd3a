"""The time model, worked out by hand."""

import pytest

from migrate.duration import TimeModel, cost_of
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
