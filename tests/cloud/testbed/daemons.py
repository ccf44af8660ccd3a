"""Daemons by pid: start, find again, wait for, end. Nothing is ever ended by its name.

``run/NAME.pid`` holds the pid and the start time of a process, so a pid that the kernel has given to
another process since is never taken for ours.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

from layout import DATA, LOG, PORTS, RUN, url

STOP_ORDER = (
    "nova-compute-*",
    "nova-scheduler",
    "nova-conductor",
    "gnocchi-metricd",
    "nova",
    "neutron",
    "glance",
    "placement",
    "gnocchi",
    "keystone",
    "rabbitmq",
    "epmd",
    "memcached",
    "mariadb",
)


def say(text: str) -> None:
    """Report progress with the time of day."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def _start_ticks(pid: int) -> str | None:
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def recorded(name: str) -> int | None:
    """The pid of the live daemon that was started under this name, or None."""
    try:
        pid, ticks = (RUN / f"{name}.pid").read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _start_ticks(int(pid)) == ticks else None


def names() -> list[str]:
    """Every daemon with a pid file, in the order in which they are to end."""
    return [path.name[:-4] for pattern in STOP_ORDER for path in sorted(RUN.glob(f"{pattern}.pid"))]


def listens(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def spawn(name: str, command: list, env: Mapping[str, object] | None = None, port: int | None = None) -> None:
    """Start a daemon in its own session, unless it is running; its output goes to log/NAME.out."""
    if recorded(name):
        return
    if port and listens(port):
        sys.exit(f"port {port} for {name} is taken by another program; choose another PLACEWRIGHT_TESTBED_PORT")
    with open(LOG / f"{name}.out", "ab") as out:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **{key: str(value) for key, value in (env or {}).items()}},
            cwd=DATA,
            start_new_session=True,
        )
    (RUN / f"{name}.pid").write_text(f"{child.pid} {_start_ticks(child.pid)}\n")


def family(pid: int) -> list[int]:
    """A process and all its descendants, children after their parents."""
    found = [pid]
    for parent in found:
        try:
            for task in pathlib.Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue  # it has just ended
    return found


def end(name: str, patience: float = 20) -> None:
    """End a daemon and its children: SIGTERM, after ``patience`` seconds SIGKILL."""
    pid = recorded(name)
    if pid:
        born = {member: _start_ticks(member) for member in family(pid)}

        def alive() -> list[int]:
            return [member for member, ticks in born.items() if ticks and _start_ticks(member) == ticks]

        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while alive() and time.monotonic() < deadline:
            if time.monotonic() > deadline - patience / 2 and pid not in alive():
                for orphan in alive():  # the parent left without them
                    os.kill(orphan, signal.SIGTERM)
            time.sleep(0.1)
        for member in alive():
            os.kill(member, signal.SIGKILL)
    (RUN / f"{name}.pid").unlink(missing_ok=True)


def kill(name: str) -> None:
    """End a daemon and its children without warning."""
    pid = recorded(name)
    for member in family(pid) if pid else ():
        os.kill(member, signal.SIGKILL)
    (RUN / f"{name}.pid").unlink(missing_ok=True)


def end_all() -> None:
    """End every daemon of the testbed, the computes all at the same time."""
    for name in names():
        pid = recorded(name)
        if pid and name.startswith("nova-compute-"):
            os.kill(pid, signal.SIGTERM)
    for name in names():
        end(name)


def run(*command: object, **env: str) -> None:
    """Run a command to its end; its output goes to log/setup.log. A failure ends the program."""
    with open(LOG / "setup.log", "ab") as out:
        out.write(f"\n### {' '.join(map(str, command))}\n".encode())
        out.flush()
        code = subprocess.call(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **env},
            timeout=300,
        )
    if code:
        sys.exit(f"failed ({code}): {' '.join(map(str, command))}; see {LOG}/setup.log")


def wait_port(service: str, name: str, seconds: float = 90) -> None:
    """Wait until a service listens; ``name`` is the daemon that must stay alive meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if listens(PORTS[service]):
            return
        if not recorded(name):
            sys.exit(f"{name} ended early; see {LOG}/{name}.out")
        time.sleep(0.1)
    sys.exit(f"{service} does not listen on port {PORTS[service]} after {seconds:.0f} s; see {LOG}")


def wait_http(service: str, path: str = "/", seconds: float = 90) -> None:
    """Wait until a service answers with anything but a server error."""
    wait_port(service, service, seconds)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and recorded(service):
        try:
            urllib.request.urlopen(url(service, path), timeout=30).close()
            return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass  # not ready yet: the loop decides
        time.sleep(0.3)
    sys.exit(f"{service} does not answer; see {LOG}/{service}.out")


def memory_mb(pid: int) -> float:
    """Proportional set size of a process and its descendants, in MiB."""
    total = 0
    for member in family(pid):
        try:
            lines = pathlib.Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has just ended
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
