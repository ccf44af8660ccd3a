"""The way into a cloud: one authenticated connection, and one service of it with its errors in plain words."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import openstack
import requests
from keystoneauth1 import exceptions as keystone
from keystoneauth1.adapter import Adapter
from keystoneauth1.session import TCPKeepAliveAdapter
from openstack.config import OpenStackConfig
from openstack.connection import Connection
from openstack.exceptions import ConfigException

from datasources.errors import AccessDenied, CloudConfigError, CloudError, ServiceMissing, UnexpectedAnswer, Unreachable

Version = tuple[int, int]
Asked = ParamSpec("Asked")
Found = TypeVar("Found")

TIMEOUT_S = 60.0
"""How long one request may take; clouds.yaml's ``api_timeout`` overrides it."""
RETRIES = 2
"""How often a request is sent again when the connection fails; clouds.yaml's ``connect_retries`` overrides it."""
POOL_SIZE = 32
"""Connections kept open to one service: not fewer than the readers' threads, or each request opens its own."""

_RETRIABLE = [502, 503, 504]
# What openstacksdk calls the clouds that it makes up: when nothing is configured, and from OS_* variables.
_NOT_CLOUDS = ("defaults", "envvars")


def connect(cloud: str | None = None) -> Connection:
    """Return an authenticated connection to a cloud of clouds.yaml, or to the one that OS_CLOUD or OS_* name.

    Nothing but a token is asked for. Raises CloudConfigError, AccessDenied or Unreachable.
    """
    region = _region(cloud)
    for key, value in (("api_timeout", TIMEOUT_S), ("connect_retries", RETRIES)):
        if region.config.get(key) is None:
            region.config[key] = value
    url = region.config.get("auth", {}).get("auth_url", "no address")
    with plain_errors("keystone", url, _who(region.config.get("auth", {}))):
        connection = openstack.connection.Connection(config=region)
        session = connection.session
        for scheme in ("http://", "https://"):
            session.session.mount(scheme, TCPKeepAliveAdapter(pool_connections=POOL_SIZE, pool_maxsize=POOL_SIZE))
        # keystoneauth logs every failed attempt; what the operator has to know is in our errors.
        logging.getLogger("keystoneauth").setLevel(logging.CRITICAL)
        session.get_auth_headers()
    return connection


