"""The measurements: a bare loop, the evaluation beside it, the evaluation at growing sizes, and a small stage."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from benchmarks.throughput import workload
from benchmarks.throughput.endpoint import RunningEndpoint
from benchmarks.throughput.processes import DRIVER, ENDPOINT, JVM, WORKERS, Watch
from engine.evaluate import Evaluation
from engine.storage import Storage
from udfs.endpoint import Endpoint, Limits
from udfs.scorers import build_mix

# A stage that GEPA's minibatches make: a parent and four children on three rows each.
SMALL_STAGE = (5, 3)


@dataclass(frozen=True)
class Rate:
    """How fast one run was: pairs a second, CPU by role in microseconds a pair, memory by role in megabytes."""

    pairs: int
    seconds: float
    all_in_per_s: float
    steady_per_s: float
    cpu_us: Mapping[str, float]
    peak_mb: Mapping[str, float]
    heap_mb: float = 0.0
    calls: int = 0


def bare_loop(endpoint: RunningEndpoint, requests: int, concurrency: int, *, parse: bool) -> dict[str, float]:
    """Run the bare loop in a process of its own."""
    script = Path(__file__).with_name("bare_loop.py")
    url = f"{endpoint.base_url}/chat/completions"
    arguments = [url, str(requests), str(concurrency), "json" if parse else "body"]
    printed = subprocess.run([sys.executable, str(script), *arguments], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(printed.stdout)
    return found


def evaluation(spark: SparkSession, endpoint: RunningEndpoint, *, rows: int, candidates: int, concurrency: int) -> Rate:
    """Evaluate ``candidates`` prompts on ``rows`` rows into an empty ledger, and read the scores' mean."""
    with tempfile.TemporaryDirectory(prefix="promptmill-bench-") as root:
        subject = _evaluation(spark, endpoint, root, concurrency)
        frame = workload.rows(spark, rows)
        prompts = workload.prompts(candidates)
        pairs = rows * candidates
        with Watch(endpoint.pid) as watch:
            started = time.perf_counter()
            result = subject.frame(prompts, frame, name="bench", total=pairs)
            line = result.agg(F.count("*"), F.avg("score")).first()
            seconds = time.perf_counter() - started
        if line is None or line[0] != pairs or abs(line[1] - 0.5) > 0.01:
            raise RuntimeError(
                f"{pairs} pairs were asked for, half of them with score 1; count and mean score are {line}"
            )
        answered = [at for table in subject.storage.ledger.tables(["answered_at"], []) for at in _column(table)]
    roles = (DRIVER, JVM, WORKERS, ENDPOINT)
    return Rate(
        pairs=pairs,
        seconds=seconds,
        all_in_per_s=pairs / seconds,
        steady_per_s=_steady(answered),
        cpu_us={role: watch.cpu_s(role) / pairs * 1e6 for role in roles},
        peak_mb={role: watch.peak_mb(role) for role in roles},
        heap_mb=_heap_mb(spark),
        calls=len(answered),
    )


def small_stage(
    spark: SparkSession, endpoint: RunningEndpoint, *, latency_s: float, times: int
) -> Iterator[tuple[str, float]]:
    """Yield where a small stage ran and the median seconds that it took beside the endpoint's own latency."""
    candidates, count = SMALL_STAGE
    held = workload.local_rows(spark, count * times)
    for where, most in (("on the driver", 32), ("as a Spark job", 0)):
        with tempfile.TemporaryDirectory(prefix="promptmill-bench-") as root:
            subject = _evaluation(spark, endpoint, root, None)
            subject.small_stage_items = most
            subject.local_row_ids = frozenset(row.row_id for row in held)
            took = []
            for turn in range(times):
                rows = held[turn * count : (turn + 1) * count]
                started = time.perf_counter()
                found = subject.rollouts([(prompt, rows) for prompt in workload.prompts(candidates)], stage="small")
                took.append(time.perf_counter() - started - latency_s)
                if any(rollout.score is None for group in found for rollout in group):
                    raise RuntimeError(f"an item of the small stage was not scored: {found}")
        yield where, statistics.median(took[1:])  # the first one warms the session up


def _evaluation(spark: SparkSession, endpoint: RunningEndpoint, root: str, concurrency: int | None) -> Evaluation:
    return Evaluation(
        spark,
        Endpoint("bench-model", base_url=endpoint.base_url, limits=Limits(max_concurrency=concurrency)),
        build_mix(["exact_match"]),
        Storage.at(root, f"{root}/run"),
        "bench",
    )


def _column(table: Any) -> list[float]:
    found: list[float] = table.column(0).to_pylist()
    return found


def _steady(answered_at: list[float]) -> float:
    """Return the rate between the first and the last tenth of the answers."""
    answered_at.sort()
    first, last = len(answered_at) // 10, len(answered_at) * 9 // 10
    return (last - first) / (answered_at[last] - answered_at[first])


def _heap_mb(spark: SparkSession) -> float:
    """Return the JVM's used heap after a collection."""
    gc.collect()  # Python's handles on JVM objects first
    # The benchmark runs on classic Spark only, and no public interface tells the heap.
    runtime = spark._jvm.java.lang.Runtime.getRuntime()  # type: ignore[union-attr]  # noqa: SLF001
    runtime.gc()
    return float((runtime.totalMemory() - runtime.freeMemory()) / 1e6)
