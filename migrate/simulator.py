"""A cloud that exists only here: the same interface as Nova, a clock of its own, and faults on request.

The present state is one immutable Cluster, replaced at every change. Durations come from the time model; migrations
of a host share its bandwidth where it does not do for all of them. Like Nova, it refuses a migration that breaks a rule.
"""

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from migrate.cloud import CallFailed, Handle, Hold, NotNow, Outcome, Progress, Trace
from migrate.duration import MB_PER_GB, TimeModel, advance, cost_of, rates
from migrate.plan import Action, MigrateInput, ServiceStateInput
from migrate.precheck import KIND, STATUSES, Rules, arrival_breaches
from optimizer.cluster import Cluster, Host, Migration, Server

ClusterChange = Callable[[Cluster], Cluster]

_EPSILON_S = 1e-9
_UNDER_WAY = {"live": ("MIGRATING", "migrating"), "cold": ("RESIZE", "resize_migrating"), "evacuate": ("REBUILD", "rebuilding")}
"""Status and task state of a server, by the way it migrates."""
_ON_THE_WAY: tuple[Literal["run", "stall"], ...] = ("run", "stall")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Migrations of a server (id or "*") to a host ("*" = any) fail, refused at the start or half-way, or stall half-way."""

    phase: Literal["start", "run", "stall"]
    server: str = "*"
    destination: str = "*"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that somebody else does to the cluster ``at_s`` virtual seconds after the beginning."""

    at_s: float
    change: ClusterChange


def delete_server(server_id: str) -> ClusterChange:
    """The server is gone, and so is its migration."""
    return lambda cluster: replace(
        cluster, servers=tuple(server for server in cluster.servers if server.id != server_id),
        migrations=tuple(flight for flight in cluster.migrations if flight.server != server_id))


def move_server(server_id: str, host: str) -> ClusterChange:
    """The server is on another host."""
    return lambda cluster: _with_server(cluster, replace(cluster.server_by_id[server_id], host=host))


def set_service(host: str, status: Literal["enabled", "disabled"], reason: str | None = None) -> ClusterChange:
    """The nova-compute service of a host is enabled or disabled."""
    return lambda cluster: _with_host(cluster, replace(
        cluster.host_by_name[host], status=status, disabled_reason=reason if status == "disabled" else None))


def _with_server(cluster: Cluster, new: Server) -> Cluster:
    return replace(cluster, servers=tuple(new if server.id == new.id else server for server in cluster.servers))


def _with_host(cluster: Cluster, new: Host) -> Cluster:
    return replace(cluster, hosts=tuple(new if host.name == new.name else host for host in cluster.hosts))


@dataclass(slots=True)
class _Flight:
    """A migration on its way: what is left of its overhead and its copy, up to its end or its fault."""

    what: MigrateInput
    status_before: str
    overhead_s: float
    copy_mb: float
    total_s: float  # when it shares its hosts with nobody
    fault: Literal["run", "stall"] | None
    rest_s: float  # what the fault keeps it from

    @property
    def stands_still(self) -> bool:
        return self.fault == "stall" and not self.overhead_s and not self.copy_mb


