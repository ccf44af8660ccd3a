"""The snapshot file."""

import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError
from optimizer.snapshot import DocumentError, read_snapshot, write_snapshot
from tests.support.clusters import clusters, make_cluster, make_host, make_server

INT = "Input should be a valid integer"


def document() -> dict[str, Any]:
    """A good document with everything that faults can be put into."""
    return {"format": "placewright.snapshot", "version": 1, "cluster": {
        "name": "test", "taken_at": "2026-01-01T00:00:00Z",
        "hosts": [{"id": "i1", "name": "h1", "inventory": {"VCPU": {"total": 4, "reserved": 1}}, "held": {"VCPU": 1},
                   "aggregates": ["a1"]},
                  {"id": "i2", "name": "h2", "inventory": {"VCPU": {"total": 4, "allocation_ratio": 2.0, "max_unit": 4}}},
                  {"id": "i3", "name": "h3", "inventory": {}}],
        "servers": [{"id": "s1", "name": "one", "host": "h1", "flavor": "f", "image": "g", "resources": {"VCPU": 1},
                     "usage": {"cpu_cores": 0.5, "memory_mb": 100}},
                    {"id": "s2", "name": "two", "host": "h1", "flavor": "f", "resources": {}}],
        "flavors": {"f": {"name": "f", "vcpus": 1, "memory_mb": 100}}, "images": {"g": {"id": "g"}},
        "aggregates": [{"id": "a1", "name": "agg"}],
        "groups": [{"id": "g1", "name": "group", "policy": "anti-affinity", "members": ["s1", "s2"],
                    "rules": {"max_server_per_host": 1}}],
        "migrations": [{"id": "m1", "server": "s1", "source": "h1", "destination": "h2", "kind": "live-migration",
                        "status": "running", "resources": {"VCPU": 1}}]}}


def faults_of(path: Path) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        read_snapshot(path)
    assert isinstance(caught.value, PlacewrightError)
    assert str(caught.value).startswith(f"{path}: {len(caught.value.faults)} fault")
    assert all(f"\n  {fault}" in str(caught.value) for fault in caught.value.faults)
    return caught.value.faults


def faulty(path: Path, *changes: tuple[str, Any]) -> list[str]:
    """The faults of the good document after changes ("hosts.0.name", value) in its cluster."""
    whole = document()
    for where, value in changes:
        *steps, last = (int(step) if step.isdigit() else step for step in where.split("."))
        part: Any = whole["cluster"]
        for step in steps:
            part = part[step]
        part[last] = value
    path.write_text(json.dumps(whole))
    return faults_of(path)


@pytest.mark.parametrize(("name", "content", "expected"), [
    ("missing.json", None, ["cannot be read: No such file or directory"]),
    ("cut.json.xz", lzma.compress(b"{}" * 500)[:-20],
     ["is not a whole .xz file: Compressed file ended before the end-of-stream marker was reached"]),
    ("plain.xz", b"{}", ["is not a whole .xz file: Input format not supported by decoder"]),
    ("cut.gz", gzip.compress(bytes(range(256)))[:-20],
     ["is not a whole .gz file: Compressed file ended before the end-of-stream marker was reached"]),
    ("plain.gz", b"{}{}{}{}{}{}{}{}{}{}", ["cannot be read: Not a gzipped file (b'{}')"]),
    ("garbled.gz", gzip.compress(b"")[:10] + b"\xff" * 40,
     ["is not a whole .gz file: Error -3 while decompressing data: invalid block type"]),
    ("empty.json", b"", ["document: Invalid JSON: EOF while parsing a value at line 1 column 0"]),
    ("text.json", b"hello", ["document: Invalid JSON: expected value at line 1 column 1"]),
    ("latin.json", b'{"format": "\xff"}', ["document: Invalid JSON: invalid unicode code point at line 1 column 13"]),
    ("list.json", b"[]", ["document: Input should be an object"]),
    ("none.json", b"{}", ["format: Field required", "version: Field required", "cluster: Field required"]),
    ("other.json", b'{"format": "other", "version": 2, "cluster": {}, "more": 1}', [
        "format: Input should be 'placewright.snapshot' (got 'other')", "version: Input should be 1 (got 2)",
        "cluster.name: Field required", "cluster.taken_at: Field required", "cluster.hosts: Field required",
        "more: Unexpected keyword argument (got 1)"]),
])
def test_files_that_are_no_snapshot(tmp_path: Path, name: str, content: bytes | None, expected: list[str]) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert faults_of(tmp_path / name) == expected


def test_a_directory_is_no_snapshot(tmp_path: Path) -> None:
    assert faults_of(tmp_path) == ["cannot be read: Is a directory"]


