"""Threads of a batch: never too many, and an end on Ctrl-C. No Spark."""

import signal
import threading
import time

import pytest

from engine.batch.schedule import THREAD_NAME, run_all


def test_never_more_than_parallel_run_and_all_are_run():
    """Each key is worked on once, at most three at a time, on a thread that has its name."""
    lock, running, most, done = threading.Lock(), set(), [0], []

    def work(key):
        with lock:
            running.add(key)
            most[0] = max(most[0], len(running))
        assert threading.current_thread().name == f"{THREAD_NAME}{key}"
        time.sleep(0.01)
        with lock:
            running.remove(key)
            done.append(key)

    keys = [f"k{number}" for number in range(20)]
    run_all(keys, work, parallel=3, interrupt=lambda: None)
    assert sorted(done) == sorted(keys)
    assert most[0] == 3


def test_ctrl_c_interrupts_what_runs_and_begins_nothing_more():
    """A real SIGINT: what runs is told to end and is waited for; what waits is never begun."""
    stop, begun, ended = threading.Event(), [], []

    def work(key):
        begun.append(key)
        if len(begun) == 2:
            signal.raise_signal(signal.SIGINT)
        assert stop.wait(10)
        ended.append(key)
        raise KeyboardInterrupt

    began_at = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_all("abcd", work, parallel=2, interrupt=stop.set)
    assert sorted(begun) == sorted(ended) == ["a", "b"]
    assert time.monotonic() - began_at < 5


def test_who_does_not_end_is_left_behind():
    """A thread that hangs after the interruption does not hold the batch up."""
    forever = threading.Event()

    def work(key):
        signal.raise_signal(signal.SIGINT)
        forever.wait(10)

    began_at = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_all("a", work, parallel=1, interrupt=lambda: None, ending_s=0.2)
    forever.set()
    assert time.monotonic() - began_at < 5
