"""What a plan is for: how much came of it, and whether a move still serves it."""

from dataclasses import dataclass, replace

from migrate.plan import MigrateInput, Plan
from optimizer.cluster import Cluster
from optimizer.placement import Placement, placement_of
from optimizer.problem import Problem, better, level_name
from placewright.policies import with_policy
from policy_sources.vocabulary.base import Policy
from strategies.base import ParameterError, Parameters, Strategy

_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Achieved:
    """The first level of the objective that the plan was to improve, by name: before, promised and reached, under one and the same load."""

    level: str
    before: float
    promised: float
    reached: float

    @property
    def percent(self) -> float:
        """Of the improvement; below 0 where it is worse than before."""
        return 100 * (self.before - self.reached) / (self.before - self.promised)


def goal_of(plan: Plan, strategy: Strategy, parameters: Parameters, policy: Policy, before: Cluster) -> Problem | None:
    """What the plan's strategy wants of the cluster before it; None for a plan that it did not make, or where the load is not known."""
    if before.load is None and strategy.load(parameters) is not None:
        return None
    try:
        problem = with_policy(strategy.problem(before, (), parameters, None), policy)
    except ParameterError:  # such as a host that is not there any more
        return None
    return problem if [level_name(level) for level in problem.levels] == [level.name for level in plan.levels] else None


def achieved(goal: Problem, plan: Plan, after: Cluster) -> Achieved | None:
    """What came of the goal; None for a plan that was to improve no level of it, or to bring a server to a host that the goal does not know.

    Servers that are new do not count, nor do those that are gone, or on a host that is new.
    """
    goal, there = _as_far_as_known(goal, after)
    now = placement_of(goal.cluster)
    moves = [action.input_parameters for action in plan.actions if isinstance(action.input_parameters, MigrateInput)]
    if any(what.destination_node not in goal.cluster.host_by_name for what in moves):
        return None
    wanted = {**now, **{what.resource_id: what.destination_node for what in moves if what.resource_id in now}}
    names = map(level_name, goal.levels)
    for name, *values in zip(names, goal.values(now), goal.values(wanted), goal.values(there), strict=True):
        if abs(values[0] - values[1]) > _SAME:
            return Achieved(name, *values)
    return None


def worth(goal: Problem, seen: Cluster, to_come: Placement, server: str) -> bool:
    """Whether the goal is better met with the move of a server than without it, when all the other moves to come are made."""
    goal, there = _as_far_as_known(goal, seen)
    if server not in there:
        return True
    made = {**there, **{one: host for one, host in to_come.items() if one in there and host in goal.cluster.host_by_name}}
    return better(goal.values(made), goal.values({**made, server: there[server]}))


def _as_far_as_known(goal: Problem, seen: Cluster) -> tuple[Problem, Placement]:
    """The goal for the servers that are still there and on a host that it knows, and where they are."""
    there = {one.id: one.host for one in seen.servers if one.id in goal.cluster.server_by_id and one.host in goal.cluster.host_by_name}
    return replace(goal, cluster=goal.cluster.with_servers(tuple(one for one in goal.cluster.servers if one.id in there))), there
