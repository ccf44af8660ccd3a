"""Whether an action of a plan still makes sense in the cluster as it is at the moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from migrate.plan import Action, MigrateInput, ServiceStateInput
from optimizer.cluster import Cluster, Migration, MigrationKind, Server
from optimizer.constraints.base import Constraint, Violation, breaches
from optimizer.movability import COLD_STATUSES, EVACUATION_STATUSES, LIVE_STATUSES, Way
from optimizer.placement import placement_of

Rules = Callable[[Cluster], Sequence[Constraint]]
"""The rules that hold in a cluster, as it is at the moment."""

STATUSES: Mapping[Way, frozenset[str]] = {"live": LIVE_STATUSES, "cold": COLD_STATUSES, "evacuate": EVACUATION_STATUSES}
"""The statuses in which Nova accepts a migration, by its type."""

KIND: Mapping[Way, MigrationKind] = {"live": "live-migration", "cold": "migration", "evacuate": "evacuation"}
"""What Nova calls a migration of a type in its record."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Start it, wait until another action of the plan has ended, or skip it; and why."""

    what: Literal["start", "wait", "skip"]
    text: str = ""


def judge(action: Action, observed: Cluster, rules: Rules, ongoing: Sequence[Action]) -> Verdict:
    """What to do with an action in the observed cluster, while other actions (``ongoing``) of its plan run."""
    cluster = with_flights(observed, ongoing)
    what = action.input_parameters
    if isinstance(what, ServiceStateInput):
        return _judge_service(what, cluster, ongoing)
    if any(other.input_parameters.resource_id == what.resource_id for other in ongoing):
        return Verdict("wait", f"waits for an action that still runs on {what.resource_name}")
    if text := migration_obstacle(what, cluster):
        return Verdict("skip", text)
    found = arrival_breaches(cluster, what, rules)
    if not found:
        return Verdict("start")
    if all(_may_pass(what, breach, ongoing) for breach in found):
        return Verdict("wait", f"waits for an action that still runs: {found[0].text}")
    return Verdict("skip", found[0].text)


def arrival_breaches(cluster: Cluster, what: MigrateInput, rules: Rules) -> list[Violation]:
    """What a migration of one server would break, from a part of the cluster that is enough to tell.

    A rule is broken by an arrival only on the host of the arrival, or among the members of the server's groups.
    """
    groups = tuple(group for group in cluster.groups if what.resource_id in group.members)
    hosts = {what.source_node, what.destination_node}
    concerned = {what.resource_id, *(member for group in groups for member in group.members)}
    concerned |= {flight.server for flight in cluster.migrations if hosts & {flight.source, flight.destination}}
    servers = tuple(server for server in cluster.servers if server.id in concerned or server.host == what.destination_node)
    present = {server.id for server in servers}
    flights = tuple(flight for flight in cluster.migrations if flight.server in present)
    hosts |= {server.host for server in servers} | {end for flight in flights for end in (flight.source, flight.destination) if end}
    part = replace(cluster, servers=servers, groups=groups, migrations=flights,
                   hosts=tuple(host for host in cluster.hosts if host.name in hosts))
    return breaches(rules(part), part, {**placement_of(part), what.resource_id: what.destination_node})


def with_flights(cluster: Cluster, actions: Sequence[Action]) -> Cluster:
    """The cluster with our own migrations that the cloud does not list yet, so that both their hosts are held."""
    missing = []
    for action in actions:
        what = action.input_parameters
        if not isinstance(what, MigrateInput) or what.resource_id in cluster.migration_of:
            continue
        if server := cluster.server_by_id.get(what.resource_id):
            missing.append(Migration(id=action.uuid, server=server.id, source=what.source_node,
                                     destination=what.destination_node, kind=KIND[what.migration_type],
                                     status="accepted", resources=server.resources))
    return replace(cluster, migrations=cluster.migrations + tuple(missing)) if missing else cluster


