"""A cloud run by OpenStack Nova: migrations with the destination named and checked by Nova, services switched.

Calls: https://docs.openstack.org/api-ref/compute/. Needs microversion 2.59 (Queens); the outcome of a migration is
taken from its record in os-migrations, because the answer to the request (202) says only that it was accepted.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

import requests
from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import ClientException
from openstack.connection import Connection
from openstack.exceptions import SDKException
from openstack.utils import maximum_supported_microversion
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from migrate.cloud import CallFailed, Handle, Hold, NotNow, Outcome, Progress, Trace
from migrate.plan import Action, MigrateInput, ServiceStateInput
from migrate.precheck import KIND
from optimizer.cluster import Cluster

NEWEST = "2.100"
RUNNING_AFTER_EVACUATION = "2.94"  # since 2.95 every server is stopped after it
OLDEST = (2, 59)  # the uuid of a migration, which is its name in Placement; 2.56 has the cold one to a named host
PLACEMENT_VERSION = "1.28"
TIMEOUT_S = 60.0
_TROUBLE = (ClientException, SDKException, requests.RequestException)

# The status of a migration record, by what it means here.
_ENDED_WELL = {"live": frozenset({"completed"}), "cold": frozenset({"confirmed"}), "evacuate": frozenset({"done", "completed"})}
_ENDED_BADLY = frozenset({"error", "failed", "cancelled", "reverted"})
_TO_CONFIRM = "finished"
_LATER = frozenset({401, 408, 425, 429})  # not about the request itself: a token that Nova could not verify, a limit of rate
_AT_REST = frozenset({"ACTIVE", "PAUSED", "SHUTOFF", "ERROR"})

# Nova's scheduler counts a live migrated server on its source until that host has sent its list of servers, which
# happens every [DEFAULT]scheduler_instance_sync_interval (120 s) of nova-compute; a little more for the way.
SCHEDULER_SYNC_S = 125.0
_CLOCKS_DIFFER_S = 600.0  # at most, between here and Nova

_RECORD_DUE_S = 15.0  # the record of an accepted request appears within a second or two
_SETTLE_S = 30.0
_RETRY_AFTER_S = 60.0  # no more than that, whatever the answer asks for


class _NoAnswer(CallFailed):
    """Nobody answered, or with 5xx: whether the request was carried out is unknown."""


class _Refusal(CallFailed):
    """Nova answered with 4xx; the request changed nothing."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class _Flight:
    """A migration on its way: what was asked for, and what is known of it."""

    what: MigrateInput
    newest_before: int
    began: float
    request_id: str | None = None
    doubt: str | None = None  # why it is not known whether Nova took the request
    record: Mapping[str, Any] = field(default_factory=dict)
    ended_at: float | None = None


