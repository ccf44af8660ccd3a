"""A group that needs another one near."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.cluster import Cluster
from optimizer.constraints.base import Violation
from optimizer.placement import Placement


@dataclass(frozen=True, slots=True)
class Dependency:
    """A domain that runs one of ``members`` runs one of ``needs`` (``domains``: host name -> domain, such as a zone or a neighbourhood).

    A host that ``domains`` does not name is a domain of its own. A domain that lacks one now may go on lacking it, but
    no member goes there.
    """

    name: ClassVar[str] = "dependency"
    continuous: ClassVar[bool] = False
    group: str
    members: tuple[str, ...]
    needs_group: str
    needs: tuple[str, ...]
    domains: Mapping[str, str]
    origin: str = ""

    def violations(self, cluster: Cluster, placement: Placement) -> Iterator[Violation]:
        """Domains with a member and nobody it needs."""
        servers = cluster.server_by_id
        members, needs = [m for m in self.members if m in servers], [n for n in self.needs if n in servers]
        supplied = {self._domain(placement[n]) for n in needs}
        lacking = {self._domain(placement[m]) for m in members} - supplied
        if not lacking:
            return
        supplied_now = {self._domain(servers[n].host) for n in needs}
        here_now = {self._domain(servers[m].host) for m in members}
        arrived = {self._domain(placement[m]) for m in members if placement[m] != servers[m].host
                   and self._domain(placement[m]) != self._domain(servers[m].host)}
        for domain in sorted(lacking):
            inherited = domain in here_now and domain not in supplied_now and domain not in arrived
            yield Violation(self.name, f"{domain} runs members of {self.group} but none of {self.needs_group}, which they need near",
                            tuple(m for m in members if self._domain(placement[m]) == domain), inherited=inherited, origin=self.origin)

    def _domain(self, host: str) -> str:
        return self.domains.get(host, f"host {host}")
