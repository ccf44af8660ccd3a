"""Rules about hosts: who belongs on them, who does not, and which are to be emptied."""

from typing import ClassVar, Literal

from pydantic import Field

from policy_sources.vocabulary.base import Demand, Draft, Statement
from policy_sources.vocabulary.selectors import Hosts, Servers


class _Placed(Statement):
    """Servers among some hosts, or not there."""

    inside: ClassVar[bool]
    servers: Servers = Field(description="Who.")
    hosts: Hosts = Field(description="The hosts.")

    def draft(self, into: Draft, origin: str) -> None:
        """A server on the wrong side is a breach."""
        into.place(into.servers(self.servers, origin), into.hosts(self.hosts, origin), inside=self.inside, should=self.should, origin=origin)


class On(_Placed):
    """The servers are on some of the hosts."""

    title: ClassVar[str] = "servers on certain hosts"
    inside: ClassVar[bool] = True
    rule: Literal["on"]


class NotOn(_Placed):
    """The servers are on none of the hosts."""

    title: ClassVar[str] = "servers not on certain hosts"
    inside: ClassVar[bool] = False
    rule: Literal["not_on"]


class Exclusive(Statement):
    """The hosts are for certain servers alone; these may be elsewhere too (an ``on`` rule holds them there)."""

    title: ClassVar[str] = "hosts for certain servers alone"
    of_hosts: ClassVar[bool] = True
    rule: Literal["exclusive"]
    hosts: Hosts = Field(description="The hosts.")
    servers: Servers = Field(description="Whom they are for.")

    def draft(self, into: Draft, origin: str) -> None:
        """Any other server there is a breach."""
        members = set(into.servers(self.servers, origin))
        others = (server.id for server in into.catalog.cluster.servers if server.id not in members)
        into.place(others, into.hosts(self.hosts, origin), inside=False, should=self.should, origin=origin)


class Evacuate(Statement):
    """All servers leave the hosts, and none comes."""

    title: ClassVar[str] = "hosts that all servers leave"
    of_hosts: ClassVar[bool] = True
    rule: Literal["evacuate"]
    hosts: Hosts = Field(description="The hosts to be emptied.")

    def draft(self, into: Draft, origin: str) -> None:
        """A server there is a breach."""
        everybody = (server.id for server in into.catalog.cluster.servers)
        into.place(everybody, into.hosts(self.hosts, origin), inside=False, should=self.should, origin=origin)


class Quarantine(Demand):
    """No server comes to the hosts; those on them may stay."""

    title: ClassVar[str] = "hosts that no server comes to"
    of_hosts: ClassVar[bool] = True
    rule: Literal["quarantine"]
    hosts: Hosts = Field(description="The hosts.")

    def draft(self, into: Draft, origin: str) -> None:
        """Only an arrival is a breach."""
        everybody = (server.id for server in into.catalog.cluster.servers)
        into.place(everybody, into.hosts(self.hosts, origin), inside=False, should=None, origin=origin, repair=False)
