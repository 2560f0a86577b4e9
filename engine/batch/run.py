"""A batch, run: many optimizations on one cluster at once, each with its own end, and one summary of all."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from engine.batch.budget import Amounts, BatchBudget
from engine.batch.line import FAILED, INTERRUPTED, NOT_STARTED, BatchLine, optimized_prompt
from engine.batch.observer import BatchObserver, Relayed
from engine.batch.places import places_of
from engine.batch.schedule import run_all
from engine.batch.sources import SharedRows
from engine.batch.state import BatchState, batch_run_dir, folder_name
from engine.batch.summary import BatchSummary, by_name
from engine.config import AppConfig, PromptOptimizationModel
from engine.errors import NotBegun, PromptmillError
from engine.ledger_compaction import compact_if_worthwhile
from engine.ledger_join import Reuse
from engine.migration import Migration, prepare, run
from engine.outcome import OptimizedPrompt
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
        except KeyboardInterrupt:
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
        reason = str(error) if isinstance(error, PromptmillError) else f"{type(error).__name__}: {error}"
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

    def close(self, seconds: float) -> str:
        """Write the summary and its page, and merge the ledger's small segments; return the page's path."""
        summary = self.summary(seconds)
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
