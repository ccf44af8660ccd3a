"""Compile every kernel now, so that the first run on a machine need not: ``python -m optimizer.solvers.prepare``.

What is compiled is kept beside the modules, or in the user's cache folder where those cannot be written.
"""

import sys
import time
from collections.abc import Iterator

from optimizer.cluster import Cluster, Flavor, Host, Inventory, Server, Usage
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.available import Available
from optimizer.constraints.capacity import Capacity
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.spread import Spread
from optimizer.problem import Level, Problem, Term
from optimizer.solvers.portfolio import solve
from optimizer.solvers.scheduling import Task, compiled, shortest
from optimizer.solvers.stop import MaxIterations


def problems() -> Iterator[Problem]:
    """A small problem for every solver that has kernels."""
    flavor = Flavor(name="small", vcpus=2, memory_mb=2048)
    cluster = Cluster(
        name="small", taken_at="2026-01-01T00:00:00+00:00", flavors={"small": flavor},
        hosts=tuple(Host(id=f"h{h}", name=f"h{h}", inventory={"VCPU": Inventory(total=16), "MEMORY_MB": Inventory(total=16384)}) for h in range(6)),
        servers=tuple(Server(id=f"s{s}", name=f"s{s}", host=f"h{s % 6 if s < 12 else 0}", flavor="small",
                             resources={"VCPU": 1 + s % 3, "MEMORY_MB": 1024}, usage=Usage(cpu_cores=0.5 + s % 3, memory_mb=512)) for s in range(18)))
    rules = (Capacity(), Available(), AntiAffinity("pair", ("s0", "s1")))
    goals: tuple[tuple[Level, ...], ...] = (
        ((Term(LoadCost("VCPU", {f"h{h}": 3 for h in range(6)})),),), ((Term(Spread("cpu", 0.05)),), (Term(Moves()),)),
        ((Term(Spread("cpu")), Term(MoveCost(), 0.1)),), ((Term(HostsInUse()),), (Term(MoveCost()),)),
        ((Term(Fragmentation(resource="VCPU", size=8)),), (Term(Moves()),)))
    for levels in goals:
        yield Problem(cluster, rules, levels)


def main() -> int:
    """Solve the small problems, play a few tasks, and tell how long it took."""
    begin = time.monotonic()
    for problem in problems():
        solve(problem, MaxIterations(200_000), threads=1)
    shortest(compiled([Task(), Task(parents=(0,), work_s=1.0, links=(0, 1), places=(0,))], [1], 1, 1.0, 1.0))
    print(f"kernels compiled in {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
