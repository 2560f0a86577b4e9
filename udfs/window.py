"""Runs asynchronous work over batches, with the window of work in flight full *across* batch borders."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Batch(Generic[R]):
    """Results of one batch, filled in any order."""

    def __init__(self, size: int) -> None:
        self.results: list[R | None] = [None] * size
        self.missing = size


class _Flight(Generic[T, R]):
    """What is under way; shared between the caller's thread and the event loop's."""

    def __init__(self, work: Callable[[T], Awaitable[R]], loop: asyncio.AbstractEventLoop) -> None:
        self.changed = threading.Condition()
        self.unfinished = 0
        self.failure: BaseException | None = None
        self._work = work
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, items: Sequence[T]) -> _Batch[R]:
        batch: _Batch[R] = _Batch(len(items))
        with self.changed:
            self.unfinished += len(items)
        self._loop.call_soon_threadsafe(self._spawn, items, batch)
        return batch

    def accompany(self, beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._loop.call_soon_threadsafe(self._spawn_beside, beside)

    def cancel(self) -> None:
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._tasks])

    def _spawn(self, items: Sequence[T], batch: _Batch[R]) -> None:
        for position, item in enumerate(items):
            task = self._loop.create_task(self._one(item, position, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _spawn_beside(self, beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._loop.create_task(self._watched(beside))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watched(self, beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await beside()
        except Exception as error:
            with self.changed:
                self.failure = self.failure or error
                self.changed.notify()

    async def _one(self, item: T, position: int, batch: _Batch[R]) -> None:
        try:
            batch.results[position] = await self._work(item)
        except BaseException as error:
            # Rows' failures are data by now; what arrives here is a defect, and the caller's thread must see it.
            with self.changed:
                self.failure = self.failure or error
                self.changed.notify()
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        with self.changed:
            self.unfinished -= 1
            batch.missing -= 1
            self.changed.notify()


def stream(
    batches: Iterable[Sequence[T]],
    work: Callable[[T], Awaitable[R]],
    *,
    loop: asyncio.AbstractEventLoop,
    ahead: int,
    held: int,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> Iterator[list[R]]:
    """Yield one list of results a batch, in order, while later batches are already under way.

    ``batches`` is read from the calling thread; ``work`` runs on ``loop``, which must run in another thread. A batch
    is started whenever fewer than ``ahead`` items are unfinished, unless ``held`` items wait behind a straggler (this
    bounds memory). What limits the calls in flight is the flow control inside ``work``. Closing the generator cancels
    what is under way. ``beside`` runs on the loop as long as the stream does; what it raises ends the stream.

    Raises:
        BaseException: the first exception that ``work`` or ``beside`` raised.

    >>> from udfs.event_loop import event_loop
    >>> async def double(x): return 2 * x
    >>> list(stream([[1, 2], [], [3]], double, loop=event_loop(), ahead=2, held=10))
    [[2, 4], [], [6]]
    """
    flight: _Flight[T, R] = _Flight(work, loop)
    waiting: deque[_Batch[R]] = deque()
    source = iter(batches)
    exhausted = False
    if beside is not None:
        flight.accompany(beside)
    try:
        while True:
            while not exhausted and flight.unfinished < ahead and _size(waiting) < held:
                items = next(source, None)
                if items is None:
                    exhausted = True
                else:
                    waiting.append(flight.start(items))
            if not waiting:
                return
            head = waiting[0]
            with flight.changed:
                room = not exhausted and _size(waiting) < held
                while head.missing and flight.failure is None and not (room and flight.unfinished < ahead):
                    flight.changed.wait()
                if flight.failure is not None:
                    raise flight.failure
            if not head.missing:
                waiting.popleft()
                yield head.results  # type: ignore[misc]  # every place is filled once nothing is missing
    finally:
        flight.cancel()


def _size(waiting: Iterable[_Batch[R]]) -> int:
    return sum(len(batch.results) for batch in waiting)
