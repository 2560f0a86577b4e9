"""One migration, end to end: rows, search, gate, registry, record. The order of the work, and nothing else."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine import gate, registry
from engine.config import AppConfig, PromptOptimizationModel
from engine.coverage import allowed_unscored, coverage_error
from engine.errors import ConfigError, PromptmillError
from engine.estimate import Estimate, estimate, pair_tokens
from engine.evaluate import Evaluation, check_rows
from engine.ledger_compaction import compact_if_worthwhile
from engine.ledger_join import Reuse
from engine.ledger_uses import record_use
from engine.outcome import OptimizationResult, Outcome, run_settings
from engine.progress import Progress
from engine.proposers.build import build_proposers
from engine.proposers.reflection_client import ReflectionClient
from engine.run_state import RunState
from engine.search.budget import Budget, affordable_gate_rows, gate_rows
from engine.search.history import Candidate
from engine.search.loop import Search, SearchResult
from engine.session import configured_session
from engine.sources import load_rows
from engine.split import Split, split_rows
from engine.storage import Storage
from engine.tracking import Tracker, set_up
from engine.usage import Usage
from udfs import event_loop
from udfs.endpoint import Endpoint, Price
from udfs.errors import ErrorKind
from udfs.prompt import Prompt
from udfs.scorers import build_mix
from udfs.scorers.protocol import Judge, Weighted


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
    reuse: Reuse = field(default_factory=Reuse)
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
        """How many holdout rows the gate is planned to read, see :func:`engine.search.budget.gate_rows`."""
        tokens = pair_tokens(self.seed, self.split, self.settings.search, self.target)
        cost = self.target.price.cost(int(tokens * 1000), 0) / 1000 if self.target.price else 0.0
        return gate_rows(self.split.holdout_rows, self.settings.budget, tokens_each=tokens, cost_each=cost)

    @cached_property
    def budget(self) -> Budget:
        """The run's budget; its clock starts when it is first asked for."""
        price = self.target.price
        return Budget(
            self.settings.budget,
            self.usage,
            self.spent,
            time.monotonic,
            reserved_calls=2 * self.gate_rows,
            first_tokens=self.estimate().tokens_each,
            price_per_token=max(price.prompt_per_million, price.completion_per_million) / 1e6 if price else 0.0,
        )

    def bill(self) -> dict[str, Any] | None:
        """Return what was spent so far, as it stands in ``result.json``; ``None`` where no endpoint has a price."""
        return self.usage.cost(*self.prices)

    @property
    def prices(self) -> tuple[Price | None, Price | None, Price | None]:
        """The prices of the target, the judge and the reflection model, as far as they are known."""
        judge = next((w.scorer.endpoint for w in self.mix if isinstance(w.scorer, Judge)), None)
        target, judged, reflection = (e.price if e else None for e in (self.target, judge, self.reflection))
        return target, judged, reflection

    def record_savings(self) -> None:
        """Leave what this run had from the ledger, for ``promptmill ledger show``."""
        endpoints = [
            self.target,
            self.reflection,
            *(w.scorer.endpoint for w in self.mix if isinstance(w.scorer, Judge)),
        ]
        record_use(
            self.storage.ledger,
            run_id=self.state.run_id,
            name=self.settings.name,
            calls=self.usage.calls(),
            tokens=self.usage.saved_token_counts(),
            cost=self.usage.saved(*self.prices)["cost"],
            endpoints={endpoint.endpoint_id: endpoint.name for endpoint in endpoints if endpoint},
        )

    def spent(self) -> float:
        """Return the money spent so far, 0 where no endpoint has a price."""
        bill = self.bill()
        return float(bill["amount"]) if bill else 0.0


def prepare(
    app: AppConfig,
    settings: PromptOptimizationModel,
    *,
    run_dir: str | None = None,
    progress: Progress | None = None,
    spark: SparkSession | None = None,
    reuse: Reuse | None = None,
) -> Migration:
    """Set up a migration: everything that can be wrong with the input is found here, before the first call.

    ``reuse`` says how the run uses the ledger: as far as it goes, where nothing is said.

    Raises:
        InputError: configuration, data set, prompt or environment can't be used.
    """
    set_up(app.mlflow.tracking_uri)
    seed = seed_prompt(settings)
    target = settings.agent.model.endpoint()
    mix = build_mix(settings.scorers, settings.scorer_model.endpoint() if settings.scorer_model else None)
    reflection = None
    if settings.reflection_model:
        reflection = settings.reflection_model.endpoint(temperature=settings.search.temperature)
    if "gepa" in settings.search.proposer and reflection is None:
        raise ConfigError(
            f"optimization {settings.name!r}: the proposer gepa needs a reflection_model; name one of resources.llms, "
            "or set proposer: demos"
        )
    session = configured_session(app, spark)
    state = RunState.open(run_dir or default_run_dir(app, settings.name), fingerprint(settings, seed))
    storage = Storage.at(app.storage.root, state.run_dir)
    rows = load_rows(session, settings.dataset, storage, seed.variables)
    rows = check_rows(rows, mix)
    split = split_rows(rows, settings.split, seed=settings.search.seed)
    told, used = progress or Progress(), reuse or Reuse()
    return Migration(app, settings, seed, target, mix, reflection, session, storage, state, told, rows, split, used)


