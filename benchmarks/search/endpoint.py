"""The worlds over HTTP, a process of its own: target, reflection model and judge, told apart by the model's name.

A run's address says all about it: ``/{family}/{number}/{median latency, ms}/{run}/v1/chat/completions``; its counters
are at ``/{family}/{number}/{median latency, ms}/{run}/counters``. The reflection model takes five times as long as the
target.

Started with an argument, ``{"target": [address, model], …}`` as JSON, it passes the calls of families that are no
worlds on to real models, and counts them.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

from benchmarks.endpoint_process import input_closed, run
from benchmarks.search.edits import reply_to
from benchmarks.search.world import FAMILIES, World, right_answer, wrong_answer

_CASE = re.compile(r"Case (\d{6})\.")
_JUDGED = re.compile(r"<output-[0-9a-f]+>\n(.*?)\n</output", re.DOTALL)
# A reflection is a longer answer to a longer question than a row's.
_REFLECTION_TAKES = 5.0
_DSPY_FRAME = "[[ ## answer ## ]]"


@dataclass
class Counters:
    """What a run has asked so far: ``metric_calls`` are calls of the target, ``repeated`` those asked before."""

    metric_calls: int = 0
    repeated: int = 0
    reflections: int = 0
    judgements: int = 0
    first_at: float = 0.0
    last_at: float = 0.0


@dataclass
class Run:
    """One run's world and what it has asked."""

    world: World | None
    counters: Counters = field(default_factory=Counters)
    seen: Counter[int] = field(default_factory=Counter)


_RUNS: dict[str, Run] = {}
_UPSTREAM: web.AppKey[dict[str, tuple[str, str]]] = web.AppKey("upstream", dict)
_SESSION: web.AppKey[ClientSession] = web.AppKey("session", ClientSession)
# What a caller who says nothing gets of a real model.
_SAMPLING = {
    "target": {"temperature": 0.0, "max_tokens": 24},
    "reflection": {"temperature": 0.7, "max_tokens": 500},
}


@functools.cache
def _world(family: str, number: int) -> World:
    return World(FAMILIES[family], number)


def _run(request: web.Request) -> Run:
    place = request.match_info
    key = f"{place['family']}/{place['number']}/{place['run']}"
    if key not in _RUNS:
        known = place["family"] in FAMILIES
        _RUNS[key] = Run(_world(place["family"], int(place["number"])) if known else None)
    return _RUNS[key]


async def chat(request: web.Request) -> web.Response:
    """Answer after the request's latency."""
    body = await request.json()
    run = _run(request)
    if run.world is None:
        return await _passed_on(request, body, run.counters)
    counters = run.counters
    counters.first_at = counters.first_at or time.monotonic()
    whole = json.dumps([body["messages"], body.get("seed") if body["model"] == "reflection" else None])
    median_s = float(request.match_info["median_ms"]) / 1000
    before = run.seen[hash(whole)]
    run.seen[hash(whole)] += 1
    if body["model"] == "reflection":
        counters.reflections += 1
        text = reply_to(run.world, body, before)
        median_s *= _REFLECTION_TAKES
    elif body["model"] == "judge":
        counters.judgements += 1
        text = _verdict(run.world, body["messages"][-1]["content"])
    else:
        counters.metric_calls += 1
        counters.repeated += before > 0
        text = _answer(run.world, body["messages"])
    if median_s:
        await asyncio.sleep(run.world.latency_s(whole, median_s))
    counters.last_at = time.monotonic()
    return web.json_response(_completion(body, whole, text))


async def _passed_on(request: web.Request, body: dict[str, Any], counted: Counters) -> web.Response:
    """Ask the real model that stands for the one that is named."""
    name = body["model"]
    address, model = request.app[_UPSTREAM][name]
    counted.metric_calls += name == "target"
    counted.reflections += name == "reflection"
    asked = {**_SAMPLING[name], **body, "model": model}
    async with request.app[_SESSION].post(f"{address}/chat/completions", json=asked) as answer:
        return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")


async def counters(request: web.Request) -> web.Response:
    """Tell what a run has asked."""
    return web.json_response(asdict(_run(request).counters))


def _answer(world: World, messages: list[Mapping[str, str]]) -> str:
    prompt = "\n".join(message["content"] for message in messages)
    row = int(_CASE.findall(messages[-1]["content"])[-1])
    answer = right_answer(row) if world.is_right(prompt, row) else wrong_answer(row)
    if world.family.judge_errors is not None:
        # What a judge is for: the same answer in ever other words, so that its errors differ from prompt to prompt.
        answer = f"{answer}, in words {world.draw('words', prompt).randrange(10**6)}"
    return f"{_DSPY_FRAME}\n{answer}\n\n[[ ## completed ## ]]" if _DSPY_FRAME in prompt else answer


def _verdict(world: World, asked: str) -> str:
    found = _JUDGED.search(asked)
    if found is None:
        raise ValueError(f"a judge is asked about no output: {asked[:300]}")
    answer = found.group(1)
    same = world.judged_right("ref-" in answer, answer)
    return json.dumps({"rationale": "by the reference", "verdict": "same" if same else "different"})


def _completion(body: Mapping[str, Any], whole: str, text: str) -> dict[str, Any]:
    prompt_tokens, completion_tokens = len(whole) // 4 + 1, len(text) // 4 + 1
    message = {"role": "assistant", "content": text}
    return {
        "id": "world",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


async def serve() -> None:
    """Serve until the input closes."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    place = "/{family}/{number}/{median_ms}/{run}"
    app.router.add_post(f"{place}/v1/chat/completions", chat)
    app.router.add_get(f"{place}/counters", counters)
    app[_UPSTREAM] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    app[_SESSION] = ClientSession(timeout=ClientTimeout(total=600))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(runner.addresses[0][1], flush=True)
    await input_closed()
    await app[_SESSION].close()
    await runner.cleanup()


if __name__ == "__main__":
    run(serve)
