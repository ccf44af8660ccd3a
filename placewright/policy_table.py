"""Sources of rules by the names they are given with --policy and in the settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from oslo_config import cfg

from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError
from placewright.config import http_settings, marks_settings
from placewright.sources import CloudSource
from policy_sources.base import PolicySource, RuleSet
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
