"""One task as an executor runs it, without Spark: the real client and flow control, with more rows than it can call.

    python -m benchmarks.flow.client http://127.0.0.1:PORT/v1 TASKS SECONDS

prints what it did as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from udfs import event_loop
from udfs.client import ChatClient
from udfs.endpoint import Endpoint
from udfs.errors import CallError
from udfs.flow import flow_control

# Rows under way beyond the largest window: those that wait for their next attempt, and those that wait in line.
_ROWS_IN_LINE = 256


async def work(base_url: str, tasks: int, seconds: float) -> dict[str, float]:
    """Call for so many seconds; return what was answered."""
    endpoint = Endpoint("limited", base_url=base_url)
    limits = endpoint.limits.share(tasks)
    flow = flow_control((endpoint.provider, endpoint.base_url, endpoint.name), limits, tasks=tasks)
    client = ChatClient(endpoint, flow, await event_loop.session())
    ends = time.monotonic() + seconds
    answered = failed = 0

    async def row() -> None:
        nonlocal answered, failed
        while time.monotonic() < ends:
            try:
                await client.ask([{"role": "user", "content": f"Classify the sentiment. Text: row {answered}"}])
                answered += 1
            except CallError:
                failed += 1

    rows = [asyncio.ensure_future(row()) for _ in range((limits.max_concurrency or 1) + _ROWS_IN_LINE)]
    await asyncio.sleep(seconds)
    for one in rows:
        one.cancel()
    await asyncio.gather(*rows, return_exceptions=True)
    return {"answered": answered, "failed": failed, "refused": flow.refused, "window": flow.window}


if __name__ == "__main__":
    base_url, tasks, seconds = sys.argv[1:]
    print(json.dumps(event_loop.run(work(base_url, int(tasks), float(seconds)))), flush=True)
