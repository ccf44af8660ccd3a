"""Every way in which a cloud can be out of reach ends in one sentence that says what would be right."""

import socket
from collections.abc import Callable

import pytest
from openstack.connection import Connection

from benchmarks.synthetic_cloud import SyntheticCloud
from benchmarks.synthetic_http import Refusal, SyntheticServer
from datasources.connection import POOL_SIZE, RETRIES, TIMEOUT_S, cloud_name, connect
from datasources.errors import AccessDenied, CloudConfigError, CloudError, ServiceMissing, UnexpectedAnswer, Unreachable
from datasources.inventory import CONCURRENCY, read_cluster
from optimizer.errors import PlacewrightError

Serve = Callable[..., tuple[SyntheticServer, Connection]]

AUTH = "auth_url: {url}, username: admin, password: secret, project_name: admin"
DOMAINS = "user_domain_name: Default, project_domain_name: Default"
ENTRY = f"clouds: {{here: {{auth: {{{AUTH}, {DOMAINS}}}}}}}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("text", "cloud", "error", "said"),
    [
        (ENTRY, "there", CloudConfigError, ["'there'", "known clouds: here"]),
        ("", "there", CloudConfigError, ["'there'", "no clouds.yaml"]),
        ("", None, CloudConfigError, ["No cloud is chosen", "OS_CLOUD", "OS_AUTH_URL"]),
        ("clouds: {here: {auth: {username: a}}}", "here", CloudConfigError, ["here", "auth_url"]),
        ("clouds: [1, 2", None, CloudConfigError, ["No cloud is chosen", "Skipping config file", "expected"]),
        ("clouds: 7", "here", CloudConfigError, ["clouds.yaml"]),
        ("clouds: {here: {auth_type: magic, auth: {auth_url: 'http://h'}}}", "here", CloudConfigError, ["magic"]),
    ],
)
def test_bad_configuration(
    clouds_yaml: Callable[[str], None], text: str, cloud: str | None, error: type[CloudError], said: list[str]
) -> None:
    clouds_yaml(text)
    with pytest.raises(error) as caught:
        connect(cloud)
    assert isinstance(caught.value, PlacewrightError)
    assert all(part in str(caught.value) for part in said), str(caught.value)


def test_wrong_password(serve: Serve) -> None:
    with pytest.raises(AccessDenied, match=r"refused the credentials of user 'admin' in project 'admin' at http://127.*401.*password"):
        serve(SyntheticCloud(1, 1), password="wrong")


def test_unreachable_keystone_names_its_url(clouds_yaml: Callable[[str], None]) -> None:
    url = f"http://127.0.0.1:{free_port()}/v3"
    clouds_yaml(ENTRY.replace("{url}", url))
    with pytest.raises(Unreachable, match=url):
        connect("here")


def test_something_else_answers_there(clouds_yaml: Callable[[str], None]) -> None:
    server = SyntheticServer(SyntheticCloud(1, 1))
    with server.running():
        clouds_yaml(ENTRY.replace("{url}", f"{server.url}/no/keystone"))
        with pytest.raises(CloudError, match="/no/keystone"):
            connect("here")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"services": ("identity", "placement")}, ServiceMissing, ["no nova", "region_name"]),
        ({"services": ("identity", "compute")}, ServiceMissing, ["no placement", "region_name"]),
        ({"role": "member"}, AccessDenied, ["nova", "403", "admin role"]),
        ({"nova": "2.52"}, ServiceMissing, ["2.52", "2.53"]),
        ({"placement": "1.10"}, ServiceMissing, ["1.10", "1.14"]),
    ],
)
def test_clouds_that_cannot_be_read(
    serve: Serve,
    options: dict[str, object],
    error: type[CloudError],
    said: list[str],
) -> None:
    _, connection = serve(SyntheticCloud(2, 4), **options)
    with pytest.raises(error) as caught:
        read_cluster(connection)
    assert all(part in str(caught.value) for part in said), str(caught.value)


@pytest.mark.parametrize(
    ("path", "refusal", "error", "said"),
    [
        (".*/os-services", Refusal(500, {"computeFault": {"message": "boom"}}), UnexpectedAnswer, "500.*boom"),
        (".*/os-aggregates", Refusal(403, {"forbidden": {"message": "no", "code": 403}}), AccessDenied, "403.*admin"),
        (".*/os-hypervisors/detail", Refusal(200, "<html>a proxy</html>"), UnexpectedAnswer, "os-hypervisors"),
        (".*/os-hypervisors/detail", Refusal(200, {"hypervisors": [{"id": 1}]}), UnexpectedAnswer, "hypervisors"),
        (".*/allocations", Refusal(200, []), UnexpectedAnswer, "holdings"),
        (".*/os-server-groups", Refusal(404, "gone"), UnexpectedAnswer, "os-server-groups.*404"),
        (".*/traits", Refusal(409, {"errors": []}), UnexpectedAnswer, "traits.*409"),
        ("/compute/v2.1/?", Refusal(404, "nothing here"), CloudError, "compute"),
    ],
)
def test_answers_outside_the_api(
    serve: Serve,
    path: str,
    refusal: Refusal,
    error: type[CloudError],
    said: str,
) -> None:
    server, connection = serve(SyntheticCloud(2, 4))
    server.refusals[path] = refusal
    with pytest.raises(error, match=said):
        read_cluster(connection)


def test_a_service_that_is_down_is_named_with_its_url(serve: Serve) -> None:
    _, connection = serve(SyntheticCloud(2, 4))
    connection.config.config["compute_endpoint_override"] = url = f"http://127.0.0.1:{free_port()}/v2.1"
    with pytest.raises(Unreachable, match=f"nova at {url}"):
        read_cluster(connection)


def test_timeouts_and_retries_are_set_unless_the_operator_did(serve: Serve, clouds_yaml: Callable[[str], None]) -> None:
    server, connection = serve(SyntheticCloud(1, 1))
    assert connection.session.timeout == TIMEOUT_S
    assert connection.config.get_connect_retries("compute") == RETRIES
    clouds_yaml(server.clouds_yaml().replace('"region_name"', '"api_timeout": 7, "region_name"'))
    assert connect("synthetic").session.timeout == 7


def test_no_thread_waits_for_a_connection() -> None:
    assert POOL_SIZE >= CONCURRENCY


def test_the_name_of_a_cloud_stays(serve: Serve) -> None:
    server, connection = serve(SyntheticCloud(1, 1))
    assert cloud_name(connection) == f"RegionOne@{server.url.removeprefix('http://')}"
