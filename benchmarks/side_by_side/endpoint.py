"""The endpoint that all systems call: OpenAI-compatible, fast enough never to be what is measured, and it counts.

It runs in a process of its own (``python -m benchmarks.side_by_side.endpoint``), writes its port as the first line of
its output and ends when its input closes. It speaks HTTP on a bare asyncio protocol, because a web framework costs
five times as much CPU a call and would compete with the systems for the machine's cores.

``POST /v1/chat/completions`` answers after the row's latency, which is log-normal and belongs to the row's number: all
systems meet the same tail. ``POST /admin/reset`` takes a :class:`Behaviour` as JSON and sets the counters to zero,
``GET /admin/counters`` reads them.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.endpoint_process import input_closed, run
from benchmarks.side_by_side import rows

_BACKLOG = 4096
# Latencies are looked up in a table of this size: drawing one for every call would cost more than answering it.
_DRAWN = 1 << 16
# What a refused caller is told to wait, as hosted endpoints say it: whole seconds.
_RETRY_AFTER_S = 1
# DSPy asks for its answer in this frame.
_DSPY_FRAME = b"[[ ## "


@dataclass(frozen=True)
class Behaviour:
    """How the endpoint behaves from now on; ``requests_per_s`` and ``max_in_flight`` refuse with 429 what is above.

    ``burst_s`` is how many seconds' worth of unused requests may be used later.
    """

    median_s: float = 0.2
    sigma: float = 0.5
    requests_per_s: float | None = None
    burst_s: float = 1.0
    max_in_flight: int | None = None


@dataclass
class Counters:
    """What happened since the last reset.

    ``begun`` are calls that were let in, each of which a real endpoint bills: ``answered`` of them got their answer,
    ``wasted`` had a caller that was gone by then. ``rows`` are the distinct rows begun, ``paid_twice`` is begun - rows,
    ``answered_twice`` counts the answers after a row's first. ``begun_by_second`` counts from the first call on.
    """

    calls: int = 0
    begun: int = 0
    answered: int = 0
    refused: int = 0
    wasted: int = 0
    rows: int = 0
    paid_twice: int = 0
    answered_twice: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    cpu_s: float = 0.0
    begun_by_second: list[int] = field(default_factory=list)


class Model:
    """Decides what becomes of a call. Clock passed in, so that its tests take no time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reset(Behaviour())

    def reset(self, behaviour: Behaviour) -> None:
        """Forget all calls and behave so from now on."""
        self.behaviour = behaviour
        self.counters = Counters()
        self._begun: dict[int, int] = {}
        self._answered: set[int] = set()
        draw = random.Random(0)
        self._latencies = [behaviour.median_s * math.exp(behaviour.sigma * draw.gauss()) for _ in range(_DRAWN)]
        self._started: float | None = None
        self._tokens = 0.0
        self._filled_at = self._clock()
        self._cpu_before_s = time.process_time()

    def read(self) -> dict[str, Any]:
        """Return the counters as plain data."""
        self.counters.cpu_s = time.process_time() - self._cpu_before_s
        return asdict(self.counters)

    def latency_s(self, row: int) -> float:
        """Return how long the answer to a row takes."""
        return self._latencies[row * 40503 % _DRAWN]

    def begin(self, row: int) -> bool:
        """Let a call in, or refuse it."""
        now, counters = self._clock(), self.counters
        counters.calls += 1
        if self._started is None:
            self._started = now
        if not self._room(now):
            counters.refused += 1
            return False
        counters.begun += 1
        counters.in_flight += 1
        counters.peak_in_flight = max(counters.peak_in_flight, counters.in_flight)
        seen = self._begun.get(row, 0)
        self._begun[row] = seen + 1
        if seen:
            counters.paid_twice += 1
        else:
            counters.rows += 1
        second = int(now - self._started)
        while len(counters.begun_by_second) <= second:
            counters.begun_by_second.append(0)
        counters.begun_by_second[second] += 1
        return True

    def end(self, row: int, *, answered: bool) -> None:
        """Count how a call that was let in ended."""
        self.counters.in_flight -= 1
        if not answered:
            self.counters.wasted += 1
            return
        self.counters.answered += 1
        if row in self._answered:
            self.counters.answered_twice += 1
        self._answered.add(row)

    def _room(self, now: float) -> bool:
        limit = self.behaviour
        if limit.max_in_flight is not None and self.counters.in_flight >= limit.max_in_flight:
            return False
        if limit.requests_per_s is None:
            return True
        full = limit.requests_per_s * limit.burst_s
        self._tokens = min(full, self._tokens + (now - self._filled_at) * limit.requests_per_s)
        self._filled_at = now
        # Just under one, because many small fills do not add up to it exactly.
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True


