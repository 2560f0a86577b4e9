"""One migration, end to end: rows, search, gate, registry, record. The order of the work, and nothing else."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from engine import registry
from engine.config import AppConfig, DatasetModel, PromptModel, PromptOptimizationModel
from engine.config.generations import is_chats
from engine.errors import ConfigError, PromptmillError
from engine.estimate import Estimate, estimate, pair_tokens
from engine.evaluate import Evaluation
from engine.judge_noise import doubts
from engine.ledger_compaction import compact_if_worthwhile
from engine.ledger_join import Reuse
from engine.ledger_uses import record_savings
from engine.needs import check_rows
from engine.outcome import OptimizationResult, Outcome, run_settings
from engine.parts import parts_of
from engine.program import ship_program, target_of
from engine.progress import Progress
from engine.proposers.build import build_proposers, check_proposers
from engine.proposers.reflection_client import ReflectionClient
from engine.run_state import RunState
from engine.search.budget import Budget, gate_rows
from engine.search.loop import Search, SearchResult
from engine.session import configured_session
from engine.shared_storage import check_shared
from engine.sharing import Sharing
from engine.sources import describe, load_rows, usable_rows
from engine.split import Split, split_rows
from engine.storage import Storage
from engine.tracking import Tracker, set_up
from engine.usage import Usage
from engine.verdict.fingerprints import Fingerprints, check_goes_on
from engine.verdict.race import selection_rows
from engine.verdict.recorded import check_recorded
from engine.verdict.stage import judge_on_holdout
from udfs import event_loop
from udfs.endpoint import Endpoint, Price
from udfs.program import Program
from udfs.prompt import Prompt
from udfs.prompt_set import PromptSet
from udfs.scorers import build_mix
from udfs.scorers.protocol import Judge, Weighted

log = logging.getLogger(__name__)


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
    fingerprints: Fingerprints
    reuse: Reuse = field(default_factory=Reuse)
    usage: Usage = field(default_factory=Usage)
    sharing: Sharing | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

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
            finalist_calls=(self.racing - 1) * selection_rows(self.gate_rows),
            budget=self.settings.budget,
        )

    @property
    def gate_rows(self) -> int:
        """How many holdout rows the gate is planned to read, see :func:`engine.search.budget.gate_rows`."""
        tokens = pair_tokens(self.seed, self.split, self.settings.search, self.target)
        cost = self.target.price.cost(int(tokens * 1000), 0) / 1000 if self.target.price else 0.0
        return gate_rows(self.split.holdout_rows, self.settings.budget, tokens_each=tokens, cost_each=cost)

    @property
    def racing(self) -> int:
        """How many candidates may begin the race on the holdout.

        Only the best one, unless the rows that several may race over say more than val has said already.
        """
        more = selection_rows(self.gate_rows) > len(self.split.val)
        return self.settings.gate.finalists if more else 1

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

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is not known, or known to be bad, of the judges that the verdict will rest on."""
        return doubts(self.storage, self.mix, min_agreement=self.settings.judge_check.min_agreement)

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
        record_savings(
            self.storage.ledger,
            run_id=self.state.run_id,
            name=self.settings.name,
            usage=self.usage,
            prices=self.prices,
            endpoints=endpoints,
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
    predict_fn: Callable[..., Any] | Program | None = None,
    sharing: Sharing | None = None,
    read: Callable[[SparkSession, DatasetModel, Storage], DataFrame] | None = None,
) -> Migration:
    """Set up a migration: everything that can be wrong with the input is found here, before the first call.

    ``reuse`` says how the run uses the ledger: as far as it goes, where nothing is said. ``predict_fn`` takes the place
    of the agent's model as the target: a Python function, or a :class:`udfs.program.Program`, that gets a row's inputs
    by name, loads its prompts from the registry or asks :func:`udfs.in_place.current_prompt`, and returns what is
    scored. It goes before the ``predict_fn`` that the configuration names. ``sharing`` is that of the optimizations
    which run beside this one. ``read`` reads the data set's rows
    in another way.

    Raises:
        InputError: configuration, data set, prompt or environment can't be used.
    """
    set_up(app.mlflow.tracking_uri)
    target = target_of(settings, predict_fn)
    is_program = isinstance(target, Program)
    seed = seed_prompt(settings, needs_variables=not is_program)
    mix = build_mix(settings.scorers, settings.scorer_model.endpoint() if settings.scorer_model else None)
    reflection = None
    if settings.reflection_model:
        reflection = settings.reflection_model.endpoint(temperature=settings.search.temperature)
    check_proposers(
        settings.search, has_reflection_model=reflection is not None, where=f"optimization {settings.name!r}: "
    )
    session = configured_session(app, spark)
    if predict_fn is None:
        ship_program(session, settings, target)
    marks = fingerprint(settings, seed, target=target)
    state = RunState.open(run_dir or default_run_dir(app, settings.name), marks)
    storage = Storage.at(app.storage.root, state.run_dir, run_id=state.run_id)
    check_shared(session, storage)
    told, used = progress or Progress(), reuse or Reuse()
    # A program fills its prompt in itself, and with what it likes.
    variables = frozenset() if is_program else seed.needs
    if read is not None:
        rows = usable_rows(read(session, settings.dataset, storage), variables, source=describe(settings.dataset))
    else:
        rows = load_rows(
            session,
            settings.dataset,
            storage,
            variables,
            prompt=None if is_program else seed,
            prompt_name="" if is_program else settings.prompt.full_name,
            tell=told.tell,
        )
    rows = check_rows(rows, mix)
    check_recorded(rows, settings.gate.question)
    fingerprints = Fingerprints.of(rows, mix, target)
    check_goes_on(state.run_dir, fingerprints)
    split = split_rows(rows, settings.split, seed=settings.search.seed)
    return Migration(
        app,
        settings,
        seed,
        target,
        mix,
        reflection,
        session,
        storage,
        state,
        told,
        rows,
        split,
        fingerprints,
        used,
        sharing=sharing,
    )


