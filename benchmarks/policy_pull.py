"""How much longer it takes to read the rules of a Congress policy than to GET the rows of its one table.

    python -m benchmarks.policy_pull --url http://127.0.0.1:1789 --rows 1500

Makes the policy ``placewright_pull`` of a Congress without authentication, which keeps the members of groups of four apart, reads it in turn by a
bare GET whose JSON is parsed and by the source of rules, prints the medians, and takes the policy away again. ``bare_both_s`` also asks which tables
there are, as the source must. Pauses of random length keep all ways from meeting the work that Congress does by itself at the same point.
"""

import argparse
import json
import statistics
import time
import urllib.request
from collections.abc import Callable
from random import Random

from benchmarks.arguments import number
from optimizer.cluster import Cluster, Flavor, Host, Server
from policy_sources.congress import CongressSource, load_policy
from policy_sources.http import HttpSettings, JsonService

POLICY = "placewright_pull"


def main() -> None:
    """Parse the command line, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="address of Congress, without /v1")
    parser.add_argument("--rows", type=number(1), default=1500, help="rows of the table (default 1500)")
    parser.add_argument("--rounds", type=number(1), default=15, help="how often each way is measured (default 15)")
    options = parser.parse_args()
    print(json.dumps(measure(options.url, options.rows, options.rounds), indent=1))


def measure(url: str, rows: int, rounds: int) -> dict[str, float]:
    """Seconds of each way, and how many percent longer than a bare GET the source takes; raises PolicyError when the policy cannot be made."""
    servers = [f"00000000-0000-4000-8000-{n:012x}" for n in range(rows)]
    cluster = Cluster(name="pull", taken_at="2026-01-01T00:00:00+00:00", hosts=(Host(id="h", name="h", inventory={}),),
                      flavors={"f": Flavor(name="f", vcpus=1, memory_mb=1)},
                      servers=tuple(Server(id=one, name="", host="h", flavor="f", resources={}) for one in servers))
    service = JsonService("congress", url, HttpSettings())
    load_policy(service, POLICY, [{"rule": "apart(group, server) :- member(group, server), member(group, other), not builtin:equal(server, other)"},
                                  *({"rule": f'member("group-{n // 4}", "{one}")'} for n, one in enumerate(servers))])
    tables_at = f"{url}/v1/policies/{POLICY}/tables"
    rows_at = f"{tables_at}/apart/rows"
    try:
        source = CongressSource(POLICY, url)
        read = source.read(cluster)  # warms both up
        assert sum(len(rule.says.servers.id) for rule in read.rules) == _get(rows_at) == rows
        ways = {"bare_get_s": lambda: _get(rows_at), "bare_both_s": lambda: _get(tables_at) and _get(rows_at),
                "source_s": lambda: source.read(cluster)}
        rng = Random(1)
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                time.sleep(rng.random())
                found[name].append(_timed(way))
    finally:
        service.ask("DELETE", f"/v1/policies/{POLICY}")
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    return {"rows": rows, "rules": len(read.rules), **{name: round(median, 4) for name, median in medians.items()},
            "longer_percent": round(100 * (medians["source_s"] / medians["bare_get_s"] - 1), 1)}


def _get(address: str) -> int:
    with urllib.request.urlopen(address) as reply:
        return len(json.load(reply)["results"])


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
