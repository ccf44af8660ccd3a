"""A synthetic cloud of any size: how long until a good legal placement, and with how much memory.

    python -m benchmarks.scale --hosts 5000 --servers 100000 --seconds 60

Hosts of three sizes in three zones, servers of eight flavors and uneven load, a quarter pinned to zones, groups kept apart; the product's own
strategy makes the problem of it. The time limit is the solver's; making the cloud and the plan are not in it.
"""

import json
import resource
import time

import numpy as np

from benchmarks.arguments import Parser, number, parameter
from optimizer.cluster import Cluster, Flavor, Host, Inventory, Load, Server, ServerGroup, Usage
from optimizer.errors import PlacewrightError
from optimizer.solvers.portfolio import solve
from optimizer.solvers.stop import MaxRuntime
from policy_sources import nova
from strategies.registry import strategies, strategy

_HOSTS = ((24, 262144, 0.35), (32, 393216, 0.40), (48, 524288, 0.25))  # cores, MiB, share
_FLAVORS = ((1, 2048, 0.14), (2, 4096, 0.22), (2, 8192, 0.12), (4, 8192, 0.18), (4, 16384, 0.14), (8, 16384, 0.09), (8, 32768, 0.07),
            (16, 65536, 0.04))
_ZONES = ("az1", "az2", "az3")
_RATIO = 4.0


def make_cloud(hosts: int, servers: int, seed: int) -> Cluster:
    """A cloud whose present placement obeys every rule; the same for the same seed."""
    rng = np.random.default_rng(seed)
    size = rng.choice(len(_HOSTS), hosts, p=[share for *_, share in _HOSTS])
    cores, memory = np.array([_HOSTS[k][0] for k in size]), np.array([_HOSTS[k][1] for k in size])
    flavor = rng.choice(len(_FLAVORS), servers, p=[share for *_, share in _FLAVORS])
    busy = np.choose(rng.choice(3, servers, p=[0.5, 0.3, 0.2]), [rng.uniform(0.01, 0.12, servers), rng.uniform(0.15, 0.55, servers),
                                                                  rng.uniform(0.6, 0.98, servers)])
    group = np.where(rng.random(servers) < 0.15, np.arange(servers) // 4, -1)
    pinned = (rng.random(servers) < 0.25) & (group < 0)
    where = _fill(rng, cores * _RATIO, memory.astype(float), np.array([_FLAVORS[k][0] for k in flavor]),
                  np.array([_FLAVORS[k][1] for k in flavor]), group)
    members: dict[int, list[str]] = {}
    for s in np.flatnonzero(group >= 0).tolist():
        members.setdefault(int(group[s]), []).append(f"s{s}")
    return Cluster(
        name=f"synthetic {hosts} x {servers}", taken_at="2026-01-01T00:00:00+00:00",
        flavors={f"f{k}": Flavor(name=f"f{k}", vcpus=cpus, memory_mb=mb) for k, (cpus, mb, _) in enumerate(_FLAVORS)},
        hosts=tuple(Host(id=f"id-{h}", name=f"h{h}", zone=_ZONES[h % 3], inventory={
            "VCPU": Inventory(total=int(cores[h]), allocation_ratio=_RATIO), "MEMORY_MB": Inventory(total=int(memory[h]))}) for h in range(hosts)),
        servers=tuple(Server(id=f"s{s}", name=f"s{s}", host=f"h{where[s]}", flavor=f"f{flavor[s]}",
                             resources={"VCPU": _FLAVORS[flavor[s]][0], "MEMORY_MB": _FLAVORS[flavor[s]][1]},
                             pinned_zone=_ZONES[where[s] % 3] if pinned[s] else None,
                             usage=Usage(cpu_cores=round(float(busy[s]) * _FLAVORS[flavor[s]][0], 2), memory_mb=_FLAVORS[flavor[s]][1] * 0.6))
                      for s in range(servers)),
        groups=tuple(ServerGroup(id=f"g{g}", name=f"g{g}", policy="anti-affinity", members=tuple(ids)) for g, ids in members.items() if len(ids) > 1),
        load=Load(source="synthetic", window_s=3600, statistic="mean"))


def _fill(rng: np.random.Generator, cores: np.ndarray, memory: np.ndarray, vcpus: np.ndarray, mb: np.ndarray, group: np.ndarray) -> np.ndarray:
    """A host for each server, popular hosts first; raises PlacewrightError when there are more servers than room."""
    cores, memory = cores.copy(), memory.copy()
    weight = rng.lognormal(0, 0.7, len(cores)) * cores
    order = rng.choice(len(cores), size=4 * len(vcpus), p=weight / weight.sum())
    where, at = np.empty(len(vcpus), dtype=int), 0
    taken: set[tuple[int, int]] = set()
    for s in range(len(vcpus)):
        for trial in range(200):
            if trial < 8:
                h = int(order[at % len(order)])
                at += 1
            else:
                h = int(rng.integers(len(cores)))
            if cores[h] >= vcpus[s] and memory[h] >= mb[s] and (group[s] < 0 or (int(group[s]), h) not in taken):
                break
        else:
            raise PlacewrightError(f"{len(vcpus)} servers do not fit on {len(cores)} hosts; about {20 * len(cores)} do")
        where[s] = h
        cores[h] -= vcpus[s]
        memory[h] -= mb[s]
        if group[s] >= 0:
            taken.add((int(group[s]), h))
    return where


def main() -> int:
    """Make a cloud, solve it, tell what was reached when."""
    parser = Parser(__doc__, 60, "the solver's limit")
    parser.add_argument("--hosts", type=number(1), default=5000, help="how many hosts (default 5000)")
    parser.add_argument("--servers", type=number(1), default=100000, help="how many servers (default 100000)")
    parser.add_argument("--strategy", choices=sorted(strategies()), default="workload_stabilization")
    parser.add_argument("--param", type=parameter, action="append", default=[], metavar="NAME=VALUE", help="a parameter of the strategy (repeatable)")
    arguments = parser.parse_args()
    try:
        kind = strategy(arguments.strategy)
        parameters = kind.parameters.parse(kind.name, dict(arguments.param))
        cluster = make_cloud(arguments.hosts, arguments.servers, arguments.seed)
        problem = kind.problem(cluster, nova.constraints(cluster), parameters, None)
        begin = time.monotonic()
        result = solve(problem, MaxRuntime(arguments.seconds), arguments.seed, arguments.threads)
    except (PlacewrightError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    moved = sum(result.placement[server.id] != server.host for server in cluster.servers)
    print(json.dumps({
        "hosts": arguments.hosts, "servers": arguments.servers, "strategy": kind.name, "seconds": round(time.monotonic() - begin, 2),
        "values": result.values, "bounds": [level.bound for level in result.levels], "moved": moved,
        "breaches": len(problem.breaches(result.placement)), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "trace": [[round(step.seconds, 2), *step.values, step.solver] for step in result.trace]}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