class NovaCloud:
    """Carries out actions through Nova; ``observe`` reads the cluster afresh (servers, hosts -> Cluster).

    timeout_s
        Seconds to wait for an answer. Default 60.
    """

    def __init__(self, connection: Connection, observe: Callable[[Collection[str], Collection[str]], Cluster], timeout_s: float = TIMEOUT_S) -> None:
        """Agree with Nova on a microversion; CallFailed when it is too old or out of reach."""
        try:
            self._nova, self._placement = connection.compute, connection.placement
            self._version = _microversion(maximum_supported_microversion(self._nova, NEWEST))
        except _TROUBLE as error:
            raise CallFailed(f"Nova or Placement cannot be reached: {error}") from error
        self._observe, self._timeout_s = observe, timeout_s
        self._flights: dict[Handle, _Flight | Outcome] = {}

    def observe(self, servers: Collection[str], hosts: Collection[str]) -> Cluster:
        """The cluster as the application's reader sees it now."""
        return self._observe(servers, hosts)

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def hold(self, action: Action, cluster: Cluster) -> Hold | None:
        """Whether Nova's scheduler would still count members of an anti-affinity group that have left the destination.

        https://docs.openstack.org/nova/latest/configuration/config.html#DEFAULT.scheduler_instance_sync_interval
        """
        what = action.input_parameters
        if not isinstance(what, MigrateInput):
            return None
        groups = [group for group in cluster.groups
                  if group.policy == "anti-affinity" and what.resource_id in group.members]
        try:
            left = self._left_lately(what.destination_node) if groups else {}
        except _Refusal:  # not for us to see: then there is nothing to wait for
            return None
        except _NoAnswer as error:
            return Hold(10.0, str(error))
        for group in groups:
            there = {server.id for server in cluster.servers_on[what.destination_node]} & set(group.members)
            gone = sorted(left[member] for member in group.members if member in left and member not in there)
            too_many = len(there) + len(gone) + 1 - group.max_server_per_host
            if gone and too_many > 0:
                return Hold(gone[min(too_many, len(gone)) - 1], "Nova's scheduler may still count a member of "
                            f"anti-affinity group {group.name} on {what.destination_node}")
        return None

    def _left_lately(self, host: str) -> dict[str, float]:
        """Servers that left a host by live migration, and the seconds until the scheduler surely knows."""
        since = datetime.now(UTC) - timedelta(seconds=SCHEDULER_SYNC_S + _CLOCKS_DIFFER_S)
        query = {"source_compute": host, "migration_type": "live-migration", "status": "completed",
                 "changes-since": since.strftime("%Y-%m-%dT%H:%M:%SZ")}
        answer = self._send("GET", f"/os-migrations?{urlencode(query)}")
        nova_now = parsedate_to_datetime(answer.headers["Date"]) if "Date" in answer.headers else datetime.now(UTC)
        left: dict[str, float] = {}
        for record in _json(answer)["migrations"]:
            ended = datetime.fromisoformat(record["updated_at"]).replace(tzinfo=UTC)
            wait_s = SCHEDULER_SYNC_S - (nova_now - ended).total_seconds()
            if wait_s > 0:
                left[record["instance_uuid"]] = max(wait_s, left.get(record["instance_uuid"], 0.0))
        return left

    def prepare(self, action: Action) -> Trace:
        """The newest migration record of the server: a newer one is that of the action. CallFailed when Nova cannot be asked."""
        what = action.input_parameters
        if not isinstance(what, MigrateInput):
            return {}
        return {"newest": max((record["id"] for record in self._records(what.resource_id, again=True)), default=0)}

    def start(self, action: Action, trace: Trace) -> Handle:
        """Send the request; CallFailed when Nova refuses it or cannot be asked."""
        what, handle = action.input_parameters, Handle(action.uuid)
        self._flights[handle] = self._migrate(what, trace) if isinstance(what, MigrateInput) else self.set_service(what)
        return handle

    def adopt(self, action: Action, trace: Trace) -> Handle:
        """Look for the record that a request may have brought about whose answer nobody heard."""
        what, handle = action.input_parameters, Handle(action.uuid)
        assert isinstance(what, MigrateInput)
        self._flights[handle] = _Flight(what, int(trace["newest"]), self.now(), doubt="the program that asked for it ended before it had an answer")
        return handle

    def poll(self, handle: Handle) -> Outcome | Progress | None:
        """Look at the migration record; an answer that fails is no news, the next look may succeed."""
        flight = self._flights[handle]
        try:
            news = flight if isinstance(flight, Outcome) else self._follow(flight)
        except CallFailed as error:
            return Progress(None, f"cannot look at it at the moment: {error}")
        if isinstance(news, Outcome):
            self._flights[handle] = news
        return news

    def cancel(self, handle: Handle) -> str:
        """Abort a live migration, also one that is queued; a cold one cannot be aborted."""
        what = self._intervene(handle, "abort", "DELETE")
        down = [host for host in (what.source_node, what.destination_node) if self._is_down(host)]
        return "Nova was asked to abort it" + (f", but nova-compute on {down[0]} is down" if down else "")

    def force_complete(self, handle: Handle) -> str:
        """Have a running live migration completed by post-copy where Nova may, else with the server paused."""
        self._intervene(handle, "force", "POST", "/action", {"force_complete": None})
        return "Nova was asked to force it to complete"

    def _intervene(self, handle: Handle, verb: str, method: str, path: str = "", body: Mapping[str, Any] | None = None) -> MigrateInput:
        flight = self._flights.get(handle)
        if not isinstance(flight, _Flight) or not flight.record:
            raise CallFailed(f"Nova has no record of it to {verb}")
        if flight.what.migration_type != "live":
            raise CallFailed(f"Nova can {verb} live migrations alone")
        try:
            self._call(method, f"/servers/{flight.what.resource_id}/migrations/{flight.record['id']}{path}", body)
        except CallFailed as error:
            raise CallFailed(f"Nova did not {verb} it: {error}") from error
        return flight.what

    def _is_down(self, host: str) -> bool:
        try:
            return any(service["state"] == "down" for service in self._call("GET", _services_path(host))["services"])
        except CallFailed:  # then it is not known
            return False

    # ---- services and aggregates

    def set_service(self, what: ServiceStateInput) -> Outcome:
        """Enable or disable; asking twice does no harm, so lost answers are simply asked for again."""
        found = self._call_again("GET", _services_path(what.resource_name))["services"]
        if len(found) != 1:
            raise CallFailed(f"Nova has {len(found)} nova-compute services on {what.resource_name}, 1 is expected")
        body: dict[str, Any] = {"status": what.state}
        if what.state == "disabled" and what.disabled_reason:
            body["disabled_reason"] = what.disabled_reason
        service = self._call_again("PUT", f"/os-services/{found[0]['id']}", body)["service"]
        if service["status"] != what.state:
            return Outcome("FAILED", f"Nova says that nova-compute on {what.resource_name} is {service['status']}")
        return Outcome("SUCCEEDED", f"nova-compute on {what.resource_name} is {what.state}")

    def reserve(self, aggregate: str, hosts: Iterable[str], metadata: Mapping[str, str]) -> None:
        """See to it that hosts are in the aggregate of this name, which is made where there is none, and that it has this metadata."""
        found = [one for one in self._call_again("GET", "/os-aggregates")["aggregates"] if one["name"] == aggregate]
        there = found[0] if found else self._call("POST", "/os-aggregates", {"aggregate": {"name": aggregate}})["aggregate"]
        action, before = f"/os-aggregates/{there['id']}/action", there.get("metadata") or {}
        # Before the hosts: none of them is open in between, and what is broken off here is taken up the next time.
        if any(before.get(key) != value for key, value in metadata.items()):
            self._call_again("POST", action, {"set_metadata": {"metadata": dict(metadata)}})
        for host in hosts:
            if host not in (there.get("hosts") or ()):
                self._call("POST", action, {"add_host": {"host": host}})

    # ---- migrations

    def _migrate(self, what: MigrateInput, trace: Trace) -> _Flight:
        """Ask for a migration to the named host, checked by Nova's scheduler: ``force`` is never sent."""
        flight, version, to = _Flight(what, int(trace["newest"]), self.now()), self._version, {"host": what.destination_node}
        match what.migration_type:
            case "live":
                body: dict[str, Any] = {"os-migrateLive": {**to, "block_migration": "auto"}}
            case "cold":
                body = {"migrate": to}
            case "evacuate":
                body, version = {"evacuate": to}, min(version, RUNNING_AFTER_EVACUATION, key=_parts)
        try:
            answer = _request(self._nova, version, self._timeout_s, "POST", f"/servers/{what.resource_id}/action", body)
            flight.request_id = answer.headers.get("x-openstack-request-id")
        except _NoAnswer as error:
            if error.after_s:  # turned away at the door
                raise NotNow(str(error), error.after_s) from error
            flight.doubt = str(error)
        except _Refusal as error:
            if error.status == 409:  # the server is in the middle of something
                raise NotNow(str(error)) from error
            raise
        flight.began = self.now()  # again: the answer may have taken longer than the record is waited for
        return flight

    def _records(self, server: str, *, again: bool = False) -> list[dict[str, Any]]:
        call = self._call_again if again else self._call
        found: list[dict[str, Any]] = call("GET", f"/os-migrations?instance_uuid={server}")["migrations"]
        return found

    def _follow(self, flight: _Flight) -> Outcome | Progress | None:
        what = flight.what
        new = [record for record in self._records(what.resource_id)
               if record["id"] > flight.newest_before and record["migration_type"] == KIND[what.migration_type]]
        if not new:
            return self._record_lost(flight) if flight.record else self._without_record(flight)
        flight.record = min(new, key=lambda record: int(record["id"]))
        status = flight.record["status"]
        if status in _ENDED_WELL[what.migration_type] or status in _ENDED_BADLY:
            return self._ended(flight, status)
        if what.migration_type == "live" and status == "running" and (seen := self._seen_running(flight)):
            return self._progress(flight, status, seen)
        server = self._server(what.resource_id)
        if server is None:
            return Outcome("FAILED", f"{what.resource_name} was deleted while it was migrated")
        if what.migration_type == "live" and status != "running":
            return self._progress(flight, status, {})
        if status == _TO_CONFIRM and server["status"] == "VERIFY_RESIZE":
            return self._confirm(what)
        return Progress(None, status)

    def _without_record(self, flight: _Flight) -> Outcome | Progress | None:
        """No record yet: it is about to appear, or the request never came to anything."""
        if self.now() - flight.began < _RECORD_DUE_S:
            return None
        server = self._server(flight.what.resource_id)
        if server is None:
            return Outcome("FAILED", f"{flight.what.resource_name} was deleted")
        if flight.doubt:
            # Nova sets the task state before it answers, and writes the record after: a busy message queue lies between.
            if task := server.get("OS-EXT-STS:task_state"):
                return Progress(None, f"no record yet, but the server is {task}")
            return Outcome("NOT_BEGUN", f"Nova has not begun it: {flight.doubt}")
        why = self._event_error(flight)
        return Outcome("FAILED", why) if why else Progress(None, "accepted by Nova, not begun yet")

    def _record_lost(self, flight: _Flight) -> Outcome | Progress:
        """The record was there and is gone (archived, deleted with its server): the server itself must tell."""
        server, number = self._server(flight.what.resource_id), flight.record["id"]
        if server is None:
            return Outcome("FAILED", f"{flight.what.resource_name} was deleted while it was migrated")
        state = server.get("OS-EXT-STS:task_state") or server["status"]
        if state not in _AT_REST:
            return Progress(None, f"the record of migration {number} is gone; the server is {state}")
        where = server.get("OS-EXT-SRV-ATTR:host")
        text = f"the record of migration {number} is gone; the server is on {where}"
        return Outcome("SUCCEEDED" if where == flight.what.destination_node else "FAILED", text)

    def _ended(self, flight: _Flight, status: str) -> Outcome | Progress:
        """Tell the end only when its after-effects are over.

        Nova writes the last status of a record before it frees what the migration held in Placement; an action
        that needs this room and starts in between would be refused.
        """
        now = self.now()
        flight.ended_at = now if flight.ended_at is None else flight.ended_at
        rest = self._unsettled(flight)
        if rest and now - flight.ended_at < _SETTLE_S:
            return Progress(None, f"{status}, but {rest}")
        text = f"migration {flight.record['id']} {status}" + (f", but {rest} after {_SETTLE_S:g} s" if rest else "")
        if status not in _ENDED_BADLY:
            return Outcome("SUCCEEDED", text, _took_s(flight))
        if self._has_arrived(flight.what):  # a nova-compute that ends at the wrong moment leaves it so
            text += f", but {flight.what.resource_name} is on {flight.what.destination_node} now"
        if status == "cancelled":
            return Outcome("FAILED", text)
        why = (self._event_error(flight) or self._fault(flight.what.resource_id)
               or f"Nova tells no reason, the log of nova-compute on {flight.what.source_node} may")
        return Outcome("FAILED", f"{text}: {why}")

    def _has_arrived(self, what: MigrateInput) -> bool:
        try:
            return (self._server(what.resource_id) or {}).get("OS-EXT-SRV-ATTR:host") == what.destination_node
        except CallFailed:  # then it is not known
            return False

    def _unsettled(self, flight: _Flight) -> str:
        """What has still to happen before the next action can count on the end of this one; empty when nothing."""
        try:
            server = self._server(flight.what.resource_id)
            if server is None:
                return ""
            state = server.get("OS-EXT-STS:task_state") or server["status"]
            if state not in _AT_REST:
                return f"the server is still {state}"
            path = f"/allocations/{flight.record['uuid']}"
            held = _json(_request(self._placement, PLACEMENT_VERSION, self._timeout_s, "GET", path)).get("allocations")
        except CallFailed as error:
            return f"it cannot be seen whether Nova is done: {error}"
        return "Nova still holds room on the other host" if held else ""

    def _seen_running(self, flight: _Flight) -> dict[str, Any]:
        """What Nova knows of a live migration that is running; empty when it has ended since, or its server is gone."""
        try:
            found: dict[str, Any] = self._call("GET", f"/servers/{flight.what.resource_id}/migrations/{flight.record['id']}")["migration"]
        except _Refusal:
            return {}
        return found

    def _progress(self, flight: _Flight, status: str, seen: Mapping[str, Any]) -> Progress:
        """How much of memory and disks is not left to copy; Nova knows it while the migration is running.

        Not what was copied: pages that are written meanwhile are copied again, so that this may exceed the whole.
        """
        left, total = (sum(seen.get(f"{part}_{what}_bytes") or 0 for part in ("memory", "disk")) for what in ("remaining", "total"))
        if not total or seen.get("memory_remaining_bytes") is None:
            if self._is_down(flight.what.source_node):  # nobody goes on with it
                return Progress(0.0, f"{status}, but nova-compute on {flight.what.source_node} is down")
            return Progress(None, status)
        return Progress(max(0.0, 1.0 - left / total), f"{left >> 20} of {total >> 20} MiB left to copy")

    def _confirm(self, what: MigrateInput) -> Progress:
        try:
            self._call("POST", f"/servers/{what.resource_id}/action", {"confirmResize": None})
        except _Refusal as error:
            if error.status != 409:  # 409: Nova or somebody else is confirming it already
                return Progress(None, f"cannot be confirmed: {error}")
        return Progress(None, "confirming")

    def _server(self, server: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._call("GET", f"/servers/{server}")["server"]
        except _Refusal as error:
            if error.status == 404:
                return None
            raise
        return found

    # ---- reasons

    def _event_error(self, flight: _Flight) -> str:
        """What went wrong according to the events of our own request; empty where they do not say."""
        if not flight.request_id:
            return ""
        try:
            path = f"/servers/{flight.what.resource_id}/os-instance-actions/{flight.request_id}"
            seen = self._call("GET", path)["instanceAction"]
        except CallFailed:
            return ""
        errors = [event for event in seen.get("events") or () if event.get("result") == "Error"]
        details = [event["details"] for event in errors if event.get("details")]  # since microversion 2.84
        return str(details[-1] if details else (seen.get("message") or "") if errors else "")

    def _fault(self, server: str) -> str:
        try:
            seen = self._server(server)
        except CallFailed:
            return ""
        return str(((seen or {}).get("fault") or {}).get("message") or "")

    # ---- HTTP

    def _call_again(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """A call that may be repeated, three times when nobody answers."""
        attempts = Retrying(stop=stop_after_attempt(3), wait=wait_fixed(1), retry=retry_if_exception_type(_NoAnswer),
                            reraise=True)
        return attempts(self._call, method, path, body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return _json(self._send(method, path, body))

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> requests.Response:
        return _request(self._nova, self._version, self._timeout_s, method, path, body)


def _request(adapter: Adapter, version: str, timeout_s: float, method: str, path: str, body: Mapping[str, Any] | None = None) -> requests.Response:
    """Sent once: the HTTP library would repeat what has been carried out, and nobody heard of."""
    try:
        answer = adapter.request(path, method, json=body, microversion=version, raise_exc=False, timeout=timeout_s, connect_retries=0)
    except _TROUBLE as error:
        raise _NoAnswer(f"{method} {path}: {error}") from error
    if answer.status_code >= 500 or answer.status_code in _LATER:
        asked = answer.headers.get("Retry-After", "")
        after_s = min(float(asked), _RETRY_AFTER_S) if asked.isdecimal() else 0.0
        raise _NoAnswer(f"{method} {path}: HTTP {answer.status_code}: {_message(answer)}", after_s)
    if not answer.ok:
        raise _Refusal(answer.status_code, f"HTTP {answer.status_code}: {_message(answer)}")
    return answer


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json() if answer.content else {}
    except ValueError as error:
        raise _NoAnswer(f"{answer.request.method} {answer.url}: the answer is not JSON") from error


def _took_s(flight: _Flight) -> float | None:
    """By its record; a cold migration was confirmed by us, and took as long as we did."""
    if flight.what.migration_type != "live":
        return None
    begun, ended = flight.record.get("created_at"), flight.record.get("updated_at")
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds() if begun and ended else None


def _services_path(host: str) -> str:
    return f"/os-services?host={quote(host)}&binary=nova-compute"


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _microversion(version: str | None) -> str:
    if version is None or _parts(version) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise CallFailed(f"Nova offers microversion {version or 'none'}; {wanted} (Queens) or later is needed")
    return version


def _message(answer: requests.Response) -> str:
    """Nova's words: {"badRequest": {"code": 400, "message": "..."}}."""
    try:
        return str(next(iter(answer.json().values()))["message"])
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return answer.text[:200].strip() or str(answer.reason)
