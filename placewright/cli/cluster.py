"""placewright cluster: look at a cluster, or keep a snapshot of it."""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from cliff.command import Command

from optimizer.cluster import Cluster, Host
from optimizer.constraints.base import check
from optimizer.load import host_capacity, host_load
from optimizer.movability import obstacles
from optimizer.placement import placement_of
from optimizer.snapshot import write_snapshot
from optimizer.summary import METRICS
from placewright.cli.common import Rows, add_source, check_writable, config, console, source_of, whole
from placewright.config import gnocchi_settings
from placewright.sources import CloudSource, without_partial_load
from policy_sources import nova
from strategies.base import LoadNeed


class ClusterShow(Rows):
    """Show the hosts of a cluster: service, servers, what is allocated, and the load where it is known."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_source(parser)
        return parser

    def take_action(self, options: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """A row for each host; remarks on stderr."""
        cluster = source_of(options, config(self)).cluster()
        self._remarks(cluster)
        metrics = METRICS if without_partial_load(cluster).load is not None else ()
        load = {metric: host_load(cluster, placement_of(cluster), metric) for metric in metrics}
        columns = ("Host", "Zone", "Service", "Servers", "VCPU", "MEMORY_MB", *(f"{metric} load %" for metric in metrics))
        return columns, [(host.name, host.zone, f"{host.status}, {host.state}", len(cluster.servers_on[host.name]),
                          _allocated(cluster, host, "VCPU"), _allocated(cluster, host, "MEMORY_MB"),
                          *(round(100 * load[metric][host.name] / max(1, host_capacity(host, metric)), 1) for metric in metrics))
                         for host in sorted(cluster.hosts, key=lambda host: host.name)]

    def _remarks(self, cluster: Cluster) -> None:
        say = console(self).print
        stuck = Counter(found[0].kind for server in cluster.servers if (found := obstacles(cluster, server)))
        say(f"{cluster.name}, {cluster.taken_at}: {len(cluster.hosts)} hosts, {len(cluster.servers)} servers, "
            f"{len(cluster.groups)} server groups, {len(cluster.migrations)} migrations in progress", soft_wrap=True)
        if stuck:
            say(f"{sum(stuck.values())} servers cannot be moved: " + ", ".join(f"{n} {kind}" for kind, n in stuck.most_common()), soft_wrap=True)
        for note in cluster.notes:
            say(f"note: {note}", soft_wrap=True)
        for broken in check(nova.constraints(cluster), cluster, placement_of(cluster)):
            say(f"broken: {broken.rule}: {broken.text}", soft_wrap=True)


def _allocated(cluster: Cluster, host: Host, name: str) -> str:
    used = sum(server.resources.get(name, 0) for server in cluster.servers_on[host.name]) + host.held.get(name, 0)
    return f"{used} / {host.inventory[name].capacity if name in host.inventory else 0}"


class ClusterSave(Command):
    """Save a snapshot of a cloud in a file, to be audited or simulated without the cloud."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("file", metavar="FILE", type=Path, help="The file; its ending (.gz, .xz) chooses the compression.")
        parser.add_argument("--cloud", metavar="NAME", required=True, help="Cloud of clouds.yaml; \"envvars\" is the one of the OS_* variables.")
        parser.add_argument("--load-window", metavar="SECONDS", type=whole(1),
                            help="Also read the load of the servers over this many seconds before now.")
        parser.add_argument("--missing-load", choices=("fail", "flavor", "idle"), default="fail",
                            help="Servers without measures: name them and stop, take all of their flavor, or take nothing. Default: fail.")
        return parser

    def take_action(self, options: argparse.Namespace) -> None:
        """Write the file."""
        check_writable(options.file)
        source = CloudSource(options.cloud, gnocchi_settings(config(self)))
        cluster = source.cluster()
        if options.load_window is not None:
            cluster = source.with_load(cluster, LoadNeed(options.load_window, 300, "mean", options.missing_load))
        write_snapshot(cluster, options.file)
        console(self).print(f"{options.file}: {len(cluster.hosts)} hosts, {len(cluster.servers)} servers", soft_wrap=True)
