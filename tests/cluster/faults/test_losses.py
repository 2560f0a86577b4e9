"""Processes of a running job are killed: it ends by itself, every row is scored once, and little is paid for twice."""

import os
import time

import planted_world as world
import processes
import pytest
from bounds import unexcused
from spark_clusters import CLUSTER_VARIABLE

from engine.scripted_endpoint import ScriptedEndpoint
from engine.scripted_faults import delayed

ROWS = 1600
# With 8 calls in flight at 100 ms: 80 answers/s, so 20 s without a fault.
CONCURRENCY, LATENCY_S = 8, 0.1
# Killed late enough that answers older than 5 s, which must be on storage, are most of what there is.
KILLED_AT = 0.7


def an_executor(spark, which=0):
    return sorted(processes.executors(spark.sparkContext.applicationId))[which]


def kill_executor(spark):
    return processes.kill([an_executor(spark)])


def kill_the_other_executor(spark):
    return processes.kill([an_executor(spark, 1)])


def kill_python_worker(spark):
    return processes.kill(processes.python_workers(an_executor(spark)))


def kill_worker_host(spark):
    return processes.kill_tree(processes.worker_host(an_executor(spark)))


@pytest.mark.parametrize(
    "kill",
    [
        kill_executor,
        pytest.param(kill_the_other_executor, marks=pytest.mark.slow_cluster),
        kill_python_worker,
        kill_worker_host,
    ],
)
def test_a_killed_process_costs_no_more_than_what_it_had_not_stored(kill, job, spark, measured):
    """Answered twice is at most what was in flight and what was answered in the 5 s before."""
    if kill is kill_worker_host and os.environ[CLUSTER_VARIABLE] != "standalone":
        pytest.skip("the hosts of local-cluster are threads of the driver")
    with ScriptedEndpoint(delayed(world.target, LATENCY_S)) as server:
        running = job(server, rows=ROWS, concurrency=CONCURRENCY).start()
        running.wait_for(lambda: server.tally.answers >= KILLED_AT * ROWS, "the moment to kill")
        before, bound = server.tally.answers, server.tally.in_flight + server.tally.answers_since(5.0)
        killed, killed_at = kill(spark), time.monotonic()
        assert killed
        running.wait()
        measured(
            f"killed {len(killed)} processes after {before} answers; {server.tally.answers} answers for {ROWS} rows, "
            f"{server.tally.answered_again} twice, bound {bound}; most in flight {server.tally.most_in_flight}"
        )
        running.check_every_row_scored_once()
        assert len(server.tally.answered_at) == ROWS
        assert server.tally.answered_again <= bound
        assert not unexcused(server.tally, [killed_at])
