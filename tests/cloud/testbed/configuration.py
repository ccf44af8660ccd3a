"""Configuration files of the services, written anew at every start."""

import json
import os
import shutil
import string
import uuid
from pathlib import Path

from layout import CLOUDS, DATA, ETC, HERE, LOG, PASSWORD, PORTS, RUN, VENV, url

DONE = DATA / "done"  # one empty file for each step of the first start
TEMPLATES = ("keystone", "placement", "nova", "gnocchi")
_AUTH = "\n".join(
    (
        "auth_type = password",
        f"auth_url = {url('keystone', '/v3')}",
        f"password = {PASSWORD}",
        "project_name = service",
        "user_domain_name = Default",
        "project_domain_name = Default",
        "region_name = RegionOne",
    )
)


def hosts(count: int) -> list[str]:
    """The names of the first compute hosts."""
    return [f"compute-{number}" for number in range(1, count + 1)]


def configure(computes: int) -> None:
    """Write every configuration file, clouds.yaml among them; an edited sim.json is kept."""
    for directory in (ETC, DATA, LOG, RUN, DONE, DATA / "rabbit", DATA / "gnocchi"):
        directory.mkdir(parents=True, exist_ok=True)
    for service in TEMPLATES:
        _render(f"{service}.conf", ETC / service / f"{service}.conf")
    _render("nova-db.conf", ETC / "nova" / "nova-db.conf")
    _render("glance-api.conf", ETC / "glance" / "glance-api.conf")
    _render("rabbitmq.conf", ETC / "rabbitmq.conf")
    _gnocchi_paste()
    if not (ETC / "sim.json").exists():
        shutil.copy(HERE / "conf" / "sim.json", ETC / "sim.json")
    for host in hosts(computes):
        (DATA / "nova" / host / "lock").mkdir(parents=True, exist_ok=True)
        # The UUID of the node and of its resource provider: the same in every testbed.
        (DATA / "nova" / host / "compute_id").write_text(str(uuid.uuid5(uuid.NAMESPACE_DNS, host)))
        _render("nova-compute.conf", ETC / "nova" / f"{host}.conf", host=host)
    _clouds_yaml()


def _render(template: str, target: Path, **more: str) -> None:
    values = {
        "etc": ETC,
        "data": DATA,
        "log": LOG,
        "venv": VENV,
        "password": PASSWORD,
        "service_auth": _AUTH,
        "keystone_authtoken": _AUTH.replace(
            "region_name = RegionOne",
            f"www_authenticate_uri = {url('keystone', '/v3')}\nmemcached_servers = 127.0.0.1:{PORTS['memcached']}",
        ),
        **{f"port_{name}": port for name, port in PORTS.items()},
        **more,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(string.Template((HERE / "conf" / template).read_text()).substitute(values))


def _gnocchi_paste() -> None:
    # The auth_token filter does not see gnocchi.conf unless the paste file names it.
    for paste in VENV.glob("lib/python3*/site-packages/gnocchi/rest/api-paste.ini"):
        filter_name = "keystonemiddleware#auth_token"
        text = paste.read_text().replace(filter_name, f"{filter_name}\noslo_config_file = {ETC}/gnocchi/gnocchi.conf")
        (ETC / "gnocchi" / "api-paste.ini").write_text(text)


def _clouds_yaml() -> None:
    auth = {
        "auth_url": url("keystone", "/v3"),
        "username": "admin",
        "password": PASSWORD,
        "project_name": "admin",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }
    cloud = {"auth": auth, "region_name": "RegionOne", "identity_api_version": 3}
    # JSON is YAML, so no YAML library is needed here. Replaced in one step: another process may read it.
    draft = CLOUDS.with_suffix(".new")
    draft.write_text(json.dumps({"clouds": {"testbed": cloud}}, indent=1) + "\n")
    os.replace(draft, CLOUDS)
