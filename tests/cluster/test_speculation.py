"""Speculative execution with one slow executor: the copy of its task goes on from what is stored."""

import json
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from os import getpid, kill
from signal import SIGCONT, SIGSTOP

import ladder_world as world
import processes
import pyarrow.parquet as pq
import pytest
from driver import cluster_section, drivers
from spark_clusters import standalone_cluster

from engine.scripted_endpoint import ScriptedEndpoint
from engine.scripted_faults import delayed
from udfs.ledger import SEGMENT_SECONDS

ROWS, CONCURRENCY, LATENCY_S = 1600, 8, 0.1
SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.quantile": "0.5",
    "spark.speculation.multiplier": "1.2",
    "spark.speculation.interval": "200ms",
    "spark.speculation.minTaskRuntime": "1s",
    # It takes a task for efficient by the records it has read, and ours has read all before its first call.
    "spark.speculation.efficiency.enabled": "false",
}


@contextmanager
def slowed(pids, *, share):
    """Let the processes run for ``share`` of the time only, in turns of half a second."""
    over = threading.Event()

    def take_turns():
        while not over.is_set():
            for number, seconds in ((SIGSTOP, 0.5 * (1 - share)), (SIGCONT, 0.5 * share)):
                for pid in pids():
                    with suppress(ProcessLookupError):
                        kill(pid, number)
                over.wait(seconds)

    thread = threading.Thread(target=take_turns, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for pid in pids():
            with suppress(ProcessLookupError):
                kill(pid, SIGCONT)


@pytest.mark.slow_cluster
def test_a_slow_executors_task_is_copied_and_little_is_paid_twice(tmp_path, measured):
    """Every row is scored once; answered twice is no more than was in flight and not yet stored when the copy began."""
    with ExitStack() as stack:
        target = stack.enter_context(ScriptedEndpoint(delayed(world.target, LATENCY_S), record=False))
        start = stack.enter_context(drivers(tmp_path)).start
        config = world.config(
            tmp_path,
            target_url=target.base_url,
            reflection_url=target.base_url,
            rows=ROWS,
            concurrency=CONCURRENCY,
            spark=cluster_section(conf=SPECULATION, master=stack.enter_context(standalone_cluster()).url),
        )
        driver = start("evaluate", "--config", str(config), "--run-dir", str(tmp_path / "run"), "--json")
        deadline = time.monotonic() + 240
        while target.tally.answers < CONCURRENCY and driver.running and time.monotonic() < deadline:
            time.sleep(0.02)
        ours = set(processes.descendants(getpid()))
        slow = next(pid for pid in processes.executors("app-") if pid in ours)
        fastest = 0
        with slowed(lambda: [slow, *processes.descendants(slow)], share=0.1):
            while driver.running:
                fastest = max(fastest, target.tally.answers_since(1.0))
                time.sleep(0.1)
        assert driver.wait() == 0, driver.stderr
        found = json.loads(driver.stdout)
        bound = CONCURRENCY + int(SEGMENT_SECONDS * fastest)
        measured(f"{target.tally.answers} answers for {ROWS} rows, {target.tally.answered_again} twice, bound {bound}")
        assert found["prompts"][0]["scored"] == found["prompts"][0]["rows"] == ROWS
        row_ids = pq.read_table(found["table"], columns=["row_id"])["row_id"].to_pylist()
        assert len(row_ids) == len(set(row_ids)) == ROWS
        assert 0 < target.tally.answered_again <= bound
