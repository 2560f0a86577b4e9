"""An assessment: given prompts over a data set, with all that judging them and comparing them have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypedDict, Unpack

from pyspark.sql import DataFrame, SparkSession

from engine.config import AppConfig, PromptOptimizationModel
from engine.errors import ConfigError
from engine.estimate import Estimate, estimate_given
from engine.evaluate import Evaluation
from engine.given_prompts import GivenPrompts, distinct
from engine.judge_noise import doubts
from engine.ledger_compaction import compact_if_worthwhile
from engine.ledger_join import Reuse
from engine.ledger_uses import record_savings
from engine.migration import default_run_dir, fingerprint
from engine.needs import check_rows
from engine.program import ship_program, target_of
from engine.progress import Progress
from engine.rows import local_rows
from engine.run_state import RunState
from engine.search.budget import Budget
from engine.session import configured_session
from engine.shared_storage import check_shared
from engine.sources import load_rows
from engine.split import split_rows
from engine.storage import Storage
from engine.tracking import set_up
from engine.usage import Usage
from udfs.allowance import Allowance
from udfs.endpoint import Endpoint, Price
from udfs.program import Program
from udfs.prompt import Prompt
from udfs.scorers import build_mix
from udfs.scorers.protocol import Judge, Weighted

# Rows whose lengths an estimate looks at.
_SAMPLED_ROWS = 200


class RunOptions(TypedDict, total=False):
    """How a command runs, whatever it does: where it keeps its state, who is told, on which session, what is reused.

    ``predict_fn`` is a program as the target, see :func:`engine.migration.prepare`.
    """

    run_dir: str | None
    progress: Progress | None
    spark: SparkSession | None
    reuse: Reuse | None
    predict_fn: Callable[..., Any] | Program | None


@dataclass
class Assessment:
    """Given prompts that are to be scored over ``rows``: set up, but no endpoint was called yet.

    ``prompts`` are evaluated, each once. ``usage`` is mutated by the evaluation; the budget's clock starts when
    something is first asked of it.
    """

    settings: PromptOptimizationModel
    given: GivenPrompts
    prompts: tuple[Prompt, ...]
    target: Endpoint
    mix: tuple[Weighted, ...]
    spark: SparkSession
    storage: Storage
    state: RunState
    rows: DataFrame
    total_rows: int
    progress: Progress
    reuse: Reuse
    began_s: float
    usage: Usage = field(default_factory=Usage)

    @cached_property
    def evaluation(self) -> Evaluation:
        """What evaluates them; made late, because it reads the credentials.

        Raises:
            InputError: the variable that holds an endpoint's key is not set.
        """
        return Evaluation(
            self.spark,
            self.target,
            self.mix,
            self.storage,
            self.state.run_id,
            self.progress,
            self.usage,
            reuse=self.reuse,
        )

    @cached_property
    def _budget(self) -> Budget:
        return Budget(self.settings.budget, self.usage, self._spent, time.monotonic)

    def allowance(self) -> Allowance:
        """Return what the optimization's ``budget`` still allows."""
        return self._budget.allowance()

    @property
    def rows_at_most(self) -> int:
        """How many rows ``budget.max_metric_calls`` covers with all prompts.

        Raises:
            ConfigError: not a single one.
        """
        most = self.settings.budget.max_metric_calls
        if most is None:
            return self.total_rows
        if most < len(self.prompts):
            raise ConfigError(
                f"budget.max_metric_calls: {most} does not cover one row with {len(self.prompts)} prompts; raise it"
            )
        return min(self.total_rows, most // len(self.prompts))

    def estimate(self, *, first_rows: int, recorded: bool = False) -> Estimate:
        """Foresee calls, tokens and money; calls nothing.

        ``first_rows`` are asked at the least, with nothing in the ledger; ``recorded`` answers are judged, too.
        """
        most, number = self.rows_at_most, len(self.prompts)
        return estimate_given(
            self.prompts,
            local_rows(self.rows.limit(_SAMPLED_ROWS)),
            target=self.target,
            judges=self._judges,
            pairs=(min(first_rows, most) * number, most * number),
            recorded_rows=most if recorded else 0,
            max_metric_calls=self.settings.budget.max_metric_calls,
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is not known, or known to be bad, of the judges that the scores rest on."""
        return doubts(self.storage, self.mix, min_agreement=self.settings.judge_check.min_agreement)

    @property
    def prices(self) -> tuple[Price | None, Price | None, None]:
        """The prices of the target and of the judge, as far as they are known; nothing reflects here."""
        judge = next((judge.endpoint for judge in self._judges), None)
        return self.target.price, judge.price if judge else None, None

    @property
    def seconds(self) -> float:
        """Seconds since the assessment was begun."""
        return round(time.monotonic() - self.began_s, 3)

    def close(self) -> None:
        """Merge the ledger's files where that is worth it, and leave what the ledger saved."""
        compact_if_worthwhile(self.spark, self.storage.ledger)
        record_savings(
            self.storage.ledger,
            run_id=self.state.run_id,
            name=self.settings.name,
            usage=self.usage,
            prices=self.prices,
            endpoints=(self.target, *(judge.endpoint for judge in self._judges)),
        )

    @property
    def _judges(self) -> list[Judge]:
        return [weighted.scorer for weighted in self.mix if isinstance(weighted.scorer, Judge)]

    def _spent(self) -> float:
        bill: dict[str, Any] | None = self.usage.cost(*self.prices)
        return float(bill["amount"]) if bill else 0.0


def assess(
    app: AppConfig,
    settings: PromptOptimizationModel,
    places: Sequence[str],
    *,
    command: Literal["gate", "evaluate"],
    current: str | Sequence[str] | None = None,
    holdout_only: bool = False,
    **options: Unpack[RunOptions],
) -> Assessment:
    """Set up what ``command`` is to do with the prompts at ``places``; what can be wrong with the input is found here.

    A gate also evaluates the ``current`` prompt; an evaluation without ``places`` the configured one. ``holdout_only``:
    only the rows that a search with these settings does not see. ``run_dir`` given again goes on with that run, and
    ``reuse`` says how the ledger is used: as far as it goes, where nothing is said.

    Raises:
        InputError: the input can't be used.
    """
    began_s = time.monotonic()
    set_up(app.mlflow.tracking_uri)
    target = target_of(settings, options.get("predict_fn"))
    is_program = isinstance(target, Program)
    given = GivenPrompts.load(settings, places, current=current, of_program=is_program)
    is_gate = command == "gate"
    named = list(given.named.values()) or [given.current]
    prompts = distinct(*([given.current] if is_gate else []), *named)
    mix = build_mix(settings.scorers, settings.scorer_model.endpoint() if settings.scorer_model else None)
    session = configured_session(app, options.get("spark"))
    if options.get("predict_fn") is None:
        ship_program(session, settings, target)
    ids = sorted(prompt.candidate_id for prompt in named)
    identity = "|".join((given.current.candidate_id, *ids, str(holdout_only)) if is_gate else ids)
    state = RunState.open(
        options.get("run_dir") or default_run_dir(app, f"{settings.name}-gate" if is_gate else settings.name),
        f"{command}|{fingerprint(settings, given.configured, target=target)}|{identity}",
    )
    storage = Storage.at(app.storage.root, state.run_dir)
    check_shared(session, storage)
    # A program fills its prompts in itself, and with what it likes.
    wanted = frozenset() if is_program else given.current.needs
    progress = options.get("progress") or Progress()
    rows = load_rows(
        session,
        settings.dataset,
        storage,
        wanted,
        prompt=None if is_program else given.configured,
        prompt_name="" if len(settings.prompts) > 1 else settings.prompt.full_name,
        tell=progress.tell,
    )
    rows = check_rows(rows, mix)
    if holdout_only:
        rows = split_rows(rows, settings.split, seed=settings.search.seed).holdout
    return Assessment(
        settings,
        given,
        prompts,
        target,
        mix,
        session,
        storage,
        state,
        rows,
        rows.count(),
        progress,
        options.get("reuse") or Reuse(),
        began_s,
    )
