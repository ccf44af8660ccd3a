"""A synthetic cloud over HTTP on loopback: the requests a reader of OpenStack makes, with pages and microversions."""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from benchmarks.synthetic_cloud import FLAVORS, IMAGES, Guest, SyntheticCloud, Transfer

PASSWORD = "secret"
SERVICES = ("identity", "compute", "placement", "image", "metric")

Query = dict[str, str]


class Refusal(Exception):
    """The answer is an error: an HTTP status and its body."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(status)
        self.status, self.body = status, body


class SyntheticServer:
    """Serves one cloud; ``requests`` counts what was asked, ``before`` is called before each answer.

    ``services`` is the catalog, ``page`` the most rows of a list, ``nova`` and ``placement`` the newest
    microversions, ``role`` what the user may do, ``dated`` whether answers carry a Date.
    """

    def __init__(
        self,
        cloud: SyntheticCloud,
        *,
        services: tuple[str, ...] = SERVICES,
        page: int = 1000,
        nova: str = "2.100",
        placement: str = "1.39",
        role: str = "admin",
        dated: bool = True,
    ) -> None:
        self.cloud, self.services, self.page, self.role, self.dated = cloud, services, page, role, dated
        self.newest = {"compute": nova, "placement": placement}
        self.requests: Counter[str] = Counter()
        self.before: Callable[[str, Query], None] = lambda path, query: None
        self.refusals: dict[str, Refusal] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    @contextmanager
    def running(self) -> Iterator["SyntheticServer"]:
        """Answer requests in threads until the block ends."""
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            thread.join()
            self._http.server_close()

    def clouds_yaml(self, password: str = PASSWORD) -> str:
        """A clouds.yaml (as JSON, which is YAML) with this cloud as ``synthetic``."""
        auth = {
            "auth_url": f"{self.url}/identity/v3",
            "username": "admin",
            "password": password,
            "project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }
        return json.dumps({"clouds": {"synthetic": {"auth": auth, "region_name": "RegionOne"}}})

    def answer(self, method: str, target: str, version: str, body: Any) -> Any:
        """Return the body of an answer, or raise Refusal."""
        parts = urlsplit(target)
        query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.before(parts.path, query)
        with self.cloud.lock:
            self.requests[re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", f"{method} {parts.path}")] += 1
            for pattern, refusal in self.refusals.items():
                if re.fullmatch(pattern, parts.path):
                    raise refusal
            for verb, pattern, route in _ROUTES:
                if verb == method and (match := re.fullmatch(pattern, parts.path)):
                    return route(self, _Asked(match.groups(), query, _version(version), body))
        raise Refusal(404, {"error": {"message": f"no route for {method} {parts.path}", "code": 404}})

    def admin_only(self) -> None:
        """What Nova's default policies let only an administrator do."""
        if self.role != "admin":
            raise Refusal(403, {"forbidden": {"message": "Policy doesn't allow this to be performed.", "code": 403}})


class _Asked:
    def __init__(self, groups: tuple[str, ...], query: Query, version: tuple[int, int], body: Any) -> None:
        self.groups, self.query, self.version, self.body = groups, query, version, body


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.rpartition(" ")[2].partition(".")
    return (int(major), int(minor)) if minor else (0, 0)


