"""Load that is at hand, and what is assumed where none is."""

from dataclasses import replace
from pathlib import Path

import pytest

from datasources.errors import LoadMissing
from optimizer.cluster import Usage
from optimizer.snapshot import write_snapshot
from placewright.sources import SnapshotSource, load_at_hand
from strategies.base import LoadNeed
from tests.support.clusters import LOAD, make_cluster, make_host, make_server

NEED = LoadNeed(3600, 300, "mean", "fail")
MEASURED = make_server("measured", "a", cpu_cores=0.5)
UNKNOWN = make_server("unknown", "a")


def test_measured_load_stays() -> None:
    cluster = make_cluster([make_host("a")], [MEASURED], load=LOAD)
    assert load_at_hand(cluster, NEED) is cluster


def test_a_cluster_without_servers_lacks_no_load() -> None:
    assert load_at_hand(make_cluster([make_host("a")]), NEED).servers == ()


def test_fail_names_who_has_no_load() -> None:
    cluster = make_cluster([make_host("a")], [MEASURED, *(replace(UNKNOWN, id=f"u{n}", name=f"u{n}") for n in range(7))], load=LOAD)
    with pytest.raises(LoadMissing, match=r"7 of 8 servers of this snapshot have no usage \(u0, u1, u2, u3, u4, \.\.\.\).*missing_load"):
        load_at_hand(cluster, NEED)


@pytest.mark.parametrize(("choice", "usage"), [("flavor", Usage(cpu_cores=1, memory_mb=1024, assumed=True)),
                                               ("idle", Usage(cpu_cores=0, memory_mb=0, assumed=True))])
@pytest.mark.parametrize("load", [LOAD, None])
def test_what_is_assumed_is_marked_and_what_is_measured_stays(choice: str, usage: Usage, load: object) -> None:
    cluster = make_cluster([make_host("a")], [MEASURED, UNKNOWN], load=load)
    found = load_at_hand(cluster, replace(NEED, missing=choice))  # type: ignore[arg-type]
    assert found.server_by_id["measured"].usage == MEASURED.usage
    assert found.server_by_id["unknown"].usage == usage
    assert found.load is not None
    assert found.load.missing == ("unknown",)
    assert found.load.missing_means == choice


def test_a_snapshot_is_read_afresh_each_time(tmp_path: Path) -> None:
    source = SnapshotSource(tmp_path / "s.json")
    for name in ("one", "two"):
        cluster = make_cluster([make_host("a")], [MEASURED], name=name, load=LOAD)
        write_snapshot(cluster, source.path)
        assert source.cluster() == cluster
        assert source.with_load(cluster, NEED) == cluster
