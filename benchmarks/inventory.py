"""How long the inventory of a large cloud takes to read, in requests, seconds and memory of the reader.

``python -m benchmarks.inventory --hosts 1000 --servers 20000`` serves a synthetic cloud from another process on
loopback, reads it as any cloud, and prints what it took as JSON. The time of the serving process is in ``seconds``
and not in ``client_cpu_seconds``.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from benchmarks.synthetic_cloud import SyntheticCloud
from benchmarks.synthetic_http import SyntheticServer
from datasources.connection import connect
from datasources.inventory import CONCURRENCY, read_cluster


def main() -> None:
    """Parse the command line, measure once, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--servers", type=int, default=20000)
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY)
    options = parser.parse_args()
    print(json.dumps(measure(options.hosts, options.servers, options.concurrency), indent=1))


def measure(hosts: int, servers: int, concurrency: int) -> dict[str, Any]:
    """Read a synthetic cloud of that size once; returns the figures by name."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, hosts, servers), daemon=True)
    process.start()
    try:
        clouds_yaml = ours.recv()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "clouds.yaml")
            path.write_text(clouds_yaml)
            os.environ["OS_CLIENT_CONFIG_FILE"] = str(path)
            began, cpu = time.perf_counter(), time.process_time()
            cluster = read_cluster(connect("synthetic"), concurrency=concurrency)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        ours.send("how many requests?")
        requests = ours.recv()
    finally:
        ours.send("stop")
        process.join(timeout=10)
    assert (len(cluster.hosts), len(cluster.servers)) == (hosts, servers)
    return {
        "hosts": hosts,
        "servers": servers,
        "concurrency": concurrency,
        "seconds": round(seconds, 2),
        "client_cpu_seconds": round(cpu, 2),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "requests": sum(requests.values()),
        "requests_by_path": dict(sorted(requests.items())),
    }


def _serve(pipe: Pipe, hosts: int, servers: int) -> None:
    with SyntheticServer(SyntheticCloud(hosts, servers)).running() as server:
        pipe.send(server.clouds_yaml())
        while pipe.recv() != "stop":
            pipe.send(dict(server.requests))


if __name__ == "__main__":
    main()
