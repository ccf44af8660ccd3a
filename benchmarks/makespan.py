"""How long plans take: as they are ordered, as they are scheduled, and at least; and what that costs.

    python -m benchmarks.makespan --seconds 2 --plans 10 --moves 20         # and 50, and 100
    python -m benchmarks.makespan --seconds 2 --plans 10 --hosts 12 --servers 180
    python -m benchmarks.makespan --seconds 20 --plans 2 --hosts 300 --servers 5000

Each plan is of a synthetic cloud (benchmarks.scale) with a seed of its own: a strategy's placement, ordered, then scheduled under the usual limits
and time model.
"""

import json
import time

import numpy as np

from benchmarks.arguments import Parser, number
from benchmarks.scale import make_cloud
from migrate.duration import TimeModel, cost_of
from migrate.limits import USUAL_LIMITS
from migrate.order import order
from migrate.plan import Action, MigrateInput
from migrate.schedule import least_s, soonest, timetable
from optimizer.arrays import compile_arrays
from optimizer.errors import PlacewrightError
from optimizer.explain import by_benefit
from optimizer.placement import Placement
from optimizer.problem import Problem
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime
from policy_sources import nova
from strategies.registry import strategies, strategy

MODEL = TimeModel()


def ordered(problem: Problem, wanted: Placement) -> list[Action]:
    """Live migrations by which a placement is reached, in the order in which they were found to be safe."""
    cluster = problem.cluster
    index = {host.name: h for h, host in enumerate(cluster.hosts)}
    numbers = {server.id: s for s, server in enumerate(cluster.servers)}
    target = np.array([index[wanted[server.id]] for server in cluster.servers], dtype=np.int32)
    arrays = compile_arrays(cluster, tuple(rule for rule in problem.constraints if rule.continuous))
    steps = order(arrays, target, [numbers[one] for one in by_benefit(problem, wanted)], problem.max_moves, {}).steps
    return [Action(uuid=str(n), action_type="migrate", parents=tuple(map(str, step.parents)),
                   cost=cost_of(cluster, cluster.servers[step.server], "live", MODEL),
                   input_parameters=MigrateInput(resource_id=cluster.servers[step.server].id, resource_name=cluster.servers[step.server].name,
                                                 migration_type="live", source_node=cluster.hosts[step.source].name,
                                                 destination_node=cluster.hosts[step.destination].name)) for n, step in enumerate(steps)]


def last_s(actions: list[Action]) -> float:
    """When the last of the actions ends."""
    return max((end for _, end in timetable(actions, MODEL, USUAL_LIMITS).values()), default=0.0)


def main() -> int:
    """Make plans, schedule them, tell their times: a line for each; ``order_s`` and ``schedule_s`` are of the processor."""
    parser = Parser(__doc__, 5, "the solver's limit")
    parser.add_argument("--hosts", type=number(1), default=40, help="how many hosts (default 40)")
    parser.add_argument("--servers", type=number(1), default=600, help="how many servers (default 600)")
    parser.add_argument("--moves", type=number(1), help="the most moves of a plan (default: as many as the solver likes)")
    parser.add_argument("--plans", type=number(1), default=1, help="how many plans (default 1)")
    parser.add_argument("--strategy", choices=sorted(set(strategies()) - {"host_maintenance"}), default="vm_workload_consolidation")
    arguments = parser.parse_args()
    kind = strategy(arguments.strategy)
    parameters = kind.parameters.parse(kind.name, {})
    for seed in range(arguments.seed, arguments.seed + arguments.plans):
        try:
            cluster = make_cloud(arguments.hosts, arguments.servers, seed)
            problem = kind.problem(cluster, nova.constraints(cluster), parameters, arguments.moves)
            wanted = solve(problem, MaxRuntime(arguments.seconds), seed, arguments.threads).placement
        except (PlacewrightError, ValueError) as error:
            parser.exit(1, f"{parser.prog}: {error}\n")
        begin = time.process_time()
        actions = ordered(problem, wanted)
        found = time.process_time()
        scheduled = [actions[n] for n in soonest(actions, MODEL, USUAL_LIMITS, {})]
        done = time.process_time()
        before_s, after_s, bound_s = last_s(actions), last_s(scheduled), least_s(actions, MODEL, USUAL_LIMITS)
        print(json.dumps({"seed": seed, "moves": len(actions), "parents": sum(len(action.parents) for action in actions),
                          "before_s": before_s, "after_s": after_s, "bound_s": bound_s, "to_bound": round(after_s / bound_s, 4) if bound_s else 1.0,
                          "order_s": round(found - begin, 2), "schedule_s": round(done - found, 2)}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
