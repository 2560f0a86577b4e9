"""What a batch would cost, before anything is paid."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import SparkSession

from engine.batch.line import BatchLine
from engine.batch.observer import BatchObserver, Relayed
from engine.batch.schedule import run_all
from engine.batch.state import folder_name
from engine.batch.under_way import open_batch
from engine.config import AppConfig, PromptOptimizationModel
from engine.errors import PromptmillError
from engine.estimate import Estimate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Foreseen:
    """One optimization: its ``estimate``, or the ``done`` line of one that has a verdict, or why it can't be run."""

    name: str
    estimate: Estimate | None = None
    doubts: tuple[str, ...] = ()
    done: BatchLine | None = None
    error: Exception | None = None


def foresee(
    app: AppConfig,
    optimizations: Mapping[str, PromptOptimizationModel],
    *,
    run_dir: str | None = None,
    parallel: int | None = None,
    observer: BatchObserver | None = None,
    spark: SparkSession | None = None,
) -> list[Foreseen]:
    """Set every optimization up and foresee its bill, in the order of the configuration; calls nothing.

    Rows are read and kept in ``run_dir``, so that the batch itself need not read them again.

    Raises:
        InputError: ``run_dir`` or the environment can't be used.
    """
    batch = open_batch(app, optimizations, run_dir=run_dir, parallel=parallel, spark=spark, reuse=None)
    told = observer or Relayed()
    told.begin(batch.todo, tuple(batch.lines.values()))
    found = {key: Foreseen(key, done=line) for key, line in batch.lines.items()}
    lock = threading.Lock()

    def work(key: str) -> None:
        try:
            migration = batch.prepare(key, told)
            one = Foreseen(key, estimate=migration.estimate(), doubts=migration.doubts)
        except Exception as error:
            # As in a run, a defect in one must not hide what is known of the others; its log has the traceback.
            if not isinstance(error, PromptmillError):
                log.exception("%s can't be foreseen", key)
            one = Foreseen(key, error=error)
        with lock:
            found[key] = one
        calls = "can't be run" if one.estimate is None else f"at most {one.estimate.calls_high:,} calls"
        told.ended(BatchLine(key, "foreseen", folder_name(key), calls))

    run_all(batch.todo, work, parallel=batch.parallel, interrupt=batch.sharing.interrupt)
    return [found[key] for key in optimizations]
