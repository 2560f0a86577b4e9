"""Runs asynchronous work over batches, with the window of work in flight full *across* batch borders."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Batch(Generic[T, R]):
    """Items of one batch and their results, filled in any order; an item is let go when its work begins."""

    def __init__(self, items: Sequence[T]) -> None:
        self.items: list[T | None] = list(items)
        self.results: list[R | None] = [None] * len(items)
        self.begun = 0
        self.missing = len(items)


class _Flight(Generic[T, R]):
    """What is under way. Two threads share it without a lock: each number below has one writer.

    The caller's thread writes ``given``; the event loop's writes all else, and wakes the caller by ``changed`` when a
    batch is whole, when more may be read, or when work broke: not for every item, of which there are thousands a
    second.
    """

    def __init__(
        self, work: Callable[[T], Awaitable[R]], loop: asyncio.AbstractEventLoop, ahead: Callable[[], int]
    ) -> None:
        self.changed = threading.Condition()
        self.given = 0
        self.finished = 0
        self.failure: BaseException | None = None
        self._ahead = ahead
        self._work = work
        self._loop = loop
        self._queue: deque[_Batch[T, R]] = deque()
        self._runners = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def hungry(self) -> bool:
        """True when another batch should be read: as many items wait as are under way, while reading takes its time."""
        return self.given - self.finished < 2 * self._ahead()

    def start(self, items: Sequence[T]) -> _Batch[T, R]:
        batch: _Batch[T, R] = _Batch(items)
        self.given += len(items)
        if items:
            self._loop.call_soon_threadsafe(self._enqueue, batch)
        return batch

    def accompany(self, beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._loop.call_soon_threadsafe(lambda: self._spawn(self._beside(beside)))

    def cancel(self) -> None:
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        self._queue.clear()
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _beside(self, beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await beside()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self.changed:
            self.failure = self.failure or error
            self.changed.notify()

    def _enqueue(self, batch: _Batch[T, R]) -> None:
        self._queue.append(batch)
        self._fill()

    def _fill(self) -> None:
        """Have as many runners as items are wanted under way: the window may have grown."""
        waiting = sum(len(batch.items) - batch.begun for batch in self._queue)
        for _ in range(min(self._ahead() - self._runners, waiting)):
            self._runners += 1
            self._spawn(self._run())

    async def _run(self) -> None:
        """Work on one item after another; end when there is none, or when fewer are wanted under way."""
        queue = self._queue
        try:
            while queue and self._runners <= self._ahead():
                batch = queue[0]
                position = batch.begun
                batch.begun += 1
                if batch.begun == len(batch.items):
                    queue.popleft()
                item, batch.items[position] = batch.items[position], None
                batch.results[position] = await self._work(item)  # type: ignore[arg-type]  # None only once begun
                self.finished += 1
                batch.missing -= 1
                if not batch.missing or self.hungry:
                    with self.changed:
                        self.changed.notify()
                if queue and self._runners < self._ahead():
                    self._fill()
                # Work that never waits, because all is known already, must let others on the loop have their turn.
                await asyncio.sleep(0)
        except BaseException as error:
            # Rows' failures are data by now; what arrives here is a defect, and the caller's thread must see it.
            self._fail(error)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._runners -= 1


def stream(
    batches: Iterable[Sequence[T]],
    work: Callable[[T], Awaitable[R]],
    *,
    loop: asyncio.AbstractEventLoop,
    ahead: int | Callable[[], int],
    held: int,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> Iterator[list[R]]:
    """Yield one list of results a batch, in order, while later batches are already under way.

    ``batches`` is read from the calling thread; ``work`` runs on ``loop``, which must run in another thread. At most
    ``ahead`` items are under way at once, however long the batches are: a number of at least 1, or a function that
    returns one and is asked again and again, from both threads, because the number changes. A batch is read whenever
    fewer than twice ``ahead`` items are unfinished, unless ``held`` items wait behind a straggler (this bounds
    memory). What limits the calls in flight is the flow control inside ``work``. Closing the generator cancels what is
    under way. ``beside`` runs on the loop as long as the stream does; what it raises ends the stream.

    Raises:
        BaseException: the first exception that ``work`` or ``beside`` raised.

    >>> from udfs.event_loop import event_loop
    >>> async def double(x): return 2 * x
    >>> list(stream([[1, 2], [], [3]], double, loop=event_loop(), ahead=2, held=10))
    [[2, 4], [], [6]]
    """
    flight: _Flight[T, R] = _Flight(work, loop, ahead if callable(ahead) else lambda: ahead)
    waiting: deque[_Batch[T, R]] = deque()
    source = iter(batches)
    exhausted = False
    if beside is not None:
        flight.accompany(beside)
    try:
        while True:
            while not exhausted and flight.hungry and _size(waiting) < held:
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
                while head.missing and flight.failure is None and not (room and flight.hungry):
                    flight.changed.wait()
                if flight.failure is not None:
                    raise flight.failure
            if not head.missing:
                waiting.popleft()
                yield head.results  # type: ignore[misc]  # every place is filled once nothing is missing
    finally:
        flight.cancel()


def _size(waiting: Iterable[_Batch[T, R]]) -> int:
    return sum(len(batch.results) for batch in waiting)
