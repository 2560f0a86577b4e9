"""A distributed evaluation that a fault can be put into while it runs, and what it came to."""

import threading
import time
import uuid

import planted_world as world
import pytest
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention
from spark_clusters import Standalone

from engine.evaluate import Evaluation
from engine.progress import Progress
from engine.rows import rows_from_records
from engine.storage import Storage
from udfs.endpoint import Endpoint, Limits, Sampling
from udfs.prompt import Prompt
from udfs.scorers import build_mix

# A job that has not ended by itself after so long never will.
ENDS_WITHIN_S = 240
SAMPLING = Sampling(temperature=0.0)
GOOD = Prompt.parse(world.GOOD)


class Job:
    """One evaluation of a prompt on a frame of rows, running in a thread of its own."""

    def __init__(self, spark, endpoint, folder, *, rows, frame=None, prompt=GOOD, mix=("exact_match",), judge=None):
        self.evaluation = Evaluation(
            spark, endpoint, build_mix(mix, judge), Storage.at(str(folder), str(folder / "run")), "run", Progress()
        )
        self.total = rows
        self.prompt = prompt
        self.frame = rows_from_records(spark, world.records(rows)) if frame is None else frame
        self.result = None
        self.failure = None
        self.started_at = self.ended_at = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self.result = self.evaluation.frame([self.prompt], self.frame, name=uuid.uuid4().hex, total=self.total)
        except BaseException as error:
            self.failure = error
        self.ended_at = time.monotonic()

    def start(self):
        self.started_at = time.monotonic()
        self._thread.start()
        return self

    @property
    def running(self):
        return self._thread.is_alive()

    def wait(self, timeout_s=ENDS_WITHIN_S):
        self._thread.join(timeout_s)
        assert not self.running, f"the job has not ended within {timeout_s} s"
        if self.failure is not None:
            raise self.failure
        return self

    def wait_for(self, condition, what, timeout_s=120):
        """Wait until ``condition`` holds while the job runs."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.running, f"the job ended before {what}: {self.failure}"
            assert time.monotonic() < deadline, f"{what} did not come about within {timeout_s} s"
            time.sleep(0.02)

    def check_every_row_scored_once(self):
        lines = self.result.groupBy("row_id").agg(F.count(F.lit(1)).alias("n"), F.min("score").alias("score")).collect()
        assert len(lines) == self.total
        assert {line["n"] for line in lines} == {1}
        assert {line["score"] for line in lines} == {1.0}


@pytest.fixture
def job(spark, tmp_path):
    """Make evaluations on an endpoint: at most ``concurrency`` calls in flight."""

    def make(server, *, rows, concurrency=8, timeout_s=10, endpoint=None, **options):
        limits = Limits(max_concurrency=concurrency, timeout_s=timeout_s)
        target = endpoint or Endpoint("target", base_url=server.base_url, sampling=SAMPLING, limits=limits)
        return Job(spark, target, tmp_path, rows=rows, **options)

    return make


@pytest.fixture(autouse=True)
def whole_cluster(spark):
    """Begin each test with all executors: what an earlier one killed is there again."""
    if Standalone.running is not None:
        Standalone.running.restore()
    deadline = time.monotonic() + 60
    while executor_count(spark) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert executor_count(spark) == 2


def executor_count(spark):
    return len(spark.sparkContext._jsc.sc().statusTracker().getExecutorInfos()) - 1  # without the driver
