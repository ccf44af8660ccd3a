"""Google's machine reassignment (ROADEF/EURO challenge 2012): a published instance as a Problem, solved, and written in its own format.

    python -m benchmarks.roadef --model MODEL --initial ASSIGNMENT --seconds 300 --threads 2 --seed 1 --out NEW.txt

A process is a server, a machine a host, a service a group kept apart, a location a fault domain, a neighbourhood the domain of a dependency.
The time limit counts from the start of the command: reading is in it.
"""

import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser, output
from optimizer.cluster import Cluster, Flavor, Host, Inventory, Server
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.base import Constraint
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.dependency import Dependency
from optimizer.constraints.fault_domains import FaultDomains
from optimizer.constraints.transient import Transient
from optimizer.errors import PlacewrightError
from optimizer.objectives.balance_cost import BalanceCost
from optimizer.objectives.group_move_cost import GroupMoveCost
from optimizer.objectives.host_pair_cost import HostPairCost
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.problem import Problem, Term
from optimizer.snapshot import read_bytes
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime


class _Numbers:
    """The whole numbers of a file, taken from the front."""

    def __init__(self, path: Path | str) -> None:
        try:
            self.values = np.array(read_bytes(path).split(), dtype=np.int64)
        except ValueError as error:
            raise PlacewrightError(f"{path}: need whole numbers only: {error}") from None
        self.path, self.at = path, 0

    def take(self, count: int, what: str) -> Any:
        if count < 0 or self.at + count > len(self.values):
            raise PlacewrightError(f"{self.path}: ends within {what}: {len(self.values)} numbers, need {self.at + max(count, 0)} or more")
        self.at += count
        return self.values[self.at - count:self.at]

    def one(self, what: str) -> int:
        return int(self.take(1, what)[0])

    def end(self) -> None:
        if self.at != len(self.values):
            raise PlacewrightError(f"{self.path}: {len(self.values) - self.at} numbers too many")


def read_problem(model: Path | str, initial: Path | str) -> Problem:
    """The problem of an instance; raises PlacewrightError for a file that is not what it should be."""
    numbers = _Numbers(model)
    resources = numbers.one("resources")
    kinds = numbers.take(2 * resources, "resources").reshape(resources, 2)
    names = [f"CUSTOM_R{r}" for r in range(resources)]
    machines = numbers.one("machines")
    width = 2 + 2 * resources + machines
    block = numbers.take(machines * width, "machines").reshape(machines, width)
    capacity, safety, pair = block[:, 2:2 + resources], block[:, 2 + resources:2 + 2 * resources], block[:, 2 + 2 * resources:]
    services = numbers.one("services")
    least, needs = [], []
    for service in range(services):
        spread, count = numbers.take(2, "services").tolist()
        least.append(spread)
        needs += [(service, other) for other in numbers.take(count, "dependencies").tolist()]
    processes = numbers.one("processes")
    rows = numbers.take(processes * (resources + 2), "processes").reshape(processes, resources + 2)
    balances = numbers.take(4 * numbers.one("balance costs"), "balance costs").reshape(-1, 4).tolist()
    weights = numbers.take(3, "weights").tolist()
    numbers.end()
    start = _Numbers(initial).values
    if len(start) != processes or (len(start) and not 0 <= start.min() <= start.max() < machines):
        raise PlacewrightError(f"{initial}: {len(start)} machines, need {processes} from 0 to {machines - 1}")

    hosts = [f"m{m}" for m in range(machines)]
    amounts = rows[:, 1:1 + resources].tolist()
    cluster = Cluster(
        name=f"roadef {Path(model).name.partition('.')[0]}", taken_at="2012-01-01T00:00:00+00:00",
        flavors={"process": Flavor(name="process", vcpus=0, memory_mb=0)},
        hosts=tuple(Host(id=name, name=name, inventory={key: Inventory(total=amount) for key, amount in zip(names, row, strict=True)})
                    for name, row in zip(hosts, capacity.tolist(), strict=True)),
        servers=tuple(Server(id=f"p{p}", name=f"p{p}", host=hosts[m], flavor="process", resources=dict(zip(names, row, strict=True)))
                      for p, (m, row) in enumerate(zip(start.tolist(), amounts, strict=True))))
    return Problem(cluster, _rules(names, kinds[:, 0], hosts, block, rows[:, 0], least, needs), (_level(
        names, hosts, kinds[:, 1].tolist(), safety, pair, rows, balances, weights),))


