"""The limit: one aiohttp session, so many tasks that post and compare, and nothing else. No retries, no storage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import aiohttp

from benchmarks.side_by_side import rows
from benchmarks.side_by_side.runner import Scored, Work, run


class Bare:
    """``settings``: ``in_flight`` of all processes together, and ``processes``."""

    def __init__(self, work: Work) -> None:
        self._url = f"{work.base_url}/chat/completions"
        self._processes = work.settings.get("processes", 1)
        self._in_flight = work.settings["in_flight"] // self._processes
        self._pool = ProcessPoolExecutor(self._processes) if self._processes > 1 else None

    def load(self, numbers: range) -> list[tuple[int, str]]:
        """Make prompts."""
        return [(row, rows.prompt(rows.text(row))) for row in numbers]

    def evaluate(self, data: list[tuple[int, str]]) -> Scored:
        """Call and compare, each process its part of the rows."""
        if self._pool is None:
            return Scored.of(_evaluate(self._url, data, self._in_flight))
        parts = [data[part :: self._processes] for part in range(self._processes)]
        jobs = [self._pool.submit(_evaluate, self._url, part, self._in_flight) for part in parts]
        return Scored.of([score for job in jobs for score in job.result()])


def _evaluate(url: str, data: list[tuple[int, str]], in_flight: int) -> list[float | None]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_loop(url, data, in_flight))
    return uvloop.run(_loop(url, data, in_flight))


async def _loop(url: str, data: list[tuple[int, str]], in_flight: int) -> list[float | None]:
    scores: list[float | None] = []
    waiting = iter(data)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def work(items: Iterator[tuple[int, str]]) -> None:
            for row, prompt in items:
                body: dict[str, Any] = {"model": "model", "messages": [{"role": "user", "content": prompt}]}
                headers = {"Content-Type": "application/json"}
                async with session.post(url, data=json.dumps(body).encode(), headers=headers) as response:
                    raw = await response.read()
                    if response.status == 200:
                        scores.append(rows.score(json.loads(raw)["choices"][0]["message"]["content"], row))
                    else:
                        scores.append(None)

        await asyncio.gather(*(work(waiting) for _ in range(in_flight)))
    return scores


if __name__ == "__main__":
    run(Bare, ["aiohttp", "uvloop"])
