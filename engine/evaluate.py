"""Distributed evaluation: many (candidate, row) pairs, predicted and scored in one Spark job a stage."""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import EvaluationError
from engine.interruption import Interrupted
from engine.ledger_join import Asked, Remembered, Reuse, join_ledger, known_to
from engine.needs import check_rows
from engine.progress import Progress, watch_tasks
from engine.result_frame import result_columns, to_rollout
from engine.rows import Row
from engine.serving import ready, renewed
from engine.session import parallelism, ship_udfs
from engine.sharing import Lease, Sharing, refreshed
from engine.stopping import begin, close, stoppable, stopped_error
from engine.storage import Storage
from engine.usage import Usage
from udfs.allowance import Allowance
from udfs.endpoint import DEFAULT_MAX_CONCURRENCY, Endpoint, Limits, tightest
from udfs.errors import ErrorKind, EvaluationStopped, LedgerError
from udfs.evaluation_udf import ITEM_COLUMNS, evaluation_udf
from udfs.parts import Parts, Place
from udfs.plan import EvaluationPlan
from udfs.prompt import Prompt
from udfs.rollout import Item, Rollout
from udfs.scorers.protocol import Judge, Weighted
from udfs.task import evaluate_stream
from udfs.task_status import INTERRUPTED, LEDGER, StatusFolder, Stop, TaskStatus, total

log = logging.getLogger(__name__)

# A stage of at most so many items runs on the driver: a warm Spark job costs about 0.3 s, more than it could save.
# It is also the most calls that a driver has in flight then.
SMALL_STAGE_ITEMS = 32
# From so many items on, the cluster's size is looked up anew.
_LONG_EVALUATION = 1000
# Rows of a task that are evaluated with all candidates before the next are begun.
_ROWS_A_BLOCK = 256
# Fewer items than this a task are not worth a task of their own.
_ITEMS_A_TASK = 16


@dataclass
class Evaluation:
    """Evaluates prompts on one endpoint with one mix of scorers; counts what was used.

    ``usage`` is mutated by every evaluation; everything else stays as it is. ``local_row_ids`` are the rows that
    :meth:`rollouts` may be asked for. Credentials are read here, on the driver, whose environment holds them, and a
    workspace is asked what its endpoints are; with ``reuse.replay`` neither is done, and no endpoint is called.
    ``began_at`` is in seconds since 1970. With another ``verdict_sample`` judges are asked once more what they were
    asked before. With ``sharing`` the endpoints' limits are shared with whatever else holds a part of them.

    Raises:
        InputError: the variable that holds an endpoint's key is not set; see also :func:`engine.serving.ready`.
    """

    spark: SparkSession
    endpoint: Endpoint
    mix: tuple[Weighted, ...]
    storage: Storage
    run_id: str
    progress: Progress = field(default_factory=Progress)
    usage: Usage = field(default_factory=Usage)
    small_stage_items: int = SMALL_STAGE_ITEMS
    local_row_ids: frozenset[str] = frozenset()
    reuse: Reuse = field(default_factory=Reuse)
    began_at: float = field(default_factory=time.time)
    verdict_sample: int = 0
    sharing: Sharing | None = None
    _remembered: Remembered | None = None

    def __post_init__(self) -> None:
        if self.reuse.replay:
            return  # calls nothing, so that it needs no credentials
        self.endpoint = ready(self.endpoint)
        self.mix = tuple(_judged_by(weighted, ready) for weighted in self.mix)

    def frame(
        self,
        candidates: Sequence[Prompt],
        rows: DataFrame,
        *,
        name: str,
        total: int,
        stage: str | None = None,
        allowance: Allowance | None = None,
    ) -> DataFrame:
        """Evaluate every candidate on every row; return the result (see :mod:`engine.result_frame`).

        ``name`` is the folder under the run's directory that the result is written to, once; ``total`` is the number
        of pairs, for progress and for the number of tasks; ``stage`` is what progress calls it. What the ledger has is
        not called again. Pairs that ``allowance`` does not cover come back unscored, with an error of kind ``budget``.

        Raises:
            InputError: a row lacks what a scorer needs; nothing was called.
            EvaluationError: the job failed or was stopped; what was answered is kept.
            KeyboardInterrupt: it was interrupted; what was answered is kept.
        """
        ids = self.spark.createDataFrame(
            [(one,) for one in sorted({p.candidate_id for p in candidates})], "candidate_id string"
        )

        def pairs(known: DataFrame) -> DataFrame:
            own = known_to(F.col("candidate_id"), F.col("entries"))
            return known.crossJoin(F.broadcast(ids)).withColumn("known", own)

        return self.run_rows(candidates, rows, pairs, name=name, total=total, stage=stage, allowance=allowance)

    def run_rows(
        self,
        prompts: Sequence[Prompt],
        rows: DataFrame,
        to_items: Callable[[DataFrame], DataFrame],
        *,
        name: str,
        total: int,
        stage: str | None = None,
        allowance: Allowance | None = None,
    ) -> DataFrame:
        """Evaluate the items that ``to_items`` makes of rows; return the result, as :meth:`frame` does.

        ``to_items`` is given the columns ``row_id``, ``inputs``, ``expectations`` and ``entries``, what the ledger has
        for the row; it returns :data:`udfs.evaluation_udf.ITEM_COLUMNS`, and each pair once. Where ``prompts`` are
        none, nothing can be asked for: every item brings its answer along. Raises what :meth:`frame` raises.
        """
        rows = check_rows(rows, self.mix).select("row_id", "inputs", "expectations")
        plan = self._plan(prompts, tasks=self._tasks(total), allowance=allowance)
        self.progress.stage(stage or name, total, currency=self._currency)
        known = join_ledger(self.spark, rows, self.storage.ledger, self._asked(), candidate_ids=sorted(plan.prompts))
        # Rows are laid out before they meet the candidates: their texts are moved once, not once a candidate.
        items = to_items(known.repartition(plan.tasks, "row_id")).select(*ITEM_COLUMNS)
        kept = self._run(plan, items, name=name, stage=stage or name, pairs=total)
        self._check_replayed(kept, total)
        self.usage.add_frame(kept, given=not prompts)
        self.progress.finish_stage()
        return kept

    def _check_replayed(self, kept: DataFrame, total: int) -> None:
        if self.reuse.replay:
            lacking = kept.where(F.col("error.kind") == ErrorKind.NOT_IN_LEDGER.value)
            line = lacking.agg(F.count(F.lit(1)).alias("missed"), F.min("error.message").alias("first")).collect()[0]
            self._check_replay(int(line["missed"]), total, line["first"])

    def rollouts(
        self, pairs: Sequence[tuple[Prompt, Sequence[Row]]], *, stage: str, allowance: Allowance | None = None
    ) -> list[list[Rollout]]:
        """Evaluate prompts on rows held on the driver; return one list a pair, in the order of its rows.

        A small stage runs here, a larger one as a Spark job, both through the same code; see :meth:`frame` for
        ``allowance`` and what is raised.
        """
        items = [
            Item(prompt.candidate_id, row.row_id, row.inputs, row.expectations)
            for prompt, rows in pairs
            for row in rows
        ]
        by_pair = self.run_items([prompt for prompt, _ in pairs], items, stage=stage, allowance=allowance)
        return [[by_pair[prompt.candidate_id, row.row_id] for row in rows] for prompt, rows in pairs]

    def run_items(
        self, prompts: Sequence[Prompt], items: Sequence[Item], *, stage: str, allowance: Allowance | None = None
    ) -> dict[tuple[str, str], Rollout]:
        """Evaluate items held on the driver; return their rollouts by (candidate, row).

        Where ``prompts`` are none, nothing can be asked for: every item brings its answer along. See :meth:`frame` for
        ``allowance`` and what is raised.
        """
        known = self._remember()
        unique = {(item.candidate_id, item.row_id): known.attach(item) for item in items}
        self.progress.stage(stage, len(unique), currency=self._currency)
        run = self._run_here if len(unique) <= self.small_stage_items else self._run_on_spark
        found = run(prompts, list(unique.values()), stage, allowance)
        missed = [r.error.message for r in found if r.error and r.error.kind is ErrorKind.NOT_IN_LEDGER]
        self._check_replay(len(missed), len(unique), min(missed, default=None))
        self.usage.add(found, given=not prompts)
        self.progress.ended(found)
        return {(rollout.candidate_id, rollout.row_id): rollout for rollout in found}

    @property
    def _currency(self) -> str:
        return self.endpoint.price.currency if self.endpoint.price else ""

    def _run_here(
        self, prompts: Sequence[Prompt], items: Sequence[Item], stage: str, allowance: Allowance | None
    ) -> list[Rollout]:
        plan = self._plan(prompts, tasks=1, allowance=allowance)
        found: list[Rollout] = []
        try:
            with self._leased(plan, tasks=0) as (_, parts):
                plan = replace(plan, parts=parts)
                found.extend(rollout for batch in evaluate_stream(plan, [items]) for rollout in batch)
        except EvaluationStopped as stop:
            raise stopped_error(stop.message, stage=stage, done=TaskStatus(done=len(found)), pairs=len(items)) from stop
        self._remember().learn(plan.evaluation_id)
        return found

    def _run_on_spark(
        self, prompts: Sequence[Prompt], items: Sequence[Item], stage: str, allowance: Allowance | None
    ) -> list[Rollout]:
        lines = [
            (i.candidate_id, i.row_id, i.inputs, i.expectations, f"[{','.join(e.to_json() for e in i.known)}]")
            for i in items
        ]
        known = self.spark.createDataFrame(lines, ", ".join(f"{column} string" for column in ITEM_COLUMNS))
        plan = self._plan(prompts, tasks=self._tasks(len(items)), allowance=allowance)
        placed = known.repartition(plan.tasks, "row_id")
        result = self._run(plan, placed, name=f"stages/{plan.evaluation_id}", stage=stage, pairs=len(items))
        self._remember().learn(plan.evaluation_id)
        return [to_rollout(line.asDict(recursive=True)) for line in result.collect()]

    def _run(self, plan: EvaluationPlan, items: DataFrame, *, name: str, stage: str, pairs: int) -> DataFrame:
        """Evaluate ``items``, which lie in as many partitions as the plan has tasks; no pair comes twice."""
        ship_udfs(self.spark)
        with self._leased(plan, tasks=plan.tasks) as (lease, parts):
            return self._run_leased(replace(plan, parts=parts), items, lease, name=name, stage=stage, pairs=pairs)

    def _run_leased(
        self, plan: EvaluationPlan, items: DataFrame, lease: Lease | None, *, name: str, stage: str, pairs: int
    ) -> DataFrame:
        # Calls of one candidate lie next to each other in a task, so that an endpoint's prefix cache serves them; in
        # blocks of rows, so that a row's answers from all candidates come soon after each other: alike answers are
        # then judged once, and a budget that ends half way leaves whole comparisons.
        rows_a_task = max(1, pairs // max(1, len(plan.prompts)) // plan.tasks)
        block = F.pmod(F.xxhash64("row_id", F.lit("block")), F.lit(-(-rows_a_task // _ROWS_A_BLOCK)))
        placed = items.sortWithinPartitions(block, "candidate_id", "row_id")
        record = evaluation_udf(replace(plan, watched=True))(F.struct(*ITEM_COLUMNS))
        result = placed.select(record.alias("record")).select("record.*").select(*result_columns())
        folder = plan.status_folder
        begin(folder)
        try:
            with watch_tasks(folder, self.progress), self._refreshed(lease, folder), stoppable(self.spark, folder):
                return self.storage.keep(self.spark, result, name)
        except (PySparkException, Py4JJavaError) as error:
            stop = folder.stopped()
            if stop is not None and stop.kind == INTERRUPTED and lease is not None:
                raise Interrupted from error
            if stop is not None:
                done = total(folder.statuses().values())
                if stop.kind == LEDGER:
                    # What was answered and what was kept are two things now.
                    done = TaskStatus(done=done.reused + self._kept(plan.evaluation_id))
                raise stopped_error(stop.message, stage=stage, done=done, pairs=pairs) from error
            reason = next((line for line in reversed(str(error).splitlines()) if "Error: " in line), str(error)[:300])
            raise EvaluationError(
                f"the Spark job of {name} failed: {reason.strip()}. What was answered is kept: mend the cause and "
                "start the same command again with the same --run-dir to go on without paying twice."
            ) from error
        finally:
            close(folder)

    def _promises(self) -> dict[Place, Limits]:
        """What was promised to each place that is asked, for the whole cluster."""
        places = {endpoint.place for endpoint in self._endpoints()}
        return {one: tightest([e.limits for e in self._endpoints() if e.place == one]) for one in places}

    @contextlib.contextmanager
    def _leased(self, plan: EvaluationPlan, *, tasks: int) -> Iterator[tuple[Lease | None, Parts]]:
        """Hold what the evaluation may use of its endpoints' limits; all of them where nothing else runs."""
        if self.sharing is None or plan.replay:
            yield None, Parts()
            return
        folder = plan.status_folder

        def stop() -> None:
            try:
                folder.stop(Stop(INTERRUPTED, "the run was interrupted"))
            except OSError as error:
                log.warning("can't tell the tasks to stop: %s", error)

        with self.sharing.lease(self._promises(), tasks=tasks, stop=stop if tasks else None) as lease:
            yield lease, lease.parts

    def _refreshed(self, lease: Lease | None, folder: StatusFolder) -> contextlib.AbstractContextManager[None]:
        if lease is None or self.sharing is None:
            return contextlib.nullcontext()
        return refreshed(self.sharing, lease, folder)

    def _kept(self, evaluation_id: str) -> int:
        """How many answers of an evaluation are on storage."""
        return sum(found.kind == "answer" for found in self.storage.ledger.closed_by(f"{evaluation_id}-"))

    def _tasks(self, total: int) -> int:
        """How many tasks: enough to use every core, never so many that a task's share of a limit is under one call."""
        most = min(
            [DEFAULT_MAX_CONCURRENCY]
            + [e.limits.max_concurrency for e in self._endpoints() if e.limits.max_concurrency is not None]
        )
        # Executors come and go: before a long evaluation it is worth a look how many there are now.
        cores = parallelism(self.spark, fresh=total > _LONG_EVALUATION)
        if self.sharing is not None:
            most = min(most, self.sharing.tasks(self._promises(), cores))
        return max(1, min(cores, most, -(-total // _ITEMS_A_TASK)))

    def _endpoints(self) -> list[Endpoint]:
        return [self.endpoint, *self._judges()]

    def _judges(self) -> list[Endpoint]:
        return [weighted.scorer.endpoint for weighted in self.mix if isinstance(weighted.scorer, Judge)]

    def _plan(self, prompts: Sequence[Prompt], *, tasks: int, allowance: Allowance | None) -> EvaluationPlan:
        return EvaluationPlan(
            endpoint=renewed(self.endpoint),
            prompts={prompt.candidate_id: prompt for prompt in prompts},
            mix=tuple(_judged_by(weighted, renewed) for weighted in self.mix),
            ledger=self.storage.ledger,
            evaluation_id=f"e{uuid.uuid4().hex[:16]}",
            run_id=self.run_id,
            tasks=tasks,
            verdict_sample=self.verdict_sample,
            allowance=allowance or Allowance(),
            replay=self.reuse.replay,
        )

    def _asked(self) -> Asked:
        judge_ids = tuple(sorted({endpoint.endpoint_id for endpoint in self._judges()}))
        return Asked(self.endpoint.endpoint_id, judge_ids, self.began_at if self.reuse.retry_failed else None)

    def _remember(self) -> Remembered:
        """What the ledger has for the rows that are held on the driver; read from storage once."""
        if self._remembered is None:
            self._remembered = Remembered(self.storage.ledger, self._asked(), self.local_row_ids)
        return self._remembered

    def _check_replay(self, missed: int, total: int, first: str | None) -> None:
        """Make sure that a replay found everything.

        Raises:
            LedgerError: it did not; the message names the first miss.
        """
        if missed:
            raise LedgerError(
                f"--replay: {missed:,} of {total:,} pairs are not in {self.storage.ledger.folder}; the first: {first}. "
                "Start the same command without --replay to have them called"
            )


def _judged_by(weighted: Weighted, prepared: Callable[[Endpoint], Endpoint]) -> Weighted:
    """Prepare a judge's endpoint; a judge of the user's own that is no dataclass keeps what it was made with."""
    scorer = weighted.scorer
    if not isinstance(scorer, Judge) or not hasattr(scorer, "__dataclass_fields__"):
        return weighted
    endpoint = prepared(scorer.endpoint)
    if endpoint is scorer.endpoint:
        return weighted
    return replace(weighted, scorer=replace(cast("Any", scorer), endpoint=endpoint))
