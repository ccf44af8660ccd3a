"""JSON over HTTP with the manners that every remote source of rules needs: time-outs, retries, a limit on size, TLS that is verified."""

import asyncio
import json
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import aiohttp
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from policy_sources.base import PolicyError, PolicyUnavailable

_RETRIED = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """``timeout_s`` is for one attempt as a whole; ``ca_file`` is a bundle to trust instead of the system's."""

    timeout_s: float = 60.0
    attempts: int = 3
    max_mb: float = 256.0
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered."""

    status: int
    body: Any
    headers: Mapping[str, str]


class JsonService:
    """One service that speaks JSON. Neither its token nor the user part of its address is ever shown."""

    def __init__(self, source: str, url: str, settings: HttpSettings, headers: Callable[[], Mapping[str, str]] = dict) -> None:
        """``source`` names it in messages; ``headers`` gives those that prove who we are, anew when the service says 401."""
        self.source, self.settings, self._headers, self._url = source, settings, headers, url.rstrip("/")
        self.url = re.sub(r"//[^/@]*@", "//", self._url)

    def ask(self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None, accept: frozenset[int] = frozenset()) -> Answer:
        """One request; answers of another status than 200 to 299 or those in ``accept`` are errors.

        ``body`` is data, or JSON that is ready to be sent.
        Raises PolicyUnavailable when the service cannot be reached, is too slow or says that it cannot answer now, PolicyError for what it
        refuses, for an answer that is not JSON and for one that is too large.
        """
        return asyncio.run(self._ask(method, path, body, params, accept))

    async def _ask(self, method: str, path: str, body: Any, params: Mapping[str, str] | None, accept: frozenset[int]) -> Answer:
        timeout = aiohttp.ClientTimeout(total=self.settings.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=self._tls)) as session:
            async for attempt in AsyncRetrying(retry=retry_if_exception_type(_Transient), stop=stop_after_attempt(self.settings.attempts),
                                               wait=wait_random_exponential(0.2, 5.0), reraise=True):
                with attempt:
                    answer = await self._once(session, method, path, body, params, accept)
                    if answer.status == 401:  # a token may have run out
                        answer = await self._once(session, method, path, body, params, accept)
        if not 200 <= answer.status < 300 and answer.status not in accept:
            raise PolicyError(self.source, [f"{method} {self.url}{path} answers {answer.status}: {reason(answer.body)}"])
        return answer

    async def _once(self, session: aiohttp.ClientSession, method: str, path: str, body: Any, params: Mapping[str, str] | None,
                    accept: frozenset[int]) -> Answer:
        where = f"{method} {self.url}{path}"
        try:
            ready = aiohttp.BytesPayload(body, content_type="application/json") if isinstance(body, bytes) else None
            async with session.request(method, self._url + path, data=ready, json=body if ready is None else None, params=params,
                                       headers=dict(self._headers()), allow_redirects=False) as reply:  # a token is for one host
                raw = await self._content(reply, where)
                if reply.status in _RETRIED - accept:
                    raise _Transient(self.source, [f"{where} answers {reply.status}: {reason(self._json(raw, where, reply.status))}"])
                return Answer(reply.status, self._json(raw, where, reply.status), dict(reply.headers))
        except TimeoutError:
            raise _Transient(self.source, [f"{where} did not answer within {self.settings.timeout_s:g} s"]) from None
        except aiohttp.InvalidURL:
            raise PolicyError(self.source, [f"{self.url!r} is not an address; need http://HOST[:PORT] or https://HOST[:PORT]"]) from None
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise PolicyError(self.source, [f"{where}: the certificate is not trusted: {error}"]) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _Transient(self.source, [f"{where} cannot be reached: {error or type(error).__name__}"]) from None

    async def _content(self, reply: aiohttp.ClientResponse, where: str) -> bytes:
        most = int(self.settings.max_mb * 2**20)
        parts, size = [], 0
        async for part in reply.content.iter_chunked(2**18):
            size += len(part)
            if size > most:
                raise PolicyError(self.source, [f"{where}: the answer is larger than {self.settings.max_mb:g} MB"])
            parts.append(part)
        return b"".join(parts)

    def _json(self, raw: bytes, where: str, status: int) -> Any:
        if not raw:
            return None
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            if not 200 <= status < 300:
                return _text(raw)
            raise PolicyError(self.source, [f"{where}: the answer is not JSON: {_text(raw)!r}"]) from None

    @cached_property
    def _tls(self) -> ssl.SSLContext | bool:
        """Made once, and only for https: reading the system's bundle takes longer than most answers."""
        if not self.url.startswith("https:"):
            return True
        try:
            return ssl.create_default_context(cafile=self.settings.ca_file)
        except OSError as error:
            raise PolicyError(self.source, [f"CA file {self.settings.ca_file} cannot be used: {error}"]) from None


class _Transient(PolicyUnavailable):
    """What another attempt may mend."""


def _text(raw: bytes) -> str:
    return raw[:200].decode("utf-8", "replace").strip()


def reason(body: Any) -> str:
    """What a service says of its refusal: OpenStack and OPA both put it under ``message``."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if isinstance(inner, Mapping) and "message" in inner:
            return str(inner["message"])[:500]
    return str(body)[:200] if body else "no reason given"
