"""Slow scorers compute beside the calls, quick ones on the loop, and none twice at the same time."""

import asyncio
import threading
import time

import pytest

from udfs.errors import CallError, ErrorKind
from udfs.scorers import ExactMatch, FunctionScorer
from udfs.scorers.protocol import Subject
from udfs.scoring import Scoring

SUBJECT = Subject({}, "yes", {"expected_response": "yes"})


def scored(scoring, scorer, times):
    async def run():
        return await asyncio.gather(*(scoring.score(scorer, SUBJECT) for _ in range(times)))

    try:
        return asyncio.run(run())
    finally:
        scoring.close()


def where(inside=lambda: None):
    """Return a scorer and the names of the threads that it ran on."""
    names = []

    def score():
        inside()
        names.append(threading.current_thread().name)
        return 1.0

    return FunctionScorer("mine", score), names


def test_a_slow_scorer_does_not_hold_up_the_loop():
    """While a user's scorer computes, calls go on: here the loop itself lets the scorer end."""
    release = threading.Event()
    scorer, names = where(lambda: release.wait(30) or pytest.fail("the loop stood still"))

    async def run():
        scoring = Scoring()
        waiting = asyncio.create_task(scoring.score(scorer, SUBJECT))
        await asyncio.sleep(0.01)
        release.set()
        score = await waiting
        scoring.close()
        return score

    assert asyncio.run(run()).value == 1.0
    assert names[0].startswith("promptmill-scorers")


def test_built_in_scorers_stay_on_the_loop():
    """They compare short texts: a hop to a thread would cost more."""
    seen = []

    class Clock:
        def __call__(self):
            seen.append(threading.current_thread())
            return 0.0

    assert scored(Scoring(clock=Clock()), ExactMatch(), 3)[0].value == 1.0
    assert set(seen) == {threading.main_thread()}


def test_a_quick_scorer_moves_to_the_loop_and_back_when_it_turns_slow():
    """A user's scorer that was quick on the thread is let onto the loop, until it holds it up once."""
    took_s = 0.0
    now = 0.0

    def inside():
        nonlocal now
        now += took_s

    scorer, names = where(inside)
    scoring = Scoring(clock=lambda: now)

    async def run():
        nonlocal took_s
        for _ in range(30):
            await scoring.score(scorer, SUBJECT)
        took_s = 1.0
        for _ in range(3):
            await scoring.score(scorer, SUBJECT)

    asyncio.run(run())
    scoring.close()
    places = ["thread" if name.startswith("promptmill-scorers") else "loop" for name in names]
    assert places[0] == "thread"
    assert places[29] == "loop"
    assert places[30:] == ["loop", "thread", "thread"]


def test_a_scorer_is_never_called_twice_at_once():
    """A function that is not thread-safe may score."""
    inside, most = 0, 0

    def body():
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.0005)
        inside -= 1

    scorer, names = where(body)
    scored(Scoring(), scorer, 60)
    assert (most, len(names)) == (1, 60)


def test_what_a_scorer_raises_is_the_rows_failure():
    """On the thread as on the loop."""

    def broken():
        raise ZeroDivisionError("nothing to divide by")

    for scorer in (FunctionScorer("mine", broken), ExactMatch()):
        with pytest.raises(CallError) as caught:
            asyncio.run(Scoring().score(scorer, Subject({}, "yes")))
        assert caught.value.kind is ErrorKind.SCORER
