"""The limit to compare with: one bare asyncio/aiohttp loop in one process, its requests rendered beforehand.

``python bare_loop.py URL REQUESTS CONCURRENCY {body|json}`` prints one JSON object. With ``body`` an answer is only
read, with ``json`` it is parsed, too; nothing is rendered, scored, retried or kept.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import aiohttp

HEADERS = {"Content-Type": "application/json"}


def request_bodies() -> list[bytes]:
    """Return requests like those of the evaluation: 500 to 1,500 characters of input each."""
    sentence = "The room was clean and the staff kind, but breakfast came late and the coffee was cold. "
    return [
        json.dumps(
            {
                "model": "bench-model",
                "messages": [
                    {
                        "role": "user",
                        "content": "Classify the sentiment of this review as positive or negative. Review: "
                        + (sentence * 20)[: 500 + number * 1000 // 256],
                    }
                ],
            }
        ).encode()
        for number in range(256)
    ]


async def run(url: str, requests: int, concurrency: int, *, parse: bool) -> dict[str, float]:
    """Send so many requests, so many at once, and say how fast that was."""
    bodies = request_bodies()
    numbers: Iterator[int] = iter(range(requests))
    ended: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def worker() -> None:
            for number in numbers:
                async with session.post(url, data=bodies[number % len(bodies)], headers=HEADERS) as response:
                    raw = await response.read()
                if parse:
                    json.loads(raw)["choices"][0]["message"]["content"]
                ended.append(time.perf_counter())

        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    ended.sort()
    first, last = len(ended) // 10, len(ended) * 9 // 10
    return {
        "all_in_per_s": requests / seconds,
        "steady_per_s": (last - first) / (ended[last] - ended[first]),
        "cpu_us": cpu_s / requests * 1e6,
    }


if __name__ == "__main__":
    url_, requests_, concurrency_, what = sys.argv[1:]
    print(json.dumps(asyncio.run(run(url_, int(requests_), int(concurrency_), parse=what == "json"))))