def _region(cloud: str | None) -> Any:
    skipped = _Skipped()
    logger = logging.getLogger("openstack.config")
    logger.addHandler(skipped)
    try:
        config = OpenStackConfig()
        known = [name for name in config.get_cloud_names() if name not in _NOT_CLOUDS]
    # A file of an unexpected shape fails in openstacksdk with whatever its first wrong step raises.
    except (ConfigException, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise CloudConfigError(f"clouds.yaml cannot be read: {error}") from error
    finally:
        logger.removeHandler(skipped)
    hint = f"known clouds: {', '.join(sorted(known))}" if known else "no clouds.yaml with clouds in it was found"
    hint = "; ".join([hint, *skipped.texts])
    try:
        return config.get_one(cloud=cloud)
    except keystone.MissingRequiredOptions as error:
        missing = ", ".join(option.dest for option in error.options)
        if cloud is None and "auth_url" in missing:
            raise CloudConfigError(
                f"No cloud is chosen: name one, or set OS_CLOUD, or OS_AUTH_URL and the other OS_* variables ({hint})."
            ) from error
        raise CloudConfigError(f"The configuration of {cloud or 'the cloud'} lacks {missing}.") from error
    except (ConfigException, keystone.ClientException, AttributeError, TypeError, ValueError) as error:
        if cloud is not None and cloud not in known:
            raise CloudConfigError(f"There is no cloud {cloud!r} in clouds.yaml; {hint}.") from error
        raise CloudConfigError(f"The configuration of {cloud or 'the cloud'} is wrong: {error} ({hint})") from error


class _Skipped(logging.Handler):
    """Catches what openstacksdk only logs: that it passes over a file that is not YAML."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message on one line."""
        self.texts.append(" ".join(record.getMessage().split()))


def _who(auth: Mapping[str, Any]) -> str:
    """Whose credentials these are, in words and without the secret."""
    user, project = auth.get("username") or auth.get("user_id"), auth.get("project_name") or auth.get("project_id")
    return f" of user {user!r} in project {project!r}" if user or project else ""


@contextmanager
def plain_errors(service: str, url: str, who: str = "") -> Iterator[None]:
    """Turn what keystoneauth raises inside the block into errors an operator can act on; ``who`` tells whose credentials."""
    try:
        yield
    except CloudError:
        raise
    except keystone.Unauthorized as error:
        raise AccessDenied(
            f"Keystone refused the credentials{who} at {url} (HTTP 401): user, password, project or domain is wrong."
        ) from error
    except keystone.Forbidden as error:
        raise AccessDenied(
            f"{service} at {url} refused this (HTTP 403): {_said(error)}. Reading a whole cloud needs the admin role."
        ) from error
    except keystone.EndpointNotFound as error:
        raise ServiceMissing(
            f"The service catalog that {url} gave has no {service} endpoint in this region and interface: "
            "register one, or choose another region_name or interface in clouds.yaml."
        ) from error
    except requests.exceptions.JSONDecodeError as error:
        raise UnexpectedAnswer(f"{service} at {url} answered something that is not JSON: {error}") from error
    except (keystone.ConnectTimeout, requests.exceptions.Timeout) as error:
        raise Unreachable(f"{service} at {url} did not answer in time.") from error
    except (keystone.SSLError, requests.exceptions.SSLError) as error:
        raise Unreachable(
            f"{service} at {url} has a certificate that cannot be verified; set cacert in clouds.yaml: {error}"
        ) from error
    except (keystone.ConnectionError, keystone.DiscoveryFailure, requests.exceptions.RequestException) as error:
        raise Unreachable(f"{service} at {url} cannot be reached: {_cause(error)}") from error
    except keystone.HttpError as error:
        raise UnexpectedAnswer(
            f"{service} at {url} answered HTTP {error.http_status}: {_said(error)}", error.http_status
        ) from error
    except (keystone.ClientException, ValueError) as error:
        raise UnexpectedAnswer(f"{service} at {url} answered something that is not its API: {error}") from error


def as_promised(read: Callable[Asked, Found]) -> Callable[Asked, Found]:
    """Make a reader of answers say plainly when one has not the fields that its API reference promises."""

    @wraps(read)
    def checked(*args: Asked.args, **kwargs: Asked.kwargs) -> Found:
        try:
            return read(*args, **kwargs)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            what = read.__name__.removeprefix("list_").removeprefix("read_").replace("_", " ")
            raise UnexpectedAnswer(
                f"The cloud's answer about {what} is not what its API promises ({type(error).__name__}: {error}). "
                "Is there a proxy in between, or a modified service?"
            ) from error

    return checked


def _said(error: keystone.HttpError) -> str:
    said = error.details or error.message
    # keystoneauth knows the error bodies of most services, but not Gnocchi's.
    if error.response is not None and "Unrecognized schema" in str(said):
        said = error.response.text
    return " ".join(str(said).split())[:400]


def _cause(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error)[:200]


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of an answer and the service's clock, in seconds since 1970, where it gave one."""

    body: Any
    date: float | None


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a cloud, spoken to in one microversion; safe to use from several threads."""

    name: str
    url: str
    version: Version
    adapter: Adapter

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> Any:
        """Return the JSON body of a GET."""
        return self.ask("GET", path, query).body

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Send one request and return its answer; raises the errors of ``plain_errors``.

        ``timeout_s`` is for a request that is known to take longer than the connection's own limit.
        """
        more = {"timeout": timeout_s} if timeout_s else {}
        with plain_errors(self.name, f"{self.url.rstrip('/')}{path}"):
            answer = self.adapter.request(
                path, method, params=dict(query or {}), json=body, headers={"Accept": "application/json"}, **more
            )
            return Answer(answer.json() if answer.content else None, _seconds(answer.headers.get("Date")))

    def speaks(self, version: Version) -> bool:
        """Whether the negotiated microversion is at least this one."""
        return self.version >= version


def _seconds(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None


def service(connection: Connection, service_type: str, name: str, *, least: Version, newest: Version) -> Service:
    """Find a service in the catalog and agree with it on a microversion.

    That is the newest one up to ``newest`` that both sides know. Raises ServiceMissing when there is no
    such service or when it does not reach ``least``; (0, 0) for both means a service without microversions.
    """
    config = connection.config
    adapter = Adapter(
        session=connection.session,
        service_type=service_type,
        interface=config.get_interface(service_type),
        region_name=config.get_region_name(service_type),
        endpoint_override=config.get_endpoint(service_type),
        connect_retries=config.get_connect_retries(service_type),
        status_code_retries=RETRIES,
        retriable_status_codes=_RETRIABLE,
        connect_retry_delay=0.5,
        status_code_retry_delay=0.5,
    )
    with plain_errors(name, str(config.config.get("auth", {}).get("auth_url", ""))):
        url = adapter.get_endpoint()
        if not url:
            raise keystone.EndpointNotFound(service_type)
    version = newest
    if newest != (0, 0):
        version = _agree(adapter, name, url, least=least, newest=newest)
        adapter.default_microversion = _text(version)
    # Else keystoneauth looks it up in the catalog again for each of thousands of requests.
    adapter.endpoint_override = url
    return Service(name, url, version, adapter)


def _agree(adapter: Adapter, name: str, url: str, *, least: Version, newest: Version) -> Version:
    with plain_errors(name, url):
        data = adapter.get_endpoint_data()
        if data is None or data.max_microversion is None:
            # Discovery swallows every failure; asking plainly shows which one it was.
            adapter.get(url, authenticated=False)
    if data is None or data.max_microversion is None:
        raise ServiceMissing(f"{name} at {url} offers no microversions; {_text(least)} or later is needed.")
    if data.max_microversion < least:
        raise ServiceMissing(
            f"{name} at {url} speaks microversions up to {_text(data.max_microversion)}; {_text(least)} is needed."
        )
    if data.min_microversion and data.min_microversion > newest:
        raise ServiceMissing(
            f"{name} at {url} begins with microversion {_text(data.min_microversion)}; "
            f"this release knows them up to {_text(newest)}."
        )
    return min(newest, (int(data.max_microversion[0]), int(data.max_microversion[1])))


def _text(version: tuple[float, ...]) -> str:
    return ".".join(map(str, version))


def cloud_name(connection: Connection) -> str:
    """A name for the cloud that stays the same from one reading to the next: region @ host of Keystone."""
    url = urlsplit(connection.config.config.get("auth", {}).get("auth_url") or "")
    return f"{connection.config.get_region_name('compute') or 'no region'}@{url.netloc or 'unknown'}"


def token_headers(connection: Connection) -> Mapping[str, str]:
    """What proves to another service of the cloud who we are; a token that runs out is renewed."""
    with plain_errors("keystone", str(connection.config.config.get("auth", {}).get("auth_url", ""))):
        return dict(connection.session.get_auth_headers() or {})
