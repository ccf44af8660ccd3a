"""The snapshot file: a Cluster as versioned JSON, plain or compressed (.gz, .xz).

A file is one object: ``{"format": "placewright.snapshot", "version": 1, "cluster": {...}}``; the fields of
``cluster`` are those of optimizer.cluster. docs/snapshot-format.md describes each.
"""

import gzip
import lzma
import os
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError

_SHOWN = 50
_LARGEST_AMOUNT = 2**31 - 1  # Placement stores amounts as 32-bit integers
_LARGEST_RATIO = 10**6


class DocumentError(PlacewrightError):
    """A file that is not what it should be; ``faults`` holds every fault, each with its path in the document."""

    def __init__(self, path: Path | str, faults: list[str]) -> None:
        """Put the faults in one message."""
        self.faults = faults
        more = f"\n  ... and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        lines = "".join(f"\n  {fault}" for fault in faults[:_SHOWN])
        super().__init__(f"{path}: {len(faults)} fault{'s' if len(faults) > 1 else ''}{lines}{more}")


@dataclass(frozen=True, kw_only=True)
class _Document:
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    format: Literal["placewright.snapshot"]
    version: Literal[1]
    cluster: Cluster = field()


_ADAPTER: TypeAdapter[_Document] = TypeAdapter(_Document)


def read_snapshot(path: Path | str) -> Cluster:
    """Read a snapshot file; raises DocumentError with every fault at once."""
    document = parse(path, read_bytes(path), _ADAPTER)
    if faults := list(_inconsistencies(document.cluster)):
        raise DocumentError(path, faults)
    return document.cluster


def write_snapshot(cluster: Cluster, path: Path | str) -> None:
    """Write a snapshot file; the name's ending (.gz, .xz) chooses the compression. The old file stays until the new is whole."""
    document = _Document(format="placewright.snapshot", version=1, cluster=cluster)
    write_bytes(path, _ADAPTER.dump_json(document, indent=1, exclude_defaults=True))


def as_json(cluster: Cluster) -> bytes:
    """The content of a snapshot file in one line, with every field: also those that a file leaves out where they are as usual."""
    return _ADAPTER.dump_json(_Document(format="placewright.snapshot", version=1, cluster=cluster))


T = TypeVar("T")


def parse(path: Path | str, text: bytes, adapter: TypeAdapter[T]) -> T:
    """Validate a JSON text; raises DocumentError with every fault and its path in the document."""
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise DocumentError(path, [describe(fault["loc"], fault["msg"], fault["input"]) for fault in error.errors()]) from None


def describe(location: Iterable[int | str], message: str, value: object) -> str:
    """One fault in one line: cluster.servers[3].host: what is wrong (got what)."""
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).lstrip(".")
    got = repr(value)
    shown = "" if isinstance(value, dict | list | bytes) else f" (got {got if len(got) < 80 else got[:77] + '...'})"
    return f"{where or 'document'}: {message}{shown}"


def read_bytes(path: Path | str) -> bytes:
    """The content of a file, decompressed by its ending; raises DocumentError where that is not possible."""
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
    try:
        with openers.get(Path(path).suffix, open)(path, "rb") as stream:
            content: bytes = stream.read()
            return content
    except OSError as error:
        raise DocumentError(path, [f"cannot be read: {error.strerror or error}"]) from None
    except (lzma.LZMAError, zlib.error, EOFError) as error:
        raise DocumentError(path, [f"is not a whole {Path(path).suffix} file: {error}"]) from None


def write_bytes(path: Path | str, content: bytes) -> None:
    """Replace a file at once, compressed by its ending; raises DocumentError where that is not possible."""
    path = Path(path)
    packers: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".xz": lzma.compress}
    packed = packers.get(path.suffix, bytes)(content)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = stream.name
            stream.write(packed)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise DocumentError(path, [f"cannot be written: {error.strerror or error}"]) from None


