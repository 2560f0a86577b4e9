"""Order, lengths, a window that stays full, and what happens when work breaks or the caller leaves."""

import asyncio
import threading
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.event_loop import event_loop
from udfs.window import stream

# Nothing here waits for a clock; this only ends a test that would hang.
PATIENCE_S = 30


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), max_size=7), max_size=12),
    st.integers(1, 10),
    st.integers(1, 12),
)
def test_order_and_lengths_are_kept(batches, ahead, held):
    """Whatever the batches and however work is delayed, one list comes back a batch, each result in its place."""

    async def work(item):
        number, pause = item
        for _ in range(pause):
            await asyncio.sleep(0)
        return number

    numbered, number = [], 0
    for batch in batches:
        numbered.append([(number + at, pause) for at, pause in enumerate(batch)])
        number += len(batch)
    found = list(stream(numbered, work, loop=event_loop(), ahead=ahead, held=held))
    assert found == [[item[0] for item in batch] for batch in numbered]


def test_the_window_stays_full_across_batch_borders_behind_a_straggler():
    """While the first batch's straggler holds it up, items of later batches start and finish."""
    release, later = threading.Event(), threading.Event()
    done = []

    async def work(item):
        if item == 0:
            while not release.is_set():  # noqa: ASYNC110 - the event is the other thread's
                await asyncio.sleep(0.001)
        done.append(item)
        if len(done) == 11:
            later.set()
        return item

    batches = [[start, start + 1, start + 2] for start in range(0, 12, 3)]
    watcher = threading.Thread(target=lambda: (later.wait(PATIENCE_S), release.set()))
    watcher.start()
    found = list(stream(batches, work, loop=event_loop(), ahead=2, held=1000))
    watcher.join()
    assert later.is_set()
    assert done[-1] == 0
    assert found == batches


def test_a_straggler_holds_no_more_than_held_items():
    """Behind a straggler only so many items are read; this bounds memory."""
    read, release = [], threading.Event()

    def batches():
        for number in range(100):
            read.append(number)
            if number == 5:
                release.set()
            yield [number]

    async def work(item):
        if item == 0:
            while not release.is_set():  # noqa: ASYNC110 - the event is the other thread's
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            assert len(read) <= 7
        return item

    assert list(stream(batches(), work, loop=event_loop(), ahead=10, held=6)) == [[n] for n in range(100)]


def test_no_more_than_ahead_and_a_batch_are_started():
    """Work is not started for the whole partition at once."""
    started, most = 0, 0

    async def work(item):
        nonlocal started, most
        started += 1
        most = max(most, started)
        await asyncio.sleep(0)
        started -= 1
        return item

    batches = [[n, n] for n in range(50)]
    assert list(stream(batches, work, loop=event_loop(), ahead=4, held=1000)) == batches
    assert most <= 4 + 1


def test_an_exception_in_the_work_reaches_the_caller_and_stops_the_rest():
    """A defect is not swallowed: the caller sees the very exception, and what is under way is cancelled."""
    begun, cancelled = threading.Event(), threading.Event()

    async def work(item):
        if item == 3:
            while not begun.is_set():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            raise KeyError("defect")
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(KeyError, match="defect"):
        list(stream([[1, 2], [3]], work, loop=event_loop(), ahead=10, held=10))
    assert cancelled.wait(PATIENCE_S)


def test_an_exception_in_the_source_reaches_the_caller_and_cancels():
    """Where the batches come from may break, too."""
    begun, cancelled = threading.Event(), threading.Event()

    def batches():
        yield [1]
        begun.wait(PATIENCE_S)
        raise OSError("the source is gone")

    async def work(_):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(OSError, match="gone"):
        list(stream(batches(), work, loop=event_loop(), ahead=10, held=10))
    assert cancelled.wait(PATIENCE_S)