@pytest.mark.parametrize(("where", "value", "fault"), [
    ("hosts.1.colour", "red", "cluster.hosts[1].colour: Unexpected keyword argument (got 'red')"),
    ("hosts.0.inventory.VCPU.total", "many",
     f"cluster.hosts[0].inventory.VCPU.total: {INT}, unable to parse string as an integer (got 'many')"),
    ("hosts.0.inventory.VCPU.total", 1.5,
     f"cluster.hosts[0].inventory.VCPU.total: {INT}, got a number with a fractional part (got 1.5)"),
    ("hosts.0.state", "asleep", "cluster.hosts[0].state: Input should be 'up' or 'down' (got 'asleep')"),
    ("servers.0.usage", {"cpu_cores": 1}, "cluster.servers[0].usage.memory_mb: Field required"),
    ("servers.1.locked", "perhaps",
     "cluster.servers[1].locked: Input should be a valid boolean, unable to interpret input (got 'perhaps')"),
    ("servers.1.resources.VCPU", None, f"cluster.servers[1].resources.VCPU: {INT} (got None)"),
    ("groups.0.policy", "near",
     "cluster.groups[0].policy: Input should be 'affinity', 'anti-affinity', 'soft-affinity' or 'soft-anti-affinity' "
     "(got 'near')"),
    ("servers.0.host", "h9", "cluster.servers[0].host: there is no host 'h9' in this snapshot"),
    ("servers.1.flavor", "x", "cluster.servers[1].flavor: there is no flavor 'x' in this snapshot"),
    ("servers.0.image", "x", "cluster.servers[0].image: there is no image 'x' in this snapshot"),
    ("hosts.0.aggregates", ["a1", "a2"], "cluster.hosts[0].aggregates: there is no aggregate 'a2' in this snapshot"),
    ("migrations.0.server", "s9", "cluster.migrations[0].server: there is no server 's9' in this snapshot"),
    ("migrations.0.destination", "h9", "cluster.migrations[0].destination: there is no host 'h9' in this snapshot"),
    ("migrations.0.source", "h9", "cluster.migrations[0].source: there is no host 'h9' in this snapshot"),
    ("servers.0.numa", [0], "cluster.servers[0].numa: 0: h1 has 0 NUMA nodes, numbered from 0"),
    ("servers.0.numa", [-1], "cluster.servers[0].numa: -1: h1 has 0 NUMA nodes, numbered from 0"),
    ("hosts.2.name", "h1", "cluster.hosts: name 'h1' stands 2 times, once is right"),
    ("hosts.1.id", "i1", "cluster.hosts: id 'i1' stands 2 times, once is right"),
    ("servers.1.id", "s1", "cluster.servers: id 's1' stands 2 times, once is right"),
    ("groups", [{"id": "g", "name": "n", "policy": "affinity", "members": []}] * 2,
     "cluster.groups: id 'g' stands 2 times, once is right"),
    ("groups.0.members", ["s1", "s1"], "cluster.groups[0].members: value 's1' stands 2 times, once is right"),
    ("aggregates", [{"id": "a1", "name": "n"}] * 2, "cluster.aggregates: id 'a1' stands 2 times, once is right"),
    ("migrations", [document()["cluster"]["migrations"][0]] * 2, "cluster.migrations: id 'm1' stands 2 times, once is right"),
    ("hosts.0.held.VCPU", -1, "cluster.hosts[0].held.VCPU: -1: need 0 to 2147483647"),
    ("servers.0.resources.VCPU", -2, "cluster.servers[0].resources.VCPU: -2: need 0 to 2147483647"),
    ("servers.0.resources.VCPU", 2**70, f"cluster.servers[0].resources.VCPU: {2**70}: need 0 to 2147483647"),
    ("migrations.0.resources.VCPU", -3, "cluster.migrations[0].resources.VCPU: -3: need 0 to 2147483647"),
    ("hosts.0.inventory.VCPU.reserved", 5, "cluster.hosts[0].inventory.VCPU: total 4, reserved 5, allocation_ratio 1.0: "
     "need 0 <= reserved <= total <= 2147483647 and a ratio above 0 and at most 1000000"),
    ("hosts.0.inventory.VCPU.reserved", -1, "cluster.hosts[0].inventory.VCPU: total 4, reserved -1, allocation_ratio 1.0: "
     "need 0 <= reserved <= total <= 2147483647 and a ratio above 0 and at most 1000000"),
    *[("hosts.1.inventory.VCPU.allocation_ratio", ratio,
       f"cluster.hosts[1].inventory.VCPU: total 4, reserved 0, allocation_ratio {ratio}: "
       "need 0 <= reserved <= total <= 2147483647 and a ratio above 0 and at most 1000000")
      for ratio in (0.0, -1.0, float("nan"), float("inf"))],
    ("hosts.1.inventory.VCPU.max_unit", 0, "cluster.hosts[1].inventory.VCPU.max_unit: 0: need 1 or more"),
    ("servers.0.usage.cpu_cores", float("nan"), "cluster.servers[0].usage.cpu_cores: nan: need 0 to 2147483647"),
    ("servers.0.usage.memory_mb", float("inf"), "cluster.servers[0].usage.memory_mb: inf: need 0 to 2147483647"),
    ("servers.0.usage.memory_mb", -0.5, "cluster.servers[0].usage.memory_mb: -0.5: need 0 to 2147483647"),
    ("groups.0.rules.max_server_per_host", 0, "cluster.groups[0].rules.max_server_per_host: 0: need 1 or more"),
])
def test_one_fault(tmp_path: Path, where: str, value: object, fault: str) -> None:
    assert faulty(tmp_path / "bad.json", (where, value)) == [fault]