def _handler(server: SyntheticServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._do("GET")

        def do_POST(self) -> None:
            self._do("POST")

        def _do(self, method: str) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            sent = json.loads(self.rfile.read(size)) if size else None
            headers = {}
            try:
                version = self.headers.get("OpenStack-API-Version") or ""
                body, status = server.answer(method, self.path, version, sent), 200
                if isinstance(body, tuple):
                    headers, body, status = {"X-Subject-Token": "token"}, body[0], 201
            except Refusal as refusal:
                body, status = refusal.body, refusal.status
            text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response_only(status)
            if server.dated:
                self.send_header("Date", formatdate(usegmt=True))
            for name, value in {**headers, "Content-Type": "application/json", "Content-Length": len(text)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(text)
            self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


# ---- Keystone and the services' version documents


def _identity(server: SyntheticServer, asked: _Asked) -> Any:
    links = [{"rel": "self", "href": f"{server.url}/identity/v3/"}]
    return {"version": {"id": "v3.14", "status": "stable", "links": links, "updated": "2020-04-07T00:00:00Z"}}


def _token(server: SyntheticServer, asked: _Asked) -> Any:
    if asked.body["auth"]["identity"]["password"]["user"]["password"] != PASSWORD:
        raise Refusal(401, {"error": {"message": "The request you have made requires authentication.", "code": 401}})
    urls = {"compute": "/compute/v2.1", "identity": "/identity/v3"}
    catalog = [
        {
            "type": one,
            "name": one,
            "id": one,
            "endpoints": [
                {
                    "id": one,
                    "interface": "public",
                    "region": "RegionOne",
                    "region_id": "RegionOne",
                    "url": server.url + urls.get(one, f"/{one}"),
                }
            ],
        }
        for one in server.services
    ]
    token = {
        "methods": ["password"],
        "expires_at": "2100-01-01T00:00:00.000000Z",
        "issued_at": "2020-01-01T00:00:00.000000Z",
        "user": {"id": "u", "name": "admin", "domain": {"id": "default", "name": "Default"}},
        "project": {"id": "p", "name": "admin", "domain": {"id": "default", "name": "Default"}},
        "roles": [{"id": "r", "name": server.role}],
        "catalog": catalog,
    }
    return ({"token": token},)


def _compute(server: SyntheticServer, asked: _Asked) -> Any:
    links = [{"rel": "self", "href": f"{server.url}/compute/v2.1/"}]
    version = {"id": "v2.1", "status": "CURRENT", "version": server.newest["compute"], "min_version": "2.1"}
    return {"version": {**version, "links": links}}


def _placement(server: SyntheticServer, asked: _Asked) -> Any:
    version = {"id": "v1.0", "status": "CURRENT", "max_version": server.newest["placement"], "min_version": "1.0"}
    return {"versions": [{**version, "links": [{"rel": "self", "href": ""}]}]}


# ---- Nova


def _page(server: SyntheticServer, asked: _Asked, key: str, path: str, rows: list[Any], ids: list[str]) -> Any:
    """Cut one page out of a list, after the marker, with the link to the next one."""
    begin = 0
    if "marker" in asked.query:
        if asked.query["marker"] not in ids:
            message = f"marker [{asked.query['marker']}] not found"
            raise Refusal(400, {"badRequest": {"message": message, "code": 400}})
        begin = ids.index(asked.query["marker"]) + 1
    size = min(server.page, int(asked.query.get("limit", server.page)))
    end = begin + size
    body: dict[str, Any] = {key: rows[begin:end]}
    if end < len(rows):
        query = urlencode({**asked.query, "marker": ids[end - 1]})
        # A link that leads nowhere from here, as behind a proxy.
        body[f"{key}_links"] = [{"rel": "next", "href": f"http://192.0.2.1{path}?{query}"}]
    return body


def _services(server: SyntheticServer, asked: _Asked) -> Any:
    server.admin_only()
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000000")
    nodes = [one for one in server.cloud.nodes.values() if asked.query.get("host", one.name) == one.name]
    rows = [
        {
            "binary": "nova-compute",
            "host": one.name,
            "id": one.id,
            "zone": one.zone,
            "status": "enabled" if one.enabled else "disabled",
            "state": "up" if one.up else "down",
            "updated_at": now,
            "disabled_reason": one.disabled_reason,
            "forced_down": one.forced_down,
        }
        for one in nodes
    ]
    return {"services": rows}


def _hypervisors(server: SyntheticServer, asked: _Asked) -> Any:
    nodes = list(server.cloud.nodes.values())
    rows = [
        {
            "id": one.id,
            "hypervisor_hostname": f"{one.name}.example",
            "hypervisor_type": one.kind,
            "hypervisor_version": one.version,
            "state": "up",
            "status": "enabled",
            "service": {"id": one.id, "host": one.name, "disabled_reason": None},
        }
        for one in nodes
    ]
    return _page(server, asked, "hypervisors", "/os-hypervisors/detail", rows, [one.id for one in nodes])


def _aggregates(server: SyntheticServer, asked: _Asked) -> Any:
    rows = [
        {
            "id": int(one.id),
            "name": one.name,
            "availability_zone": one.zone,
            "metadata": one.metadata,
            "hosts": [node.name for node in server.cloud.nodes.values() if one.id in node.aggregates],
        }
        for one in server.cloud.aggregates
    ]
    return {"aggregates": rows}


def _groups(server: SyntheticServer, asked: _Asked) -> Any:
    offset, limit = int(asked.query.get("offset", 0)), min(server.page, int(asked.query.get("limit", server.page)))
    rows = []
    for one in server.cloud.groups[offset : offset + limit]:
        policy: dict[str, Any] = {"policy": one.policy, "rules": one.rules}
        if asked.version < (2, 64):
            policy = {"policies": [one.policy], "metadata": {}}
        rows.append({"id": one.id, "name": one.name, "members": one.members, "project_id": one.project, **policy})
    return {"server_groups": rows}


def _migrations(server: SyntheticServer, asked: _Asked) -> Any:
    found = [one for one in server.cloud.transfers.values() if asked.query.get("status", one.status) == one.status]
    rows = [_migration(one, asked.version) for one in found]
    if asked.version < (2, 59):
        return {"migrations": rows}
    return _page(server, asked, "migrations", "/os-migrations", rows, [one.uuid for one in found])


def _migration(one: Transfer, version: tuple[int, int]) -> dict[str, Any]:
    row = {
        "id": one.number,
        "instance_uuid": one.server,
        "source_compute": one.source,
        "dest_compute": one.destination,
        "migration_type": one.kind,
        "status": one.status,
        "created_at": one.created,
    }
    return row if version < (2, 59) else {**row, "uuid": one.uuid}


def _servers(server: SyntheticServer, asked: _Asked) -> Any:
    server.admin_only()
    found = [one for one in server.cloud.guests.values() if _matches(one, asked.query)]
    found.reverse()  # newest first, as Nova does
    ids = [one.id for one in found]
    body = _page(server, asked, "servers", "/servers/detail", found, ids)
    body["servers"] = [_server(one, asked.version) for one in body["servers"]]
    return body


def _matches(one: Guest, query: Query) -> bool:
    if "changes-since" in query:
        return int(one.updated) >= datetime.fromisoformat(query["changes-since"]).timestamp()
    return not one.deleted and query.get("host", one.host) == one.host


def _show(server: SyntheticServer, asked: _Asked) -> Any:
    one = server.cloud.guests.get(asked.groups[0])
    if one is None or one.deleted:
        raise Refusal(404, {"itemNotFound": {"message": f"Instance {asked.groups[0]} could not be found."}})
    return {"server": _server(one, asked.version)}


def _server(one: Guest, version: tuple[int, int]) -> dict[str, Any]:
    flavor = FLAVORS[one.flavor]
    image: Any = {"id": one.image, "links": []} if one.image else ""
    if one.image and version >= (2, 98):
        image["properties"] = IMAGES[one.image]
    row = {
        "id": one.id,
        "name": one.name,
        "status": one.status,
        "tenant_id": one.project,
        "OS-EXT-SRV-ATTR:host": one.host,
        "OS-EXT-SRV-ATTR:hypervisor_hostname": f"{one.host}.example" if one.host else None,
        "OS-EXT-STS:task_state": one.task_state,
        "OS-EXT-STS:vm_state": "active",
        "locked": one.locked,
        "tags": one.tags,
        "metadata": one.metadata,
        "image": image,
        "flavor": {
            "original_name": flavor.name,
            "vcpus": flavor.vcpus,
            "ram": flavor.memory_mb,
            "disk": flavor.disk_gb,
            "ephemeral": flavor.ephemeral_gb,
            "swap": flavor.swap_mb,
            "extra_specs": flavor.extra_specs,
        },
    }
    return row if version < (2, 96) else {**row, "pinned_availability_zone": one.pinned_zone}


# ---- Placement


def _providers(server: SyntheticServer, asked: _Asked) -> Any:
    root = asked.query.get("in_tree")
    return {
        "resource_providers": [
            {"uuid": one.id, "name": one.name, "generation": one.generation, "root_provider_uuid": one.root}
            for one in server.cloud.providers.values()
            if root in (None, one.root)
        ]
    }


def _provider_part(server: SyntheticServer, asked: _Asked) -> Any:
    one = server.cloud.providers.get(asked.groups[0])
    if one is None:
        raise Refusal(404, {"errors": [{"status": 404, "title": "Not Found", "detail": "No resource provider"}]})
    parts: dict[str, Any] = {
        "inventories": {
            name: {
                "total": amount.total,
                "reserved": amount.reserved,
                "min_unit": 1,
                "max_unit": amount.max_unit,
                "step_size": 1,
                "allocation_ratio": amount.allocation_ratio,
            }
            for name, amount in one.inventory.items()
        },
        "allocations": {consumer: {"resources": dict(held)} for consumer, held in one.allocations.items()},
        "traits": one.traits,
    }
    return {asked.groups[1]: parts[asked.groups[1]], "resource_provider_generation": one.generation}


# ---- Glance and Gnocchi


def _images(server: SyntheticServer, asked: _Asked) -> Any:
    ids = sorted(IMAGES)
    begin = ids.index(asked.query["marker"]) + 1 if "marker" in asked.query else 0
    end = begin + min(server.page, int(asked.query.get("limit", server.page)))
    rows = [{"id": one, "name": one, "status": "active", **IMAGES[one]} for one in ids[begin:end]]
    body: dict[str, Any] = {"images": rows}
    if end < len(ids):
        body["next"] = f"/v2/images?marker={ids[end - 1]}"
    return body


def _measures(server: SyntheticServer, asked: _Asked) -> Any:
    if asked.body["resource_type"] != "instance":
        detail = {"cause": "Resource type does not exist", "detail": asked.body["resource_type"]}
        raise Refusal(400, {"code": 400, "title": "Bad Request", "description": detail})
    metric, aggregation = asked.body["operations"][1]
    found = {
        server_id: {metric: {aggregation: points[metric]}}
        for server_id, points in server.cloud.measures.items()
        if metric in points
    }
    if not found:
        raise Refusal(404, {"code": 404, "title": "Not Found", "description": f"Metric ['{metric}'] does not exist"})
    return {"measures": found}


_ID = r"([0-9a-f-]{36})"
_ROUTES: tuple[tuple[str, str, Callable[[SyntheticServer, _Asked], Any]], ...] = (
    ("GET", r"/identity/v3/?", _identity),
    ("POST", r"/identity/v3/auth/tokens", _token),
    ("GET", r"/compute/v2\.1/?", _compute),
    ("GET", r"/compute/v2\.1/os-services", _services),
    ("GET", r"/compute/v2\.1/os-hypervisors/detail", _hypervisors),
    ("GET", r"/compute/v2\.1/os-aggregates", _aggregates),
    ("GET", r"/compute/v2\.1/os-server-groups", _groups),
    ("GET", r"/compute/v2\.1/os-migrations", _migrations),
    ("GET", r"/compute/v2\.1/servers/detail", _servers),
    ("GET", rf"/compute/v2\.1/servers/{_ID}", _show),
    ("GET", r"/placement/?", _placement),
    ("GET", r"/placement/resource_providers", _providers),
    ("GET", rf"/placement/resource_providers/{_ID}/(inventories|allocations|traits)", _provider_part),
    ("GET", r"/image/v2/images", _images),
    ("POST", r"/metric/v1/aggregates", _measures),
)
