"""A fake model that speaks real HTTP: an OpenAI-compatible endpoint on 127.0.0.1 whose answers a function writes.

For tests, benchmarks and trying things out: every call is recorded and counted, and faults can be scripted (more of
them, ready made, in :mod:`engine.scripted_faults`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from udfs.conversation import Message

# Times of answers are kept for so long; nobody asks about longer ago.
_REMEMBERED_S = 60.0


@dataclass(frozen=True)
class Call:
    """One request as it arrived: its number (from 1), and its body."""

    number: int
    body: Mapping[str, Any]

    @property
    def messages(self) -> Sequence[Message]:
        """The chat messages."""
        found: Sequence[Message] = self.body["messages"]
        return found

    @property
    def prompt(self) -> str:
        """All messages as one text."""
        return "\n".join(message["content"] for message in self.messages)

    @property
    def key(self) -> str:
        """What tells requests apart: a hash of all that was asked, so of one candidate's rendering of one row."""
        asked = json.dumps([self.body.get("model"), self.messages, self.body.get("seed")])
        return hashlib.sha256(asked.encode()).hexdigest()


@dataclass(frozen=True)
class Reply:
    """What to answer: a text, or a failure.

    ``status`` other than 200 is an error with ``text`` as its message. ``hang_up`` closes the connection instead of
    answering, ``cut_off`` closes it in the middle of the body, ``hang`` never answers. ``raw`` is sent as the body as
    it is, as ``content_type``.
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    finish_reason: str = "stop"
    delay_s: float = 0.0
    hang_up: bool = False
    cut_off: bool = False
    hang: bool = False
    raw: str | None = None
    content_type: str = "application/json"
    error_code: str | None = None

    @property
    def is_answer(self) -> bool:
        """True when the caller gets what it pays for."""
        return self.status == 200 and self.raw is None and not (self.hang_up or self.cut_off or self.hang)


Script = Callable[[Call], Reply | str]


class CallTally:
    """Counts by request (see :attr:`Call.key`): how often each was asked, and how often it was answered in full.

    All is counted from the endpoint's side: an answer that its caller did not live to read was paid for.
    ``answered_at`` holds the times of a request's answers (monotonic).
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answered_at: dict[str, list[float]] = {}
        self.answers = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self._times: deque[float] = deque()

    def begin(self, call: Call) -> None:
        """Count a request that has come in."""
        self.asked[call.key] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def end(self) -> None:
        """Count a request as over, however it ended."""
        self.in_flight -= 1

    def answer(self, call: Call, now_s: float) -> None:
        """Count an answer."""
        self.answered_at.setdefault(call.key, []).append(now_s)
        self.answers += 1
        self._times.append(now_s)
        while self._times[0] < now_s - _REMEMBERED_S:
            self._times.popleft()

    @property
    def answered_again(self) -> int:
        """How many answers were given to a request that had been answered before."""
        return self.answers - len(self.answered_at)

    def answers_since(self, seconds: float) -> int:
        """How many answers were given in the last ``seconds``, of at most a minute."""
        since = time.monotonic() - seconds
        return sum(at >= since for at in tuple(self._times))


class ScriptedEndpoint:
    """Serves ``script`` while the ``with`` block runs.

    ``tally`` counts by request. ``calls`` grows with every request, in order of arrival, and ``answered`` with every
    answer, unless ``record`` is False (for long runs, whose requests would fill the memory).

    >>> with ScriptedEndpoint(lambda call: "pong") as endpoint:
    ...     endpoint.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, script: Script, *, record: bool = True) -> None:
        self._script = script
        self._record = record
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted-endpoint", daemon=True)
        self._lock = threading.Lock()
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._port = 0
        self._number = 0
        self.calls: list[Call] = []
        self.answered: list[Call] = []
        self.tally = CallTally()

    @property
    def base_url(self) -> str:
        """What goes into ``base_url`` of a configuration."""
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=30)
        self._loop.close()

    def reset(self) -> None:
        """Begin to count and to record anew; what is in flight is counted nowhere."""
        with self._lock:
            self.tally = CallTally()
            self.calls, self.answered = [], []

    def go_down(self) -> None:
        """Refuse connections from now on, and break those that are open."""
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(timeout=30)

    def come_up(self) -> None:
        """Take connections again, at the same address."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(timeout=30)

    async def _start(self) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_get("/v1/models", self._models)
        # Handlers that are still asleep when a test ends are not waited for.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await self._listen()
        self._port = self._runner.addresses[0][1]

    async def _listen(self) -> None:
        if self._runner is not None and self._site is None:
            self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024, reuse_address=True)
            await self._site.start()

    async def _shut(self) -> None:
        if self._site is not None:
            await self._site.stop()
            self._site = None
        if self._runner is not None and self._runner.server is not None:
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        with self._lock:
            self._number += 1
            call = Call(self._number, body)
            if self._record:
                self.calls.append(call)
            tally = self.tally
            tally.begin(call)
        try:
            return await self._reply(request, call, tally)
        finally:
            with self._lock:
                tally.end()

    async def _reply(self, request: web.Request, call: Call, tally: CallTally) -> web.StreamResponse:
        scripted = self._script(call)
        reply = scripted if isinstance(scripted, Reply) else Reply(scripted)
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.hang:
            await _until_gone(request)
        if reply.hang_up or reply.hang:
            return _broken_off(request)
        if reply.status != 200:
            error = {"error": {"message": reply.text or "scripted failure", "code": reply.error_code}}
            return web.json_response(error, status=reply.status, headers=dict(reply.headers))
        if reply.raw is not None:
            return web.Response(text=reply.raw, content_type=reply.content_type)
        whole = json.dumps(_completion(call, reply)).encode()
        if reply.cut_off:
            return await _cut_off(request, whole)
        with self._lock:
            if self._record:
                self.answered.append(call)
            tally.answer(call, time.monotonic())
        return web.Response(body=whole, content_type=reply.content_type)


async def _until_gone(request: web.Request) -> None:
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # aiohttp tells a handler that its caller has gone by cancelling it or not at all


def _broken_off(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _cut_off(request: web.Request, whole: bytes) -> web.StreamResponse:
    """Promise the whole body, send half of it, and close the connection."""
    started = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(whole))})
    await started.prepare(request)
    await started.write(whole[: len(whole) // 2])
    if request.transport is not None:
        request.transport.close()
    return started


def _completion(call: Call, reply: Reply) -> dict[str, Any]:
    prompt_tokens, completion_tokens = len(call.prompt) // 4 + 1, len(reply.text) // 4 + 1
    return {
        "id": f"scripted-{call.number}",
        "object": "chat.completion",
        "model": call.body.get("model", "scripted"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.text},
                "finish_reason": reply.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }
