"""The verdict without a search: given prompts against the current one, over a data set; ``promptmill gate``."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from engine import gate, registry
from engine.config import AppConfig, PromptOptimizationModel
from engine.coverage import check_frame_coverage
from engine.errors import InputError
from engine.evaluate import Evaluation, check_rows
from engine.judge_check import doubts
from engine.ledger_compaction import compact_if_worthwhile
from engine.ledger_join import Reuse
from engine.ledger_uses import record_savings
from engine.migration import default_run_dir, fingerprint, seed_prompt
from engine.progress import Progress
from engine.questions import Question, gate_questions
from engine.record import SliceLine
from engine.run_state import RunState
from engine.session import configured_session
from engine.settings import GateSettings
from engine.sources import load_rows
from engine.split import split_rows
from engine.storage import Storage
from engine.tracking import set_up
from engine.verdict import paired as paired_rows
from engine.verdict.race import Answer
from udfs.prompt import Prompt
from udfs.scorers import build_mix

FORMAT_VERSION = 1
FILE_NAME = "gate.json"
# What a verdict is called, the most welcome first.
STATUSES = ("promoted", "need_more_data", "kept")


@dataclass(frozen=True)
class Challenger:
    """One prompt's verdict. Scores and the difference are means by weight over rows that were scored for both."""

    place: str
    candidate_id: str
    status: str
    reason: str
    rows: int
    current_score: float | None
    score: float | None
    difference: float | None
    interval: tuple[float | None, float | None]
    p_value: float | None
    alpha: float
    slices: tuple[SliceLine, ...]
    won: int
    lost: int
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Challenge:
    """All verdicts. ``status`` is the best of them; ``table`` is where the rows' results are (Parquet).

    ``doubts`` say what is not known, or known to be bad, of the judges that the scores rest on.
    """

    optimization: str
    status: str
    current: str
    rows: int
    prompts: tuple[Challenger, ...]
    calls: dict[str, int]
    tokens: dict[str, int]
    cost: dict[str, Any] | None
    seconds: float
    run_dir: str
    table: str
    doubts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what is written to ``gate.json``."""
        return {"format": FORMAT_VERSION, **asdict(self)}


def challenge(
    app: AppConfig,
    settings: PromptOptimizationModel,
    places: Sequence[str],
    *,
    current: str | None = None,
    holdout_only: bool = False,
    run_dir: str | None = None,
    progress: Progress | None = None,
    spark: SparkSession | None = None,
    reuse: Reuse | None = None,
) -> Challenge:
    """Judge the prompts at ``places`` (files or registry URIs) against ``current`` (else the configured one).

    Every row of the data set is evaluated with all prompts; with ``holdout_only`` only the rows that a search with
    these settings does not see. With several prompts each is judged at ``gate.alpha`` divided by their number
    (Bonferroni). Nothing is registered, and no alias moves.

    Raises:
        InputError: the input can't be used; nothing was called.
        CoverageError: too many rows could not be scored.
    """
    started = time.monotonic()
    set_up(app.mlflow.tracking_uri)
    seed = seed_prompt(settings)
    base = registry.load_file_or_uri(current) if current else seed
    named = {place: registry.load_file_or_uri(place) for place in places}
    prompts = {prompt.candidate_id: prompt for prompt in (base, *named.values())}
    _check_variables(named, base)
    judge = settings.scorer_model.endpoint() if settings.scorer_model else None
    mix = build_mix(settings.scorers, judge)
    session = configured_session(app, spark)
    identity = "|".join((base.candidate_id, *sorted(p.candidate_id for p in named.values()), str(holdout_only)))
    state = RunState.open(
        run_dir or default_run_dir(app, f"{settings.name}-gate"), f"gate|{fingerprint(settings, seed)}|{identity}"
    )
    storage = Storage.at(app.storage.root, state.run_dir)
    rows = check_rows(load_rows(session, settings.dataset, storage, base.variables), mix)
    if holdout_only:
        rows = split_rows(rows, settings.split, seed=settings.search.seed).holdout
    total = rows.count()
    evaluation = Evaluation(
        session,
        settings.agent.model.endpoint(),
        mix,
        storage,
        state.run_id,
        progress or Progress(),
        reuse=reuse or Reuse(),
    )
    # A folder of its own each time: rows that failed are asked again, all others come from the ledger.
    name = f"gate-{uuid.uuid4().hex[:12]}"
    result = evaluation.frame(list(prompts.values()), rows, name=name, stage="gate", total=total * len(prompts))
    check_frame_coverage(result, list(prompts.values()), settings.gate.min_coverage, "the data set")
    strict = settings.gate.model_copy(update={"alpha": settings.gate.alpha / len(named)})
    challengers = tuple(
        _verdict(place, result, rows, base, prompt, strict, settings, total=total) for place, prompt in named.items()
    )
    compact_if_worthwhile(session, storage.ledger)
    usage, prices = evaluation.usage, (evaluation.endpoint.price, judge.price if judge else None, None)
    record_savings(
        storage.ledger,
        run_id=state.run_id,
        name=settings.name,
        usage=usage,
        prices=prices,
        endpoints=(evaluation.endpoint, judge),
    )
    return Challenge(
        optimization=settings.name,
        status=min((one.status for one in challengers), key=STATUSES.index),
        current=current or settings.prompt.full_name,
        rows=total,
        prompts=challengers,
        calls=usage.calls(),
        tokens=usage.token_counts(),
        cost=usage.cost(*prices),
        seconds=round(time.monotonic() - started, 3),
        run_dir=state.run_dir,
        table=storage.folder(name),
        doubts=doubts(storage, mix, min_agreement=settings.judge_check.min_agreement),
    )


def _check_variables(named: dict[str, Prompt], base: Prompt) -> None:
    for place, prompt in named.items():
        unknown = sorted(prompt.variables - base.variables)
        if unknown:
            raise InputError(
                f"{place}: has the variable {{{{{unknown[0]}}}}}, which the current prompt lacks; mend the prompt"
            )


def _verdict(
    place: str,
    result: DataFrame,
    rows: DataFrame,
    base: Prompt,
    prompt: Prompt,
    strict: GateSettings,
    settings: PromptOptimizationModel,
    *,
    total: int,
) -> Challenger:
    """Ask the gate about one prompt; the only place here that knows how it decides."""
    paired = paired_rows.pair(result, rows, base, prompt)
    verdict = gate.judge(paired, base, prompt, strict, slices=settings.slices, rng_seed=settings.search.seed)
    won, lost = paired_rows.flips(paired)
    status = "promoted" if verdict.promote else "need_more_data" if verdict.answer is Answer.NEED_MORE_DATA else "kept"
    lost_variables = sorted(base.variables - prompt.variables)
    return Challenger(
        place=place,
        candidate_id=prompt.candidate_id,
        status=status,
        reason=verdict.reason,
        rows=verdict.rows,
        current_score=_number(verdict.seed_score),
        score=_number(verdict.best_score),
        difference=_number(verdict.difference),
        interval=(_number(verdict.interval[0]), _number(verdict.interval[1])),
        p_value=_number(verdict.p_value),
        alpha=verdict.alpha,
        slices=verdict.slices,
        won=won,
        lost=lost,
        questions=gate_questions(
            status, verdict.reason, rows=verdict.rows, total=total, slices=verdict.slices, lost_variables=lost_variables
        ),
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
