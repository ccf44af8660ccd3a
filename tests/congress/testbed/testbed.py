#!/usr/bin/env python3
"""A real OpenStack Congress 11 on loopback, without authentication.

    testbed.py install    one virtual environment (Python 3.11)
    testbed.py start      idempotent; forgets the policies of an earlier run, prints the address
    testbed.py status     the address, exit code 1 when it does not run
    testbed.py stop       ends, by pid, what start began; the installation stays

Everything lives under $PLACEWRIGHT_CONGRESS_DIR (default /var/tmp/placewright-congress) and listens on 127.0.0.1, port
$PLACEWRIGHT_CONGRESS_PORT (default 30020). Only the standard library is used.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("PLACEWRIGHT_CONGRESS_DIR", "/var/tmp/placewright-congress")).absolute()
PORT = int(os.environ.get("PLACEWRIGHT_CONGRESS_PORT", "30020"))
URL = f"http://127.0.0.1:{PORT}"
PYTHON = ROOT / "venv" / "bin" / "python"
STAMP = ROOT / "venv" / "placewright-installed"
PID = ROOT / "pid"
LOG = ROOT / "congress.log"

# Names that Python 3.10 took out of collections, which the libraries of 2020 still look for there.
SITECUSTOMIZE = """\
import collections
import collections.abc
for name in ("MutableSet", "MutableMapping", "Mapping", "Iterable", "Sequence", "Callable", "Set", "Hashable"):
    if not hasattr(collections, name):
        setattr(collections, name, getattr(collections.abc, name))
"""
CONF = f"""\
[DEFAULT]
bind_host = 127.0.0.1
bind_port = {PORT}
auth_strategy = noauth
api_paste_config = {ROOT}/api-paste.ini
policy_library_path = {ROOT}/library
encryption_key_path = {ROOT}/keys
transport_url = kombu+memory://
datasource_sync_period = 5
custom_driver_endpoints = nova_from_file=nova_from_file:NovaFromFile
[database]
connection = sqlite:///{ROOT}/congress.db
[oslo_policy]
policy_file = {ROOT}/policy.json
"""
PASTE = """\
[composite:congress]
use = egg:Paste#urlmap
/: versions
/v1: v1
[app:versions]
paste.app_factory = congress.api.versions:Versions.factory
[composite:v1]
use = call:congress.auth:pipeline_factory
noauth = request_id catch_errors api
keystone = request_id catch_errors api
[app:api]
paste.app_factory = congress.service:congress_app_factory
[filter:request_id]
paste.filter_factory = oslo_middleware:RequestId.factory
[filter:catch_errors]
paste.filter_factory = oslo_middleware:CatchErrors.factory
"""
# congress-db-manage alters constraints, which SQLite cannot.
MAKE_TABLES = """\
import sys
from congress.common import config
config.init(["--config-file", sys.argv[1]])
from congress.db import api, datasources, db_ds_table_data, db_library_policies, db_policy_rules, model_base
model_base.BASE.metadata.create_all(api.get_engine())
"""


def install() -> None:
    """Install what is missing; an installation that was interrupted is made anew, a complete one is left alone."""
    wanted = hashlib.sha256((HERE / "requirements.txt").read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    python = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if python is None:
        sys.exit("Congress runs on Python 3.11, and there is no python3.11; install it (apt-get install python3.11-venv)")
    shutil.rmtree(ROOT / "venv", ignore_errors=True)
    ROOT.mkdir(parents=True, exist_ok=True)
    _quietly([python, "-m", "venv", str(ROOT / "venv")])
    _quietly([str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(HERE / "requirements.txt")])
    site = next((ROOT / "venv" / "lib").glob("python3*/site-packages"))
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE)
    STAMP.write_text(wanted)


def start() -> None:
    """Start it with no policies but its own, unless it runs, and wait until it answers."""
    if running():
        print(URL)
        return
    if answers():
        sys.exit(f"port {PORT} is taken by another program; choose another PLACEWRIGHT_CONGRESS_PORT")
    if not STAMP.exists():
        sys.exit(f"there is no complete installation in {ROOT}; run testbed.py install first")
    _configure()
    with open(LOG, "ab") as log:
        child = subprocess.Popen([str(PYTHON), str(PYTHON.parent / "congress-server"), "--config-file", str(ROOT / "congress.conf")],
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, start_new_session=True,
                                 env={**os.environ, "PYTHONPATH": str(HERE / "driver")})
    PID.write_text(f"{child.pid} {_start_ticks(child.pid)}\n")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        if answers():
            print(URL)
            return
        time.sleep(0.3)
    stop()
    sys.exit(f"Congress does not answer on port {PORT}; see {LOG}")


def status() -> None:
    """Say whether it runs."""
    if not running():
        sys.exit(f"Congress is not running in {ROOT}")
    print(URL)


def stop() -> None:
    """End it: SIGTERM, after 10 seconds SIGKILL."""
    pid = running()
    if pid:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while running() and time.monotonic() < deadline:
            time.sleep(0.1)
        if running():
            os.kill(pid, signal.SIGKILL)
    PID.unlink(missing_ok=True)


def running() -> int | None:
    """The pid of the Congress that was started here and lives, or None.

    The pid file also holds its start time, so a pid that the kernel has given to another process since is never taken for ours.
    """
    try:
        pid, ticks = PID.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _start_ticks(int(pid)) == ticks else None


def answers() -> bool:
    """Whether something speaks HTTP on the port."""
    try:
        urllib.request.urlopen(f"{URL}/v1/policies", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _configure() -> None:
    for folder in ("keys", "library"):
        (ROOT / folder).mkdir(exist_ok=True)
    (ROOT / "congress.conf").write_text(CONF)
    (ROOT / "api-paste.ini").write_text(PASTE)
    (ROOT / "policy.json").write_text("{}")
    (ROOT / "congress.db").unlink(missing_ok=True)
    _quietly([str(PYTHON), "-c", MAKE_TABLES, str(ROOT / "congress.conf")])


def _start_ticks(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def _quietly(command: list[str]) -> None:
    """Run a command that is only heard when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"failed ({done.returncode}): {' '.join(command[:5])}\n{(done.stdout + done.stderr)[-3000:]}")


if __name__ == "__main__":
    actions = {"install": install, "start": start, "status": status, "stop": stop}
    actions.get(sys.argv[1] if len(sys.argv) == 2 else "", lambda: sys.exit(__doc__))()
