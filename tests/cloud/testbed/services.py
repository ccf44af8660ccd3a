"""What runs: database, message queue and cache from Debian, then the OpenStack services, then the computes."""

import concurrent.futures
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

from configuration import DONE, configure, hosts
from daemons import names, recorded, run, say, spawn, wait_http, wait_port
from layout import CLOUDS, DATA, ETC, HERE, LOG, PASSWORD, PORTS, RUN, VENV, url

NOVA_CONF = ["--config-file", ETC / "nova" / "nova.conf"]
NOVA_DB = ["--config-file", ETC / "nova" / "nova-db.conf"]  # never for nova-compute
GNOCCHI_CONF = ["--config-file", ETC / "gnocchi" / "gnocchi.conf"]
DATABASES = ("keystone", "placement", "glance", "nova_api", "nova", "nova_cell0", "gnocchi")


def start(computes: int) -> None:
    """Bring everything up, in order; what already runs is left alone."""
    began = time.monotonic()
    configure(computes)
    for name in names():
        if not recorded(name):
            (RUN / f"{name}.pid").unlink()
    _start_mariadb()
    _start_memcached()
    _start_rabbitmq()
    say(f"database, message queue, cache: {time.monotonic() - began:.1f} s")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(step) for step in (_start_keystone, _set_up_nova, _set_up_others)]:
            future.result()
    say(f"keystone, databases: {time.monotonic() - began:.1f} s")
    _start_http_services()
    say(f"HTTP services: {time.monotonic() - began:.1f} s")
    _start_computes(computes)
    say(f"{computes} compute services up and mapped: {time.monotonic() - began:.1f} s")


def _once(step: str, action: Callable[[], object]) -> None:
    if not (DONE / step).exists():
        say(f"first start: {step}")
        action()
        (DONE / step).touch()


# ---- infrastructure


def _start_mariadb() -> None:
    options = ["--no-defaults", f"--datadir={DATA}/mariadb", "--user=root"]
    socket = RUN / "mariadb.sock"
    install = ("mariadb-install-db", *options, "--skip-test-db", "--auth-root-authentication-method=normal")
    _once("mariadb", lambda: run(*install))
    more = [
        "--bind-address=127.0.0.1",
        f"--port={PORTS['mariadb']}",
        f"--socket={socket}",
        f"--pid-file={RUN}/mariadb.server-pid",
        "--innodb-buffer-pool-size=256M",
        "--innodb-flush-log-at-trx-commit=0",
        "--skip-innodb-doublewrite",
        "--max-connections=500",
        "--skip-log-bin",
        "--skip-name-resolve",  # else 127.0.0.1 becomes localhost and the login fails
        "--character-set-server=utf8mb3",
        "--collation-server=utf8mb3_general_ci",
    ]
    spawn("mariadb", ["mariadbd", *options, *more], port=PORTS["mariadb"])
    wait_port("mariadb", "mariadb")
    sql = "".join(f"CREATE DATABASE IF NOT EXISTS {name};" for name in DATABASES)
    sql += f"CREATE USER IF NOT EXISTS openstack@127.0.0.1 IDENTIFIED BY '{PASSWORD}';"
    sql += "GRANT ALL ON *.* TO openstack@127.0.0.1;"
    _once("databases", lambda: run("mariadb", "--no-defaults", f"--socket={socket}", "-e", sql))


def _start_memcached() -> None:
    as_root = ["-u", "root"] if os.getuid() == 0 else []
    command = ["memcached", "-l", "127.0.0.1", "-p", PORTS["memcached"], "-m", "64", *as_root]
    spawn("memcached", command, port=PORTS["memcached"])
    wait_port("memcached", "memcached")


def _start_rabbitmq() -> None:
    env = {
        "HOME": DATA / "rabbit",  # the Erlang cookie is written here
        "ERL_EPMD_PORT": PORTS["epmd"],
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "testbed@localhost",
        "RABBITMQ_DIST_PORT": PORTS["rabbit_dist"],
        "RABBITMQ_MNESIA_BASE": DATA / "rabbit" / "mnesia",
        "RABBITMQ_LOG_BASE": LOG,
        "RABBITMQ_CONFIG_FILE": ETC / "rabbitmq.conf",
        "RABBITMQ_CONF_ENV_FILE": ETC / "no-rabbitmq-env.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": ETC / "no-enabled-plugins",
        "RABBITMQ_PID_FILE": RUN / "rabbitmq.server-pid",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
    }
    # An epmd of its own: RabbitMQ would start one that outlives it and that others then share.
    spawn("epmd", ["epmd", "-address", "127.0.0.1", "-port", PORTS["epmd"]], port=PORTS["epmd"])
    wait_port("epmd", "epmd")
    # Not the wrapper in the PATH: that one changes to the user rabbitmq.
    spawn("rabbitmq", ["/usr/lib/rabbitmq/bin/rabbitmq-server"], env, PORTS["rabbit"])
    wait_port("rabbit", "rabbitmq")


# ---- OpenStack


def _wsgi(name: str, module: str, threads: int = 8, pyargv: str = "", **env: str) -> None:
    options = [
        *("--http-socket", f"127.0.0.1:{PORTS[name]}", "--module", module, "--virtualenv", VENV),
        *("--processes", 1, "--threads", threads, "--enable-threads", "--need-app", "--die-on-term"),
        *("--buffer-size", 65535, "--disable-logging"),
        # Without these two, clients see connection resets.
        *("--add-header", "Connection: close", "--post-buffering", 65536),
        *(("--pyargv", pyargv) if pyargv else ()),
    ]
    spawn(name, [VENV / "bin" / "uwsgi", *options], env, PORTS[name])