class Connection(asyncio.Protocol):
    """One caller's connection: requests one after another, each answered when its row's time has come."""

    def __init__(self, model: Model, loop: asyncio.AbstractEventLoop) -> None:
        self._model = model
        self._loop = loop
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[asyncio.TimerHandle, tuple[Model, Counters, int]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")  # noqa: S101 - uvloop's is its own class
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Nobody waits for these answers any more."""
        self._transport = None
        for timer, (model, counters, row) in self._waiting.items():
            timer.cancel()
            if model.counters is counters:
                model.end(row, answered=False)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        """Take what arrived; handle each request that is whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _content_length(head)
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._handle(head, body)

    def _handle(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"POST /v1/chat/completions"):
            self._chat(body)
        elif head.startswith(b"POST /admin/reset"):
            self._model.reset(Behaviour(**json.loads(body or b"{}")))
            self._write(b"200 OK", b"{}")
        elif head.startswith(b"GET /admin/counters"):
            self._write(b"200 OK", json.dumps(self._model.read()).encode())
        elif head.startswith(b"GET /v1/models"):
            self._write(b"200 OK", b'{"object":"list","data":[{"id":"model","object":"model"}]}')
        else:
            self._write(
                b"404 Not Found", b'{"error":{"message":"only chat completions are served","code":"not_found"}}'
            )

    def _chat(self, body: bytes) -> None:
        row = rows.number(body)
        if not self._model.begin(row):
            error = b'{"error":{"message":"too many requests","type":"rate_limit_error","code":"rate_limit_exceeded"}}'
            self._write(b"429 Too Many Requests", error, b"Retry-After: %d\r\n" % _RETRY_AFTER_S)
            return
        framed = _DSPY_FRAME in body
        counters = self._model.counters

        def answer() -> None:
            self._waiting.pop(timer, None)
            if self._model.counters is counters:
                self._model.end(row, answered=True)
            self._write(b"200 OK", _completion(row, framed=framed))

        timer = self._loop.call_later(self._model.latency_s(row), answer)
        self._waiting[timer] = (self._model, counters, row)

    def _write(self, status: bytes, body: bytes, headers: bytes = b"") -> None:
        if self._transport is not None:
            self._transport.write(
                b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"
                % (status, headers, len(body), body)
            )


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    return int(lowered[at + 17 :].split(b"\r\n", 1)[0])


def _completion(row: int, *, framed: bool) -> bytes:
    label = rows.answer(row).encode() if row >= 0 else b"unknown"
    content = rb"[[ ## label ## ]]\n%s\n\n[[ ## completed ## ]]" % label if framed else label
    return (
        b'{"id":"chatcmpl-%08d","object":"chat.completion","created":1700000000,"model":"model","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":"%s"},"logprobs":null,"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":140,"completion_tokens":2,"total_tokens":142}}' % (max(row, 0), content)
    )


async def serve() -> None:
    """Serve until the input closes."""
    loop = asyncio.get_running_loop()
    model = Model()
    server = await loop.create_server(lambda: Connection(model, loop), "127.0.0.1", 0, backlog=_BACKLOG)
    print(server.sockets[0].getsockname()[1], type(loop).__module__, flush=True)
    await input_closed()


if __name__ == "__main__":
    run(serve)
