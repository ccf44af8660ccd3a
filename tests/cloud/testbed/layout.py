"""Where the testbed lives and which ports it takes; the only place that reads its settings."""

import os
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("PLACEWRIGHT_TESTBED_DIR", "/var/tmp/placewright-testbed")).absolute()
VENV, ETC, DATA, LOG, RUN = (ROOT / name for name in ("venv", "etc", "data", "log", "run"))
CLOUDS = ROOT / "clouds.yaml"
PASSWORD = "testbed"

# One row of ports below 32768: the kernel lends those above to outgoing connections, and a daemon
# then finds its port taken now and then.
FIRST_PORT = int(os.environ.get("PLACEWRIGHT_TESTBED_PORT", "30000"))
PORTS = {
    name: FIRST_PORT + number
    for number, name in enumerate(
        (
            "keystone",
            "placement",
            "glance",
            "nova",
            "neutron",
            "gnocchi",
            "mariadb",
            "memcached",
            "rabbit",
            "rabbit_dist",
            "epmd",
        )
    )
}
if not 1024 <= FIRST_PORT <= 65535 - len(PORTS):
    raise SystemExit(
        f"PLACEWRIGHT_TESTBED_PORT is {FIRST_PORT}; "
        f"it must leave room for {len(PORTS)} ports between 1024 and 65535 (default 30000)"
    )


def url(service: str, path: str = "") -> str:
    """The address of a service of the testbed."""
    return f"http://127.0.0.1:{PORTS[service]}{path}"
