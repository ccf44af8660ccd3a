"""Pushes the servers' CPU and memory measures into Gnocchi, as Ceilometer's compute agent would.

Meters, archive policy and resource type follow Ceilometer's defaults
(https://docs.openstack.org/ceilometer/latest/admin/telemetry-measurements.html): ``cpu`` is cumulative
nanoseconds, ``memory.usage`` is MiB, both every 300 s. The load of a server is a fixed mean with a wave of
one hour around it, a function of the time of day alone: measures that are pushed again later continue it.
"""

import json
import math
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from openstack.connection import Connection

GRANULARITY_S = 300
HISTORY_S = 2 * 3600
POLICY = "ceilometer-low-rate"
# When the servers' CPU counters stood at zero. Nanoseconds since 1970 would leave a double too few digits.
_ORIGIN = 1_735_689_600  # 2025-01-01
_WAVE_S, _WAVE = 3600, 0.2
_TEXT = {"type": "string", "min_length": 0, "max_length": 255}
_TIME = {"type": "datetime", "required": False}
INSTANCE_TYPE = {  # as ceilometer-upgrade leaves it behind
    "name": "instance",
    "attributes": {
        **{name: {**_TEXT, "required": True} for name in ("display_name", "host", "flavor_id", "flavor_name")},
        **{name: {**_TEXT, "required": False} for name in ("image_ref", "server_group")},
        **dict.fromkeys(("launched_at", "created_at", "deleted_at"), _TIME),
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A server with the load it is to report: mean cores over any hour, and MiB."""

    id: str
    name: str
    host: str
    project: str
    user: str
    flavor: str
    flavor_id: str
    vcpus: int
    memory_mb: int
    cpu_cores: float = 0.0
    used_mb: float = 0.0

    def cpu_ns(self, moment: float) -> float:
        """Cumulative CPU time at a moment (seconds since 1970)."""
        turn = 2 * math.pi / _WAVE_S
        phase = random.Random(self.name).uniform(0, 2 * math.pi)
        wave = _WAVE / turn * math.sin(turn * (moment - _ORIGIN) + phase)
        return round(self.cpu_cores * (moment - _ORIGIN + wave) * 1e9)


def loads(guests: Iterable[Guest], host_share: Mapping[str, float], host_cores: int, seed: int) -> dict[str, Guest]:
    """Give each guest a load so that every host comes to its share of ``host_cores``; no vCPU exceeds 0.95."""
    rng = random.Random(seed)
    drawn = [(guest, guest.vcpus * rng.uniform(0.4, 1.0), rng.uniform(0.3, 0.7)) for guest in guests]
    totals: dict[str, float] = {}
    for guest, weight, _ in drawn:
        totals[guest.host] = totals.get(guest.host, 0.0) + weight
    found = {}
    for guest, weight, memory in drawn:
        cores = min(host_share[guest.host] * host_cores * weight / totals[guest.host], 0.95 * guest.vcpus)
        fields = {name: getattr(guest, name) for name in guest.__slots__}
        found[guest.id] = Guest(**{**fields, "cpu_cores": cores, "used_mb": round(memory * guest.memory_mb)})
    return found


def push(connection: Connection, guests: Iterable[Guest], now: float | None = None) -> None:
    """Post the last two hours of measures of all guests in one request; resources and metrics are made as needed.

    May be called again to bring the measures up to date: Gnocchi drops what is older than what it has.
    """
    guests = tuple(guests)
    attributes = _prepare(connection)
    for guest in guests:
        _ensure(connection, "/resource/instance", _resource(guest, attributes))
    moments = stamps(now)
    body = {
        guest.id: {
            "cpu": _metric("ns", [(moment, guest.cpu_ns(moment)) for moment in moments]),
            "memory.usage": _metric("MB", [(moment, guest.used_mb) for moment in moments]),
        }
        for guest in guests
    }
    _call(connection, "POST", "/batch/resources/metrics/measures?create_metrics=true", body)


def stamps(now: float | None = None) -> list[int]:
    """The moments that ``push`` posts: every 300 s of the last two hours, the oldest first."""
    last = int((time.time() if now is None else now) // GRANULARITY_S * GRANULARITY_S)
    return list(range(last - HISTORY_S, last + 1, GRANULARITY_S))


def read(connection: Connection, guests: Iterable[str], start: int) -> dict[str, dict[str, list[float]]]:
    """Read back what metricd has made: server -> {"cpu": cores, "memory.usage": MiB} by time; empty when none."""
    query = {
        "operations": ["metric", ["cpu", "rate:mean"], ["memory.usage", "mean"]],
        "search": {"in": {"id": sorted(guests)}},
        "resource_type": "instance",
    }
    path = f"/aggregates?granularity={GRANULARITY_S}&start={start}&groupby=id"
    answer = _call(connection, "POST", path, query, accept=(404,))  # while no server has the metrics
    found = {}
    for row in answer if isinstance(answer, list) else []:
        series = row["measures"]["measures"][row["group"]["id"]]
        found[row["group"]["id"]] = {
            "cpu": [value / (granularity * 1e9) for _, granularity, value in series["cpu"]["rate:mean"]],
            "memory.usage": [value for _, _, value in series["memory.usage"]["mean"]],
        }
    return found


def wait_processed(connection: Connection, guests: Iterable[str], seconds: float = 120) -> None:
    """Wait until metricd has aggregated everything of the last hour."""
    wanted, start = set(guests), stamps()[-12]
    deadline = time.monotonic() + seconds
    while True:
        seen = read(connection, wanted, start)
        missing = {g for g in wanted if g not in seen or min(len(values) for values in seen[g].values()) < 11}
        if not missing:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{len(missing)} of {len(wanted)} servers have no complete measures after {seconds:.0f} s; "
                "gnocchi-metricd must be running"
            )
        time.sleep(0.5)


def forget(connection: Connection, name_prefix: str) -> None:
    """Delete the resources, and with them the metrics, of all servers whose name begins like this."""
    body = {"like": {"display_name": f"{name_prefix}%"}}
    _call(connection, "DELETE", "/resource/instance", body, accept=(404,))


def _prepare(connection: Connection) -> set[str]:
    """Make archive policy and resource type where they are missing; the attributes that the type has."""
    _ensure(connection, "/archive_policy", _policy())
    policy = _call(connection, "GET", f"/archive_policy/{POLICY}")
    steps = [definition["granularity"] for definition in policy["definition"]]
    if steps != ["0:05:00"] or not {"mean", "rate:mean"} <= set(policy["aggregation_methods"]):
        raise RuntimeError(
            f"archive policy {POLICY} of this cloud has steps {steps} and methods {policy['aggregation_methods']}; "
            "the measures need one step of 0:05:00 with mean and rate:mean, as Ceilometer defines it"
        )
    _ensure(connection, "/resource_type", INSTANCE_TYPE)
    return set(_call(connection, "GET", "/resource_type/instance")["attributes"])


def _policy() -> dict[str, Any]:
    definition = {"granularity": GRANULARITY_S, "timespan": 30 * 86400}
    methods = ["mean", "rate:mean"]
    return {"name": POLICY, "back_window": 0, "aggregation_methods": methods, "definition": [definition]}


def _resource(guest: Guest, attributes: set[str]) -> dict[str, Any]:
    described = {
        "display_name": guest.name,
        "host": guest.host,
        "flavor_id": guest.flavor_id,
        "flavor_name": guest.flavor,
    }
    # A cloud whose resource type is older lacks flavor_name; unknown attributes are refused.
    known = {name: value for name, value in described.items() if name in attributes}
    return {"id": guest.id, "project_id": guest.project, "user_id": guest.user, **known}


def _metric(unit: str, values: list[tuple[int, float]]) -> dict[str, Any]:
    measures = [{"timestamp": moment, "value": value} for moment, value in values]
    return {"archive_policy_name": POLICY, "unit": unit, "measures": measures}


def _ensure(connection: Connection, path: str, body: dict[str, Any]) -> None:
    _call(connection, "POST", path, body, accept=(409,))  # 409: it is there


def _call(connection: Connection, method: str, path: str, body: object = None, accept: tuple[int, ...] = ()) -> Any:
    answer = connection.session.request(
        f"/v1{path}", method, json=body, endpoint_filter={"service_type": "metric"}, raise_exc=False
    )
    if answer.ok:
        return answer.json() if answer.content else None
    if answer.status_code in accept:
        return None
    raise RuntimeError(f"{method} {path}: HTTP {answer.status_code}: {answer.text[:300]} {json.dumps(body)[:300]}")
