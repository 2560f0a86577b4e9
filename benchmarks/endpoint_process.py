"""An endpoint in a process of its own, from both sides: it tells its port, and ends when its input closes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.system_process import ROOT, environ


@contextmanager
def endpoint_process(module: str, *arguments: str, python: Path | None = None) -> Iterator[Sequence[str]]:
    """Run a module while the block runs; give the words of the first line that it writes."""
    process = subprocess.Popen(
        [str(python or sys.executable), "-m", module, *arguments],
        cwd=ROOT,
        env=environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None  # noqa: S101 - asked for above
    assert process.stdout is not None  # noqa: S101 - asked for above
    try:
        yield process.stdout.readline().split()
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def run(serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on uvloop where it is installed, which halves the endpoint's share of the machine."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())


async def input_closed() -> None:
    """Wait until whoever started this process lets go of it."""
    closed = asyncio.Event()
    asyncio.get_running_loop().add_reader(
        sys.stdin.fileno(), lambda: closed.set() if not sys.stdin.buffer.read1() else None
    )
    await closed.wait()
