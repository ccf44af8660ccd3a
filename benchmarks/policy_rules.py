"""Rules of a policy in Rego for a cloud of any size: how long each step takes from the cluster to what the solver is given.

    python -m benchmarks.policy_rules --servers 20000 --rules 30000

Each rule keeps two or three servers apart that bear the same tag; the ready policy finds them. Medians of several runs. With --opa the same
rules are read from an OPA server as well, which must have the policy.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.arguments import number
from benchmarks.scale import make_cloud
from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError
from optimizer.snapshot import as_json
from policy_sources.base import policy_of
from policy_sources.opa import OpaSource
from policy_sources.rego import READY, RULES, RegoSource, read_bundle, rules_in
from policy_sources.regorus import evaluate
from policy_sources.vocabulary.selectors import Catalog


def make_labelled(servers: int, rules: int, seed: int) -> Cluster:
    """A cloud whose servers bear tags that ask for so many rules; the same for the same seed."""
    cluster = make_cloud(max(8, servers // 15), servers, seed)
    rng = np.random.default_rng(seed)
    tags: list[list[str]] = [[] for _ in range(servers)]
    for rule in range(rules):
        for server in rng.choice(servers, size=min(servers, 2 + rule % 2), replace=False).tolist():
            tags[server].append(f"policy:apart=g{rule}")
    return cluster.with_servers(tuple(replace(server, tags=tuple(own)) for server, own in zip(cluster.servers, tags, strict=True)))


def measured(runs: int, step: Callable[[], Any]) -> tuple[float, Any]:
    """The median of the seconds that some runs of a step take, and what the last one gives."""
    seconds, result = [], None
    for _ in range(runs):
        begin = time.perf_counter()
        result = step()
        seconds.append(time.perf_counter() - begin)
    return round(statistics.median(seconds), 3), result


def main() -> int:
    """Make a cloud, take every step, tell how long each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=number(2), default=20000, help="how many servers (default 20000)")
    parser.add_argument("--rules", type=number(1), default=30000, help="how many rules (default 30000)")
    parser.add_argument("--runs", type=number(1), default=3, help="runs of each step (default 3)")
    parser.add_argument("--seed", type=number(0), default=1, help="seed of the cloud (default 1)")
    parser.add_argument("--opa", metavar="URL", help="an OPA server that has the ready policy apart")
    arguments = parser.parse_args()
    told: dict[str, Any] = {"servers": arguments.servers, "rules": arguments.rules}
    try:
        cluster = make_labelled(arguments.servers, arguments.rules, arguments.seed)
        files = (READY / "apart.rego", READY / "lib.rego")
        told["serialise_s"], document = measured(arguments.runs, lambda: as_json(cluster))
        told["input_mb"] = round(len(document) / 1e6, 1)
        bundle = read_bundle("benchmark", files)
        told["engine_s"], rows = measured(arguments.runs, lambda: evaluate(bundle, RULES, document))
        told["map_s"], rules = measured(arguments.runs, lambda: rules_in("benchmark", rows, bundle.revision))
        told["compile_s"], _ = measured(arguments.runs, lambda: policy_of(Catalog(cluster), rules))
        told["embedded_read_s"], read = measured(arguments.runs, lambda: RegoSource(files).read(cluster))
        if arguments.opa is not None:
            told["opa_read_s"], read = measured(arguments.runs, lambda: OpaSource(arguments.opa).read(cluster))
    except PlacewrightError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    told["found"] = len(read.rules)
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
