"""Prompts tried on a handful of rows, to see what the model says before anything is searched or judged."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from engine.assessment import Assessment, RunOptions, assess
from engine.config import AppConfig, PromptOptimizationModel
from engine.evaluate import Evaluation
from engine.rows import Row, local_rows
from engine.verdict.rounds import first_by_hash
from udfs.prompt import Prompt
from udfs.rollout import Rollout

# What a person reads. More rows belong into `promptmill evaluate`, which gathers nothing on the driver.
MOST_ROWS = 50


@dataclass(frozen=True)
class TriedAnswer:
    """What the model said to one prompt on one row; ``error`` is the kind of failure, ``None`` where there was none."""

    output: str | None
    score: float | None
    feedback: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class TriedRow:
    """One row; ``answers`` are in the order of the prompts."""

    inputs: str
    expectations: str | None
    answers: tuple[TriedAnswer, ...]


@dataclass(frozen=True)
class TriedPrompt:
    """One prompt; ``score`` is the mean over its scored rows, too few to believe, ``None`` where none was."""

    name: str
    text: str
    score: float | None


@dataclass(frozen=True)
class Tried:
    """What came of a try, and what it took."""

    prompts: tuple[TriedPrompt, ...]
    rows: tuple[TriedRow, ...]
    calls: dict[str, int]
    tokens: dict[str, int]
    cost: dict[str, Any] | None
    seconds: float


def try_prompts(
    app: AppConfig,
    settings: PromptOptimizationModel,
    texts: Sequence[str],
    *,
    rows: int = 5,
    **options: Unpack[RunOptions],
) -> Tried:
    """Have the target answer ``rows`` rows, the first by hash, with the current prompt and with ``texts``.

    Answers come from the ledger where it has them, and go there; nothing is registered or tracked.

    Raises:
        InputError: a text has a variable that the current prompt lacks, or the input can't be used.
    """
    with tempfile.TemporaryDirectory(prefix="promptmill-playground-") as folder:
        places = []
        for number, text in enumerate(texts, start=1):
            place = Path(folder, f"prompt {number}")
            place.write_text(text, "utf-8")
            places.append(str(place))
        # A gate's assessment has the current prompt among its own.
        assessment = assess(app, settings, places, command="gate" if places else "evaluate", **options)
    given = assessment.given
    named = {"current": given.current} | {Path(place).name: prompt for place, prompt in given.named.items()}
    chosen = local_rows(first_by_hash(assessment.rows, max(1, min(rows, MOST_ROWS))))
    prompts = [(prompt, chosen) for prompt in assessment.prompts]
    found = _evaluation(assessment, chosen).rollouts(prompts, stage="playground", allowance=assessment.allowance())
    assessment.close()
    by_prompt = {prompt.candidate_id: answers for (prompt, _), answers in zip(prompts, found, strict=True)}
    usage = assessment.usage
    return Tried(
        prompts=tuple(_prompt(name, prompt, by_prompt[prompt.candidate_id]) for name, prompt in named.items()),
        rows=tuple(
            TriedRow(
                row.inputs,
                row.expectations,
                tuple(_answer(by_prompt[prompt.candidate_id][number]) for prompt in named.values()),
            )
            for number, row in enumerate(chosen)
        ),
        calls=usage.calls(),
        tokens=usage.token_counts(),
        cost=usage.cost(*assessment.prices),
        seconds=assessment.seconds,
    )


def _evaluation(assessment: Assessment, rows: Sequence[Row]) -> Evaluation:
    return Evaluation(
        assessment.spark,
        assessment.target,
        assessment.mix,
        assessment.storage,
        assessment.state.run_id,
        assessment.progress,
        assessment.usage,
        reuse=assessment.reuse,
        local_row_ids=frozenset(row.row_id for row in rows),
    )


def _prompt(name: str, prompt: Prompt, answers: Sequence[Rollout]) -> TriedPrompt:
    scores = [answer.score for answer in answers if answer.score is not None]
    return TriedPrompt(name, prompt.text(), sum(scores) / len(scores) if scores else None)


def _answer(found: Rollout) -> TriedAnswer:
    return TriedAnswer(found.output, found.score, found.feedback, found.error.kind if found.error else None)