def optimize(
    app: AppConfig,
    settings: PromptOptimizationModel,
    *,
    run_dir: str | None = None,
    progress: Progress | None = None,
    spark: SparkSession | None = None,
    reuse: Reuse | None = None,
    predict_fn: Callable[..., Any] | Program | None = None,
    sharing: Sharing | None = None,
) -> OptimizationResult:
    """Run one optimization; ``run_dir`` given again goes on with that run, and ``reuse`` says how it uses the ledger.

    ``predict_fn``: a Python function as the target, see :func:`prepare`.

    The new prompt is registered, as ``champion`` only through the gate. A run that fails writes its ``result.json``,
    too, with the status ``failed``.

    Raises:
        InputError: the input can't be used; nothing was called.
        EvaluationError: the run failed; what was paid for is in the ledger.
    """
    migration = prepare(
        app,
        settings,
        run_dir=run_dir,
        progress=progress,
        spark=spark,
        reuse=reuse,
        predict_fn=predict_fn,
        sharing=sharing,
    )
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
        sharing=migration.sharing,
    )
    client = None
    if migration.reflection and settings.search.asks_reflection:
        client = ReflectionClient(
            migration.reflection,
            migration.storage.ledger,
            run_id=state.run_id,
            usage=migration.usage,
            replay=migration.reuse.replay,
            allowance=migration.budget.allowance,
            sharing=migration.sharing,
        )
    tracker = Tracker(migration.app.mlflow.experiment, settings.name, run_id=state.mlflow_run_id, tags=migration.tags)
    state = state.with_mlflow_run(tracker.run_id)
    tracker.parameters(run_settings(migration))
    tracker.dataset(migration.split.train, name=f"{settings.name}-train", context="training")
    tracker.dataset(migration.split.val, name=f"{settings.name}-val", context="validation")
    tags = {"promptmill.run_id": state.run_id, "promptmill.optimization": settings.name}
    current = registry.register_all(
        parts_of(settings, migration.seed), message="the current prompt", tags=tags | {"promptmill.role": "seed"}
    )
    tracker.prompts(current)
    outcome = Outcome(migration, tracker, current)
    try:
        found = _search(migration, evaluation, client, tracker)
        outcome.found = found
        verdict, paired, outcome.found = judge_on_holdout(migration, evaluation, found)
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
    if migration.sharing is None:  # of a batch, who runs it does that once
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
        proposers=build_proposers(settings.search, migration.split.train, client, target=migration.target.name),
        budget=migration.budget,
        settings=settings.search,
        min_coverage=settings.gate.min_coverage,
        alpha=settings.gate.alpha,
        on_step=tracker.step,
    )
    try:
        return search.run()
    finally:
        if client is not None:
            event_loop.run(client.flush())