def optimize(
    app: AppConfig,
    settings: PromptOptimizationModel,
    *,
    run_dir: str | None = None,
    progress: Progress | None = None,
    spark: SparkSession | None = None,
    reuse: Reuse | None = None,
) -> OptimizationResult:
    """Run one optimization; ``run_dir`` given again goes on with that run, and ``reuse`` says how it uses the ledger.

    The new prompt is registered, as ``champion`` only through the gate. A run that fails writes its ``result.json``,
    too, with the status ``failed``.

    Raises:
        InputError: the input can't be used; nothing was called.
        EvaluationError: the run failed; what was paid for is in the ledger.
    """
    migration = prepare(app, settings, run_dir=run_dir, progress=progress, spark=spark, reuse=reuse)
    return run(migration)


def run(migration: Migration) -> OptimizationResult:
    """Run a prepared migration; see :func:`optimize`."""
    started = time.monotonic()
    settings, state = migration.settings, migration.state
    # Reads the credentials: a missing key is told before anything is registered or begun.
    evaluation = Evaluation(
        migration.spark,
        migration.target,
        migration.mix,
        migration.storage,
        state.run_id,
        migration.progress,
        migration.usage,
        local_row_ids=frozenset(row.row_id for row in (*migration.split.train, *migration.split.val)),
        reuse=migration.reuse,
    )
    client = None
    if migration.reflection and "gepa" in settings.search.proposer:
        client = ReflectionClient(
            migration.reflection,
            migration.storage.ledger,
            run_id=state.run_id,
            usage=migration.usage,
            replay=migration.reuse.replay,
        )
    tracker = Tracker(migration.app.mlflow.experiment, settings.name, run_id=state.mlflow_run_id)
    state = state.with_mlflow_run(tracker.run_id)
    tracker.parameters(run_settings(migration))
    tracker.dataset(migration.split.train, name=f"{settings.name}-train", context="training")
    tracker.dataset(migration.split.val, name=f"{settings.name}-val", context="validation")
    tags = {"promptmill.run_id": state.run_id, "promptmill.optimization": settings.name}
    current = registry.register(
        settings.prompt.full_name, migration.seed, message="the current prompt", tags=tags | {"promptmill.role": "seed"}
    )
    tracker.prompt(current)
    outcome = Outcome(migration, tracker, current)
    try:
        found = _search(migration, evaluation, client, tracker)
        outcome.found = found
        verdict, paired = _gate(migration, evaluation, found)
        result = outcome.finish(verdict, paired, started=started, tags=tags)
    except PromptmillError as error:
        outcome.fail(error, started=started)
        raise
    except BaseException:
        # A defect, or Ctrl-C: the record can't be trusted to be made, but the tracked run must not stay open for ever.
        migration.progress.tell(f"to go on with this run: the same command with --run-dir {state.run_dir}")
        tracker.abandon()
        raise
    finally:
        migration.record_savings()
    compact_if_worthwhile(migration.spark, migration.storage.ledger)
    return result


def _search(
    migration: Migration, evaluation: Evaluation, client: ReflectionClient | None, tracker: Tracker
) -> SearchResult:
    settings = migration.settings
    search = Search(
        seed=migration.seed,
        train=migration.split.train,
        val=migration.split.val,
        evaluation=evaluation,
        proposers=build_proposers(settings.search, migration.split.train, client),
        budget=migration.budget,
        settings=settings.search,
        min_coverage=settings.gate.min_coverage,
        on_step=tracker.step,
    )
    try:
        return search.run()
    finally:
        if client is not None:
            event_loop.run(client.flush())


