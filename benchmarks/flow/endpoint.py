"""An endpoint of limited capacity, in a process of its own: OpenAI-compatible; answers, refuses or queues.

    python -m benchmarks.flow.endpoint '{"places": 100, "latency_s": 0.2}'

prints its port. Raw asyncio protocol, because it must never be what limits: 2,000 calls/s take a fifth of a core.
``GET /counts`` says how much was served and refused in each tenth of a second since the first call.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "limited",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "positive"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 1, "total_tokens": 41},
    }
).encode()
_REFUSAL = b'{"error": {"message": "too many requests", "code": "rate_limit_exceeded"}}'


def _http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Limit:
    """What the endpoint serves. ``changes`` are (seconds since the first call, new places or calls a second)."""

    latency_s: float = 0.2
    sigma: float = 0.0
    places: int | None = None
    queueing: bool = False
    per_s: float | None = None
    burst: float = 0.0
    by_the_second: bool = False
    retry_after_s: float | None = None
    changes: list[tuple[float, float]] = field(default_factory=list)


class Server:
    """The capacity, shared by all connections."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.loop = asyncio.get_running_loop()
        self.busy = 0
        self.waiting: deque[Connection] = deque()
        self.tokens, self.filled_at = limit.burst, 0.0
        self.second, self.used = -1, 0
        self.began: float | None = None
        self.served: list[int] = []
        self.refused: list[int] = []
        extra = [f"Retry-After: {limit.retry_after_s:g}"] if limit.retry_after_s else []
        self.refusal = _http("429 Too Many Requests", _REFUSAL, *extra)
        self.answer = _http("200 OK", _ANSWER)
        self._rng = random.Random(1)

    def count(self, counts: list[int]) -> None:
        now = time.monotonic()
        if self.began is None:
            self.began = now
            for after_s, value in self.limit.changes:
                self.loop.call_later(after_s, self.change, value)
        tenth = int((now - self.began) * 10)
        counts.extend([0] * (tenth + 1 - len(counts)))
        counts[tenth] += 1

    def change(self, value: float) -> None:
        if self.limit.places is not None:
            self.limit.places = int(value)
            while self.waiting and self.busy < self.limit.places:
                self.serve(self.waiting.popleft())
        else:
            self.limit.per_s = value

    def admits(self) -> bool:
        limit, now = self.limit, time.monotonic()
        if limit.places is not None:
            return self.busy < limit.places
        if limit.per_s is None:
            return True
        if limit.by_the_second:
            if int(now) != self.second:
                self.second, self.used = int(now), 0
            self.used += 1
            return self.used <= limit.per_s
        self.tokens = min(limit.burst, self.tokens + (now - self.filled_at) * limit.per_s)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def asked(self, connection: Connection) -> None:
        if self.began is None:
            self.count(self.served)
            self.served[0] = 0
        if self.admits():
            self.serve(connection)
        elif self.limit.queueing:
            self.waiting.append(connection)
        else:
            self.count(self.refused)
            connection.send(self.refusal)

    def serve(self, connection: Connection) -> None:
        self.busy += 1
        limit = self.limit
        spread = self._rng.lognormvariate(-limit.sigma * limit.sigma / 2, limit.sigma) if limit.sigma else 1.0
        self.loop.call_later(limit.latency_s * spread, self.finish, connection)

    def finish(self, connection: Connection) -> None:
        self.busy -= 1
        self.count(self.served)
        connection.send(self.answer)
        if self.waiting and (self.limit.places is None or self.busy < self.limit.places):
            self.serve(self.waiting.popleft())


class Connection(asyncio.Protocol):
    """One keep-alive connection: a request at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: Any = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._data[:end].lower()
        if head.startswith(b"get"):
            self._data = b""
            counts = {"served": self._server.served, "refused": self._server.refused}
            self.send(_http("200 OK", json.dumps(counts).encode()))
            return
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._data) < end + 4 + length:
            return
        self._data = self._data[end + 4 + length :]
        self._server.asked(self)

    def send(self, response: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(response)


async def serve(limit: Limit) -> None:
    """Serve on a free port of 127.0.0.1, which is printed, until stopped."""
    loop = asyncio.get_running_loop()
    server = Server(limit)
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=2048)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(ImportError):  # half the CPU for the same calls; the endpoint serves without it, too
        import uvloop

        uvloop.install()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Limit(**json.loads(sys.argv[1]))))
