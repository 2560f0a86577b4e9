"""A fake model that speaks real HTTP: an OpenAI-compatible endpoint on 127.0.0.1 whose answers a function writes.

For tests, benchmarks and trying things out: every call is recorded, and faults can be scripted.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from udfs.prompt import Message


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


@dataclass(frozen=True)
class Reply:
    """What to answer: a text, or a failure by ``status``; ``hang_up`` closes the connection instead."""

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    finish_reason: str = "stop"
    delay_s: float = 0.0
    hang_up: bool = False
    error_code: str | None = None


Script = Callable[[Call], Reply | str]


class ScriptedEndpoint:
    """Serves ``script`` while the ``with`` block runs. ``calls`` grows with every request, in order of arrival.

    >>> with ScriptedEndpoint(lambda call: "pong") as endpoint:
    ...     endpoint.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted-endpoint", daemon=True)
        self._lock = threading.Lock()
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.calls: list[Call] = []
        self.answered: list[Call] = []

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

    async def _start(self) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_get("/v1/models", self._models)
        # Handlers that are still asleep when a test ends are not waited for.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        with self._lock:
            call = Call(len(self.calls) + 1, body)
            self.calls.append(call)
        scripted = self._script(call)
        reply = scripted if isinstance(scripted, Reply) else Reply(scripted)
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.hang_up:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if reply.status != 200:
            error = {"error": {"message": reply.text or "scripted failure", "code": reply.error_code}}
            return web.json_response(error, status=reply.status, headers=dict(reply.headers))
        with self._lock:
            self.answered.append(call)
        return web.json_response(_completion(call, reply))


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