def _gate(migration: Migration, evaluation: Evaluation, found: SearchResult) -> tuple[gate.Verdict, DataFrame]:
    """Evaluate the seed and the best prompt on the holdout, and judge."""
    settings = migration.settings
    holdout, best = migration.split.holdout, found.best
    challenged = best is not found.history.seed
    judged = [found.history.seed, best] if challenged else [best]
    prompts = [candidate.prompt for candidate in judged]
    rows = affordable_gate_rows(
        migration.gate_rows, migration.budget, pair_tokens=sum(map(_mean_tokens, judged)), challenged=challenged
    )
    if rows < migration.split.holdout_rows:
        migration.progress.tell(f"the gate reads {rows:,} of {migration.split.holdout_rows:,} holdout rows")
        order = F.sha2(F.concat_ws("|", F.lit("gate"), F.col("row_id")), 256)
        holdout = holdout.orderBy(order).limit(rows)
    total = len(prompts) * rows
    migration.usage.metric_calls += total
    # A folder of its own each time: a run that goes on after an outage asks again for the rows that failed, and finds
    # all others in the ledger.
    result = evaluation.frame(
        prompts,
        holdout,
        name=f"holdout-{uuid.uuid4().hex[:12]}",
        stage="holdout",
        total=total,
        allowance=migration.budget.allowance(for_gate=True),
    )
    result = _asked(result, total, migration.progress)
    paired = gate.pair(result, holdout, migration.seed, best.prompt)
    check_frame_coverage(result, prompts, settings.gate.min_coverage, "the holdout")
    verdict = gate.judge(
        paired, migration.seed, best.prompt, settings.gate, slices=settings.slices, rng_seed=settings.search.seed
    )
    return verdict, paired


def _asked(result: DataFrame, pairs: int, progress: Progress) -> DataFrame:
    """Leave out what the budget did not cover, and say so: the verdict rests on the rest."""
    asked = result.where(F.col("error").isNull() | (F.col("error.kind") != ErrorKind.BUDGET.value))
    unasked = pairs - asked.count()
    if unasked:
        progress.tell(f"the budget did not cover {unasked:,} of the gate's {pairs:,} calls; it judges on the rest")
    return asked


def _mean_tokens(candidate: Candidate) -> float:
    """Mean tokens of a candidate's answers on val, its judges' included."""
    used = [
        r.prompt_tokens + r.completion_tokens + r.judge_prompt_tokens + r.judge_completion_tokens
        for r in candidate.val.values()
    ]
    return sum(used) / len(used) if used else 0.0


def check_frame_coverage(result: DataFrame, prompts: list[Prompt], min_coverage: float, what: str) -> None:
    """Make sure that enough rows of an evaluation's result were scored for each prompt.

    Raises:
        CoverageError: too many were not.
    """
    missing = F.col("score").isNull()
    for prompt in prompts:
        lines = result.where(F.col("candidate_id") == prompt.candidate_id)
        counted = lines.agg(F.count(F.lit(1)).alias("rows"), F.sum(missing.cast("bigint")).alias("missing")).collect()[
            0
        ]
        rows, lacking = int(counted["rows"]), int(counted["missing"] or 0)
        if not rows:
            continue  # nothing was asked for it: the budget was spent
        if lacking > allowed_unscored(rows, min_coverage) or lacking == rows:
            kinds = (
                lines.where(missing)
                .groupBy("error.kind")
                .agg(F.count(F.lit(1)).alias("n"), F.min("error.message").alias("example"))
            )
            found = {line["kind"] or "unknown": (int(line["n"]), line["example"]) for line in kinds.collect()}
            example = next((text for _, text in found.values() if text), "")
            raise coverage_error(
                what, rows, lacking, {kind: n for kind, (n, _) in found.items()}, example, min_coverage
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
            f"the prompt {configured.full_name!r} has no variable such as {{{{text}}}}, so every row would ask the "
            "same; add the variables of the data set's inputs"
        )
    return prompt


def default_run_dir(app: AppConfig, name: str) -> str:
    """Return a new folder for a run: under the storage's root, or on the driver where that is a URI."""
    root = ".promptmill" if "://" in app.storage.root else app.storage.root
    return f"{root}/runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def fingerprint(settings: PromptOptimizationModel, seed: Prompt) -> str:
    """What must be the same for a run to be gone on with: all but where the endpoints stand and what is allowed."""
    kept = settings.model_dump(mode="json", exclude={"budget", "source_model", "scorers", "judge_check"})
    # Scorers made in Python are known by their names.
    kept["seed"] = seed.candidate_id  # what an alias meant when the run began
    kept["scorers"] = [s if isinstance(s, str | dict) else str(getattr(s, "name", s)) for s in settings.scorers]
    for path in (("agent", "model"), ("reflection_model",), ("scorer_model",)):
        model: Any = kept
        for key in path:
            model = (model or {}).get(key)
        if model:
            for key in ("base_url", "limits", "price", "api_key"):
                model.pop(key, None)
    return json.dumps(kept, sort_keys=True)
