"""The clusters on which OpenStack Watcher's strategies were measured, given to the product's own strategies.

    python -m benchmarks.watcher --cluster CLUSTER.json --strategy workload_stabilization --out RESULT.json

CLUSTER is a file of benchmarks/peers/watcher/gen_cluster.py. RESULT holds ``plan``, [[vm, source, destination], ...] in an order in which
two moves at a time are safe, ``seconds`` (compiling, solving and ordering; reading apart), and ``before`` and ``after`` with the figures of
benchmarks/peers/watcher/watcher_bench.py. Standard output has the same without the plan.
"""

import json
import resource
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser, output, parameter
from migrate.order import Step, order
from optimizer.arrays import compile_arrays
from optimizer.cluster import Cluster, Flavor, Host, Inventory, Load, Server, ServerGroup, Usage
from optimizer.errors import PlacewrightError
from optimizer.explain import by_benefit
from optimizer.placement import Placement, placement_of
from optimizer.problem import Problem, level_name
from optimizer.result import Result
from optimizer.snapshot import read_bytes
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime
from policy_sources import nova
from strategies.registry import strategy

_CLASSES = (("VCPU", "vcpus", "cpu_ratio"), ("MEMORY_MB", "ram_mb", "ram_ratio"), ("DISK_GB", "disk_gb", "disk_ratio"))
_STATUS = {"active": "ACTIVE", "stopped": "SHUTOFF"}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "workload_stabilization": {"aggressiveness": 5},
    "vm_workload_consolidation": {"aggressiveness": 5, "max_cpu_percent": 95},
}
"""Parameters that ask for what Watcher's strategies of these names do: the threshold, or the fewest hosts, whatever it takes."""


def read_cluster(path: Path | str) -> Cluster:
    """The cluster of a file; raises PlacewrightError for one that is not what it should be."""
    try:
        document = json.loads(read_bytes(path))
        hosts = tuple(_host(one) for one in document["hosts"])
        servers = tuple(_server(one) for one in document["vms"])
        groups = tuple(ServerGroup(id=one["id"], name=one["id"], policy=one["policy"], members=tuple(one["members"]))
                       for one in document.get("server_groups", ()))
    except (KeyError, TypeError, ValueError) as error:
        raise PlacewrightError(f"{path}: not a cluster file of gen_cluster.py: {type(error).__name__} {error}") from None
    flavors = {one["id"]: one for one in document["vms"]}
    return Cluster(
        name=Path(path).name, taken_at="2025-01-01T00:00:00+00:00", hosts=hosts, servers=servers, groups=groups,
        flavors={server.flavor: _flavor(server.flavor, flavors[server.id]) for server in servers},
        load=Load(source="cluster file", window_s=3600, statistic="mean"))


def _host(one: Mapping[str, Any]) -> Host:
    inventory = {name: Inventory(total=one[size], reserved=one.get(f"reserved_{size}", 0), allocation_ratio=one.get(ratio, 1.0))
                 for name, size, ratio in _CLASSES}
    return Host(id=one["name"], name=one["name"], inventory=inventory, zone=one.get("az", "nova"), traits=tuple(one.get("traits", ())),
                status=one.get("status", "enabled"))


def _server(one: Mapping[str, Any]) -> Server:
    usage = Usage(cpu_cores=one["vcpus"] * one["cpu_util"] / 100, memory_mb=one["ram_mb"] * one.get("ram_util", 100) / 100)
    return Server(id=one["id"], name=one.get("name", one["id"]), host=one["host"], flavor=_flavor_name(one),
                  resources={name: one[size] for name, size, _ in _CLASSES}, status=_STATUS[one.get("state", "active")],
                  pinned_zone=one.get("pinned_az"), usage=usage)


def _flavor_name(one: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in (one["vcpus"], one["ram_mb"], one["disk_gb"], *sorted(one.get("required_traits", ()))))


def _flavor(name: str, one: Mapping[str, Any]) -> Flavor:
    return Flavor(name=name, vcpus=one["vcpus"], memory_mb=one["ram_mb"], disk_gb=one["disk_gb"],
                  extra_specs={f"trait:{trait}": "required" for trait in one.get("required_traits", ())})


def problem_of(cluster: Cluster, name: str, given: Mapping[str, Any], max_moves: int | None = None) -> Problem:
    """The problem that an audit with this strategy would solve; raises PlacewrightError for parameters it does not take."""
    chosen = strategy(name)
    parameters = chosen.parameters.parse(name, {**DEFAULTS.get(name, {}), **given})
    return chosen.problem(cluster, nova.constraints(cluster), parameters, max_moves)


