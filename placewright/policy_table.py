"""Sources of rules by the names they are given with --policy and in the settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from oslo_config import cfg

from datasources.connection import service, token_headers
from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError
from placewright.config import http_settings, marks_settings
from placewright.sources import CloudSource
from policy_sources.base import PolicySource, RuleSet
from policy_sources.congress import CongressSource
from policy_sources.file import FileSource
from policy_sources.marks import MarksSource
from policy_sources.memory import OnFailure, read_rules
from policy_sources.opa import OpaSource
from policy_sources.rego import RegoSource


@dataclass(frozen=True, slots=True)
class Site:
    """What sources are made with: the settings, and the cloud, where there is one."""

    conf: cfg.ConfigOpts
    cloud: CloudSource | None


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of source: how it is written, and how one is made from what stands behind the colon."""

    usage: str
    make: Callable[[str, Site], PolicySource]


@dataclass(frozen=True, slots=True)
class Remembered:
    """A source whose good rules are remembered in a folder, and stand in for it when it fails, if ``on_failure`` says so and they are not too old."""

    source: PolicySource
    memory: Path
    on_failure: OnFailure
    max_age_s: float

    @property
    def name(self) -> str:
        """That of the source."""
        return self.source.name

    def read(self, cluster: Cluster) -> RuleSet:
        """The rules of the source, or the last good ones; raises PolicyError where there are neither."""
        return read_rules(self.source, cluster, self.memory, self.on_failure, self.max_age_s, datetime.now(UTC))


POLICY_SOURCES: Mapping[str, Kind] = {
    "congress": Kind("congress:POLICY", lambda rest, site: _congress(rest, site)),
    "file": Kind("file:RULES.yaml", lambda rest, site: FileSource(Path(rest))),
    "marks": Kind("marks", lambda rest, site: MarksSource(marks_settings(site.conf))),
    "opa": Kind("opa:PACKAGE/RULE", lambda rest, site: OpaSource(site.conf.policy.opa_url, rest, http_settings(site.conf), _file(
        site.conf.policy.opa_token_file))),
    "rego": Kind("rego:FILE,FOLDER,...", lambda rest, site: RegoSource(tuple(map(Path, rest.split(","))))),
}
"""The one table of sources; docs/rules.md has a page for each."""


def policy_sources(named: Sequence[str], conf: cfg.ConfigOpts, cloud: CloudSource | None, remember: bool) -> list[PolicySource]:
    """The sources of some names, each once; raises PlacewrightError for a name that is none, and for settings that contradict each other."""
    site, group = Site(conf, cloud), conf.policy
    if group.on_failure == "last_good" and group.memory is None:
        raise PlacewrightError("[policy] on_failure is last_good, and memory names no folder where good rules are remembered")
    found = [_source(name, site) for name in dict.fromkeys(named)]
    if group.memory is None or not remember:
        return found
    return [Remembered(source, Path(group.memory), group.on_failure, group.max_age) for source in found]


def vetoes(named: Sequence[str], conf: cfg.ConfigOpts, cloud: CloudSource | None) -> list[CongressSource]:
    """The policies that are asked whether they object to a plan; raises PlacewrightError for a source that cannot."""
    found = [_source(name, Site(conf, cloud)) for name in dict.fromkeys(named)]
    for source in found:
        if not isinstance(source, CongressSource):
            raise PlacewrightError(f"veto {source.name}: cannot object to a plan; only congress:POLICY can")
    return [source for source in found if isinstance(source, CongressSource)]


def _congress(policy: str, site: Site) -> CongressSource:
    """A policy of the Congress in the settings, or in the catalog of the cloud."""
    group, settings = site.conf.policy, http_settings(site.conf)
    if group.congress_auth == "noauth" and group.congress_url is not None:
        return CongressSource(policy, group.congress_url, settings)
    if site.cloud is None:
        raise PlacewrightError(f"policy congress:{policy}: its address and our token come from Keystone, which needs --cloud; or set "
                               "[policy] congress_url and congress_auth = noauth")
    connection = site.cloud.connection
    url = group.congress_url or service(connection, "policy", "congress", least=(0, 0), newest=(0, 0)).url
    return CongressSource(policy, url, settings, dict if group.congress_auth == "noauth" else partial(token_headers, connection))


def _file(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _source(name: str, site: Site) -> PolicySource:
    kind, _, rest = name.partition(":")
    if kind not in POLICY_SOURCES:
        known = ", ".join(kind.usage for kind in POLICY_SOURCES.values())
        raise PlacewrightError(f"policy {name}: there is no such source of rules; there are {known}")
    usage = POLICY_SOURCES[kind].usage
    if (":" in usage) != bool(rest):
        raise PlacewrightError(f"policy {name}: is not complete or too long; it is written {usage}")
    return POLICY_SOURCES[kind].make(rest, site)
