"""ByteDance's VM rescheduling (VMR2L, EuroSys 2025): fewest 16-core fragments under a migration limit, or a mapping as a snapshot.

    python -m benchmarks.vmr2l --case MAPPING.json.xz --mnl 50 --seconds 60 --out MOVES.json
    python -m benchmarks.vmr2l --case MAPPING.json.xz --snapshot SNAPSHOT.json.xz

MOVES.json is the list of [vm, host, numa] in the order in which they are carried out; each fits at its turn while the VM still holds
its source. numa is missing for a VM that spans both nodes. A change of NUMA node within a host counts as a migration.

Every cluster of the mapping becomes an availability zone. The published baselines move VMs between them, so zones bind with --same-cluster
only. Free amounts in the file are not used: they disagree with the listed VMs. The time limit counts from the start of the command.
"""

import json
import resource
import time
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser, number, output
from migrate.order import order
from optimizer.arrays import compile_arrays
from optimizer.cluster import Cluster, Flavor, Host, Inventory, NumaNode, Obstacle, Server
from optimizer.constraints.available import Available
from optimizer.constraints.base import Constraint
from optimizer.constraints.movable import Movable
from optimizer.constraints.numa import Numa
from optimizer.constraints.zone import ZonePin
from optimizer.errors import PlacewrightError
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.moves import Moves
from optimizer.placement import Placement, placement_of
from optimizer.problem import Problem, Term
from optimizer.snapshot import read_bytes, read_snapshot, write_snapshot
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime


def read_mapping(path: Path | str) -> Cluster:
    """The mapping in a published file, one host per physical machine, allocation ratio 1; or a snapshot file that was made of one.

    Raises PlacewrightError for another kind of file.
    """
    try:
        document = json.loads(read_bytes(path))
        return read_snapshot(path) if "format" in document else _cluster(path, document)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise PlacewrightError(f"{path}: not a mapping in the format of VMR2L: {type(error).__name__}: {error}") from None


def _cluster(path: Path | str, document: dict[str, Any]) -> Cluster:
    hosts: list[Host] = []
    servers: list[Server] = []
    flavors: dict[str, Flavor] = {}
    for cluster in document["cluster_list"]:
        zone = cluster["cluster_name"]
        hosts += [_host(entry, zone) for entry in cluster["host_info"]]
        inactive = {entry["node_id"] for entry in cluster["host_info"] if entry["status"] != "ACTIVE"}
        for entry in cluster["vm_instance"]:
            cores = sum(int(node["cpu"]) for node in entry["numa"])
            memory_mb = int(sum(node["mem_mb"] for node in entry["numa"]))
            flavor = Flavor(name=f"{entry['instance_type'].rpartition('.')[2]}-{cores}c-{memory_mb // 1024}g", vcpus=cores, memory_mb=memory_mb)
            flavors[flavor.name] = flavor
            stays = not entry["allow_migration"] or entry["host_id"] in inactive
            servers.append(Server(id=entry["instance_id"], name=entry["instance_id"], host=entry["host_id"], flavor=flavor.name,
                                  resources={"VCPU": cores, "MEMORY_MB": memory_mb}, pinned_zone=zone, boot_from_volume=True,
                                  numa=tuple(sorted(node["node"] for node in entry["numa"])),
                                  obstacles=(Obstacle(kind="fixed", text="the mapping says that it may not migrate"),) if stays else ()))
    return Cluster(name=f"vmr2l {Path(path).name.partition('.')[0]}", taken_at="2024-01-01T00:00:00+00:00", hosts=tuple(hosts),
                   servers=tuple(servers), flavors=flavors, notes=("The date is a stand-in: the published mapping has none.",))


def _host(entry: dict[str, Any], zone: str) -> Host:
    nodes = sorted(entry["numa"], key=lambda node: node["node"])
    numa = tuple(NumaNode(cpus=int(node["total_cpu"]), memory_mb=int(node["memory_huge_total_mb"])) for node in nodes)
    return Host(id=entry["node_id"], name=entry["node_id"], zone=zone, numa=numa, status="enabled" if entry["status"] == "ACTIVE" else "disabled",
                inventory={"VCPU": Inventory(total=sum(node.cpus for node in numa)),
                           "MEMORY_MB": Inventory(total=max(int(entry["node_mem_mb"]), sum(node.memory_mb for node in numa)))})


