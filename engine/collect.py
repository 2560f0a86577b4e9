"""Step one of a migration: ask the source model, record its answers as traces, and make the evaluation data set.

Every input is asked once, on executors; traces and records are written from the driver, batch by batch as they come
out of Spark, so that the driver never holds more than a part of them.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import Row as Line
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine import registry
from engine.collect_inputs import input_rows
from engine.collected import CollectedRows
from engine.config import AppConfig, LLMModel, PromptOptimizationModel
from engine.coverage import allowed_unscored
from engine.errors import ConfigError, CoverageError, EvaluationError, InputError, PromptmillError
from engine.evaluate import Evaluation
from engine.evaluation_dataset import dataset_name, open_dataset, refuse_session_keys
from engine.migration import default_run_dir, seed_prompt
from engine.progress import Progress
from engine.run_state import RunState
from engine.session import configured_session
from engine.shared_storage import check_shared
from engine.sources import keep_rows
from engine.storage import Storage
from engine.trace_log import AnswerTrace, TraceLog
from engine.tracking import Tracker, set_up
from engine.usage import Usage
from udfs.endpoint import Endpoint
from udfs.prompt import Prompt
from udfs.trace_rows import WEIGHT_TAG

log = logging.getLogger(__name__)

# Traces and records a write. A crash writes at most one batch again; larger ones are no faster on SQLite.
_BATCH = 500
# Rows that Spark hands the driver at a time: some 10 MB of ordinary texts.
_ROWS_A_PARTITION = 10_000


@dataclass(frozen=True)
class CollectResult:
    """What a collection came to.

    ``rows`` are the distinct inputs, ``answered`` those that stand in the data set now, ``written`` those of them that
    this call wrote. ``left_out`` counts the rest by kind of failure, ``cut_off`` the answers as long as ``max_tokens``
    allows, which probably lack their end. ``calls``, ``tokens`` and ``cost`` are as in ``result.json``.
    """

    dataset_name: str
    experiment: str
    run_dir: str
    mlflow_run_id: str | None
    rows: int
    answered: int
    written: int
    left_out: Mapping[str, int]
    cut_off: int
    calls: Mapping[str, int]
    tokens: Mapping[str, int]
    cost: Mapping[str, Any] | None
    seconds: float


@dataclass
class _Collection:
    """A collection that is set up but has not called the endpoint yet."""

    settings: PromptOptimizationModel
    seed: Prompt
    source: Endpoint
    dataset: Any
    spark: SparkSession
    storage: Storage
    state: RunState
    progress: Progress
    rows: DataFrame
    total: int
    tracker: Tracker
    prompt: registry.RegisteredPrompt | None
    usage: Usage = field(default_factory=Usage)


def collect(
    app: AppConfig,
    settings: PromptOptimizationModel,
    inputs_path: str,
    *,
    run_dir: str | None = None,
    progress: Progress | None = None,
    spark: SparkSession | None = None,
    model: LLMModel | str | None = None,
) -> CollectResult:
    """Run the source model over the inputs in a file or folder; record traces; create or extend the data set.

    ``model`` overrides the configured source model (``source_model``, else ``reflection_model``); a text names one of
    ``resources.llms``. ``run_dir`` given again goes on with that run: it pays for no answer and writes no trace twice,
    and asks again for rows that failed. Of an input that the data set has already, the answer and the weight are
    replaced.

    Raises:
        InputError: configuration, inputs or MLflow can't be used; nothing was called.
        EvaluationError: too few rows were answered, or MLflow failed; what was paid for is in the ledger.
    """
    started = time.monotonic()
    collection = _prepare(app, settings, inputs_path, run_dir, progress or Progress(), spark, model)
    try:
        result = _run(collection, app, started)
    except PromptmillError:
        _end_run(collection.tracker, "FAILED")
        raise
    collection.tracker.metrics(
        {"rows": result.rows, "answered": result.answered, "seconds": result.seconds}
        | {f"calls_{name}": float(count) for name, count in result.calls.items()}
        | {f"tokens_{name}": float(count) for name, count in result.tokens.items()}
    )
    _end_run(collection.tracker, "FINISHED")
    return result


def source_model(app: AppConfig, settings: PromptOptimizationModel, model: LLMModel | str | None = None) -> LLMModel:
    """Return the model whose answers are collected: ``model``, else ``source_model``, else ``reflection_model``.

    Raises:
        ConfigError: there is none, or nothing is called ``model``.
    """
    if isinstance(model, str):
        known = app.resources.llms
        found = known.get(model) or next((llm for llm in known.values() if llm.name == model), None)
        if found is None:
            raise ConfigError(f"the source model {model!r} is none of resources.llms ({', '.join(known) or 'empty'})")
        return found
    chosen = model or settings.source_model or settings.reflection_model
    if chosen is None:
        raise ConfigError(
            f"optimization {settings.name!r} has no source_model, and no reflection_model to take its place; set "
            "source_model to the model whose answers the new one is to give"
        )
    return chosen


def _prepare(
    app: AppConfig,
    settings: PromptOptimizationModel,
    inputs_path: str,
    run_dir: str | None,
    progress: Progress,
    spark: SparkSession | None,
    model: LLMModel | str | None,
) -> _Collection:
    set_up(app.mlflow.tracking_uri)
    name, seed, llm = dataset_name(settings), seed_prompt(settings), source_model(app, settings, model)
    session = configured_session(app, spark)
    place = run_dir or default_run_dir(app, f"{settings.name}-collect")
    state = RunState.open(place, _fingerprint(settings, seed, llm, inputs_path))
    storage = Storage.at(app.storage.root, state.run_dir)
    check_shared(session, storage)
    found = input_rows(session, inputs_path, seed.variables, settings.slices)
    rows = keep_rows(session, found, storage, seed.needs, source=f"inputs {inputs_path}")
    refuse_session_keys(rows)
    total = rows.count()
    if not total:
        raise InputError(f"inputs {inputs_path}: there are no rows; give a file with the inputs to ask")
    dataset = open_dataset(name, app.mlflow.experiment)
    tracker = Tracker(app.mlflow.experiment, f"collect {settings.name}", run_id=state.mlflow_run_id)
    state = state.with_mlflow_run(tracker.run_id)
    prompt = registry.register(
        settings.prompt.full_name, seed, message="the current prompt", tags={"promptmill.role": "seed"}
    )
    tracker.prompt(prompt)
    tracker.parameters(
        {"source_model": llm.name, "prompt": settings.prompt.full_name, "dataset": name, "inputs": inputs_path}
    )
    source = llm.endpoint()
    return _Collection(settings, seed, source, dataset, session, storage, state, progress, rows, total, tracker, prompt)


def _run(collection: _Collection, app: AppConfig, started: float) -> CollectResult:
    c = collection
    evaluation = Evaluation(c.spark, c.source, (), c.storage, c.state.run_id, c.progress, c.usage)
    # A new name each time: under the old one a resumed run would read the failures of the one before as its own.
    result = evaluation.frame([c.seed], c.rows, name=f"answers/{uuid.uuid4().hex[:8]}", total=c.total)
    usable = F.col("output").isNotNull() & F.col("error").isNull()
    left_out = _left_out(c, result.where(~usable))
    answers = result.where(usable).join(c.rows.select("row_id", "inputs", "expectations", "weight", "slices"), "row_id")
    try:
        written = _write(c, answers)
    except MlflowException as error:
        raise EvaluationError(
            f"MLflow at {mlflow.get_tracking_uri()} didn't take the answers: {error.message}; they are kept: mend the "
            "cause and start the same command again with the same --run-dir to go on without paying twice"
        ) from error
    return CollectResult(
        dataset_name=str(c.settings.dataset.name),
        experiment=app.mlflow.experiment,
        run_dir=c.state.run_dir,
        mlflow_run_id=c.tracker.run_id,
        rows=c.total,
        answered=c.total - sum(left_out.values()),
        written=written,
        left_out=left_out,
        cut_off=_cut_off(c, answers),
        calls=c.usage.calls(),
        tokens=c.usage.token_counts(),
        cost=c.usage.cost(c.source.price, None, None),
        seconds=round(time.monotonic() - started, 3),
    )


def _left_out(c: _Collection, failed: DataFrame) -> dict[str, int]:
    """Count the rows without a usable answer by kind, and tell.

    The source model's own failures (content filter, context length) say that there is no answer to learn from, and
    asking again brings none; only the other ones, which may pass, count against coverage.

    Raises:
        CoverageError: too many failures that may pass, or no answer at all.
    """
    kinds = failed.groupBy(F.coalesce("error.kind", F.lit("unknown")).alias("kind")).agg(
        F.count(F.lit(1)).alias("rows"),
        F.sum(F.col("score").isNull().cast("bigint")).alias("passing"),
        F.min("error.message").alias("example"),
    )
    lines = sorted(kinds.collect(), key=lambda line: (-line["rows"], line["kind"]))
    if not lines:
        return {}
    counts = {str(line["kind"]): int(line["rows"]) for line in lines}
    all_told, passing = sum(counts.values()), sum(int(line["passing"]) for line in lines)
    causes = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
    example = next((line["example"] for line in lines if line["example"]), "no message")
    min_coverage = c.settings.gate.min_coverage
    if passing > allowed_unscored(c.total, min_coverage) or all_told == c.total:
        raise CoverageError(
            f"{c.source.name}: {all_told} of {c.total} rows were not answered ({causes}), more than min_coverage "
            f"{min_coverage:g} allows. A failure: {example}. What was answered is kept: mend the cause and start the "
            "same command again with the same --run-dir to go on without paying twice."
        )
    told = f"{all_told} of {c.total} rows are left out, because {c.source.name} did not answer them: {causes}"
    log.warning("%s, such as: %s", told, example)
    c.progress.tell(told)
    return counts


def _cut_off(c: _Collection, answers: DataFrame) -> int:
    most = c.source.sampling.max_tokens
    found = answers.where(F.col("completion_tokens") >= most).count() if most else 0
    if found:
        told = f"{found} answers of {c.source.name} are as long as its max_tokens ({most}) allows and probably cut off"
        log.warning("%s; raise it, and collect again", told)
        c.progress.tell(told)
    return found


def _write(c: _Collection, answers: DataFrame) -> int:
    """Write what has not been written yet; return how many rows that was."""
    collected = CollectedRows(c.storage)
    new = collected.missing_from(answers, c.spark).repartition(-(-c.total // _ROWS_A_PARTITION), "row_id")
    if c.tracker.experiment_id is None:
        raise EvaluationError(f"the experiment at {mlflow.get_tracking_uri()} can't be used; see the warning above")
    traces = TraceLog(c.tracker.experiment_id, name=c.settings.prompt.name, run_id=c.tracker.run_id)
    written = 0
    for batch in _batches(new.toLocalIterator()):
        ids = traces.write([_trace(c, line) for line in batch])
        c.dataset.merge_records([_record(line, trace_id) for line, trace_id in zip(batch, ids, strict=True)])
        collected.add({line["row_id"]: trace_id for line, trace_id in zip(batch, ids, strict=True)})
        written += len(batch)
        c.progress.tell(f"{written} traces written")
    return written


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while batch := list(islice(lines, _BATCH)):
        yield batch


def _trace(c: _Collection, line: Line) -> AnswerTrace:
    return AnswerTrace(
        key=f"{c.state.run_id}/{line['row_id']}",
        inputs=json.loads(line["inputs"]),
        output=line["output"],
        model=c.source.name,
        prompt_tokens=line["prompt_tokens"],
        completion_tokens=line["completion_tokens"],
        latency_ms=line["latency_ms"] or 0.0,
        attributes={
            "promptmill.prompt_name": c.settings.prompt.full_name,
            "promptmill.prompt_uri": c.prompt.uri if c.prompt else None,
            "promptmill.row_id": line["row_id"],
        },
        tags={**_tags(line), "promptmill.run_id": c.state.run_id},
    )


def _record(line: Line, trace_id: str) -> dict[str, Any]:
    """The data set's record: what the source model answered is expected; other expectations of the row stay."""
    expectations = json.loads(line["expectations"]) if line["expectations"] else {}
    return {
        "inputs": json.loads(line["inputs"]),
        "expectations": {**expectations, "expected_response": line["output"]},
        "tags": _tags(line),
        "source": {"source_type": "TRACE", "source_data": {"trace_id": trace_id}},
    }


def _tags(line: Line) -> dict[str, str]:
    return {**(line["slices"] or {}), WEIGHT_TAG: str(line["weight"])}


def _end_run(tracker: Tracker, status: str) -> None:
    if tracker.run_id is None:
        return
    try:
        mlflow.MlflowClient().set_terminated(tracker.run_id, status)
    except MlflowException:
        # The run is a record of the collection, not a part of it.
        log.warning("MLflow: can't end the run %s", tracker.run_id, exc_info=True)


def _fingerprint(settings: PromptOptimizationModel, seed: Prompt, llm: LLMModel, inputs_path: str) -> str:
    """What must be the same for a collection to be gone on with; where the endpoint stands is not part of it."""
    place = inputs_path if "://" in inputs_path else str(Path(inputs_path).absolute())
    model = llm.model_dump(mode="json", exclude={"base_url", "limits", "price", "api_key", "description"})
    kept = {"collect": settings.dataset.name, "prompt": seed.candidate_id, "model": model, "inputs": place}
    return json.dumps(kept | {"slices": list(settings.slices)}, sort_keys=True)