def _members(service: Any, count: int) -> list[tuple[str, ...]]:
    members: list[list[str]] = [[] for _ in range(count)]
    for p, s in enumerate(service.tolist()):
        members[s].append(f"p{p}")
    return [tuple(one) for one in members]


def _rules(names: list[str], transient: Any, hosts: list[str], block: Any, service: Any, least: list[int],
           needs: list[tuple[int, int]]) -> tuple[Constraint, ...]:
    members = _members(service, len(least))
    location = {name: f"location {k}" for name, k in zip(hosts, block[:, 1].tolist(), strict=True)}
    neighbourhood = {name: f"neighbourhood {k}" for name, k in zip(hosts, block[:, 0].tolist(), strict=True)}
    rules: list[Constraint] = [Capacity(), Transient(frozenset(name for name, kept in zip(names, transient.tolist(), strict=True) if kept))]
    rules += [AntiAffinity(f"service {s}", group) for s, group in enumerate(members) if len(group) > 1]
    rules += [FaultDomains(f"service {s}", members[s], location, spread) for s, spread in enumerate(least) if spread > 1]
    rules += [Dependency(f"service {a}", members[a], f"service {b}", members[b], neighbourhood) for a, b in needs if members[a]]
    return tuple(rules)


def _level(names: list[str], hosts: list[str], load_weights: list[int], safety: Any, pair: Any, rows: Any, balances: list[list[int]],
           weights: list[int]) -> tuple[Term, ...]:
    service = rows[:, 0]
    terms = [Term(LoadCost(name, dict(zip(hosts, safety[:, r].tolist(), strict=True))), load_weights[r])
             for r, name in enumerate(names) if load_weights[r]]
    terms += [Term(BalanceCost(names[a], names[b], target), weight) for a, b, target, weight in balances if weight]
    moves = ((weights[0], lambda: ServerMoveCost({f"p{p}": cost for p, cost in enumerate(rows[:, -1].tolist())})),
             (weights[1], lambda: GroupMoveCost(_members(service, int(service.max()) + 1))),
             (weights[2], lambda: HostPairCost(pair.astype(np.int64))))
    return (*terms, *(Term(objective(), weight) for weight, objective in moves if weight))


def main() -> int:
    """Solve an instance and write the new assignment."""
    begin = time.monotonic() - time.process_time()  # so that the imports count
    parser = Parser(__doc__, 300, "wall time, reading included")
    parser.add_argument("--model", required=True, help="the model file, plain, .gz or .xz")
    parser.add_argument("--initial", required=True, help="the initial assignment")
    parser.add_argument("--out", type=output, required=True, help="where the new assignment goes: one line of machine numbers")
    arguments = parser.parse_args()
    try:
        problem = read_problem(arguments.model, arguments.initial)
        read_s = time.monotonic() - begin
        result = solve(problem, MaxRuntime(max(0.1, arguments.seconds - read_s)), arguments.seed, arguments.threads)
    except (PlacewrightError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    machine = {host.name: m for m, host in enumerate(problem.cluster.hosts)}
    arguments.out.write_text(" ".join(str(machine[result.placement[server.id]]) for server in problem.cluster.servers) + "\n")
    level = result.levels[0]
    print(json.dumps({
        "instance": problem.cluster.name, "cost": round(level.value), "bound": level.bound, "gap": level.gap, "status": result.status.value,
        "initial": round(problem.values({s.id: s.host for s in problem.cluster.servers})[0]),
        "read_seconds": round(read_s, 2), "seconds": round(time.monotonic() - begin, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "trace": [[round(step.seconds, 2), round(step.values[0]), step.solver] for step in result.trace]}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