def migration_obstacle(what: MigrateInput, cluster: Cluster) -> str:
    """Why a migration does not make sense any more, whatever the rules say; empty when it does."""
    destination = cluster.host_by_name.get(what.destination_node)
    if text := server_obstacle(what, cluster):
        return text
    if destination is None:
        return f"host {what.destination_node} does not exist any more"
    if not destination.available:
        why = f" ({destination.disabled_reason})" if destination.disabled_reason else ""
        return f"host {destination.name} is {destination.status} and {destination.state}{why}"
    return ""


def server_obstacle(what: MigrateInput, cluster: Cluster) -> str:
    """Why the server is not as the plan knew it, wherever it is to go; empty when it is."""
    server = cluster.server_by_id.get(what.resource_id)
    if server is None:
        return f"server {what.resource_name} does not exist any more"
    if server.host == what.destination_node:
        here = f"{server.name} is already on {server.host}"
        return f"{here}, but its migration waits to be confirmed or reverted" if server.status == "VERIFY_RESIZE" else here
    if server.host != what.source_node:
        return f"{server.name} is on {server.host}, not on {what.source_node} any more: it was moved since the plan was made"
    if busy := _busy(server, cluster):
        return busy
    allowed = STATUSES[what.migration_type]
    if server.status not in allowed:
        wanted = " or ".join(sorted(allowed))
        kind = "an evacuation" if what.migration_type == "evacuate" else f"a {what.migration_type} migration"
        return f"{server.name} is {server.status}; {kind} needs {wanted}"
    source = cluster.host_by_name.get(what.source_node)
    if what.migration_type == "evacuate" and source and not source.forced_down:
        return f"host {source.name} is {source.state} and not forced down: its servers may run, and are not evacuated"
    return ""


def not_as_wanted(action: Action, cluster: Cluster) -> str:
    """What is wrong after an action that is said to have succeeded; empty when all is well."""
    what = action.input_parameters
    if isinstance(what, ServiceStateInput):
        host = cluster.host_by_name.get(what.resource_name)
        return "" if host and host.status == what.state else f"it is {host.status if host else 'gone'}"
    server = cluster.server_by_id.get(what.resource_id)
    if server is None:
        return f"{what.resource_name} does not exist any more"
    return "" if server.host == what.destination_node else f"{server.name} is on {server.host}"


def _judge_service(what: ServiceStateInput, cluster: Cluster, ongoing: Sequence[Action]) -> Verdict:
    host = cluster.host_by_name.get(what.resource_name)
    if host is None:
        return Verdict("skip", f"host {what.resource_name} does not exist any more")
    if host.status == what.state:
        return Verdict("skip", f"nova-compute on {host.name} is already {host.status}")
    if not what.only_if_empty:
        return Verdict("start")
    if any(host.name in other.hosts for other in ongoing):
        return Verdict("wait", f"waits for an action that still runs on {host.name}")
    tenants = [server.name for server in cluster.servers_on[host.name]]
    tenants += [f"migration {flight.id}" for flight in cluster.migrations
                if host.name in (flight.source, flight.destination)]
    if tenants:
        more = f" and {len(tenants) - 3} more" if len(tenants) > 3 else ""
        return Verdict("skip", f"{host.name} is not empty, it carries {', '.join(tenants[:3])}{more}")
    return Verdict("start")


def _may_pass(what: MigrateInput, breach: Violation, ongoing: Sequence[Action]) -> bool:
    """Whether a breach may be over when an action of this plan, now running, has ended."""
    where = breach.host or what.destination_node
    return any(where in other.hosts or other.input_parameters.resource_id in breach.servers for other in ongoing)


def _busy(server: Server, cluster: Cluster) -> str:
    if flight := cluster.migration_of.get(server.id):
        return f"{server.name} is in a {flight.kind} from {flight.source} to {flight.destination} that this run did not begin"
    return f"{server.name} is busy: {server.task_state}" if server.task_state else ""
