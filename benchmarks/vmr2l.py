"""Reader of ByteDance's VM rescheduling mappings (VMR2L, EuroSys 2025): a published mapping as a Cluster.

    python -m benchmarks.vmr2l MAPPING.json.xz SNAPSHOT.json.xz

Every cluster of the mapping becomes an availability zone that its servers are pinned to. Free amounts in the file are not
used: they disagree with the listed servers. What is left out: which NUMA node of its host a server uses.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from optimizer.cluster import Cluster, Flavor, Host, Inventory, NumaNode, Server
from optimizer.snapshot import read_bytes, write_snapshot


def read_mapping(path: Path | str) -> Cluster:
    """The mapping in a published file; one host per physical machine, allocation ratio 1."""
    document = json.loads(read_bytes(path))
    hosts: list[Host] = []
    servers: list[Server] = []
    flavors: dict[str, Flavor] = {}
    for cluster in document["cluster_list"]:
        zone = cluster["cluster_name"]
        hosts += [_host(entry, zone) for entry in cluster["host_info"]]
        for entry in cluster["vm_instance"]:
            cores = sum(node["cpu"] for node in entry["numa"])
            memory_mb = int(sum(node["mem_mb"] for node in entry["numa"]))
            flavor = Flavor(name=f"{entry['instance_type'].rpartition('.')[2]}-{cores}c-{memory_mb // 1024}g", vcpus=cores, memory_mb=memory_mb)
            flavors[flavor.name] = flavor
            servers.append(Server(id=entry["instance_id"], name=entry["instance_id"], host=entry["host_id"], flavor=flavor.name,
                                  resources={"VCPU": cores, "MEMORY_MB": memory_mb}, pinned_zone=zone, boot_from_volume=True))
    return Cluster(name=f"vmr2l {Path(path).name.partition('.')[0]}", taken_at="2024-01-01T00:00:00+00:00", hosts=tuple(hosts),
                   servers=tuple(servers), flavors=flavors,
                   notes=("The date is a stand-in: the published mapping has none.",
                          "Which NUMA node a server uses is left out."))


def _host(entry: dict[str, Any], zone: str) -> Host:
    numa = tuple(NumaNode(cpus=node["total_cpu"], memory_mb=int(node["memory_huge_total_mb"])) for node in entry["numa"])
    return Host(id=entry["node_id"], name=entry["node_id"], zone=zone, numa=numa,
                inventory={"VCPU": Inventory(total=entry["node_cpu"]), "MEMORY_MB": Inventory(total=int(entry["node_mem_mb"]))})


def main() -> None:
    """Convert a mapping into a snapshot file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mapping")
    parser.add_argument("snapshot")
    options = parser.parse_args()
    write_snapshot(read_mapping(options.mapping), options.snapshot)


if __name__ == "__main__":
    main()