def test_closing_cancels_what_is_under_way():
    """A caller that stops reading leaves nothing running."""
    begun, cancelled = threading.Event(), threading.Event()

    async def work(item):
        if item == 0:
            return item
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return item

    results = stream([[0], [1]], work, loop=event_loop(), ahead=10, held=10)
    assert next(results) == [0]
    assert begun.wait(PATIENCE_S)  # a task that has not begun is cancelled without ever running
    results.close()
    assert cancelled.wait(PATIENCE_S)


def test_nothing_gives_nothing():
    """No batches, no results; an empty batch, an empty list."""

    async def work(item):
        return item

    assert list(stream([], work, loop=event_loop(), ahead=1, held=1)) == []
    assert list(stream([[], []], work, loop=event_loop(), ahead=1, held=1)) == [[], []]


def test_a_long_batch_is_fed_as_the_window_has_room():
    """However long a batch is, ``ahead`` of its items are under way and no more, over the border of batches, too."""
    running = most = begun = 0

    async def work(item):
        nonlocal running, most, begun
        begun += 1
        running += 1
        most = max(most, running)
        until = asyncio.get_running_loop().time() + PATIENCE_S
        while running < 8 and begun < 1000:
            await asyncio.sleep(0)
            assert asyncio.get_running_loop().time() < until
        running -= 1
        return item

    batches = [list(range(500)), list(range(500, 1000))]
    assert list(stream(batches, work, loop=event_loop(), ahead=8, held=5000)) == batches
    assert most == 8


def test_the_window_follows_a_number_that_changes():
    """``ahead`` is asked again: more are started when it grows, fewer when it shrinks, and none is forgotten."""
    running, most, allowed = 0, {}, 2

    async def work(item):
        nonlocal running, allowed
        running += 1
        allowed = 2 if item < 100 else 12 if item < 300 else 3
        most[allowed] = max(most.get(allowed, 0), running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return running if item == 599 else item

    batches = [list(range(600))]
    found = list(stream(batches, work, loop=event_loop(), ahead=lambda: allowed, held=1000))
    assert found[0][:599] == batches[0][:599]
    assert most[2] == 2
    assert most[12] == 12
    assert found[0][599] <= 3


def test_a_straggler_in_a_batch_does_not_stop_the_others():
    """All other items of its batch, and of the ones after it, are done while one waits."""
    release, done = threading.Event(), []

    async def work(item):
        if item == 0:
            while not release.is_set():  # noqa: ASYNC110 - the event is the other thread's
                await asyncio.sleep(0.001)
        done.append(item)
        if len(done) == 299:
            release.set()
        return item

    batches = [list(range(100)), list(range(100, 300))]
    assert list(stream(batches, work, loop=event_loop(), ahead=4, held=1000)) == batches
    assert done[-1] == 0


def test_items_are_let_go_when_they_are_done():
    """A batch behind a straggler keeps its results, not the items that they were made of."""
    alive, release = weakref.WeakSet(), threading.Event()

    class Item:
        def __init__(self, number):
            self.number = number
            alive.add(self)

    async def work(item):
        if item.number == 0:
            while not release.is_set():  # noqa: ASYNC110 - the event is the other thread's
                await asyncio.sleep(0.001)
        if item.number == 99:
            await asyncio.sleep(0.01)
            left.append(len(alive))
            release.set()
        return item.number

    left = []
    batches = ([Item(n) for n in range(100)] for _ in range(1))
    assert list(stream(batches, work, loop=event_loop(), ahead=4, held=1000)) == [list(range(100))]
    assert left[0] < 10


def test_work_that_never_waits_lets_others_have_their_turn():
    """Rows that the ledger answers all at once don't keep the loop from its other work."""
    turns = []

    async def beside():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async def work(item):
        return item

    batches = [list(range(2000))]
    assert list(stream(batches, work, loop=event_loop(), ahead=8, held=5000, beside=beside)) == batches
    assert len(turns) > 10
