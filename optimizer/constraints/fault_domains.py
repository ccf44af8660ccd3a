"""A group scattered over fault domains."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class FaultDomains:
    """The members of a group are in ``at_least`` to ``at_most`` different domains (``domains``: host name -> domain: a rack, a zone).

    A host that ``domains`` does not name is a domain of its own. A group that is in fewer (more) now never gets into fewer (more) still.
    """

    name: ClassVar[str] = "fault_domains"
    continuous: ClassVar[bool] = False
    group: str
    members: tuple[str, ...]
    domains: Mapping[str, str]
    at_least: int = 1
    at_most: int | None = None
    origin: str = ""

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """The group, when it is in too few domains, or in too many."""
        present = [cluster.server_by_id[m] for m in self.members if m in cluster.server_by_id]
        before = len({self._domain(server.host) for server in present})
        after = len({self._domain(placement[server.id]) for server in present})
        if after < self.at_least:
            yield Violation(self.name, f"group {self.group} would be in {after} fault domains, need {self.at_least} (now {before})",
                            tuple(s.id for s in present if placement[s.id] != s.host), inherited=after >= before, origin=self.origin)
        if self.at_most is not None and after > self.at_most:
            yield Violation(self.name, f"group {self.group} would be in {after} domains, {self.at_most} allowed (now {before})",
                            tuple(s.id for s in present if placement[s.id] != s.host), inherited=after <= before, origin=self.origin)

    def _domain(self, host: str) -> str:
        return self.domains.get(host, f"host {host}")
