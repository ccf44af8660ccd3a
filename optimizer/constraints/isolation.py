"""Host aggregates whose metadata admits only certain flavors, images, projects or traits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import ClassVar

from optimizer.cluster import Aggregate, Cluster, Host
from optimizer.constraints.base import Violation
from optimizer.placement import Placement

_NUMERIC = {"=": ge, "==": eq, "!=": ne, ">=": ge, "<=": le}
_TEXTUAL = {"s==": eq, "s!=": ne, "s>=": ge, "s>": gt, "s<=": le, "s<": lt}


@dataclass(frozen=True, slots=True)
class IsolationNeed:
    """What of a server aggregate metadata can speak about.

    ``specs``: (key, wanted value) that some aggregate of the host must have; ``image``: image properties; ``project``:
    project id; ``traits``: required traits; ``home``: the server is in an aggregate kept for its project and stays in such.
    """

    specs: tuple[tuple[str, str], ...] = ()
    image: tuple[tuple[str, str], ...] = ()
    project: str = ""
    traits: frozenset[str] = frozenset()
    home: bool = False


@dataclass(frozen=True, slots=True)
class AggregateIsolation:
    """A server goes only where the metadata of the host's aggregates admits it (``needs``: server id -> need).

    The union of what four pieces of Nova enforce when an operator has switched them on, which cannot be seen from
    outside, so that no move depends on it: AggregateInstanceExtraSpecsFilter,
    AggregateImagePropertiesIsolation, AggregateMultiTenancyIsolation and isolated aggregates by
    trait (https://docs.openstack.org/nova/latest/admin/scheduling.html).
    """

    name: ClassVar[str] = "isolation"
    continuous: ClassVar[bool] = True
    needs: Mapping[str, IsolationNeed]

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Servers on a host whose aggregates do not admit them."""
        for server_id, need in self.needs.items():
            server = cluster.server_by_id.get(server_id)
            if server is None:
                continue
            host = cluster.host_by_name[placement[server_id]]
            if reason := refusal(cluster, need, host):
                yield Violation(self.name, f"{server.name} on {host.name}: {reason}", (server_id,), host.name,
                                inherited=host.name == server.host)


def refusal(cluster: Cluster, need: IsolationNeed, host: Host) -> str | None:
    """Why the aggregates of a host do not admit a server with this need; None when they do."""
    aggregates = [cluster.aggregate_by_id[key] for key in host.aggregates]
    for key, wanted in need.specs:
        values = _values(aggregates, key)
        if not any(matches(value, wanted) for value in values):
            return f"the flavor asks for an aggregate with {key}={wanted}, it has {', '.join(values) or 'none'}"
    for name, wanted in need.image:
        options = _values(aggregates, name)
        if wanted and options and wanted not in options:
            return f"its aggregates are for images with {name}={', '.join(options)}, the image has {wanted}"
    for aggregate in aggregates:
        for key, value in aggregate.metadata.items():
            trait = key.removeprefix("trait:")
            if trait != key and value == "required" and trait not in need.traits:
                return f"aggregate {aggregate.name} is for servers that require trait {trait}"
    admitted = [project for a in aggregates for project in tenants(a)]
    if admitted and need.project not in admitted:
        return f"its aggregates are for projects {', '.join(admitted)}"
    if need.home and need.project not in admitted:
        return f"project {need.project} has aggregates of its own, and the host is in none of them"
    return None


def _values(aggregates: list[Aggregate], key: str) -> list[str]:
    """What the aggregates of a host say under a key, taken together: each value is a list with commas."""
    return [part.strip() for a in aggregates if key in a.metadata for part in a.metadata[key].split(",")]


def tenants(aggregate: Aggregate) -> list[str]:
    """The projects an aggregate is kept for (metadata filter_tenant_id, also with a suffix)."""
    return [part.strip() for key, value in aggregate.metadata.items() if key.startswith("filter_tenant_id")
            for part in value.split(",") if part.strip()]


def matches(value: str, wanted: str) -> bool:
    """Whether a metadata value satisfies an extra spec, operators included; what cannot be read does not match.

    Operators: https://docs.openstack.org/nova/latest/admin/scheduling.html#aggregateinstanceextraspecsfilter.
    """
    words = wanted.split()
    if not words:
        return value == wanted
    first, rest = words[0], words[1:]
    if first == "<or>":
        return value in [word for word in words if word != "<or>"]
    if first not in {"<in>", "<all-in>", *_TEXTUAL, *_NUMERIC}:
        return value == wanted
    if not rest:
        return False
    if first in ("<in>", "<all-in>"):
        return all(part in value for part in (rest[:1] if first == "<in>" else rest))
    if first in _TEXTUAL:
        return bool(_TEXTUAL[first](value, rest[0]))
    try:
        return bool(_NUMERIC[first](float(value), float(rest[0])))
    except ValueError:
        return False
