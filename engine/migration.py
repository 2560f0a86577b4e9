"""One migration, end to end: rows, search, gate, registry, record. The order of the work, and nothing else."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine import gate, registry
from engine.config import AppConfig, PromptOptimizationModel
from engine.coverage import allowed_unscored, coverage_error
from engine.errors import ConfigError, PromptmillError
from engine.estimate import Estimate, estimate
from engine.evaluate import Evaluation, check_expectations
from engine.progress import Progress
from engine.proposers.build import build_proposers
from engine.proposers.reflection_client import ReflectionClient
from engine.record import CandidateLine, RunRecord
from engine.report import write_report
from engine.run_state import RunState
from engine.search.budget import Budget
from engine.search.history import Candidate, History
from engine.search.loop import Search, SearchResult
from engine.session import SparkSettings, ship_udfs, spark_session
from engine.sources import load_rows
from engine.split import Split, split_rows
from engine.storage import Storage
from engine.tracking import Tracker, set_up
from engine.usage import Usage
from udfs import event_loop
from udfs.endpoint import Endpoint
from udfs.prompt import Prompt
from udfs.scorers import build_mix
from udfs.scorers.protocol import Judge, Weighted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OptimizedPrompt:
    """The prompt that the application should use from now on: the new one, or the old one where it was kept.

    ``uri`` is ``None`` where the registry could not take it.
    """

    name: str
    template: str | list[dict[str, str]]
    uri: str | None
    status: str


@dataclass(frozen=True)
class OptimizationResult:
    """What one optimization came to. ``run_dir`` holds ``result.json``, ``record.json`` and ``report.html``."""

    prompt: OptimizedPrompt
    record: RunRecord
    run_dir: str


@dataclass
class Migration:
    """A migration that is set up but has not called an endpoint yet."""

    app: AppConfig
    settings: PromptOptimizationModel
    seed: Prompt
    target: Endpoint
    mix: tuple[Weighted, ...]
    reflection: Endpoint | None
    spark: SparkSession
    storage: Storage
    state: RunState
    progress: Progress
    rows: DataFrame
    split: Split
    usage: Usage = field(default_factory=Usage)

    def estimate(self) -> Estimate:
        """Foresee calls, tokens and money; calls nothing."""
        return estimate(
            seed=self.seed,
            split=self.split,
            search=self.settings.search,
            target=self.target,
            reflection=self.reflection,
            judges=[w.scorer.endpoint for w in self.mix if isinstance(w.scorer, Judge)],
            gate_rows=self.gate_rows,
            budget=self.settings.budget,
        )

    @property
    def gate_rows(self) -> int:
        """How many holdout rows the gate reads: all, or at most a quarter of the calls that the budget allows."""
        most = self.settings.budget.max_metric_calls
        return self.split.holdout_rows if most is None else max(1, min(self.split.holdout_rows, most // 4))

    def cost(self) -> float:
        """Money spent so far."""
        spent = self.usage.cost(self.target.price, self._judge_price(), self.reflection.price if self.reflection else None)
        return float(spent["amount"]) if spent else 0.0

    def _judge_price(self) -> Any:
        judges = [w.scorer for w in self.mix if isinstance(w.scorer, Judge)]
        return judges[0].endpoint.price if judges else None


def prepare(
    app: AppConfig,
    settings: PromptOptimizationModel,
    *,
    run_dir: str | None = None,
    progress: Progress | None = None,
    spark: SparkSession | None = None,
) -> Migration:
    """Set up a migration: everything that can be wrong with the input is found here, before the first call.

    Raises:
        InputError: configuration, data set, prompt or environment can't be used.
    """
    set_up(app.mlflow.tracking_uri)
    seed = seed_prompt(settings)
    target = settings.agent.model.endpoint()
    mix = build_mix(settings.scorers, settings.scorer_model.endpoint() if settings.scorer_model else None)
    reflection = (
        settings.reflection_model.endpoint(temperature=settings.search.temperature) if settings.reflection_model else None
    )
    if "gepa" in settings.search.proposer and reflection is None:
        raise ConfigError(
            f"optimization {settings.name!r}: the proposer gepa needs a reflection_model; name one of resources.llms, or "
            "set proposer: demos"
        )
    session = spark or spark_session(
        SparkSettings(master=app.spark.master, remote=app.spark.remote, conf=dict(app.spark.conf))
    )
    ship_udfs(session)
    state = RunState.open(run_dir or default_run_dir(app, settings), _fingerprint(settings))
    storage = Storage.at(app.storage.root, state.run_dir)
    rows = load_rows(session, settings.dataset, storage, seed.variables)
    check_expectations(rows, mix)
    split = split_rows(rows, settings.split, seed=settings.search.seed)
    return Migration(
        app, settings, seed, target, mix, reflection, session, storage, state, progress or Progress(), rows, split
    )


def optimize(
    app: AppConfig,
    settings: PromptOptimizationModel,
    *,
    run_dir: str | None = None,
    progress: Progress | None = None,
    spark: SparkSession | None = None,
) -> OptimizationResult:
    """Run one optimization; ``run_dir`` given again goes on with that run.

    The new prompt is registered, as ``champion`` only through the gate. A run that fails writes its ``result.json``,
    too, with the status ``failed``.

    Raises:
        InputError: the input can't be used; nothing was called.
        EvaluationError: the run failed; what was paid for is in the ledger.
    """
    migration = prepare(app, settings, run_dir=run_dir, progress=progress, spark=spark)
    return run(migration)


def run(migration: Migration) -> OptimizationResult:
    """Run a prepared migration; see :func:`optimize`."""
    started = time.monotonic()
    settings, state = migration.settings, migration.state
    tracker = Tracker(migration.app.mlflow.experiment, settings.name, run_id=state.mlflow_run_id)
    state = state.with_mlflow_run(tracker.run_id)
    tracker.parameters(_parameters(migration))
    tracker.dataset(migration.split.train, name=f"{settings.name}-train", context="training")
    tracker.dataset(migration.split.val, name=f"{settings.name}-val", context="validation")
    tags = {"promptmill.run_id": state.run_id, "promptmill.optimization": settings.name}
    current = registry.register(
        settings.prompt.full_name, migration.seed, message="the current prompt", tags=tags | {"promptmill.role": "seed"}
    )
    tracker.prompt(current)
    outcome = _Outcome(migration, tracker, current)
    try:
        evaluation = Evaluation(
            migration.spark,
            migration.target,
            migration.mix,
            migration.storage,
            state.run_id,
            migration.progress,
            migration.usage,
        )
        found = _search(migration, evaluation, tracker)
        outcome.found = found
        verdict, paired = _gate(migration, evaluation, found.best)
        return outcome.finish(verdict, paired, started, tags)
    except PromptmillError as error:
        outcome.fail(error, started)
        raise


def _search(migration: Migration, evaluation: Evaluation, tracker: Tracker) -> SearchResult:
    settings = migration.settings
    client = (
        ReflectionClient(migration.reflection, migration.storage.ledger, run_id=migration.state.run_id, usage=migration.usage)
        if migration.reflection
        else None
    )
    price = migration.target.price
    first_tokens = migration.estimate().tokens_each
    budget = Budget(
        settings.budget,
        migration.usage,
        migration.cost,
        time.monotonic,
        reserved_calls=2 * migration.gate_rows,
        first_tokens=first_tokens,
        price_per_token=max(price.prompt_per_million, price.completion_per_million) / 1e6 if price else 0.0,
    )
    search = Search(
        seed=migration.seed,
        train=migration.split.train,
        val=migration.split.val,
        evaluation=evaluation,
        proposers=build_proposers(settings.search, migration.split.train, client),
        budget=budget,
        settings=settings.search,
        min_coverage=settings.gate.min_coverage,
        on_step=tracker.step,
    )
    try:
        return search.run()
    finally:
        if client is not None:
            event_loop.run(client.flush())


def _gate(migration: Migration, evaluation: Evaluation, best: Candidate) -> tuple[gate.Verdict, DataFrame]:
    """Evaluate the seed and the best prompt on the holdout, and judge."""
    settings = migration.settings
    holdout = migration.split.holdout
    if migration.gate_rows < migration.split.holdout_rows:
        order = F.sha2(F.concat_ws("|", F.lit("gate"), F.col("row_id")), 256)
        holdout = holdout.orderBy(order).limit(migration.gate_rows)
    prompts = list({p.candidate_id: p for p in (migration.seed, best.prompt)}.values())
    total = len(prompts) * migration.gate_rows
    migration.usage.metric_calls += total
    result = evaluation.frame(prompts, holdout, name="holdout", total=total)
    paired = gate.pair(result, holdout, migration.seed, best.prompt)
    _check_holdout_coverage(result, prompts, settings.gate.min_coverage)
    verdict = gate.judge(
        paired, migration.seed, best.prompt, settings.gate, slices=settings.slices, rng_seed=settings.search.seed
    )
    return verdict, paired


def _check_holdout_coverage(result: DataFrame, prompts: list[Prompt], min_coverage: float) -> None:
    missing = F.col("score").isNull()
    for prompt in prompts:
        lines = result.where(F.col("candidate_id") == prompt.candidate_id)
        counted = lines.agg(F.count(F.lit(1)).alias("rows"), F.sum(missing.cast("bigint")).alias("missing")).collect()[0]
        rows, lacking = int(counted["rows"]), int(counted["missing"] or 0)
        if lacking > allowed_unscored(rows, min_coverage) or lacking == rows:
            kinds = lines.where(missing).groupBy("error.kind").agg(
                F.count(F.lit(1)).alias("n"), F.min("error.message").alias("example")
            )
            found = {line["kind"] or "unknown": (int(line["n"]), line["example"]) for line in kinds.collect()}
            example = next((text for _, text in found.values() if text), "")
            raise coverage_error(
                "the holdout", rows, lacking, {kind: n for kind, (n, _) in found.items()}, example, min_coverage
            )


@dataclass
class _Outcome:
    """Turns what was found into registry versions, the record, the report and the tracked run."""

    migration: Migration
    tracker: Tracker
    current: registry.RegisteredPrompt | None
    found: SearchResult | None = None

    def finish(
        self, verdict: gate.Verdict, paired: DataFrame, started: float, tags: Mapping[str, str]
    ) -> OptimizationResult:
        migration, found = self.migration, self.found
        if found is None:
            raise AssertionError("the search has not ended")
        improved = found.best is not found.history.seed
        promoted = verdict.promote and improved
        winner = self.current
        if promoted:
            winner = registry.register(
                migration.settings.prompt.full_name,
                found.best.prompt,
                message=f"promptmill: {verdict.reason}",
                tags={**tags, "promptmill.role": "winner", "promptmill.proposer": found.best.proposer},
                aliases=(registry.CANDIDATE, registry.CHAMPION),
            )
            self.tracker.prompt(winner)
        status = "promoted" if promoted else "kept"
        reason = verdict.reason if improved else f"{found.ended}: no candidate was better than the current prompt on val"
        prompt = found.best.prompt if promoted else migration.seed
        result = self._result(status, found, started)
        result["prompt"] = {"uri": winner.uri if winner else None, "text": prompt.text()}
        result["seed"]["holdout_score"] = round(verdict.seed_score, 6)
        result["best"]["holdout_score"] = round(verdict.best_score, 6)
        result["holdout"] = {
            "rows": verdict.rows,
            "difference": round(verdict.difference, 6),
            "interval": [round(edge, 6) for edge in verdict.interval],
            "alpha": verdict.alpha,
            "p_value": round(verdict.p_value, 6) if improved else None,
        }
        won, lost = gate.flips(paired)
        notes = () if winner else ("The prompt registry could not take the prompt; it stands in result.json.",)
        record = RunRecord(
            result=result,
            settings=_parameters(migration),
            verdict=reason,
            seed_text=migration.seed.text(),
            best_text=found.best.prompt.text(),
            candidates=_lines(found.history),
            steps=found.steps,
            worst_rows=gate.row_lines(paired, order="worst"),
            lost_rows=gate.row_lines(paired, order="lost"),
            won_rows=gate.row_lines(paired, order="won"),
            won_count=won,
            lost_count=lost,
            slices=verdict.slices,
            errors=gate.error_lines(paired),
            notes=notes,
        )
        self._close(record)
        shaped = OptimizedPrompt(migration.settings.prompt.full_name, prompt.deployed(), winner.uri if winner else None, status)
        return OptimizationResult(shaped, record, migration.state.run_dir)

    def fail(self, error: PromptmillError, started: float) -> None:
        """Leave a record of a failed run; what was found until then is in it."""
        migration = self.migration
        result = self._result("failed", self.found, started)
        result["error"] = str(error)
        record = RunRecord(
            result=result,
            settings=_parameters(migration),
            verdict=str(error),
            seed_text=migration.seed.text(),
            best_text=(self.found.best.prompt if self.found else migration.seed).text(),
            candidates=_lines(self.found.history) if self.found else (),
            steps=self.found.steps if self.found else (),
        )
        self._close(record)

    def _close(self, record: RunRecord) -> None:
        run_dir = self.migration.state.run_dir
        record.write(run_dir)
        write_report(record, Path(run_dir) / "report.html")
        self.tracker.finish(record, run_dir)

    def _result(self, status: str, found: SearchResult | None, started: float) -> dict[str, Any]:
        migration, usage = self.migration, self.migration.usage
        reflection = migration.reflection.price if migration.reflection else None
        sides: dict[str, Any] = {"seed": None, "best": None}
        if found:
            for side, candidate in (("seed", found.history.seed), ("best", found.best)):
                sides[side] = {
                    "candidate_id": candidate.candidate_id,
                    "val_score": found.history.val_score(candidate),
                    "holdout_score": None,
                }
        return {
            "format": 1,
            "optimization": migration.settings.name,
            "run_id": migration.state.run_id,
            "mlflow_run_id": self.tracker.run_id,
            "status": status,
            "prompt": {"uri": self.current.uri if self.current else None, "text": migration.seed.text()},
            **sides,
            "holdout": None,
            "steps": found.steps[-1].step if found else 0,
            "candidates": len(found.history.candidates) if found else 0,
            "ended": found.ended if found else "failed",
            "metric_calls": usage.metric_calls,
            "calls": usage.calls(),
            "tokens": usage.token_counts(),
            "cost": usage.cost(migration.target.price, migration._judge_price(), reflection),
            "seconds": round(time.monotonic() - started, 3),
        }


def _lines(history: History) -> tuple[CandidateLine, ...]:
    return tuple(
        CandidateLine(
            label=c.label,
            candidate_id=c.candidate_id,
            parents=c.parents,
            proposer=c.proposer,
            step=c.step,
            status=c.status,
            reason=c.reason,
            text=c.prompt.text(),
            minibatch_before=c.minibatch_before,
            minibatch_after=c.minibatch_after,
            val_score=history.val_score(c),
        )
        for c in history.candidates
    )


def seed_prompt(settings: PromptOptimizationModel) -> Prompt:
    """Return the current prompt: the configured template, else the registered version.

    Raises:
        ConfigError: there is neither, or the template has no variable.
    """
    configured = settings.prompt
    if configured.default_template is not None:
        prompt = Prompt.parse(registry.normalise_braces(configured.default_template))
    else:
        prompt = registry.load(configured.full_name, alias=configured.alias, version=configured.version)
    if not prompt.variables:
        raise ConfigError(
            f"the prompt {configured.full_name!r} has no variable such as {{{{text}}}}, so every row would ask the same; "
            "add the variables of the data set's inputs"
        )
    return prompt


def default_run_dir(app: AppConfig, settings: PromptOptimizationModel) -> str:
    """Return a new folder for a run under the storage's root."""
    return f"{app.storage.root}/runs/{settings.name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _fingerprint(settings: PromptOptimizationModel) -> str:
    """What must be the same for a run to be gone on with: all but where the endpoints stand and what is allowed."""
    kept = settings.model_dump(mode="json", exclude={"budget"})
    for path in (("agent", "model"), ("reflection_model",), ("scorer_model",)):
        model: Any = kept
        for key in path:
            model = (model or {}).get(key)
        if model:
            for key in ("base_url", "limits", "price", "api_key"):
                model.pop(key, None)
    return json.dumps(kept, sort_keys=True)


def _parameters(migration: Migration) -> dict[str, Any]:
    """What the run runs with, flat and without secrets."""
    settings = migration.settings
    return {
        "optimizer": "promptmill",
        "prompt": settings.prompt.full_name,
        "target_model": migration.target.name,
        "reflection_model": migration.reflection.name if migration.reflection else "",
        "scorer_model": settings.scorer_model.name if settings.scorer_model else "",
        "scorers": ", ".join(f"{w.scorer.name} x {w.weight:g}" for w in migration.mix),
        "num_training_samples": len(migration.split.train),
        "num_validation_samples": len(migration.split.val),
        "num_holdout_samples": migration.split.holdout_rows,
        **{f"search.{k}": v for k, v in settings.search.model_dump(mode="json").items()},
        **{f"gate.{k}": v for k, v in settings.gate.model_dump(mode="json").items()},
        **{f"budget.{k}": v for k, v in settings.budget.model_dump(mode="json").items() if v is not None},
    }