def problem_of(cluster: Cluster, max_moves: int, cores: int = 16, same_cluster: bool = False) -> Problem:
    """Fewest fragments of ``cores`` cores within ``max_moves`` migrations; among equals, fewest migrations."""
    fixed = {server.id: server.obstacles for server in cluster.servers if server.obstacles}
    # The nodes of every VM are known, so hosts need no capacity of their own.
    rules: list[Constraint] = [Available(), Numa(), Movable(fixed)]
    if same_cluster:
        rules.append(ZonePin({server.id: server.pinned_zone for server in cluster.servers if server.pinned_zone}))
    return Problem(cluster, tuple(rules), ((Term(Fragmentation(cores, numa=True)),), (Term(Moves()),)), max_moves)


def ordered_moves(problem: Problem, placement: Placement) -> tuple[list[list[str | int]], Placement]:
    """The moves to a placement in a safe order, as [vm, host, numa], and what they reach; moves without a safe moment are left out."""
    arrays = compile_arrays(problem.cluster, problem.constraints)
    target, where = arrays.where(placement), arrays.start.copy()
    moves: list[list[str | int]] = []
    for step in order(arrays, target, [s for s in range(len(target)) if target[s] != arrays.start[s]], problem.max_moves).steps:
        server, (host, seat) = problem.cluster.servers[step.server], divmod(step.destination, arrays.modes)
        moves.append([server.id, problem.cluster.hosts[host].name, *([seat] if len(server.numa) == 1 else [])])
        where[step.server] = step.destination
    return moves, arrays.placement(where)


def main() -> int:
    """Solve a mapping and write the ordered moves, or convert it into a snapshot file."""
    begin = time.monotonic()
    parser = Parser(__doc__, 60, "wall time, reading included")
    parser.add_argument("--case", required=True, help="the mapping, or a snapshot made of one; plain, .gz or .xz")
    parser.add_argument("--mnl", type=number(0), default=50, help="migration number limit (default 50)")
    parser.add_argument("--core", type=number(1), default=16, help="cores of a slot (default 16, the published one)")
    parser.add_argument("--same-cluster", action="store_true", help="keep every VM in its cluster")
    parser.add_argument("--out", type=output, help="where the moves go")
    parser.add_argument("--snapshot", type=output, help="write the mapping as a snapshot file and solve nothing")
    arguments = parser.parse_args()
    if not (arguments.out or arguments.snapshot):
        parser.error("need --out or --snapshot")
    try:
        if arguments.snapshot:
            write_snapshot(read_mapping(arguments.case), arguments.snapshot)
            return 0
        problem = problem_of(read_mapping(arguments.case), arguments.mnl, arguments.core, arguments.same_cluster)
        read_s = time.monotonic() - begin
        result = solve(problem, MaxRuntime(max(0.1, arguments.seconds - read_s)), arguments.seed, arguments.threads)
        moves, reached = ordered_moves(problem, result.placement)
    except (PlacewrightError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    arguments.out.write_text(json.dumps(moves) + "\n")
    (objective, *_), level = (term.objective for term in problem.levels[0]), result.levels[0]
    assert isinstance(objective, Fragmentation)
    print(json.dumps({
        "case": problem.cluster.name, "hosts": len(problem.cluster.hosts), "servers": len(problem.cluster.servers), "mnl": arguments.mnl,
        "slots_before": objective.slots(problem.cluster, placement_of(problem.cluster)),
        "slots_after": objective.slots(problem.cluster, reached),
        "fr_before": round(objective.value(problem.cluster, placement_of(problem.cluster)), 6),
        "fr_after": round(objective.value(problem.cluster, reached), 6),
        "fr_bound": None if level.bound is None else round(level.bound, 6), "gap": level.gap, "status": result.status.value,
        "moves": len(moves), "moves_without_order": int(result.values[1]) - len(moves), "read_s": round(read_s, 3),
        "seconds": round(time.monotonic() - begin, 3), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "trace": [{"s": round(step.seconds, 3), "solver": step.solver, "fr": round(step.values[0], 6)} for step in result.trace],
    }, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
