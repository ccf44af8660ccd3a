"""Database servers for the journal: a PostgreSQL of its own, and the MariaDB of the testbed."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql

sys.path.append(str(Path(__file__).parent / "testbed"))
from layout import PASSWORD, PORTS


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty database of a PostgreSQL on loopback, for the time of the block; it refuses to run as root."""
    bins = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert bins, "the package postgresql is missing: testbed.py install brings it"
    folder = Path(tempfile.mkdtemp(prefix="placewright-pg-", dir="/var/tmp"))
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")
    subprocess.run([*user, bins[-1], "-D", folder, "-A", "trust", "-U", "placewright", "--no-sync", "-E", "UTF8", "--locale", "C"], check=True,
                   capture_output=True, cwd="/")
    port = _free_port()
    server = subprocess.Popen([*user, bins[-1].parent / "postgres", "-D", folder, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c",
                               "unix_socket_directories="], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    try:
        _wait(port)
        yield f"postgresql://placewright@127.0.0.1:{port}/postgres"
    finally:
        # Of the server itself, which runuser has started: it ends at once when told so.
        pid = (folder / "postmaster.pid").read_text().split()[0]
        subprocess.run(["kill", "-INT", pid], check=True)
        server.wait(60)
        shutil.rmtree(folder)


@contextmanager
def mariadb() -> Iterator[str]:
    """The address of an empty database in the MariaDB of the testbed."""
    who = {"host": "127.0.0.1", "port": PORTS["mariadb"], "user": "openstack", "password": PASSWORD}
    with pymysql.connect(**who) as connection, connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS placewright")
        cursor.execute("CREATE DATABASE placewright CHARACTER SET utf8mb4")
    yield f"mysql://openstack:{PASSWORD}@127.0.0.1:{PORTS['mariadb']}/placewright"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
