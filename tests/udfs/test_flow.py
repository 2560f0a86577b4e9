"""The waiting line of flow control, on a clock that only the tests move."""

import asyncio
import random

import pytest
from fake_time import FakeTime
from hypothesis import given
from hypothesis import strategies as st

from udfs import flow as flow_module
from udfs.endpoint import Limits
from udfs.errors import ErrorKind
from udfs.flow import AdaptiveFlow, flow_control
from udfs.pacer import Pacer

ANSWERED = {"tokens": 0, "failure": None, "retry_after_s": None}
PLACE = ("openai", "http://127.0.0.1:1/v1", "m")


def adaptive(time, *, tasks=1, **limits):
    return AdaptiveFlow(
        Limits(**limits), tasks=tasks, clock=time.clock, sleep=time.sleep, rng=random.Random(1), wall=time.clock
    )


@given(st.integers(1, 9), st.lists(st.integers(0, 4), max_size=60))
def test_the_window_is_never_exceeded(size, pauses):
    """However long calls take, never more than ``max_concurrency`` are between acquire and settle, and all get in."""

    async def scenario():
        flow = adaptive(FakeTime(), max_concurrency=size)
        open_calls, most, done = 0, 0, 0

        async def call(pause):
            nonlocal open_calls, most, done
            permit = await flow.acquire(1)
            open_calls += 1
            most = max(most, open_calls)
            assert open_calls <= flow.in_flight <= flow.window
            for _ in range(pause):
                await asyncio.sleep(0)
            open_calls -= 1
            done += 1
            flow.settle(permit, **ANSWERED)

        await asyncio.gather(*(call(pause) for pause in pauses))
        return most, done, flow.in_flight

    most, done, left = asyncio.run(scenario())
    assert most <= size
    assert (done, left) == (len(pauses), 0)


def test_a_configured_window_below_the_first_one_is_used_to_the_full():
    """As many calls as the limit allows start at once, and another one when one ended."""

    async def scenario():
        flow = adaptive(FakeTime(), max_concurrency=3)
        permits = [await flow.acquire(1) for _ in range(3)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flow.acquire(1), 0.01)
        flow.settle(permits[0], **ANSWERED)
        await flow.acquire(1)
        return flow.in_flight

    assert asyncio.run(scenario()) == 3


def test_requests_are_paced_exactly():
    """Under 60 requests a minute, starts are one second apart, the first at once."""

    async def scenario():
        time = FakeTime()
        flow = adaptive(time, max_concurrency=1, requests_per_minute=60)
        starts = []
        for _ in range(5):
            permit = await flow.acquire(1)
            starts.append(time.now - 1000.0)
            flow.settle(permit, **ANSWERED)
        return starts

    assert asyncio.run(scenario()) == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_pause_is_not_saved_up_for_a_burst():
    """After an idle minute the pace is still the pace."""
    time = FakeTime()
    pacer = Pacer(60, time.clock)
    pacer.take(1)
    time.now += 60.0
    waits = []
    for _ in range(3):
        waits.append(pacer.wait_s())
        pacer.take(1)
    assert waits == [0.0, 1.0, 2.0]


def test_tokens_are_paced_by_what_was_really_used():
    """An estimate is corrected by the answer's usage: what was too much comes back, what was too little is taken."""

    async def scenario():
        time = FakeTime()
        flow = adaptive(time, max_concurrency=1, tokens_per_minute=600)
        starts = []
        for used in (100, 10, 200, 100):
            permit = await flow.acquire(100)
            starts.append(time.now - 1000.0)
            flow.settle(permit, tokens=used, failure=None, retry_after_s=None)
        return starts

    assert asyncio.run(scenario()) == [0.0, 10.0, 11.0, 31.0]


@given(st.floats(1, 1e5), st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 0.2)), min_size=1, max_size=50))
def test_no_minute_starts_more_than_its_budget(per_minute, starts):
    """Whatever starts, and however late, within any span is the span's budget, 0.1 s and one start more at most."""
    time = FakeTime()
    pacer = Pacer(per_minute, time.clock)
    at = []
    for amount, late_s in starts:
        wait_s = pacer.wait_s()
        time.now += wait_s + late_s
        pacer.take(amount, waited_s=wait_s + late_s)
        at.append(time.now)
    for first in range(len(at)):
        used = 0
        for last in range(first, len(at)):
            assert used <= (at[last] - at[first] + 0.1) * per_minute / 60 + 1e-6 * per_minute
            used += starts[last][0]


async def serve(flow, time, rounds):
    """Serve so many windows full of calls, each in 0.2 s, with a line that never ends."""
    for _ in range(rounds):
        permits = [await flow.acquire(1) for _ in range(flow.window - flow.in_flight)]
        waiting = asyncio.create_task(flow.acquire(1))
        await asyncio.sleep(0)
        time.now += 0.2
        for permit in permits:
            flow.settle(permit, **ANSWERED)
        flow.cancel(await waiting)


def test_another_share_is_kept():
    """When other tasks end, a task's share grows, and its window with it; when it shrinks, the window does at once."""

    async def scenario():
        time = FakeTime()
        flow = adaptive(time, max_concurrency=1)
        windows = []
        for share in (1, 40, 2):
            flow.limit(Limits(max_concurrency=share))
            windows.append(flow.window)
            await serve(flow, time, 10)
            windows.append(flow.window)
        return windows

    assert asyncio.run(scenario()) == [1, 1, 1, 40, 2, 2]


@pytest.mark.parametrize("limits", [{}, {"requests_per_minute": 0.001}])
def test_cancelling_a_waiting_call_gives_its_place_back(limits):
    """Cancelled in the queue, at the pace, or as its turn comes, a call leaves every place to the others."""

    async def forever(_):
        await asyncio.Event().wait()

    async def scenario():
        time = FakeTime()
        flow = AdaptiveFlow(
            Limits(max_concurrency=2, **limits), tasks=1, clock=time.clock, sleep=forever, rng=random.Random(1)
        )
        permits = [await flow.acquire(1)]
        waiting = [asyncio.create_task(flow.acquire(1)) for _ in range(5)]
        await asyncio.sleep(0)
        flow.settle(permits.pop(), **ANSWERED)
        for task in waiting:
            task.cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        return flow.in_flight - sum(not isinstance(one, BaseException) for one in found)

    assert asyncio.run(scenario()) == 0


def test_the_next_task_starts_from_what_was_learnt():
    """Within a minute, half of what the last task of this process reached; later, as gently as the first."""

    async def scenario():
        time = FakeTime()
        flow_module._learnt.clear()

        def task(tasks=1):
            return flow_control(PLACE, Limits(), tasks=tasks, clock=time.clock, sleep=time.sleep, rng=random.Random(1))

        first = task()
        start = first.window
        await serve(first, time, 8)
        reached = first.window
        time.now += 1
        soon, halved = task().window, task(tasks=2).window
        time.now += 61
        return start, reached, soon, halved, task().window

    start, reached, soon, halved, late = asyncio.run(scenario())
    assert start == late == 8
    assert start < soon <= reached // 2
    assert halved <= soon // 2 + 1


def test_only_refusals_with_429_are_counted_as_refused():
    """An overloaded endpoint and a slow one slow us down, too, but they refused nothing."""

    async def scenario():
        flow = adaptive(FakeTime())
        for kind in (ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED, ErrorKind.TIMEOUT, ErrorKind.SERVER_ERROR):
            flow.settle(await flow.acquire(1), tokens=0, failure=kind, retry_after_s=None)
        return flow.refused, flow.in_flight

    assert asyncio.run(scenario()) == (1, 0)
