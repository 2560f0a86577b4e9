"""Many waits, one timer: each is bounded by its own beginning, and cancellations stay what they are."""

import asyncio

import pytest

from udfs.timeouts import Timeouts


def test_each_wait_ends_by_its_own_beginning():
    """Of waits begun one after the other, the first ends first; one that is done in time is left alone."""
    ended = []

    async def wait(timeouts, number, seconds):
        try:
            async with timeouts.one():
                await asyncio.sleep(seconds)
            ended.append((number, "done"))
        except TimeoutError:
            ended.append((number, "timeout"))

    async def run():
        timeouts = Timeouts(0.1)
        first = asyncio.create_task(wait(timeouts, 1, 60))
        quick = asyncio.create_task(wait(timeouts, 2, 0))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(wait(timeouts, 3, 60))
        await asyncio.gather(first, quick, second)

    asyncio.run(run())
    assert ended == [(2, "done"), (1, "timeout"), (3, "timeout")]


def test_a_cancellation_by_others_is_no_timeout():
    """Who cancels a call gets a cancelled call, and the bound is taken back."""

    async def run():
        timeouts = Timeouts(60)

        async def wait():
            async with timeouts.one():
                await asyncio.sleep(60)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(timeouts._waits)

    assert asyncio.run(run()) == 0


def test_a_cancellation_together_with_a_timeout_stays_a_cancellation():
    """As with asyncio.timeout: a task that was also cancelled from outside ends cancelled."""

    async def run():
        timeouts = Timeouts(0.01)

        async def wait():
            async with timeouts.one():
                try:
                    await asyncio.sleep(60)
                finally:
                    asyncio.current_task().cancel()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(wait())

    asyncio.run(run())


def test_an_exception_passes_as_it_is():
    """Only what the bound itself cancelled becomes a TimeoutError."""

    async def run():
        timeouts = Timeouts(60)
        async with timeouts.one():
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(run())