def _start_keystone() -> None:
    _once("keystone", _set_up_keystone)
    _wsgi("keystone", "keystone.wsgi.api:application", OS_KEYSTONE_CONFIG_DIR=str(ETC / "keystone"))
    wait_http("keystone", "/v3")
    endpoints = {
        "nova compute": url("nova", "/v2.1"),
        "placement placement": url("placement"),
        "glance image": url("glance"),
        "gnocchi metric": url("gnocchi"),
        "neutron network": url("neutron"),
    }
    seed = (VENV / "bin" / "python", HERE / "seed.py", json.dumps(endpoints), PASSWORD)
    _once("seed", lambda: run(*seed, OS_CLIENT_CONFIG_FILE=str(CLOUDS)))


def _set_up_keystone() -> None:
    manage = [VENV / "bin/keystone-manage", "--config-file", ETC / "keystone/keystone.conf"]
    for folder in ("fernet-keys", "credential-keys"):
        (ETC / "keystone" / folder).mkdir(mode=0o700, exist_ok=True)
    run(*manage, "db_sync")
    owner = ["--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid())]
    run(*manage, "fernet_setup", *owner)
    run(*manage, "credential_setup", *owner)
    addresses = [
        part for kind in ("admin", "internal", "public") for part in (f"--bootstrap-{kind}-url", url("keystone", "/v3"))
    ]
    run(*manage, "bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", "RegionOne", *addresses)


def _set_up_nova() -> None:
    manage = [VENV / "bin" / "nova-manage", *NOVA_CONF, *NOVA_DB]
    cell0 = f"mysql+pymysql://openstack:{PASSWORD}@127.0.0.1:{PORTS['mariadb']}/nova_cell0"
    _once("nova-api-db", lambda: run(*manage, "api_db", "sync"))
    _once("nova-cell0", lambda: run(*manage, "cell_v2", "map_cell0", "--database_connection", cell0))
    _once("nova-cell1", lambda: run(*manage, "cell_v2", "create_cell", "--name", "cell1"))
    _once("nova-db", lambda: run(*manage, "db", "sync"))


def _set_up_others() -> None:
    bin_ = VENV / "bin"
    placement = [bin_ / "placement-manage", "--config-file", ETC / "placement/placement.conf", "db", "sync"]
    glance = [bin_ / "glance-manage", "--config-file", ETC / "glance/glance-api.conf", "db_sync"]
    _once("placement", lambda: run(*placement))
    _once("glance", lambda: run(*glance))
    _once("gnocchi", lambda: run(bin_ / "gnocchi-upgrade", *GNOCCHI_CONF))


def _start_http_services() -> None:
    for daemon in ("nova-conductor", "nova-scheduler"):
        spawn(daemon, [VENV / "bin" / daemon, *NOVA_CONF, *NOVA_DB])
    _wsgi("placement", "placement.wsgi.api:application", OS_PLACEMENT_CONFIG_DIR=str(ETC / "placement"))
    _wsgi("glance", "glance.wsgi.api:application", OS_GLANCE_CONFIG_DIR=str(ETC / "glance"))
    _wsgi(
        "nova",
        "nova.wsgi.osapi_compute:application",
        pyargv="--log-file nova-api.log",
        OS_NOVA_CONFIG_DIR=str(ETC / "nova"),
        # The first of the files must be the paste file.
        OS_NOVA_CONFIG_FILES=f"{VENV}/etc/nova/api-paste.ini;nova.conf;nova-db.conf",
    )
    _wsgi("gnocchi", "gnocchi.wsgi.api:application", threads=4, pyargv=" ".join(map(str, GNOCCHI_CONF)))
    stub = [VENV / "bin/python", HERE / "neutron_stub.py", PORTS["neutron"]]
    spawn("neutron", stub, port=PORTS["neutron"])
    for service in ("placement", "glance", "nova", "gnocchi", "neutron"):
        wait_http(service)
    spawn("gnocchi-metricd", [VENV / "bin/gnocchi-metricd", *GNOCCHI_CONF])


# ---- computes


def _start_computes(computes: int) -> None:
    for host in hosts(computes):
        command = [VENV / "bin/python", HERE / "compute.py", *NOVA_CONF, "--config-file", ETC / "nova" / f"{host}.conf"]
        spawn(f"nova-compute-{host}", command, {"TESTBED_SIM": ETC / "sim.json"})
    _wait_computes(hosts(computes))


def compute_services() -> dict[str, list]:
    """Host name -> [state, status, whether its hypervisor is mapped]; empty when Nova does not answer."""
    code = (
        "import json, openstack\n"
        "c = openstack.connect(cloud='testbed').compute\n"
        "mapped = {h.name for h in c.hypervisors()}\n"
        "print(json.dumps({s.host: [s.state, s.status, s.host in mapped] for s in c.services(binary='nova-compute')}))"
    )
    done = subprocess.run(
        [VENV / "bin/python", "-W", "ignore", "-c", code],
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(CLOUDS)},
    )
    return json.loads(done.stdout) if done.returncode == 0 else {}


def _wait_computes(wanted: list[str], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    seen: dict[str, list] = {}
    while time.monotonic() < deadline:
        ended = [name for name in names() if not recorded(name)]
        if ended:
            sys.exit(f"ended early: {', '.join(ended)}; see {LOG}, then start again")
        seen = compute_services()
        if all(seen.get(host, [None])[0] == "up" for host in wanted):
            if all(seen[host][2] for host in wanted):
                return
            run(VENV / "bin/nova-manage", *NOVA_CONF, *NOVA_DB, "cell_v2", "discover_hosts")
        time.sleep(1)
    sys.exit(f"not every compute service came up within {seconds:.0f} s: {seen}; see {LOG}")
