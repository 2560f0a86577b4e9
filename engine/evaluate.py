"""Distributed evaluation: many (candidate, row) pairs, predicted and scored in one Spark job a stage.

The result has one line a pair:

===================================  ==================================================================
column
===================================  ==================================================================
``candidate_id``, ``row_id``         the pair
``output``                           string, null when the call failed
``score``                            double, 0 to 1, higher is better; null when the call failed for a
                                     reason that is not the prompt's
``scores``, ``feedback``             by scorer: map<string,double>, map<string,string>
``error``                            struct<kind,message>, null; kinds in :class:`udfs.errors.ErrorKind`
``prompt_tokens`` …                  of the answer; ``reused`` says that nothing was paid for it now
``judge_calls`` …                    what the judges were asked now
===================================  ==================================================================
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import EvaluationError, InputError
from engine.given_answers import given_item
from engine.ledger_join import GIVEN, Asked, Remembered, Reuse, given_to, join_ledger, known_to
from engine.progress import Progress, watch_tasks
from engine.rows import Row
from engine.session import parallelism, ship_udfs
from engine.stopping import begin, close, stoppable, stopped_error
from engine.storage import Storage
from engine.usage import Usage
from udfs.allowance import Allowance
from udfs.endpoint import DEFAULT_MAX_CONCURRENCY, Endpoint
from udfs.errors import ErrorKind, EvaluationStopped, LedgerError
from udfs.evaluation_udf import ITEM_COLUMNS, evaluation_udf
from udfs.plan import EvaluationPlan
from udfs.prompt import Prompt
from udfs.rollout import Item, Rollout
from udfs.scorers.protocol import Judge, Weighted
from udfs.task import evaluate_stream
from udfs.task_status import LEDGER, TaskStatus, total

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

_RESULT_COLUMNS = (
    "candidate_id",
    "row_id",
    "output",
    "score",
    "scores",
    "feedback",
    "error",
    "prompt_tokens",
    "completion_tokens",
    "latency_ms",
    "attempts",
    "refused",
    "reused",
    "resumed",
    "judge_calls",
    "judge_attempts",
    "judge_prompt_tokens",
    "judge_completion_tokens",
    "judge_reused",
    "judge_reused_prompt_tokens",
    "judge_reused_completion_tokens",
)


@dataclass
class Evaluation:
    """Evaluates prompts on one endpoint with one mix of scorers; counts what was used.

    ``usage`` is mutated by every evaluation; everything else stays as it is. ``local_row_ids`` are the rows that
    :meth:`rollouts` may be asked for. Credentials are read here, on the driver, whose environment holds them; with
    ``reuse.replay`` none are, and no endpoint is called. ``began_at`` is in seconds since 1970. With another
    ``verdict_sample`` judges are asked once more what they were asked before.

    Raises:
        InputError: the variable that holds an endpoint's key is not set.
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
    _remembered: Remembered | None = None

    def __post_init__(self) -> None:
        if self.reuse.replay:
            return  # calls nothing, so that it needs no credentials
        self.endpoint = self.endpoint.with_secret()
        self.mix = tuple(_with_secret(weighted) for weighted in self.mix)

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
        """Evaluate every candidate on every row; return the result as a DataFrame (see the module's table).

        ``name`` is the folder under the run's directory that the result is written to, once; ``total`` is the number
        of pairs, for progress and for the number of tasks; ``stage`` is what progress calls it. What the ledger has is
        not called again. Pairs that ``allowance`` does not cover come back unscored, with an error of kind ``budget``.

        Raises:
            InputError: a row lacks what a scorer needs; nothing was called.
            EvaluationError: the job failed or was stopped; what was answered is kept.
            KeyboardInterrupt: it was interrupted; what was answered is kept.
        """
        rows = check_rows(rows, self.mix).select("row_id", "inputs", "expectations")
        candidate_ids = sorted({prompt.candidate_id for prompt in candidates})
        plan = self._plan(candidates, tasks=self._tasks(total), allowance=allowance)
        self.progress.stage(stage or name, total, currency=self._currency)
        ids = self.spark.createDataFrame([(one,) for one in candidate_ids], "candidate_id string")
        known = join_ledger(self.spark, rows, self.storage.ledger, self._asked(), candidate_ids=candidate_ids)
        # Rows are laid out before they meet the candidates: their texts are moved once, not once a candidate.
        pairs = known.repartition(plan.tasks, "row_id").crossJoin(F.broadcast(ids))
        items = pairs.withColumn("known", known_to(F.col("candidate_id"), F.col("entries"))).drop("entries")
        kept = self._run(plan, items, name=name, stage=stage or name, pairs=total)
        self._check_replayed(kept, total)
        self.usage.add_frame(kept)
        self.progress.finish_stage()
        return kept

    def given(
        self, rows: DataFrame, output: Column, *, name: str, total: int, allowance: Allowance | None = None
    ) -> DataFrame:
        """Have the mix score answers that are given in the column ``output``; return the result as :meth:`frame` does.

        The endpoint itself is not asked; judges are, unless the ledger has their verdict. The lines' ``candidate_id``
        is ``given``. Raises what :meth:`frame` raises.
        """
        rows = check_rows(rows, self.mix).select("row_id", "inputs", "expectations", output.alias("output"))
        plan = self._plan([], tasks=self._tasks(total), allowance=allowance)
        self.progress.stage(name, total, currency=self._currency)
        known = join_ledger(self.spark, rows, self.storage.ledger, self._asked(), candidate_ids=[])
        items = known.withColumn("candidate_id", F.lit(GIVEN)).withColumn(
            "known", given_to(F.col("row_id"), F.col("output"), F.col("entries"), self.endpoint.endpoint_id)
        )
        placed = items.drop("entries", "output").repartition(plan.tasks, "row_id")
        kept = self._run(plan, placed, name=f"{name}-{uuid.uuid4().hex[:12]}", stage=name, pairs=total)
        self._check_replayed(kept, total)
        self.usage.add_frame(kept, given=True)
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
        by_pair = self._by_pair([prompt for prompt, _ in pairs], items, stage, allowance)
        return [[by_pair[prompt.candidate_id, row.row_id] for row in rows] for prompt, rows in pairs]

    def verdicts(
        self, answers: Sequence[tuple[Row, str]], *, stage: str, allowance: Allowance | None = None
    ) -> list[Rollout]:
        """Have the mix score answers that are given as (row, output); return one rollout each, in order.

        The endpoint itself is not asked. See :meth:`frame` for ``allowance`` and what is raised.
        """
        items = [given_item(row, output, self.endpoint.endpoint_id) for row, output in answers]
        by_pair = self._by_pair([], items, stage, allowance)
        self.usage.reused -= len(by_pair)  # the answers were given: the ledger saved nothing
        return [by_pair[item.candidate_id, item.row_id] for item in items]

    def _by_pair(
        self, prompts: Sequence[Prompt], items: Sequence[Item], stage: str, allowance: Allowance | None
    ) -> dict[tuple[str, str], Rollout]:
        known = self._remember()
        unique = {(item.candidate_id, item.row_id): known.attach(item) for item in items}
        self.progress.stage(stage, len(unique), currency=self._currency)
        run = self._run_here if len(unique) <= self.small_stage_items else self._run_on_spark
        found = run(prompts, list(unique.values()), stage, allowance)
        missed = [r.error.message for r in found if r.error and r.error.kind is ErrorKind.NOT_IN_LEDGER]
        self._check_replay(len(missed), len(unique), min(missed, default=None))
        self.usage.add(found)
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
        # Calls of one candidate lie next to each other in a task, so that an endpoint's prefix cache serves them; in
        # blocks of rows, so that a row's answers from all candidates come soon after each other: alike answers are
        # then judged once, and a budget that ends half way leaves whole comparisons.
        rows_a_task = max(1, pairs // max(1, len(plan.prompts)) // plan.tasks)
        block = F.pmod(F.xxhash64("row_id", F.lit("block")), F.lit(-(-rows_a_task // _ROWS_A_BLOCK)))
        placed = items.sortWithinPartitions(block, "candidate_id", "row_id")
        record = evaluation_udf(replace(plan, watched=True))(F.struct(*ITEM_COLUMNS))
        result = placed.select(record.alias("record")).select("record.*").select(*_result_columns())
        folder = plan.status_folder
        begin(folder)
        try:
            with watch_tasks(folder, self.progress), stoppable(self.spark, folder):
                return self.storage.keep(self.spark, result, name)
        except (PySparkException, Py4JJavaError) as error:
            stop = folder.stopped()
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
        return max(1, min(cores, most, -(-total // _ITEMS_A_TASK)))

    def _endpoints(self) -> list[Endpoint]:
        return [self.endpoint, *self._judges()]

    def _judges(self) -> list[Endpoint]:
        return [weighted.scorer.endpoint for weighted in self.mix if isinstance(weighted.scorer, Judge)]

    def _plan(self, prompts: Sequence[Prompt], *, tasks: int, allowance: Allowance | None) -> EvaluationPlan:
        return EvaluationPlan(
            endpoint=self.endpoint,
            prompts={prompt.candidate_id: prompt for prompt in prompts},
            mix=self.mix,
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


def _with_secret(weighted: Weighted) -> Weighted:
    """Give a judge's endpoint its key; a judge of the user's own that is no dataclass keeps what it was made with."""
    scorer = weighted.scorer
    if not isinstance(scorer, Judge) or not hasattr(scorer, "__dataclass_fields__"):
        return weighted
    keyed = replace(cast("Any", scorer), endpoint=scorer.endpoint.with_secret())
    return replace(weighted, scorer=keyed)


def summarize(result: DataFrame, rows: DataFrame) -> DataFrame:
    """Return one line a candidate: ``score`` (mean by weight), ``rows``, ``scored``, ``coverage``, tokens."""
    weighed = result.join(rows.select("row_id", "weight"), "row_id")
    scored = F.col("score").isNotNull()
    return weighed.groupBy("candidate_id").agg(
        (F.sum(F.col("score") * F.col("weight")) / F.sum(F.when(scored, F.col("weight")))).alias("score"),
        F.count(F.lit(1)).alias("rows"),
        F.sum(scored.cast("bigint")).alias("scored"),
        (F.sum(scored.cast("double")) / F.count(F.lit(1))).alias("coverage"),
        F.sum("prompt_tokens").alias("prompt_tokens"),
        F.sum("completion_tokens").alias("completion_tokens"),
    )


def check_rows(rows: DataFrame, mix: Sequence[Weighted]) -> DataFrame:
    """Make sure that every row has what the scorers need, before the first call; return each row once.

    One pass over the rows, whatever the number of scorers.

    Raises:
        InputError: names the scorer, the key and a row.
    """
    needs = [(key, weighted.scorer.name) for weighted in mix for key in sorted(weighted.scorer.needs)]
    lacking = [
        F.min(F.when(F.get_json_object("expectations", f"$['{key}']").isNull(), F.col("inputs"))).alias(f"lacking{n}")
        for n, (key, _) in enumerate(needs)
    ]
    counts = (F.count(F.lit(1)).alias("rows"), F.count_distinct("row_id").alias("distinct"))
    found = rows.agg(*counts, *lacking).collect()[0]
    for n, (key, scorer) in enumerate(needs):
        inputs = found[f"lacking{n}"]
        if inputs is not None:
            raise InputError(
                f"the scorer {scorer!r} needs expectations.{key}, which the row with inputs {inputs[:120]} lacks; add "
                "it to the data set or take the scorer out"
            )
    return rows if found["rows"] == found["distinct"] else rows.dropDuplicates(["row_id"])


def to_rollout(line: Mapping[str, object]) -> Rollout:
    """Make a rollout of a line of the result."""
    from udfs.errors import ErrorKind, RowError

    error = line["error"]
    values = {name: line[name] for name in _RESULT_COLUMNS if name != "error"}
    values |= {name: dict(line[name] or {}) for name in ("scores", "feedback")}  # type: ignore[call-overload]
    return Rollout(
        **values,  # type: ignore[arg-type]
        error=RowError(ErrorKind(error["kind"]), error["message"]) if isinstance(error, dict) else None,
    )


def _result_columns() -> list[Column]:
    error = F.when(
        F.col("error_kind").isNotNull(),
        F.struct(F.col("error_kind").alias("kind"), F.col("error_message").alias("message")),
    )
    shaped = {
        "scores": F.from_json("scores", "map<string,double>"),
        "feedback": F.from_json("feedback", "map<string,string>"),
        "error": error,
    }
    return [shaped.get(name, F.col(name)).alias(name) for name in _RESULT_COLUMNS]
