"""What the strategies have in common that want nothing left on a host."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pydantic import Field, field_validator

from optimizer.cluster import Cluster, Server
from optimizer.constraints.available import Available
from optimizer.constraints.base import Constraint
from optimizer.objectives.base import Objective
from optimizer.objectives.misplaced import Misplaced, Wish
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.spread import Spread
from optimizer.problem import Problem, Term
from strategies.base import ParameterError, Parameters


class DrainParameters(Parameters):
    """Parameters of the strategies that drain a host."""

    first: tuple[str, ...] = Field((), description="Servers that leave before others: tags, or KEY=VALUE of their metadata; those of the "
                                                  "first before those of the second.")

    @field_validator("first", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        many = [value] if isinstance(value, str) else value
        if not isinstance(many, list | tuple) or not all(isinstance(one, str) and one.partition("=")[0].strip() for one in many):
            raise ValueError("need a tag or KEY=VALUE, or a list of such")
        return tuple(many)


def drain(cluster: Cluster, rules: Sequence[Constraint], node: str, parameters: DrainParameters, max_moves: int | None,
          then: Sequence[Objective] = ()) -> Problem:
    """A host is to be empty, whatever ``then`` says is wanted next; of servers that cannot all leave, those that are to be first go before others."""
    wanted: tuple[Objective, ...] = (*_urgent(cluster, node, parameters.first), Remaining(node), *then, MoveCost(), Spread("memory_allocated"))
    closed = tuple(replace(rule, closed=rule.closed | {node}) if isinstance(rule, Available) else rule for rule in rules)
    return Problem(cluster, closed, tuple((Term(objective),) for objective in wanted), max_moves)


def _urgent(cluster: Cluster, node: str, first: Sequence[str]) -> Iterator[Misplaced]:
    for wanted in first:
        if urgent := tuple(server.id for server in cluster.servers_on[node] if _is(server, wanted)):
            yield Misplaced((Wish(urgent, frozenset({node}), inside=False),))


def _is(server: Server, wanted: str) -> bool:
    return wanted in server.tags or any(f"{key}={value}" == wanted for key, value in server.metadata.items())


def named_hosts(cluster: Cluster, strategy: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """Parameter -> name of the host that it names, or gives the UUID of; raises ParameterError with every fault: no such host, or one named twice."""
    names = {host.id: host.name for host in cluster.hosts} | {host.name: host.name for host in cluster.hosts}
    known = ", ".join(sorted(host.name for host in cluster.hosts)[:10]) + (", ..." if len(cluster.hosts) > 10 else "")
    found: dict[str, str] = {}
    faults = []
    for parameter, given in wanted.items():
        name = names.get(given)
        if name is None:
            faults.append(f"\n  {parameter}: there is no host {given!r}; hosts are {known}")
        elif same := next((other for other, taken in found.items() if taken == name), None):
            faults.append(f"\n  {parameter}: {given} is {same} too, {name}; need two hosts")
        else:
            found[parameter] = name
    if faults:
        raise ParameterError(f"strategy {strategy}: {len(faults)} fault{'s' if len(faults) > 1 else ''} in the parameters" + "".join(faults))
    return found