def _inconsistencies(cluster: Cluster) -> Iterator[str]:
    """References that lead nowhere, names given twice, numbers that cannot be."""
    hosts, servers = set(cluster.host_by_name), set(cluster.server_by_id)
    aggregates = set(cluster.aggregate_by_id)
    yield from _repeated("cluster.hosts", "name", [host.name for host in cluster.hosts])
    yield from _repeated("cluster.hosts", "id", [host.id for host in cluster.hosts])
    yield from _repeated("cluster.servers", "id", [server.id for server in cluster.servers])
    yield from _repeated("cluster.groups", "id", [group.id for group in cluster.groups])
    yield from _repeated("cluster.aggregates", "id", [aggregate.id for aggregate in cluster.aggregates])
    yield from _repeated("cluster.migrations", "id", [migration.id for migration in cluster.migrations])
    for i, host in enumerate(cluster.hosts):
        at = f"cluster.hosts[{i}]"
        for name, inventory in host.inventory.items():
            whole = 0 <= inventory.reserved <= inventory.total <= _LARGEST_AMOUNT
            if not whole or not 0 < inventory.allocation_ratio <= _LARGEST_RATIO:
                yield (f"{at}.inventory.{name}: total {inventory.total}, reserved {inventory.reserved}, allocation_ratio "
                       f"{inventory.allocation_ratio}: need 0 <= reserved <= total <= {_LARGEST_AMOUNT} and a ratio above 0 and "
                       f"at most {_LARGEST_RATIO}")
            if inventory.max_unit is not None and inventory.max_unit < 1:
                yield f"{at}.inventory.{name}.max_unit: {inventory.max_unit}: need 1 or more"
        yield from _unknown(f"{at}.aggregates", "aggregate", host.aggregates, aggregates)
        yield from _impossible(f"{at}.held", host.held)
    for i, server in enumerate(cluster.servers):
        at = f"cluster.servers[{i}]"
        yield from _unknown(f"{at}.host", "host", (server.host,), hosts)
        yield from _unknown(f"{at}.flavor", "flavor", (server.flavor,), cluster.flavors)
        if server.image is not None:
            yield from _unknown(f"{at}.image", "image", (server.image,), cluster.images)
        yield from _impossible(f"{at}.resources", server.resources)
        yield from _repeated(f"{at}.numa", "", server.numa)
        nodes = len(cluster.host_by_name[server.host].numa) if server.host in hosts else 0
        for node in server.numa if server.host in hosts else ():
            if not 0 <= node < nodes:
                yield f"{at}.numa: {node}: {server.host} has {nodes} NUMA nodes, numbered from 0"
        if server.usage:
            yield from _impossible(f"{at}.usage", {"cpu_cores": server.usage.cpu_cores, "memory_mb": server.usage.memory_mb})
    for i, group in enumerate(cluster.groups):
        yield from _repeated(f"cluster.groups[{i}].members", "", group.members)
        if group.max_server_per_host < 1:
            yield f"cluster.groups[{i}].rules.max_server_per_host: {group.max_server_per_host}: need 1 or more"
    for i, migration in enumerate(cluster.migrations):
        at = f"cluster.migrations[{i}]"
        yield from _unknown(f"{at}.server", "server", (migration.server,), servers)
        yield from _unknown(f"{at}.source", "host", (migration.source,), hosts)
        if migration.destination is not None:
            yield from _unknown(f"{at}.destination", "host", (migration.destination,), hosts)
        yield from _impossible(f"{at}.resources", migration.resources)


def _repeated(at: str, key: str, values: Iterable[str | int]) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{at}: {key or 'value'} {value!r} stands {count} times, once is right"


def _unknown(at: str, kind: str, values: Iterable[str], known: object) -> Iterator[str]:
    for value in values:
        if value not in known:  # type: ignore[operator]
            yield f"{at}: there is no {kind} {value!r} in this snapshot"


def _impossible(at: str, amounts: Mapping[str, int] | Mapping[str, float]) -> Iterator[str]:
    for name, amount in amounts.items():
        if not 0 <= amount <= _LARGEST_AMOUNT:
            yield f"{at}.{name}: {amount}: need 0 to {_LARGEST_AMOUNT}"
