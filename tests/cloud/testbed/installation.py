"""Debian packages and one virtual environment with the OpenStack services."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

from daemons import say
from layout import HERE, ROOT, VENV

PROGRAMS = {  # what must be found -> the package that has it
    "mariadbd": "mariadb-server",
    "/usr/lib/rabbitmq/bin/rabbitmq-server": "rabbitmq-server",
    "epmd": "erlang-base",
    "memcached": "memcached",
    "pg_lsclusters": "postgresql",  # for the journal of executions
    "gcc": "gcc",
}
STAMP = VENV / "placewright-installed"
_PROBE = (
    "import importlib.util, json, os, sysconfig\n"
    "print(json.dumps([importlib.util.find_spec('ensurepip') is not None,"
    " os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h'))]))"
)


def install() -> None:
    """Install what is missing; an installation that was interrupted is completed, a complete one is left alone."""
    began = time.monotonic()
    ROOT.mkdir(parents=True, exist_ok=True)
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    missing += ["libc6-dev"] if not os.path.exists("/usr/include/stdlib.h") else []
    missing += _missing_python_packages()
    if missing:
        _apt_install(missing)
        say(f"Debian packages ({' '.join(missing)}): {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    if not installed():
        _pip_install()
        say(f"Python packages: {time.monotonic() - began:.0f} s")


def installed() -> bool:
    """Whether the virtual environment holds exactly what the requirements of this version ask for."""
    return STAMP.exists() and STAMP.read_text() == _wanted()


def _wanted() -> str:
    files = [(HERE / name).read_bytes() for name in ("requirements.txt", "constraints.txt")]
    return hashlib.sha256(b"\0".join(files)).hexdigest()


def _python() -> str | None:
    """A Python 3.11, which is what the pinned services were tried with."""
    return sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")


def _missing_python_packages() -> list[str]:
    python = _python()
    if python is None:
        return ["python3.11", "python3.11-venv", "python3.11-dev"]
    probe = subprocess.run([python, "-c", _PROBE], check=True, capture_output=True, text=True)
    has_ensurepip, has_headers = json.loads(probe.stdout)
    return [*([] if has_ensurepip else ["python3.11-venv"]), *([] if has_headers else ["python3.11-dev"])]


def _apt_install(packages: list[str]) -> None:
    if os.getuid():
        sys.exit(f"these Debian packages are missing and only root can install them: {' '.join(packages)}")
    # The packages would start daemons of their own; RUNLEVEL=1 makes invoke-rc.d leave them alone.
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
    first = subprocess.run(command, env=env, capture_output=True, text=True)
    if first.returncode:  # a fresh machine has no package lists, an old one stale ones
        _quietly(["apt-get", "update", "-qq"], env)
        _quietly(command, env)


def _pip_install() -> None:
    if not (VENV / "bin" / "pip").exists():
        # An environment that was cut off while it was made cannot be trusted in any part.
        shutil.rmtree(VENV, ignore_errors=True)
        _quietly([str(_python()), "-m", "venv", str(VENV)])
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _quietly([*pip, "-r", str(HERE / "requirements.txt"), "-c", str(HERE / "constraints.txt")])
    STAMP.write_text(_wanted())


def _quietly(command: list[str], env: dict[str, str] | None = None) -> None:
    """Run a command that is only heard when it fails."""
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"failed ({done.returncode}): {' '.join(command)}\n{(done.stdout + done.stderr)[-3000:]}")
