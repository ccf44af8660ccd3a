"""BtrPlace's reconfiguration problems (Hermenier, Lawall, Muller; IEEE TDSC 2013): an instance as a Problem, repaired, and the plan in waves.

    python -m benchmarks.btrplace --instance INSTANCE --seconds 10 --out PLAN.json

A VM is a server, a node a host, ``preserve`` a demand that grows, ``spread`` a group kept apart, ``among`` a group inside one of several sets
of hosts, ``running`` a server that must run. First what is broken is to be repaired, then with as few moves as can be. The time
limit counts from the moment when the instance has been read. The plan is a list of waves of [VM, node]; the moves of a wave run together.
"""

import json
import resource
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser, output
from migrate.order import Step, order
from optimizer.arrays import compile_arrays
from optimizer.cluster import Cluster, Flavor, Host, Inventory, Server
from optimizer.constraints.among import Among
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.available import Available
from optimizer.constraints.base import Constraint
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.preserve import Preserve
from optimizer.constraints.run import Run
from optimizer.errors import PlacewrightError
from optimizer.growth import NOT_RUNNING
from optimizer.objectives.broken import Broken
from optimizer.objectives.moves import Moves
from optimizer.problem import Problem, Term
from optimizer.snapshot import read_bytes
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime

_CHECKED = ("online", "offline")  # states that no move of a server changes; the reader compares them with the model
_READ = ("preserve", "spread", "among", "running", *_CHECKED)


