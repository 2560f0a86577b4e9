"""A batch, run: many optimizations on one cluster at once, each with its own end, and one summary of all."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from engine.batch.line import INTERRUPTED, NOT_STARTED, BatchLine, optimized_prompt
from engine.batch.observer import BatchObserver, Relayed
from engine.batch.schedule import run_all
from engine.batch.state import folder_name
from engine.batch.summary import BatchSummary
from engine.batch.under_way import open_batch
from engine.config import AppConfig, PromptOptimizationModel
from engine.errors import NotBegun, PromptmillError
from engine.interruption import Interrupted
from engine.ledger_join import Reuse
from engine.migration import Migration, run
from engine.outcome import OptimizedPrompt
from udfs.program import Program

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchResult:
    """What a batch came to. ``failures`` has the errors of this start's, by key, in the order in which they came."""

    summary: BatchSummary
    failures: Mapping[str, Exception]
    page: str

    def prompts(self) -> dict[str, OptimizedPrompt]:
        """Return the prompts to use from now on, by key, of those that have a verdict."""
        found = {}
        for line in self.summary.lines:
            if line.is_done:
                found[line.name] = optimized_prompt(self.result(line))
        return found

    def result(self, line: BatchLine) -> dict[str, Any]:
        """Return the ``result.json`` of one that has a verdict."""
        path = Path(self.summary.run_dir) / line.run_dir / "result.json"
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found


def run_batch(
    app: AppConfig,
    optimizations: Mapping[str, PromptOptimizationModel],
    *,
    run_dir: str | None = None,
    parallel: int | None = None,
    observer: BatchObserver | None = None,
    spark: SparkSession | None = None,
    reuse: Reuse | None = None,
    predict_fn: Callable[..., Any] | Program | None = None,
) -> BatchResult:
    """Run ``optimizations`` (by key), at most ``parallel`` at once; return what became of each.

    Each has a folder of its own below ``run_dir``, which also gets ``summary.json`` and ``summary.html``. The same
    ``run_dir`` given again leaves those that have a verdict alone, goes on with the others and tries failed ones once
    more; with ``reuse`` that replays, or calls failed rows again, all are walked again. An optimization that fails
    stops no other: its error is in the result.

    Raises:
        InputError: ``run_dir`` or the environment can't be used; nothing was called.
        KeyboardInterrupt: it was interrupted. What was answered is kept, and the summary says how far each is.
    """
    started = time.monotonic()
    batch = open_batch(app, optimizations, run_dir=run_dir, parallel=parallel, spark=spark, reuse=reuse)
    told = observer or Relayed()
    told.begin(batch.todo, tuple(batch.lines.values()))
    failures: dict[str, Exception] = {}

    def work(key: str) -> None:
        migration: Migration | None = None
        try:
            migration = batch.prepare(key, told, predict_fn)
            batch.reserve(key, migration)
            record = run(migration).record
            batch.end(key, BatchLine.of(key, folder_name(key), record), told)
        except (KeyboardInterrupt, Interrupted):
            batch.end(key, batch.unfinished(key, INTERRUPTED, "go on with the same command and --run-dir"), None)
            raise
        except NotBegun as error:
            batch.end(key, batch.unfinished(key, NOT_STARTED, str(error)), told)
        except Exception as error:
            # A defect in one (of a user's scorer, say) must not end the others, either; its log has the traceback.
            if not isinstance(error, PromptmillError):
                log.exception("%s failed", key)
            failures[key] = error
            batch.end(key, batch.failed(key, error, ran=migration is not None), told)

    try:
        run_all(batch.todo, work, parallel=batch.parallel, interrupt=lambda: batch.interrupt(told))
    finally:
        told.close()
        page = batch.close(time.monotonic() - started)
    return BatchResult(batch.summary(time.monotonic() - started), failures, page)