def ordered(problem: Problem, wanted: Placement) -> tuple[list[tuple[str, str, str]], int]:
    """(the moves to a placement, safe when they are carried out two at a time, and how many found no safe moment)."""
    cluster = problem.cluster
    arrays = compile_arrays(cluster, problem.constraints)
    number = {server.id: s for s, server in enumerate(cluster.servers)}
    target = arrays.where(wanted)
    found = order(arrays, target, [number[s] for s in by_benefit(problem, wanted)], problem.max_moves)
    steps = [found.steps[n] for n in in_batches(found.steps, 2)]
    hosts = cluster.hosts
    return [(cluster.servers[s.server].id, hosts[s.source // arrays.modes].name, hosts[s.destination // arrays.modes].name)
            for s in steps], len(found.left)


def in_batches(steps: Sequence[Step], width: int) -> list[int]:
    """The numbers of the steps in an order where none waits for another of the same ``width`` steps, as far as that is possible.

    Those with the longest chain of others waiting for them go first.
    """
    children: dict[int, list[int]] = defaultdict(list)
    for number, step in enumerate(steps):
        for parent in step.parents:
            children[parent].append(number)
    chain = [0] * len(steps)
    for number in reversed(range(len(steps))):
        chain[number] = 1 + max((chain[child] for child in children[number]), default=0)
    result: list[int] = []
    open_parents = [len(step.parents) for step in steps]
    ready = {number for number, count in enumerate(open_parents) if not count}
    while ready:
        batch = sorted(ready, key=lambda n: (-chain[n], n))[:width]
        ready.difference_update(batch)
        result += batch
        for child in (child for number in batch for child in children[number]):
            open_parents[child] -= 1
            if not open_parents[child]:
                ready.add(child)
    return result


def figures(cluster: Cluster, placement: Placement) -> dict[str, Any]:
    """What watcher_bench.py measures of a placement, from the file's own loads."""
    cpu, memory, count = defaultdict(float), defaultdict(int), defaultdict(int)
    for server in cluster.servers:
        host = placement[server.id]
        cpu[host] += server.usage.cpu_cores if server.usage else 0.0
        memory[host] += server.resources["MEMORY_MB"]
        count[host] += 1
    shares = [cpu[host.name] / host.physical_cores for host in cluster.hosts]
    filled = [memory[host.name] / host.inventory["MEMORY_MB"].capacity for host in cluster.hosts]
    return {"cpu_mean": round(float(np.mean(shares)), 4), "cpu_sd": round(float(np.std(shares)), 4), "cpu_max": round(max(shares), 4),
            "ram_sd": round(float(np.std(filled)), 4), "hosts_cpu_over_95": sum(share > 0.95 + 1e-9 for share in shares),
            "hosts_empty": sum(count[host.name] == 0 for host in cluster.hosts)}


def run(path: Path | str, name: str, given: Mapping[str, Any], seconds: float, seed: int, threads: int) -> dict[str, Any]:
    """Read, solve and order; the result as the file has it."""
    begin = time.monotonic()
    cluster = read_cluster(path)
    problem = problem_of(cluster, name, given)
    read_s = time.monotonic() - begin
    result = solve(problem, MaxRuntime(seconds), seed, threads)
    solve_s = time.monotonic() - begin - read_s
    plan, left = ordered(problem, result.placement)
    seconds = time.monotonic() - begin - read_s
    size = {server.id: server.resources["MEMORY_MB"] for server in cluster.servers}
    reached = {**placement_of(cluster), **{vm: destination for vm, _, destination in plan}}
    return {"cluster": cluster.name, "strategy": name, "parameters": dict(given), "migrations": len(plan), "left_out": left,
            "ram_moved_gb": round(sum(size[vm] for vm, _, _ in plan) / 1024, 1), "status": result.status.value, "levels": _levels(problem, result),
            "seconds": round(seconds, 3), "solve_seconds": round(solve_s, 3), "read_seconds": round(read_s, 3),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "before": figures(cluster, placement_of(cluster)), "after": figures(cluster, reached),
            "trace": [[round(step.seconds, 2), step.solver, *step.values] for step in result.trace], "plan": plan}


def _levels(problem: Problem, result: Result) -> list[dict[str, Any]]:
    return [{"name": level_name(terms), "value": level.value, "bound": level.bound, "gap": level.gap}
            for terms, level in zip(problem.levels, result.levels, strict=True)]


def main() -> int:
    """Solve one cluster and write the plan."""
    parser = Parser(__doc__, 60, "time limit of the solver, wall time")
    parser.add_argument("--cluster", required=True, help="a file of gen_cluster.py, plain, .gz or .xz")
    parser.add_argument("--strategy", choices=sorted(DEFAULTS), default="workload_stabilization")
    parser.add_argument("--param", type=parameter, action="append", default=[], metavar="NAME=VALUE",
                        help="a parameter of the strategy, the value as JSON or text; defaults here: "
                             + "; ".join(f"{name}: {', '.join(f'{k}={v}' for k, v in given.items())}" for name, given in DEFAULTS.items()))
    parser.add_argument("--out", type=output, required=True, help="where the result goes, as JSON")
    arguments = parser.parse_args()
    try:
        found = run(arguments.cluster, arguments.strategy, dict(arguments.param), arguments.seconds, arguments.seed, arguments.threads)
        arguments.out.write_text(json.dumps(found) + "\n")
    except (PlacewrightError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    print(json.dumps({key: value for key, value in found.items() if key != "plan"}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