def test_faults_of_form_are_reported_together(tmp_path: Path) -> None:
    faults = faulty(tmp_path / "bad.json", ("colour", "red"), ("hosts.0.held.VCPU", "x"), ("servers.1.name", 5),
                    ("groups.0.policy", "near"))
    assert [fault.split(":")[0] for fault in faults] == [
        "cluster.hosts[0].held.VCPU", "cluster.servers[1].name", "cluster.groups[0].policy", "cluster.colour"]


def test_faults_of_content_are_reported_together(tmp_path: Path) -> None:
    faults = faulty(tmp_path / "bad.json", ("hosts.1.id", "i1"), ("hosts.0.held.VCPU", -1), ("hosts.0.aggregates", ["x"]),
                    ("servers.0.host", "x"),
                    ("servers.0.flavor", "x"), ("servers.0.image", "x"), ("servers.0.usage.cpu_cores", -1),
                    ("migrations.0.source", "x"))
    assert [fault.split(":")[0] for fault in faults] == [
        "cluster.hosts", "cluster.hosts[0].aggregates", "cluster.hosts[0].held.VCPU", "cluster.servers[0].host",
        "cluster.servers[0].flavor",
        "cluster.servers[0].image", "cluster.servers[0].usage.cpu_cores", "cluster.migrations[0].source"]


def test_a_message_shows_fifty_faults_and_the_error_holds_all(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**document(), **{f"key{n:02}": n for n in range(60)}}))
    with pytest.raises(DocumentError) as caught:
        read_snapshot(path)
    assert len(caught.value.faults) == 60
    assert str(caught.value).endswith("\n  key49: Unexpected keyword argument (got 49)\n  ... and 10 more")


def test_the_good_document_is_good(tmp_path: Path) -> None:
    path = tmp_path / "good.json"
    path.write_text(json.dumps(document()))
    cluster = read_snapshot(path)
    assert cluster.hosts[1].inventory["VCPU"].capacity == 8
    assert cluster.migrations[0].other_side("h1") == "h2"
    write_snapshot(cluster, path)
    assert read_snapshot(path) == cluster


@pytest.mark.parametrize("ending", [".json", ".json.gz", ".json.xz"])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(cluster=clusters())
def test_what_is_written_is_read(tmp_path: Path, ending: str, cluster: Cluster) -> None:
    path = tmp_path / f"cluster{ending}"
    write_snapshot(cluster, path)
    assert read_snapshot(path) == cluster
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_the_ending_chooses_the_compression(tmp_path: Path) -> None:
    cluster = make_cluster([make_host("h")], [make_server("s", "h")])
    readers: dict[str, Callable[[bytes], bytes]] = {"a.json": bytes, "a.gz": gzip.decompress, "a.xz": lzma.decompress}
    texts = set()
    for name, unpack in readers.items():
        write_snapshot(cluster, tmp_path / name)
        texts.add(unpack((tmp_path / name).read_bytes()))
    assert len(texts) == 1


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cluster.json"
    old = make_cluster([make_host("old")])
    write_snapshot(old, path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DocumentError, match=r"cluster\.json: 1 fault\n  cannot be written: No space left on device"):
        write_snapshot(make_cluster([make_host("new")]), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["cluster.json"]
    assert read_snapshot(path) == old


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="cannot be written: No such file or directory"):
        write_snapshot(make_cluster([make_host("a")]), tmp_path / "missing" / "cluster.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DocumentError, match="cannot be written: Is a directory"):
        write_snapshot(make_cluster([make_host("a")]), tmp_path / "folder.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.json"]
