"""A proxy in front of Nova that does what networks, load balancers and busy services do to requests."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, web

SILENCE = "silence after"
"""The answer is held back until the other side gives up waiting; migrations meet this, and the first one surely does."""

KINDS = ("503 before", "502 after", "500 after", "429 before", "401 before", "409 before", "reset before", "reset after", SILENCE)
"""What is done instead of a plain answer; "after": Nova has done what it was asked for, and nobody hears of it."""

_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"})


@dataclass
class Faults:
    """A running proxy: ``share`` of the requests go wrong after the first migration was asked for; ``done`` counts what was done to which method."""

    target: str
    share: float
    chance: random.Random
    url: str = ""
    armed: bool = False
    done: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Faults so far."""
        return sum(self.done.values())

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, or do something else to it."""
        migration = request.method == "POST" and request.path.endswith("/action")
        first, self.armed = migration and not self.armed, self.armed or migration
        share = 0.5 if migration else self.share  # there are a hundred looks for each of them
        kind = SILENCE if first else self.chance.choice(KINDS) if self.armed and self.chance.random() < share else ""
        if kind in ("409 before", SILENCE) and not migration:
            kind = ""
        if kind:
            self.done[kind, request.method] += 1
        if kind == "reset before":
            return self._reset(request)
        if kind.endswith("before"):
            return web.json_response({"fault": {"message": f"injected {kind}"}}, status=int(kind[:3]))
        answer = await self._passed_on(request)
        if kind == SILENCE:
            while request.transport is not None:  # until the other side gives up
                await asyncio.sleep(0.1)
            return answer
        if kind == "reset after":
            return self._reset(request)
        return web.json_response({"fault": {"message": f"injected {kind}"}}, status=int(kind[:3])) if kind else answer

    async def _passed_on(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with ClientSession(auto_decompress=True) as session, session.request(
                request.method, f"{self.target}{request.path_qs}", headers=headers, data=await request.read() or None) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    @staticmethod
    def _reset(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


@contextmanager
def faults(target: str, share: float, seed: int) -> Iterator[Faults]:
    """A proxy in front of ``target`` (scheme, host and port) on loopback, for the time of the block."""
    proxy, ready, over = Faults(target, share, random.Random(seed)), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
