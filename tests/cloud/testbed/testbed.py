#!/usr/bin/env python3
"""A real OpenStack control plane with simulated hypervisors on one machine.

    testbed.py install                Debian packages and one virtual environment (as root)
    testbed.py start [--computes N]   idempotent; prints how to connect
    testbed.py status                 processes with their memory, compute services
    testbed.py stop                   ends, by pid, what start began; keeps the data
    testbed.py destroy                stop, then forget databases, logs and configuration

Everything lives under $PLACEWRIGHT_TESTBED_DIR (default /var/tmp/placewright-testbed); every socket is on
127.0.0.1, on eleven ports from $PLACEWRIGHT_TESTBED_PORT (default 30000). Only the standard library is used.
"""

import argparse
import os
import shutil
import sys

from configuration import hosts
from daemons import end_all, memory_mb, names, recorded, say
from installation import install, installed
from layout import CLOUDS, DATA, ETC, LOG, ROOT, RUN
from services import compute_services
from services import start as start_services

sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def start(computes: int) -> None:
    """Start the services and say how to connect."""
    if not installed():
        sys.exit(f"there is no complete installation in {ROOT}; run testbed.py install first")
    start_services(computes)
    print(f"export OS_CLIENT_CONFIG_FILE={CLOUDS} OS_CLOUD=testbed")


def status() -> int:
    """Print one line for each process and compute service; 0 when everything that was started still runs."""
    total, ended = 0.0, 0
    for name in names():
        pid = recorded(name)
        size = memory_mb(pid) if pid else 0.0
        total, ended = total + size, ended + (pid is None)
        print(f"{name:28} {f'pid {pid}' if pid else 'ENDED':12} {size:7.0f} MiB")
    if not names():
        print(f"nothing is running in {ROOT}")
        return 1
    print(f"{'total':28} {'':12} {total:7.0f} MiB")
    for host, (state, enabled, mapped) in sorted(compute_services().items()):
        print(f"{host:28} {state} {enabled} {'mapped' if mapped else 'NOT MAPPED'}")
    return 1 if ended else 0


def stop() -> None:
    """End everything; data, configuration and installation stay."""
    end_all()
    say("stopped")


def destroy() -> None:
    """Stop and forget everything but the installation."""
    stop()
    for directory in (DATA, ETC, LOG, RUN):
        shutil.rmtree(directory, ignore_errors=True)
    CLOUDS.unlink(missing_ok=True)


def main() -> int:
    """Run one action."""
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = {"install": install, "start": start, "status": status, "stop": stop, "destroy": destroy}
    parser.add_argument("action", choices=actions)
    parser.add_argument("--computes", type=int, default=8, metavar="N", help="compute hosts to start (default 8)")
    options = parser.parse_args()
    if options.action == "start":
        if not 1 <= len(hosts(options.computes)) <= 64:
            parser.error(f"--computes is {options.computes}; it must be between 1 and 64")
        start(options.computes)
        return 0
    return actions[options.action]() or 0


if __name__ == "__main__":
    raise SystemExit(main())
