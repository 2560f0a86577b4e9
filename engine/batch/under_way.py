"""A batch under way: what is to be run, what has ended, and what all of it shares."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from engine.batch.budget import Amounts, BatchBudget
from engine.batch.line import FAILED, INTERRUPTED, NOT_STARTED, BatchLine
from engine.batch.observer import BatchObserver
from engine.batch.places import places_of
from engine.batch.sources import SharedRows
from engine.batch.state import BatchState, batch_run_dir, folder_name
from engine.batch.summary import BatchSummary, by_name
from engine.config import AppConfig, PromptOptimizationModel
from engine.errors import PromptmillError
from engine.ledger_compaction import compact_if_worthwhile
from engine.ledger_join import Reuse
from engine.migration import Migration, prepare
from engine.report import write_batch_page
from engine.session import configured_session, parallelism
from engine.sharing import Sharing
from engine.storage import Storage
from engine.tracking import experiment_id, parent_tags, set_up
from udfs.parts import Place
from udfs.program import Program

log = logging.getLogger(__name__)

# So many at once, where nothing is said: enough that one's reflection, statistics and registry calls are hidden
# behind the others' answers. More of them share one driver process, whose Python runs on one core at a time.
PARALLEL = 8
# With every so many ends the ledger's small segments are merged: each run reads them all when it begins.
_COMPACT_EVERY = 25


class OpenBatch:
    """A batch under way. Thread-safe. ``todo`` are the keys that are to be run, ``lines`` those that have ended."""

    def __init__(
        self,
        app: AppConfig,
        optimizations: Mapping[str, PromptOptimizationModel],
        state: BatchState,
        spark: SparkSession,
        *,
        parallel: int,
        reuse: Reuse,
        parent: Mapping[str, str],
    ) -> None:
        self.app, self.optimizations, self.state, self.spark = app, dict(optimizations), state, spark
        self.parallel, self.reuse = parallel, reuse
        again = reuse.replay or reuse.retry_failed
        found = {} if again else {key: state.done(key) for key in self.optimizations}
        self.lines: dict[str, BatchLine] = {key: line for key, line in found.items() if line is not None}
        self.todo = [key for key in self.optimizations if key not in self.lines]
        self._places = {key: places_of(self.optimizations[key]) for key in self.todo}
        users: Counter[Place] = Counter(place for places in self._places.values() for place in places)
        self.sharing = Sharing(users, parallel=parallel, slots=parallelism(spark))
        self._rows = SharedRows(Storage.at(app.storage.root, state.run_dir, run_id=state.batch_id), self.optimizations)
        self._limits = app.optimizations.budget
        self._budget = BatchBudget(self._limits, self.lines.values())
        self._lock, self._compacting = threading.Lock(), threading.Lock()
        self._begun: set[str] = set()
        self._parent = parent

    def prepare(
        self, key: str, told: BatchObserver, predict_fn: Callable[..., Any] | Program | None = None
    ) -> Migration:
        """Set up one optimization; see :func:`engine.migration.prepare`."""
        with self._lock:
            self._begun.add(key)
        settings = self.optimizations[key]
        self.state.make_way(key)
        migration = prepare(
            self.app,
            settings,
            run_dir=self.state.folder(key),
            progress=told.started(key),
            spark=self.spark,
            reuse=self.reuse,
            predict_fn=predict_fn,
            sharing=self.sharing,
            read=self._rows.read(settings.dataset),
        )
        migration.tags = {"promptmill.batch": self.state.batch_id, **self._parent}
        return migration

    def reserve(self, key: str, migration: Migration) -> None:
        """Set aside what one may take of the batch's budget; see :meth:`engine.batch.budget.BatchBudget.reserve`."""
        if self._limits.is_set:
            wanted = Amounts.at_most(migration.estimate(), migration.settings.budget)
            self._budget.reserve(key, wanted, is_interrupted=lambda: self.sharing.is_interrupted)

    def end(self, key: str, line: BatchLine, told: BatchObserver | None) -> None:
        """Note what became of one, and give what it had of the endpoints and of the budget to the others."""
        self.sharing.leave(self._places[key])
        self._budget.settle(key, line)
        with self._lock:
            self.lines[key] = line
            ended = len(self.lines)
        if told is not None:
            told.ended(line)
        if ended % _COMPACT_EVERY == 0 and self._compacting.acquire(blocking=False):
            try:
                self.compact()
            finally:
                self._compacting.release()

    def failed(self, key: str, error: Exception, *, ran: bool) -> BatchLine:
        """Return the line of one that failed; what it used stands in its record where it ``ran``."""
        reason = str(error) if isinstance(error, PromptmillError) else _defect(error)
        record = self.state.record(key) if ran else None
        if record is not None and record.result["status"] == FAILED and record.verdict == reason:
            return BatchLine.of(key, folder_name(key), record)
        return self.unfinished(key, FAILED, reason)

    def unfinished(self, key: str, status: str, reason: str) -> BatchLine:
        """Return the line of one that left no record."""
        target = self.optimizations[key].agent.model.name
        return BatchLine(key, status, folder_name(key), reason, target)

    def interrupt(self, told: BatchObserver) -> None:
        """End all that runs; what follows is the batch's to tell."""
        told.close()
        self.sharing.interrupt()

    def summary(self, seconds: float) -> BatchSummary:
        """Return what is known now."""
        with self._lock:
            lines = dict(self.lines)
            begun = set(self._begun)
        for key in self.optimizations:
            if key not in lines:
                status, reason = (INTERRUPTED, "cut off") if key in begun else (NOT_STARTED, "its turn had not come")
                lines[key] = self.unfinished(key, status, reason)
        return BatchSummary(
            self.state.batch_id, self.state.run_dir, by_name(lines.values(), list(self.optimizations)), seconds
        )

    def whole_summary(self, seconds: float) -> BatchSummary:
        """Return what is known of all that belong to the batch, also of those that were not chosen this time."""
        summary = self.summary(seconds)
        lines = {line.name: line for line in summary.lines}
        for key in self.state.settings:
            if key not in lines:
                lines[key] = self.state.left(key)
        return replace(summary, lines=by_name(lines.values(), list(self.state.settings)))

    def close(self, seconds: float) -> str:
        """Write the summary and its page, and merge the ledger's small segments; return the page's path."""
        summary = self.whole_summary(seconds)
        summary.write()
        path = Path(self.state.run_dir) / "summary.html"
        try:
            write_batch_page(summary, path)
        except Exception:
            # An observer, as every report is: summary.json has all of it.
            log.warning("the page of the batch could not be written", exc_info=True)
        if not self.sharing.is_interrupted:
            self.compact()
        return str(path)

    def compact(self) -> None:
        """Merge the ledger's small segments where there are many."""
        compact_if_worthwhile(self.spark, Storage.at(self.app.storage.root, self.state.run_dir).ledger)


def open_batch(
    app: AppConfig,
    optimizations: Mapping[str, PromptOptimizationModel],
    *,
    run_dir: str | None,
    parallel: int | None,
    spark: SparkSession | None,
    reuse: Reuse | None,
) -> OpenBatch:
    """Begin a batch or go on with one; whatever would fail every optimization is found here.

    Raises:
        InputError: ``run_dir`` or the environment can't be used.
    """
    state = BatchState.open(run_dir or batch_run_dir(app), optimizations)
    set_up(app.mlflow.tracking_uri)
    parent: dict[str, str] = {}
    # Once, here: stores don't like to be made, or to be given the same experiment, by eight threads at once; and who
    # calls has his active run on this thread.
    with contextlib.suppress(Exception):
        parent = parent_tags(experiment_id(app.mlflow.experiment))
    session = configured_session(app, spark)
    return OpenBatch(
        app, optimizations, state, session, parallel=parallel or PARALLEL, reuse=reuse or Reuse(), parent=parent
    )


def _defect(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        # Errors of Java ask the JVM for their text, and it may be what has died.
        return type(error).__name__
