"""The load of every server from Gnocchi, in one request for CPU and one for memory.

Gnocchi's dynamic aggregates give the series of all resources of a type at once; mean or percentile over the
window are computed here. API: https://gnocchi.osci.io/rest.html#dynamic-aggregates
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
from openstack.connection import Connection

from datasources.assume import assumed_usage
from datasources.connection import Service, as_promised, service
from datasources.errors import LoadError, LoadMissing, ServiceMissing, UnexpectedAnswer
from optimizer.cluster import Cluster, Load, Server, Usage

Missing = Literal["fail", "flavor", "idle"]

_EXAMPLES = 5
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")


@dataclass(frozen=True, slots=True, kw_only=True)
class GnocchiSettings:
    """How metrics are called in this cloud; the defaults are Ceilometer's.

    ``cpu`` is cumulative CPU time in nanoseconds and needs an archive policy with ``cpu_aggregation``;
    ``memory`` is in MiB. ``cpu_interval_s`` is the time between two measures of ``cpu``: Gnocchi's rate is
    per measure, not per second. None takes it to be the granularity, as in Ceilometer's own policies.
    """

    resource_type: str = "instance"
    cpu: str = "cpu"
    cpu_aggregation: str = "rate:mean"
    cpu_interval_s: float | None = None
    memory: str = "memory.usage"
    memory_aggregation: str = "mean"
    timeout_s: float = 600.0


def attach_load(
    connection: Connection,
    cluster: Cluster,
    *,
    window_s: int = 3600,
    granularity_s: int = 300,
    statistic: str = "mean",
    missing: Missing = "fail",
    settings: GnocchiSettings | None = None,
) -> Cluster:
    """Return the cluster with the Usage of each server over the ``window_s`` seconds before it was taken.

    ``statistic`` is "mean" or a percentile, "p50" to "p100", of the means of ``granularity_s`` seconds, a
    granularity of the metrics' archive policy. ``missing`` says what becomes of servers without measures: "fail"
    raises LoadMissing, "flavor" takes the flavor's vCPUs and memory, "idle" takes nothing. Raises LoadError
    when Gnocchi cannot answer that, and the errors of datasources.errors.
    """
    settings = settings or GnocchiSettings()
    reduce = _statistic(statistic)
    if window_s < granularity_s or granularity_s < 1:
        raise LoadError(
            f"A window of {window_s} s with a granularity of {granularity_s} s holds no measure: "
            "the window must be at least as long as the granularity, and that at least 1 s."
        )
    try:
        gnocchi = service(connection, "metric", "gnocchi", least=(0, 0), newest=(0, 0))
    except ServiceMissing as error:
        raise ServiceMissing(
            f"{error} Without Gnocchi, set missing_load to flavor or idle."
        ) from error
    ask = _Question(gnocchi, settings, datetime.fromisoformat(cluster.taken_at), window_s, granularity_s)
    cpu = {
        server: reduce(cores)
        for server, points in ask.series(settings.cpu, settings.cpu_aggregation).items()
        if (cores := _cores(points, settings.cpu_interval_s, granularity_s)).size
    }
    memory = {
        server: reduce(np.array([point[2] for point in points], dtype=float))
        for server, points in ask.series(settings.memory, settings.memory_aggregation).items()
        if points
    }
    return _with_usage(cluster, cpu, memory, missing, window_s, statistic, settings)


def _statistic(name: str) -> Callable[[Any], float]:
    if name == "mean":
        return lambda values: float(np.mean(values))
    if (match := _PERCENTILE.fullmatch(name)) is not None:
        percent = float(match[1])
        return lambda values: float(np.percentile(values, percent))
    raise LoadError(f"There is no statistic {name!r}; use 'mean' or a percentile such as 'p95'.")


@dataclass(frozen=True, slots=True)
class _Question:
    gnocchi: Service
    settings: GnocchiSettings
    until: datetime
    window_s: int
    granularity_s: int

    @as_promised
    def series(self, metric: str, aggregation: str) -> Mapping[str, list[Any]]:
        """The points (time, granularity, value) of one metric, by server; one request."""
        body = {
            "operations": ["metric", [metric, aggregation]],
            # Servers that are gone stay in Gnocchi for as long as their measures do.
            "search": {"=": {"ended_at": None}},
            "resource_type": self.settings.resource_type,
        }
        query: dict[str, str | int] = {
            "start": (self.until - timedelta(seconds=self.window_s)).isoformat(),
            "stop": self.until.isoformat(),
            "granularity": self.granularity_s,
        }
        try:
            answer = self.gnocchi.ask("POST", "/v1/aggregates", query, body, self.settings.timeout_s)
        except UnexpectedAnswer as error:
            if error.status == 404 and "does not exist" in str(error):
                return {}  # no resource has such a metric: every server is without measures
            raise self._explained(error, metric, aggregation) from error
        return {server: found.get(metric, {}).get(aggregation, []) for server, found in answer.body["measures"].items()}

    def _explained(self, error: UnexpectedAnswer, metric: str, aggregation: str) -> LoadError | UnexpectedAnswer:
        text = str(error)
        where = f"of the resource type {self.settings.resource_type!r} in gnocchi at {self.gnocchi.url}"
        if "Resource type does not exist" in text:
            return LoadError(
                f"There is no resource type {self.settings.resource_type!r} in gnocchi at {self.gnocchi.url}; "
                "Ceilometer calls the one of servers 'instance'. Is Ceilometer publishing to this Gnocchi?"
            )
        if "unknown aggregation" in text:
            return LoadError(
                f"A metric {metric!r} {where} has an archive policy without {aggregation}; all of them need "
                f"one that has it, such as ceilometer-low-rate. Gnocchi says: {text}"
            )
        if "ranularit" in text:
            return LoadError(
                f"A metric {metric!r} {where} has an archive policy without a granularity of {self.granularity_s} s; "
                f"ask for one that all of them have. Gnocchi says: {text}"
            )
        return error


def _cores(points: list[Any], interval_s: float | None, granularity_s: int) -> Any:
    """Cores in use, from the growth of CPU time between two measures in nanoseconds."""
    growth = np.array([point[2] for point in points], dtype=float)
    if interval_s is None:
        # After a gap the growth is that of the whole gap.
        times = np.array([datetime.fromisoformat(point[0]).timestamp() for point in points])
        seconds = np.diff(times, prepend=times[:1] - granularity_s)
    else:
        seconds = np.full(growth.shape, interval_s)
    # The counter begins anew when a server is migrated or rebooted; that one difference means nothing.
    return (growth / (seconds * 1e9))[growth >= 0]


def _with_usage(
    cluster: Cluster,
    cpu: Mapping[str, float],
    memory: Mapping[str, float],
    missing: Missing,
    window_s: int,
    statistic: str,
    settings: GnocchiSettings,
) -> Cluster:
    lacking = [one for one in cluster.servers if one.id not in cpu or one.id not in memory]
    if lacking and missing == "fail":
        raise LoadMissing(_lament(cluster, lacking, cpu, memory, window_s, settings))

    def usage(server: Server) -> Usage:
        if server.id in cpu and server.id in memory:
            return Usage(cpu_cores=cpu[server.id], memory_mb=memory[server.id])
        assumed = assumed_usage(cluster, server, "idle" if missing == "idle" else "flavor")
        return replace(
            assumed,
            cpu_cores=cpu.get(server.id, assumed.cpu_cores),
            memory_mb=memory.get(server.id, assumed.memory_mb),
        )

    load = Load(
        source="gnocchi",
        window_s=window_s,
        statistic=statistic,
        missing=tuple(one.id for one in lacking),
        missing_means=missing,
    )
    return replace(cluster, servers=tuple(replace(one, usage=usage(one)) for one in cluster.servers), load=load)


def _lament(
    cluster: Cluster,
    lacking: list[Server],
    cpu: Mapping[str, float],
    memory: Mapping[str, float],
    window_s: int,
    settings: GnocchiSettings,
) -> str:
    def lacks(server: Server) -> str:
        names = [name for name, has in ((settings.cpu, cpu), (settings.memory, memory)) if server.id not in has]
        return f"{server.name} ({server.id}) lacks {' and '.join(names)}"

    more = f"; and {len(lacking) - _EXAMPLES} more" if len(lacking) > _EXAMPLES else ""
    return (
        f"{len(lacking)} of {len(cluster.servers)} servers have no measures in the {window_s} s before "
        f"{cluster.taken_at}: {'; '.join(lacks(one) for one in lacking[:_EXAMPLES])}{more}. Choose 'flavor' to take "
        "their flavor's vCPUs and memory as used, or 'idle' to take them as unused."
    )