class SimulatedCloud:
    """Carries out actions on a cluster in memory.

    rules
        What this Nova enforces, of a cluster; a migration that breaches them ends as FAILED, NoValidHost.
    seed
        Durations vary by ``spread`` (+-10 %) with it.
    pace
        Real seconds per virtual second. Default 0, as fast as possible.
    """

    def __init__(self, cluster: Cluster, rules: Rules, *,
                 model: TimeModel = TimeModel(), seed: int = 0, spread: float = 0.1, faults: Sequence[Fault] = (),  # noqa: B008 (frozen)
                 changes: Sequence[Change] = (), pace: float = 0.0) -> None:
        self.cluster = cluster
        self._rules, self._model, self._seed, self._spread, self._faults, self._pace = rules, model, seed, spread, tuple(faults), pace
        self._changes = sorted(changes, key=lambda change: change.at_s)
        self._flights: dict[Handle, _Flight] = {}
        self._outcomes: dict[Handle, Outcome] = {}
        self._clock = 0.0

    def observe(self, servers: Collection[str], hosts: Collection[str]) -> Cluster:
        """The present state."""
        return self.cluster

    def hold(self, action: Action, cluster: Cluster) -> Hold | None:
        """This cloud is always up to date."""
        return None

    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self._clock

    def pause(self, seconds: float) -> None:
        """Let virtual time pass, and real time as ``pace`` says."""
        end = self._clock + seconds
        while self._clock < end:
            self._step(end)
        if self._pace:
            time.sleep(seconds * self._pace)

    def prepare(self, action: Action) -> Trace:
        """Nothing is needed."""
        return {}

    def adopt(self, action: Action, trace: Trace) -> Handle:
        """It knows its actions by their names."""
        handle = Handle(action.uuid)
        if handle not in self._flights:
            self._outcomes.setdefault(handle, Outcome("NOT_BEGUN", "nobody has asked for it"))
        return handle

    def start(self, action: Action, trace: Trace) -> Handle:
        """Begin an action; CallFailed for what Nova's API answers with 4xx, NotNow for 409."""
        what, handle = action.input_parameters, Handle(action.uuid)
        self._outcomes.pop(handle, None)  # of an attempt before
        if isinstance(what, ServiceStateInput):
            if what.resource_name not in self.cluster.host_by_name:
                raise CallFailed(f"there is no nova-compute service on {what.resource_name}")
            self.cluster = set_service(what.resource_name, what.state, what.disabled_reason)(self.cluster)
            self._outcomes[handle] = Outcome("SUCCEEDED", f"nova-compute on {what.resource_name} is {what.state}")
        else:
            self._migrate(handle, what)
        return handle

    def poll(self, handle: Handle) -> Outcome | Progress | None:
        """The end of a migration, or the share of its time that is over."""
        if handle in self._outcomes:
            return self._outcomes[handle]
        flight = self._flights[handle]
        if not self._speeds()[handle]:
            return Progress(None, "queued")
        left_s = flight.overhead_s + flight.copy_mb / self._model.bandwidth_mb_per_s + flight.rest_s
        return Progress(1.0 - left_s / flight.total_s, f"{flight.copy_mb:.0f} MiB to copy")

    def cancel(self, handle: Handle) -> str:
        """Abort a live migration."""
        self._live(handle, "aborted")
        self._land(handle, Outcome("FAILED", "cancelled"))
        return "it was aborted"

    def force_complete(self, handle: Handle) -> str:
        """Go on where it stands still; what is left takes its time."""
        flight = self._live(handle, "forced to complete")
        if flight.fault == "stall":
            flight.copy_mb += flight.rest_s * self._model.bandwidth_mb_per_s
            flight.rest_s, flight.fault = 0.0, None
        return "it was forced to complete"

    def _live(self, handle: Handle, what: str) -> _Flight:
        flight = self._flights.get(handle)
        if flight is None or flight.what.migration_type != "live":
            raise CallFailed(f"it cannot be {what}")
        return flight

    # ---- migrations

    def _migrate(self, handle: Handle, what: MigrateInput) -> None:
        server = self._accepted(what)
        if text := self._unwanted(server, what):
            self._outcomes[handle] = Outcome("FAILED", f"NoValidHost: {text}")
            return
        self._flights[handle] = self._flight(what, server)
        migration = Migration(id=handle, server=server.id, source=server.host, destination=what.destination_node,
                              kind=KIND[what.migration_type], status="running", resources=server.resources)
        status, task = _UNDER_WAY[what.migration_type]
        leaving = _with_server(self.cluster, replace(server, status=status, task_state=task))
        self.cluster = replace(leaving, migrations=(*leaving.migrations, migration))

    def _accepted(self, what: MigrateInput) -> Server:
        server = self.cluster.server_by_id.get(what.resource_id)
        if server is None:
            raise CallFailed(f"HTTP 404: Instance {what.resource_id} could not be found.")
        if server.task_state or server.status not in STATUSES[what.migration_type]:
            state = server.task_state or server.status
            raise NotNow(f"HTTP 409: Cannot migrate instance {server.id} while it is {state}")
        if what.destination_node not in self.cluster.host_by_name:
            raise CallFailed(f"HTTP 400: Compute host {what.destination_node} could not be found.")
        if server.host == what.destination_node and what.migration_type != "live":  # of a live one that is the scheduler's to say
            raise CallFailed("HTTP 400: Cannot migrate to the host where the server exists.")
        if what.migration_type == "evacuate" and self.cluster.host_by_name[server.host].state == "up":
            raise CallFailed(f"HTTP 400: Compute service of {server.host} is still in use.")
        return server

    def _unwanted(self, server: Server, what: MigrateInput) -> str:
        """Why the scheduler would find no host; empty when it would."""
        if server.host == what.destination_node:
            return f"{server.name} is on {server.host} already"
        if found := arrival_breaches(self.cluster, what, self._rules):
            return found[0].text
        return "simulated fault" if self._has_fault("start", what) else ""

    def _flight(self, what: MigrateInput, server: Server) -> _Flight:
        copy_gb = cost_of(self.cluster, server, what.migration_type, self._model).copy_gb
        # By what is moved where, not by the order of the starts: one more action does not change the others.
        factor = random.Random(f"{self._seed} {server.id} {what.destination_node}").uniform(1 - self._spread, 1 + self._spread)
        overhead_s, copy_mb = self._model.overhead_s(what.migration_type) * factor, copy_gb * MB_PER_GB * factor
        total_s = max(overhead_s + copy_mb / self._model.bandwidth_mb_per_s, _EPSILON_S)
        fault = next((phase for phase in _ON_THE_WAY if self._has_fault(phase, what)), None)
        share = 0.5 if fault else 1.0
        return _Flight(what, server.status, overhead_s * share, copy_mb * share, total_s, fault, total_s * (1 - share))

    def _has_fault(self, phase: str, what: MigrateInput) -> bool:
        return any(fault.phase == phase and fault.server in ("*", what.resource_id)
                   and fault.destination in ("*", what.destination_node) for fault in self._faults)

    # ---- time

    def _speeds(self) -> dict[Handle, float]:
        """MiB/s; one that stands still sends pages again and again, and holds its place."""
        return dict(zip(self._flights, rates([flight.what for flight in self._flights.values()], self._model), strict=True))

    def _step(self, end: float) -> None:
        """To the next thing that happens, or to the end of the pause."""
        speed = self._speeds()
        left = {handle: flight.overhead_s + flight.copy_mb / speed[handle] for handle, flight in self._flights.items()
                if speed[handle] and not flight.stands_still}
        changes = [change.at_s for change in self._changes[:1]]
        moment = max(self._clock, min([end, *(self._clock + seconds for seconds in left.values()), *changes]))
        for handle, flight in self._flights.items():
            flight.overhead_s, flight.copy_mb = advance(flight.overhead_s, flight.copy_mb, speed[handle], moment - self._clock)
        for handle, seconds in left.items():
            if self._clock + seconds <= moment + _EPSILON_S:
                self._arrive(handle)
        self._clock = moment
        while self._changes and self._changes[0].at_s <= moment:
            self.cluster = self._changes.pop(0).change(self.cluster)

    def _arrive(self, handle: Handle) -> None:
        flight = self._flights[handle]
        if flight.fault == "stall":
            flight.overhead_s = flight.copy_mb = 0.0
        elif flight.fault == "run":
            self._land(handle, Outcome("FAILED", "simulated fault while running"))
        elif flight.what.resource_id not in self.cluster.server_by_id:
            self._land(handle, Outcome("FAILED", f"{flight.what.resource_name} was deleted while it was migrated"))
        else:
            self._land(handle, Outcome("SUCCEEDED", "completed"))

    def _land(self, handle: Handle, outcome: Outcome) -> None:
        """The migration ends and lets go of one of its two hosts."""
        flight, self._outcomes[handle] = self._flights.pop(handle), outcome
        server = self.cluster.server_by_id.get(flight.what.resource_id)
        if server is None:
            return
        host = flight.what.destination_node if outcome.state == "SUCCEEDED" else server.host
        landed = _with_server(self.cluster, replace(server, host=host, status=flight.status_before, task_state=None))
        self.cluster = replace(landed, migrations=tuple(m for m in landed.migrations if m.server != server.id))

