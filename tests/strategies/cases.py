"""What the tests of all strategies do: solve a strategy's problem, and look through all placements of a tiny cluster."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from optimizer.cluster import Cluster
from optimizer.placement import Placement, moves_between, placement_of
from optimizer.problem import Problem
from optimizer.result import Result, Status
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime
from placewright.audit import nova_rules
from policy_sources.vocabulary.base import Policy
from strategies.base import Strategy


def problem_of(strategy: Strategy, cluster: Cluster, max_moves: int | None = None, **given: Any) -> Problem:
    """The problem an audit with these parameters would solve."""
    parameters = strategy.parameters.parse(strategy.name, given)
    return strategy.problem(cluster, nova_rules(cluster, parameters, Policy()), parameters, max_moves)


def best(problem: Problem) -> Result:
    """The proven optimum."""
    result = solve(problem, MaxRuntime(20), seed=1, threads=1)
    assert result.status == Status.OPTIMAL
    assert problem.breaches(result.placement) == []
    return result


def moves(problem: Problem, placement: Placement) -> dict[str, str]:
    """Server -> its new host."""
    return {move.server: move.destination for move in moves_between(placement_of(problem.cluster), placement)}


def every_legal(problem: Problem) -> Iterator[Placement]:
    """All legal placements of a tiny cluster."""
    names = [host.name for host in problem.cluster.hosts]
    for where in product(names, repeat=len(problem.cluster.servers)):
        placement = dict(zip(problem.cluster.server_by_id, where, strict=True))
        if not problem.breaches(placement):
            yield placement


def carried_out(strategy: Strategy, cluster: Cluster, placement: Placement, **given: Any) -> Cluster:
    """The cluster after the moves and the service changes."""
    parameters = strategy.parameters.parse(strategy.name, given)
    state = {change.host: change.state for change in strategy.service_changes(cluster, placement, parameters)}
    return replace(cluster, hosts=tuple(replace(host, status=state.get(host.name, host.status)) for host in cluster.hosts),
                   servers=tuple(replace(server, host=placement[server.id]) for server in cluster.servers))
