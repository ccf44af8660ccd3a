"""Which rules Nova's own scheduler can enforce, what it has to be told for that, and why it cannot enforce the others.

A rule is exported only where Nova then decides about every arrival on a host as the rule does. That holds for hosts that nobody comes to (their
service is disabled) and for hosts that are for certain projects or flavors alone (an aggregate says so). What a server was built with cannot be
changed from outside, so nothing is written that would hold new servers only.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from optimizer.cluster import Aggregate, Cluster
from optimizer.constraints.isolation import tenants
from optimizer.constraints.traits import Traits
from optimizer.constraints.zone import ZonePin
from policy_sources import nova
from policy_sources.base import Rule
from policy_sources.vocabulary.groups import Apart, Together
from policy_sources.vocabulary.hosts import Evacuate, Exclusive, NotOn, On, Quarantine
from policy_sources.vocabulary.selectors import Catalog

MADE_BY = "placewright_rule"
"""Key of the metadata of aggregates, and first word of the reason of disabled services, that were made for a rule; what follows is its origin."""

_LONGEST = 255  # characters in a value of metadata and in the reason of a disabled service
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Disable:
    """The nova-compute service of a host is disabled, for this reason."""

    host: str
    reason: str

    def __str__(self) -> str:
        """As it is named in messages."""
        return f"disabling nova-compute on {self.host}"


@dataclass(frozen=True, slots=True)
class Reserve:
    """Hosts are in an aggregate of this name with this metadata."""

    aggregate: str
    hosts: tuple[str, ...]
    metadata: Mapping[str, str]

    def __str__(self) -> str:
        """As it is named in messages."""
        said = " and ".join(f"{key}={value}" for key, value in self.metadata.items() if key != MADE_BY)
        return f"aggregate {self.aggregate} of {_some(self.hosts)} with {said}"


Change = Disable | Reserve


@dataclass(frozen=True, slots=True)
class Export:
    """What becomes of a rule: whether Nova can be told (``write``), does so already (``there``) or cannot (``no``), and a sentence on it.

    ``wants`` is all that the rule rests on in Nova, ``changes`` what of it is missing.
    """

    rule: Rule
    state: Literal["write", "there", "no"]
    text: str
    wants: tuple[Change, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class _Filter:
    """A filter of Nova by which the aggregates of a host say for whom it is; what several of them say is taken together."""

    name: str
    key: str
    field: str
    label: str
    values: Callable[[Aggregate], Iterable[str]]


def _flavors(aggregate: Aggregate) -> list[str]:
    return [part.strip() for part in aggregate.metadata.get("instance_type", "").split(",") if part.strip()]


# https://docs.openstack.org/nova/latest/admin/scheduling.html. The flavor is compared by the name the server has it under.
_FILTERS = (_Filter("AggregateMultiTenancyIsolation", "filter_tenant_id", "project", "projects", tenants),
            _Filter("AggregateTypeAffinityFilter", "instance_type", "flavor", "flavors", _flavors))
_FIELDS = {one.field for one in _FILTERS}

_LATER = "Nova is not asked when this program moves servers"
_WHY_NOT: Mapping[str, str] = {
    "spread": "Nova's server groups know hosts, and neither zones nor racks",
    "near": "Nova has no such rule: its server groups treat all members alike",
    "on": "a server keeps the zone and the extra specs it was built with, so that Nova could only be told to hold new servers there",
    "not_on": "aggregates say who may come to a host, and not who may not",
    "keep": "Nova can only lock a server, and its owner could then neither reboot nor resize nor delete it",
    "no_live_migration": "in Nova whoever asks for a migration says whether it is a live one; a server cannot forbid it",
    "no_cold_migration": "in Nova whoever asks for a migration says whether it is a cold one; a server cannot forbid it",
    "automation": _LATER, "window": _LATER, "budget": _LATER,
    "cap": "Nova's nearest to it, the allocation ratio of a host, is what the percentage counts from, and of measured load its filters know nothing",
    "spare": "Nova looks at one host at a time, and not at what several have free together",
    "sensitivity": "it weighs moves and placements, and Nova only admits or refuses",
}


def exports(catalog: Catalog, rules: Sequence[Rule]) -> tuple[Export, ...]:
    """What becomes of each rule, in their order."""
    exclusive = [rule for rule in rules if isinstance(rule.says, Exclusive) and rule.says.should is None and _given(rule.says.servers) <= _FIELDS]
    return tuple(_export(catalog, rule, exclusive) for rule in rules)


def changes(found: Iterable[Export]) -> tuple[Change, ...]:
    """All that is missing in Nova, each thing once: several rules may rest on it."""
    disabled: dict[str, Disable] = {}
    reserved: dict[str, Reserve] = {}
    for change in (change for one in found for change in one.changes):
        if isinstance(change, Disable):
            disabled.setdefault(change.host, change)
        else:
            before = reserved.setdefault(change.aggregate, change)
            reserved[change.aggregate] = replace(before, hosts=tuple(dict.fromkeys(before.hosts + change.hosts)))
    return (*disabled.values(), *reserved.values())


def leftovers(cluster: Cluster, found: Iterable[Export]) -> Iterator[str]:
    """What was made for rules earlier and none asks for now, in sentences; it is not removed, as it may be of a source that was not read."""
    wanted: set[tuple[str, str]] = set()
    for want in (want for one in found for want in one.wants):
        wanted.update({("", want.host)} if isinstance(want, Disable) else {(want.aggregate, host) for host in want.hosts})
    for aggregate in cluster.aggregates:
        if MADE_BY in aggregate.metadata:
            rest = [host.name for host in cluster.hosts if aggregate.id in host.aggregates and (aggregate.name, host.name) not in wanted]
            if rest:
                yield (f"aggregate {aggregate.name} was made for {aggregate.metadata[MADE_BY]}; "
                       f"none of these rules asks for {_some(rest)} in it any more")
    for host in cluster.hosts:
        reason = host.disabled_reason or ""
        if host.status == "disabled" and reason.startswith(f"{MADE_BY} ") and ("", host.name) not in wanted:
            yield f"{host.name} was disabled for {reason.removeprefix(MADE_BY).strip()}; none of these rules asks for it any more"


def _export(catalog: Catalog, rule: Rule, exclusive: Sequence[Rule]) -> Export:
    says = rule.says
    if says.should is not None:
        return Export(rule, "no", "it is a wish, and Nova only admits or refuses")
    if isinstance(says, Quarantine | Evacuate):
        return _closed(catalog, rule, says)
    if isinstance(says, Exclusive):
        return _reserved(catalog, rule, says, exclusive)
    if isinstance(says, Apart | Together):
        return _grouped(catalog, rule, says)
    if isinstance(says, On | NotOn) and _refused_elsewhere(catalog, says):
        return Export(rule, "there", "the zones and traits that the servers of now were built with admit no other hosts")
    if isinstance(says, On) and _given(says.servers) == {"project"}:
        return Export(rule, "no", "filter_tenant_id keeps other projects off the hosts; it holds the project there only where [scheduler] "
                                  "limit_tenants_to_placement_aggregate is on, which Nova does not tell")
    return Export(rule, "no", _WHY_NOT[says.rule])


# ---- hosts that nobody comes to


def _closed(catalog: Catalog, rule: Rule, says: Quarantine | Evacuate) -> Export:
    hosts = catalog.hosts(says.hosts)
    if not hosts:
        return _nowhere(rule, says)
    reason = _cut(f"{MADE_BY} {_place(rule)}" + (f": {says.why}" if says.why else ""))
    wants = tuple(Disable(host, reason) for host in hosts)
    missing = tuple(want for want in wants if catalog.cluster.host_by_name[want.host].status == "enabled")
    staying = sum(len(catalog.cluster.servers_on[host]) for host in hosts) if isinstance(says, Evacuate) else 0
    if not missing:
        return Export(rule, "there", f"nova-compute on {_some(hosts)} is disabled{_to_move(staying)}", wants)
    return Export(rule, "write", f"nova-compute on {_some([want.host for want in missing])} disabled{_to_move(staying)}", wants, missing)


# ---- hosts for certain servers


def _reserved(catalog: Catalog, rule: Rule, says: Exclusive, exclusive: Sequence[Rule]) -> Export:
    hosts, given = catalog.hosts(says.hosts), _given(says.servers)
    if not hosts:
        return _nowhere(rule, says)
    if others := given - _FIELDS:
        return Export(rule, "no", f"Nova's filters admit servers to aggregates by project or flavor, and not by {' and '.join(sorted(others))}")
    wants, missing = list[Reserve](), list[Reserve]()
    for kind in (one for one in _FILTERS if one.field in given):
        whom = tuple(sorted(set(getattr(says.servers, kind.field))))
        want = Reserve(f"placewright-{kind.label}-{sha256(','.join(whom).encode()).hexdigest()[:8]}", hosts,
                       {kind.key: ",".join(whom), MADE_BY: _cut(_place(rule))})
        why_not = (_unwritable(kind, whom) or _other_rule(catalog, exclusive, kind, whom, hosts)
                   or _other_aggregate(catalog, kind, whom, hosts) or _changed(catalog.cluster, kind, want))
        if why_not:
            return Export(rule, "no", why_not)
        wants.append(want)
        if open_ones := tuple(host for host in hosts if not any(_says(catalog.cluster, kind, host))):
            missing.append(replace(want, hosts=open_ones))
    members = set(catalog.servers(says.servers))
    strangers = sum(server.id not in members for host in hosts for server in catalog.cluster.servers_on[host])
    needed = "it takes " + " and ".join(one.name for one in _FILTERS if one.field in given) + " among Nova's enabled_filters" + _to_move(strangers)
    if not missing:
        return Export(rule, "there", f"aggregates of {_some(hosts)} admit nobody else; {needed}", tuple(wants))
    return Export(rule, "write", f"{' and '.join(map(str, missing))}; {needed}", tuple(wants), tuple(missing))


def _unwritable(kind: _Filter, whom: Sequence[str]) -> str:
    """Why the metadata of an aggregate cannot hold these values; empty where it can."""
    for value in whom:
        if kind.field == "flavor" and set("*?[") & set(value):
            return f"Nova compares flavors with whole names, and {value} is a pattern"
        if "," in value or value != value.strip():
            return f"Nova would not read {value!r} in the metadata of an aggregate as one name"
    if len(",".join(whom)) > _LONGEST:
        return f"the {len(whom)} {kind.label} are longer than the {_LONGEST} characters that the metadata of an aggregate may have"
    return ""


def _other_rule(catalog: Catalog, exclusive: Iterable[Rule], kind: _Filter, whom: Sequence[str], hosts: Sequence[str]) -> str:
    """Which rule has some of the hosts for others; empty where none has. Both have to hold, and Nova would admit whom either names."""
    for other in exclusive:
        if isinstance(other.says, Exclusive) and (theirs := getattr(other.says.servers, kind.field)) and set(theirs) != set(whom):
            shared = [host for host in catalog.hosts(other.says.hosts) if host in hosts]
            if shared:
                return f"{_some(shared)} by {_place(other)} is for other {kind.label}, and Nova would admit both"
    return ""


def _other_aggregate(catalog: Catalog, kind: _Filter, whom: Sequence[str], hosts: Sequence[str]) -> str:
    """Which aggregate admits others to some of the hosts; empty where none does."""
    for host in hosts:
        for aggregate, value in _says(catalog.cluster, kind, host):
            if value not in whom:
                return f"aggregate {aggregate} admits {kind.field} {value} to {host}, and Nova admits whom any aggregate of a host names"
    return ""


def _changed(cluster: Cluster, kind: _Filter, want: Reserve) -> str:
    """Whether somebody has changed the aggregate that is to be used, and has hosts in it; empty where all is well."""
    right = want.metadata[kind.key]
    used = {key for host in cluster.hosts for key in host.aggregates}
    changed = any(one.name == want.aggregate and one.id in used and one.metadata.get(kind.key) != right for one in cluster.aggregates)
    return f"aggregate {want.aggregate} is to have {kind.key}={right}, and somebody has changed that" if changed else ""


def _says(cluster: Cluster, kind: _Filter, host: str) -> Iterator[tuple[str, str]]:
    """(aggregate, project or flavor) that the aggregates of a host admit; nothing where they admit everybody."""
    for key in cluster.host_by_name[host].aggregates:
        aggregate = cluster.aggregate_by_id[key]
        yield from ((aggregate.name, value) for value in kind.values(aggregate))


# ---- servers


def _grouped(catalog: Catalog, rule: Rule, says: Apart | Together) -> Export:
    members = set(catalog.servers(says.servers))
    for group in catalog.cluster.groups if says.servers.group and members else ():
        fits = group.policy == "affinity" if isinstance(says, Together) else (
            group.policy == "anti-affinity" and group.max_server_per_host <= says.max_per_host)
        if fits and members <= set(group.members):
            return Export(rule, "there", f"server group {group.name} has the policy {group.policy}")
    if isinstance(says, Together) and says.within != "host":
        return Export(rule, "no", _WHY_NOT["spread"])
    return Export(rule, "no", "a server joins a server group when it is created and never later, so that one could be made for new servers only")


def _refused_elsewhere(catalog: Catalog, says: On | NotOn) -> bool:
    """Whether Placement keeps each of the servers from the hosts that the rule forbids, by zone or traits; one of each kind of server tells."""
    cluster, named = catalog.cluster, set(catalog.hosts(says.hosts))
    servers = [cluster.server_by_id[key] for key in catalog.servers(says.servers)]
    forbidden = [host.name for host in cluster.hosts if (host.name in named) != says.inside]
    if not servers or not named:
        return False
    few = cluster.with_servers(tuple({(one.flavor, one.image, one.pinned_zone): one for one in servers}.values()))
    enforced = [one for one in nova.constraints(few) if isinstance(one, ZonePin | Traits)]
    for host in forbidden:
        there = {server.id: host for server in few.servers}
        if there.keys() - {key for one in enforced for broken in one.violations(few, there) for key in broken.servers}:
            return False
    return True


# ---- words


def _given(selector: object) -> set[str]:
    return {name for name, value in vars(selector).items() if value is not None}


def _nowhere(rule: Rule, says: Quarantine | Evacuate | Exclusive) -> Export:
    return Export(rule, "no", f"it selects no host ({says.hosts})")


def _place(rule: Rule) -> str:
    return f"{rule.origin.source} {rule.origin.where}"


def _cut(text: str) -> str:
    return text[:_LONGEST]


def _to_move(count: int) -> str:
    return f"; servers there that are still to be moved away: {count}" if count else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
