"""Ctrl-C and SIGTERM to ``promptmill evaluate`` on a cluster: a clean stop, nothing paid is lost, and how to go on."""

import os
import signal
import time
from contextlib import ExitStack

import ladder_world as world
import pytest
from driver import drivers

from engine.scripted_endpoint import ScriptedEndpoint
from engine.scripted_faults import delayed

ROWS, CONCURRENCY, LATENCY_S = 800, 8, 0.1
# The promise is 10 s; a machine with more to do than cores gets half as much again.
ENDS_WITHIN_S = 15


def ctrl_c(driver):
    os.killpg(driver.pid, signal.SIGINT)  # a terminal signals the whole group


def sigterm(driver):
    driver.signal(signal.SIGTERM)


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("stop", "status"), [(ctrl_c, 130), pytest.param(sigterm, 143, marks=pytest.mark.slow_cluster)]
)
def test_a_stop_is_clean_and_the_same_command_goes_on(stop, status, tmp_path, measured):
    """It ends within 10 s, says how to go on, and the second run asks for nothing that was answered in the first."""
    with ExitStack() as stack:
        target = stack.enter_context(ScriptedEndpoint(delayed(world.target, LATENCY_S), record=False))
        start = stack.enter_context(drivers(tmp_path)).start
        config = world.config(
            tmp_path, target_url=target.base_url, reflection_url=target.base_url, rows=ROWS, concurrency=CONCURRENCY
        )
        words = ("evaluate", "--config", str(config), "--run-dir", str(tmp_path / "run"))
        driver = start(*words)
        deadline = time.monotonic() + 240
        while target.tally.answers < 0.4 * ROWS and driver.running and time.monotonic() < deadline:
            time.sleep(0.02)
        assert driver.running, driver.stderr
        stopped_at = time.monotonic()
        stop(driver)
        ended = driver.wait()
        took_s, before = time.monotonic() - stopped_at, target.tally.answers
        # Spark's own lines, of the tasks that were ended and of a cluster that loses its driver, stand round ours.
        told = [line for line in driver.stderr.splitlines() if "--run-dir" in line]
        assert 0.3 * ROWS < before < ROWS
        goes_on = start(*words)
        assert goes_on.wait() == 0, goes_on.stderr
        measured(
            f"ended {took_s:.1f} s after the signal with {ended}: {told}; then {target.tally.answers} answers for "
            f"{ROWS} rows, {target.tally.answered_again} twice"
        )
        assert ended == status
        assert took_s < ENDS_WITHIN_S
        assert len(told) == 1
        assert not any(line.startswith("Traceback") for line in driver.stderr.splitlines())
        assert target.tally.answers == ROWS