def read_problem(path: Path | str) -> Problem:
    """The problem of an instance (.gz and .xz read too); raises PlacewrightError for what it cannot express."""
    content = read_bytes(path)
    try:
        return _problem(json.loads(content), f"btrplace {Path(path).name.partition('.')[0]}")
    except PlacewrightError as error:
        raise PlacewrightError(f"{path}: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise PlacewrightError(f"{path}: not an instance of BtrPlace: {type(error).__name__} {error}") from None


def _problem(document: Any, name: str) -> Problem:
    mapping, by_kind = document["model"]["mapping"], _by_kind(document["constraints"])
    views = [view for view in document["model"]["views"] if "rcId" in view]
    online, offline = mapping["onlineNodes"], {str(node) for node in mapping["offlineNodes"]}
    _same_states(by_kind, online, offline)
    must_run = tuple(str(rule["vm"]) for rule in by_kind["running"])
    cluster = Cluster(name=name, taken_at="2012-01-01T00:00:00+00:00", flavors={"vm": Flavor(name="vm", vcpus=0, memory_mb=0)},
                      hosts=(*_hosts(online, offline, views), Host(id=NOT_RUNNING, name=NOT_RUNNING, inventory={}, status="disabled")),
                      servers=tuple(_servers(online, mapping["readyVMs"], set(must_run), views)))
    if unknown := [vm for vm in must_run if vm not in cluster.server_by_id]:
        raise PlacewrightError(f"VM {unknown[0]} is to run, and is neither running nor ready")
    grown: dict[str, dict[str, int]] = defaultdict(dict)
    for rule in by_kind["preserve"]:
        amounts = grown[str(rule["vm"])]
        amounts[rule["rc"]] = max(rule["amount"], amounts.get(rule["rc"], 0))
    return Problem(cluster, (Capacity(), Available(), Preserve(dict(grown)), Run(must_run), *_groups(by_kind)),
                   ((Term(Broken(dict(grown), must_run)),), (Term(Moves()),)))


def _by_kind(rules: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _READ}
    for rule in rules:
        if rule["id"] not in kinds:
            raise PlacewrightError(f"constraint {rule['id']} is not read; {', '.join(sorted(kinds))} are")
        kinds[rule["id"]].append(rule)
    return kinds


def _hosts(online: dict[str, Any], offline: set[str], views: list[dict[str, Any]]) -> list[Host]:
    """The nodes as hosts; one that is off takes nobody."""
    hosts = [Host(id=node, name=node, inventory={view["rcId"]: Inventory(total=view["nodes"].get(node, view["defCapacity"])) for view in views})
             for node in sorted((*online, *offline), key=int)]
    return [replace(host, state="down") if host.name in offline else host for host in hosts]


def _servers(online: dict[str, Any], ready: list[int], must_run: set[str], views: list[dict[str, Any]]) -> list[Server]:
    """The running VMs, and those that are to be started."""
    host_of = {str(vm): node for node, on in online.items() for vm in on["runningVMs"]}
    host_of |= {str(vm): NOT_RUNNING for vm in ready if str(vm) in must_run}
    return [Server(id=vm, name=vm, host=host_of[vm], flavor="vm", status="SHELVED_OFFLOADED" if host_of[vm] == NOT_RUNNING else "ACTIVE",
                   resources={view["rcId"]: view["vms"].get(vm, view["defConsumption"]) for view in views})
            for vm in sorted(host_of, key=int)]


def _same_states(by_kind: dict[str, list[dict[str, Any]]], online: dict[str, Any], offline: set[str]) -> None:
    if asleep := [node for node, on in online.items() if on.get("sleepingVMs")]:
        raise PlacewrightError(f"node {asleep[0]} has sleeping VMs, which are not read")
    for kind, nodes in zip(_CHECKED, (set(online), offline), strict=True):
        for rule in by_kind[kind]:
            if str(rule["node"]) not in nodes:
                raise PlacewrightError(f"node {rule['node']} is to be {kind} and is not; nodes are not switched on or off")


def _groups(by_kind: dict[str, list[dict[str, Any]]]) -> list[Constraint]:
    """Groups kept apart and groups inside a set, at every moment even where the end would be enough.

    Equal lists of sets are one object, so that they are compiled once.
    """
    known: list[tuple[list[list[int]], tuple[frozenset[str], ...]]] = []
    groups: list[Constraint] = [AntiAffinity(f"spread {n}", tuple(map(str, rule["vms"]))) for n, rule in enumerate(by_kind["spread"])]
    for n, rule in enumerate(by_kind["among"]):
        sets = next((sets for parts, sets in known if parts == rule["parts"]), None)
        if sets is None:
            sets = tuple(frozenset(map(str, part)) for part in rule["parts"])
            known.append((rule["parts"], sets))
        groups.append(Among(f"among {n}", tuple(map(str, rule["vms"])), sets))
    return groups


def waves(steps: tuple[Step, ...]) -> list[list[Step]]:
    """The steps by the wave in which each runs: the first after all its parents."""
    wave_of: list[int] = []
    found: list[list[Step]] = []
    for step in steps:
        number = max((wave_of[parent] + 1 for parent in step.parents), default=0)
        wave_of.append(number)
        if number == len(found):
            found.append([])
        found[number].append(step)
    return found


def run(path: Path | str, seconds: float, seed: int = 1, threads: int = 1) -> tuple[list[list[list[int]]], dict[str, Any]]:
    """The plan for an instance, and the figures that the command prints."""
    begin = time.monotonic()
    problem = read_problem(path)
    read = time.monotonic()
    result = solve(problem, MaxRuntime(seconds), seed, threads)
    solved = time.monotonic()
    cluster = problem.cluster
    arrays = compile_arrays(cluster, problem.constraints)
    target = arrays.where(result.placement)
    ordered = order(arrays, target, [s for s in range(len(target)) if target[s] != arrays.start[s]])
    plan = [[[int(cluster.servers[step.server].id), int(cluster.hosts[step.destination].name)] for step in wave] for wave in waves(ordered.steps)]
    end = time.monotonic()
    stopped = next(h for h, host in enumerate(cluster.hosts) if host.name == NOT_RUNNING)
    return plan, {
        "instance": Path(path).name, "hosts": len(cluster.hosts) - 1, "servers": len(cluster.servers), "constraints": len(problem.constraints),
        "status": result.status.value, "broken": result.levels[0].value, "moves": len(ordered.steps), "bound": result.levels[1].bound,
        "migrations": sum(step.source != stopped for step in ordered.steps), "boots": sum(step.source == stopped for step in ordered.steps),
        "without_safe_moment": len(ordered.left), "waves": len(plan), "read_s": round(read - begin, 3), "solve_s": round(solved - read, 3),
        "order_s": round(end - solved, 3), "after_reading_s": round(end - read, 3),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "trace": [[round(step.seconds, 3), step.solver, list(step.values)] for step in result.trace],
    }


def main() -> int:
    """Repair an instance and write the plan."""
    parser = Parser(__doc__, 10, "wall time for solving, after reading")
    parser.add_argument("--instance", required=True, help="an instance of BtrPlace as JSON, plain, .gz or .xz")
    parser.add_argument("--out", type=output, required=True, help="where the plan goes: a list of waves of [VM, node]")
    arguments = parser.parse_args()
    try:
        plan, figures = run(arguments.instance, arguments.seconds, arguments.seed, arguments.threads)
        arguments.out.write_text(json.dumps(plan) + "\n")
    except (PlacewrightError, OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    print(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
