"""The window and the pace, on a clock that only the tests move."""

import asyncio

import pytest
from fake_time import FakeTime
from hypothesis import given
from hypothesis import strategies as st

from udfs.endpoint import Limits
from udfs.errors import ErrorKind
from udfs.flow import FixedWindow, Pacer

ANSWERED = {"estimated": 0, "actual": 0, "failure": None, "retry_after_s": None}


def window(time, **limits):
    return FixedWindow(Limits(**limits), clock=time.clock, sleep=time.sleep)


@given(st.integers(1, 9), st.lists(st.integers(0, 4), max_size=60))
def test_the_window_is_never_exceeded(size, pauses):
    """However long calls take, never more than ``max_concurrency`` are between acquire and settle, and all get in."""

    async def scenario():
        flow = window(FakeTime(), max_concurrency=size)
        open_calls, most, done = 0, 0, 0

        async def call(pause):
            nonlocal open_calls, most, done
            await flow.acquire(1)
            open_calls += 1
            most = max(most, open_calls)
            for _ in range(pause):
                await asyncio.sleep(0)
            open_calls -= 1
            done += 1
            flow.settle(**ANSWERED)

        await asyncio.gather(*(call(pause) for pause in pauses))
        return most, done

    most, done = asyncio.run(scenario())
    assert most <= size
    assert done == len(pauses)


def test_the_window_is_used_to_the_full():
    """As many calls as the limit allows start at once."""

    async def scenario():
        flow = window(FakeTime(), max_concurrency=3)
        for _ in range(3):
            await flow.acquire(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flow.acquire(1), 0.01)
        flow.settle(**ANSWERED)
        await flow.acquire(1)

    asyncio.run(scenario())


def test_requests_are_paced_exactly():
    """Under 60 requests a minute, starts are one second apart, the first at once."""

    async def scenario():
        time = FakeTime()
        flow = window(time, max_concurrency=1, requests_per_minute=60)
        starts = []
        for _ in range(5):
            await flow.acquire(1)
            starts.append(time.now - 1000.0)
            flow.settle(**ANSWERED)
        return starts

    assert asyncio.run(scenario()) == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_pause_is_not_saved_up_for_a_burst():
    """After an idle minute the pace is still the pace."""
    time = FakeTime()
    pacer = Pacer(60, time.clock)
    assert pacer.reserve(1) == 0.0
    time.now += 60.0
    assert [pacer.reserve(1), pacer.reserve(1), pacer.reserve(1)] == [0.0, 1.0, 2.0]


def test_tokens_are_paced_by_what_was_really_used():
    """An estimate is corrected by the answer's usage: what was too much comes back, what was too little is taken."""

    async def scenario():
        time = FakeTime()
        flow = window(time, max_concurrency=1, tokens_per_minute=600)
        starts = []
        for actual in (100, 10, 200, 100):
            await flow.acquire(100)
            starts.append(time.now - 1000.0)
            flow.settle(estimated=100, actual=actual, failure=None, retry_after_s=None)
        return starts

    assert asyncio.run(scenario()) == [0.0, 10.0, 11.0, 31.0]


@given(st.floats(1, 1e5), st.lists(st.integers(1, 1000), min_size=1, max_size=50))
def test_no_minute_starts_more_than_its_budget(per_minute, amounts):
    """Whatever is reserved, what starts within any span is the span's budget and at most one reservation more."""
    time = FakeTime()
    pacer = Pacer(per_minute, time.clock)
    starts = [pacer.reserve(amount) for amount in amounts]
    assert starts == sorted(starts)
    for first, start in enumerate(starts):
        for last in range(first, len(starts)):
            used = sum(amounts[first:last])
            assert used <= (starts[last] - start) * per_minute / 60 + 1e-6 * per_minute


def test_a_refusal_under_a_configured_rate_pauses_later_starts_for_a_second_at_most():
    """Somebody else uses the endpoint, too: one short pause, however long the refused request was told to wait."""

    async def scenario():
        time = FakeTime()
        flow = window(time, max_concurrency=2, requests_per_minute=6000)
        await flow.acquire(1)
        flow.settle(estimated=1, actual=0, failure=ErrorKind.RATE_LIMITED, retry_after_s=60.0)
        await flow.acquire(1)
        return time.now - 1000.0

    assert asyncio.run(scenario()) == 1.0


@pytest.mark.parametrize("limits", [{}, {"requests_per_minute": 0.001}])
def test_cancelling_a_waiting_call_gives_its_place_back(limits):
    """Cancelled in the queue or while it keeps the pace, a call leaves every place to the others."""

    async def forever(_):
        await asyncio.Event().wait()

    async def scenario():
        flow = FixedWindow(Limits(max_concurrency=2, **limits), clock=FakeTime().clock, sleep=forever)
        await flow.acquire(1)
        waiting = [asyncio.create_task(flow.acquire(1)) for _ in range(5)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        flow.settle(**ANSWERED)
        taken = sum(one is None for one in found)
        return flow._places._value + taken

    assert asyncio.run(scenario()) == 2
