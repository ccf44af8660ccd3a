"""Which servers and which hosts a rule speaks of."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from optimizer.cluster import Cluster, Host, Server

_WILD = frozenset("*?[")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed), Field(min_length=1)]
"""One text or a list of them; any of them will do."""


class _Selector(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError(f"nothing is selected; give at least one of {', '.join(type(self).model_fields)} (name: \"*\" selects all)")
        return self

    def __str__(self) -> str:
        """As it is shown in messages."""
        parts = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Mapping):
                parts.append(f"{name} " + ", ".join(f"{key}={text}" for key, text in value.items()))
            elif value is not None:
                parts.append(f"{name} " + " or ".join(value[:3]) + (f" or {len(value) - 3} more" if len(value) > 3 else ""))
        return ", ".join(parts)


class Servers(_Selector):
    """The servers that all given fields fit; of several values in one field, one has to fit. Names may hold ``*``, ``?`` and ``[...]``."""

    id: Texts | None = Field(None, description="UUID of the server.")
    name: Texts | None = Field(None, description="Name of the server, or a pattern.")
    project: Texts | None = Field(None, description="Id of the project.")
    tag: Texts | None = Field(None, description="Tag of the server.")
    metadata: dict[str, str] | None = Field(None, min_length=1, description="Metadata of the server, every pair.")
    flavor: Texts | None = Field(None, description="Name of the flavor, or a pattern.")
    image: Texts | None = Field(None, description="Id of the image.")
    group: Texts | None = Field(None, description="Name or id of a server group.")
    host: Texts | None = Field(None, description="Name of the host it is on now, or a pattern.")
    zone: Texts | None = Field(None, description="Availability zone it is in now.")


class Hosts(_Selector):
    """The hosts that all given fields fit; of several values in one field, one has to fit. Names may hold ``*``, ``?`` and ``[...]``."""

    id: Texts | None = Field(None, description="UUID of the hypervisor.")
    name: Texts | None = Field(None, description="Service host name, or a pattern.")
    zone: Texts | None = Field(None, description="Availability zone.")
    aggregate: Texts | None = Field(None, description="Name of an aggregate, or a pattern.")
    trait: Texts | None = Field(None, description="Trait of the host.")
    metadata: dict[str, str] | None = Field(None, min_length=1, description="Metadata of an aggregate the host is in, every pair.")


class Catalog:
    """The servers and hosts of a cluster by everything that selectors name; each index is made when it is first asked for.

    Selections keep the order of the cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Nothing is read before it is needed."""
        self.cluster = cluster
        self._by: dict[str, Mapping[str, frozenset[str]]] = {}
        self._domains: dict[str, Mapping[str, str]] = {}
        self._order = {server.id: n for n, server in enumerate(cluster.servers)}
        self._host_order = {host.name: n for n, host in enumerate(cluster.hosts)}

    def servers(self, selector: Servers) -> tuple[str, ...]:
        """The ids of the servers selected."""
        found = self._selected(selector, "server", _SERVER_KEYS, self.cluster.servers, lambda server: server.id)
        return tuple(sorted(found, key=self._order.__getitem__))

    def hosts(self, selector: Hosts) -> tuple[str, ...]:
        """The names of the hosts selected."""
        found = self._selected(selector, "host", _HOST_KEYS, self.cluster.hosts, lambda host: host.name)
        return tuple(sorted(found, key=self._host_order.__getitem__))

    @cached_property
    def groups_of(self) -> Mapping[str, tuple[str, ...]]:
        """Server id -> names and ids of its server groups."""
        found: dict[str, list[str]] = defaultdict(list)
        for group in self.cluster.groups:
            for member in group.members:
                found[member] += [group.id, group.name]
        return {member: tuple(names) for member, names in found.items()}

    def domains(self, across: str) -> Mapping[str, str]:
        """Host name -> its domain (vocabulary.groups.Across); a host that has none is left out, and is a domain of its own."""
        if across not in self._domains:
            self._domains[across] = {host.name: domain for host in self.cluster.hosts if (domain := self._domain(across, host)) is not None}
        return self._domains[across]

    def _domain(self, across: str, host: Host) -> str | None:
        kind, _, rest = across.partition(":")
        aggregates = [self.cluster.aggregate_by_id[key] for key in host.aggregates]
        if kind == "zone":
            return host.zone
        if kind == "trait":
            return next((trait for trait in sorted(host.traits) if trait.startswith(rest)), None)
        if kind == "aggregate":
            pattern = re.compile(translate(rest))
            return next((a.name for a in sorted(aggregates, key=lambda a: a.name) if pattern.match(a.name)), None)
        if kind == "host":
            return None
        key = rest if kind == "metadata" else kind
        return next((a.metadata[key] for a in sorted(aggregates, key=lambda a: a.name) if key in a.metadata), None)

    def _selected(self, selector: "_Selector", kind: str, keys: Mapping[str, Any], things: Iterable[Any],
                  label: Callable[[Any], str]) -> frozenset[str]:
        """What fits all fields that are given."""
        found: frozenset[str] | None = None
        for name, texts in _given(selector):
            here = self._union(f"{kind} {name}", keys[name], things, texts, name in _PATTERNS, label)
            found = here if found is None else found & here
        return found or frozenset()

    def _union(self, index: str, keys: Callable[["Catalog", Any], Iterable[str]], things: Iterable[Any], texts: Iterable[str] | None,
               patterns: bool, label: Callable[[Any], str]) -> frozenset[str]:
        if index not in self._by:
            by: dict[str, set[str]] = defaultdict(set)
            for thing in things:
                for key in keys(self, thing):
                    by[key].add(label(thing))
            self._by[index] = {key: frozenset(some) for key, some in by.items()}
        by_key, found = self._by[index], []
        for text in texts or ():
            if patterns and _WILD.intersection(text):
                pattern = re.compile(translate(text))
                found += [some for key, some in by_key.items() if pattern.match(key)]
            elif text in by_key:
                found.append(by_key[text])
        return found[0] if len(found) == 1 else frozenset().union(*found)


def _given(selector: _Selector) -> Iterable[tuple[str, Iterable[str]]]:
    """The fields that are given; each pair of metadata counts as a field of its own, as all of them have to fit."""
    for name in type(selector).model_fields:
        value = getattr(selector, name)
        if isinstance(value, Mapping):
            yield from ((name, [f"{key}={text}"]) for key, text in value.items())
        elif value is not None:
            yield name, value


def _aggregate_metadata(catalog: Catalog, host: Host) -> Iterable[str]:
    return {f"{key}={text}" for one in host.aggregates for key, text in catalog.cluster.aggregate_by_id[one].metadata.items()}


_SERVER_KEYS: Mapping[str, Callable[[Catalog, Server], Iterable[str]]] = {
    "id": lambda catalog, server: (server.id,),
    "name": lambda catalog, server: (server.name,),
    "project": lambda catalog, server: (server.project,),
    "tag": lambda catalog, server: server.tags,
    "metadata": lambda catalog, server: [f"{key}={text}" for key, text in server.metadata.items()],
    "flavor": lambda catalog, server: (catalog.cluster.flavor_of(server).name,),
    "image": lambda catalog, server: () if server.image is None else (server.image,),
    "group": lambda catalog, server: catalog.groups_of.get(server.id, ()),
    "host": lambda catalog, server: (server.host,),
    "zone": lambda catalog, server: (catalog.cluster.host_by_name[server.host].zone,),
}
_HOST_KEYS: Mapping[str, Callable[[Catalog, Host], Iterable[str]]] = {
    "id": lambda catalog, host: (host.id,),
    "name": lambda catalog, host: (host.name,),
    "zone": lambda catalog, host: (host.zone,),
    "aggregate": lambda catalog, host: [catalog.cluster.aggregate_by_id[key].name for key in host.aggregates],
    "trait": lambda catalog, host: host.traits,
    "metadata": _aggregate_metadata,
}
_PATTERNS = frozenset({"name", "flavor", "host", "aggregate"})
