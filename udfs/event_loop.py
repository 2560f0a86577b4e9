"""One event loop a process, on a thread of its own, and what lives on it.

A Spark Python worker is reused by many tasks, and a notebook's driver already runs a loop of its own: so the calls run
on a background thread, and sessions with their warm connections outlive a task.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import aiohttp

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_owner_pid: int | None = None
_session: aiohttp.ClientSession | None = None


def event_loop() -> asyncio.AbstractEventLoop:
    """Return this process's running background loop, started on first use.

    A process forked from one that had a loop (Spark forks its workers) gets its own.
    """
    global _loop, _owner_pid, _session
    with _lock:
        if _loop is None or _owner_pid != os.getpid():
            _loop = asyncio.new_event_loop()
            _owner_pid = os.getpid()
            _session = None
            threading.Thread(target=_loop.run_forever, name="promptmill-calls", daemon=True).start()
        return _loop


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` on the background loop and wait for it; Ctrl-C cancels it.

    >>> async def three(): return 3
    >>> run(three())
    3
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, event_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _close() -> None:
    """Close the session's connections when the process ends, so that nothing is left half open."""
    if _session is not None and not _session.closed and _loop is not None and _owner_pid == os.getpid():
        asyncio.run_coroutine_threadsafe(_session.close(), _loop).result(timeout=5)


atexit.register(_close)


async def session() -> aiohttp.ClientSession:
    """Return the process's HTTP session. Flow control bounds what is in flight, so the connector does not."""
    global _session
    if _session is None or _session.closed:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0)
        _session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
    return _session