def seed_prompt(settings: PromptOptimizationModel, *, needs_variables: bool = True) -> Prompt:
    """Return the current prompt: the configured template, else the registered version.

    A program (``needs_variables`` is false) may have several prompts, and fills them in itself.

    Raises:
        ConfigError: there is neither, or the template has no variable, or several prompts belong to no program.
    """
    if not needs_variables and len(settings.prompts) > 1:
        return PromptSet.of({one.name: _current(one) for one in settings.prompts})
    configured = settings.prompt
    prompt = _current(configured)
    records = settings.dataset.data
    # Of rows elsewhere it is only known when they are read, see engine.sources, whether they are conversations.
    if needs_variables and not prompt.variables and records is not None and not is_chats(records):
        raise ConfigError(
            f"the prompt {configured.full_name!r} has no variable such as {{{{text}}}}, so every row would ask the "
            "same; add the variables of the data set's inputs"
        )
    return prompt


def _current(configured: PromptModel) -> Prompt:
    template = configured.default_template
    if template is None:
        return registry.load(configured.full_name, alias=configured.alias, version=configured.version)
    written = Prompt.parse(registry.normalise_braces(template))
    if configured.alias is None and configured.version is None:
        return written
    try:
        return registry.load(configured.full_name, alias=configured.alias, version=configured.version)
    except ConfigError as error:
        log.warning("%s; its default_template stands in", error)
        return written


def default_run_dir(app: AppConfig, name: str) -> str:
    """Return a new folder for a run: under the storage's root, or on the driver where that is a URI."""
    root = ".promptmill" if "://" in app.storage.root else app.storage.root
    return f"{root}/runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def fingerprint(settings: PromptOptimizationModel, seed: Prompt, *, target: Endpoint | None = None) -> str:
    """What must be the same for a run to be gone on with: :func:`lasting_settings`, seed prompt and program."""
    kept = lasting_settings(settings)
    if isinstance(target, Program):
        kept["program"] = target.endpoint_id
    kept["seed"] = seed.candidate_id  # what an alias meant when the run began
    return json.dumps(kept, sort_keys=True)


def lasting_settings(settings: PromptOptimizationModel) -> dict[str, Any]:
    """Return the settings of a run that must stay: all but where the endpoints stand and what is allowed."""
    kept = settings.model_dump(mode="json", exclude={"budget", "source_model", "scorers", "judge_check", "predict_fn"})
    prompts = kept.pop("prompts")
    kept |= {"prompts": prompts} if len(prompts) > 1 else {"prompt": prompts[0]}
    # Scorers made in Python are known by their names.
    kept["scorers"] = [s if isinstance(s, str | dict) else str(getattr(s, "name", s)) for s in settings.scorers]
    for path in (("agent", "model"), ("reflection_model",), ("scorer_model",)):
        model: Any = kept
        for key in path:
            model = (model or {}).get(key)
        if model:
            for key in ("base_url", "limits", "price", "api_key"):
                model.pop(key, None)
    return kept
