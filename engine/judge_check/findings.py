"""From verdicts to findings: one judge's report, with warnings for what a person must know before trusting it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.judge_check.agreement import LabelAgreement, OrderEffect, Scores, label_agreement, order_effect
from engine.judge_check.agreement import repeatability as measure_repeatability
from engine.judge_check.report import Contradiction, JudgeReport, said
from engine.rows import Row
from engine.settings import JudgeCheckSettings
from udfs.rollout import Rollout
from udfs.scorers.protocol import Graded, Judge

# Two ways for the order to matter are tested, at 5 % together.
_ORDER_ALPHA = 0.05 / 2
# Contradictions that a report shows.
_SHOWN = 20
# With fewer labels an agreement of 0.8 could as well be one of 0.6.
_FEW_LABELS = 30
# Below so much of the answers with a verdict, the judge's replies are a problem of their own.
_MIN_VERDICTS = 0.98


@dataclass(frozen=True)
class Rounds:
    """What the judges said of the same answers: at first, again, and in the other order (``None``: nobody compares)."""

    answers: Sequence[tuple[Row, str]]
    first: Sequence[Rollout]
    again: Sequence[Rollout]
    swapped: Sequence[Rollout] | None

    def scores(self, judge: Judge, rollouts: Sequence[Rollout]) -> Scores:
        """Return the judge's scores, NaN where it gave no verdict."""
        return np.array([rollout.scores.get(judge.name, math.nan) for rollout in rollouts], dtype=np.float64)


def judge_report(
    judge: Judge,
    rounds: Rounds,
    labels: Scores,
    settings: JudgeCheckSettings,
    *,
    weight: float,
    is_compared: bool,
    seed: int,
) -> JudgeReport:
    """Return what the rounds say of one judge. ``labels`` has a place an answer, NaN where there is none."""
    names: Mapping[str, float] = judge.verdicts if isinstance(judge, Graded) else {}
    first, again = rounds.scores(judge, rounds.first), rounds.scores(judge, rounds.again)
    order = None
    if is_compared and rounds.swapped is not None:
        order = order_effect(first, again, rounds.scores(judge, rounds.swapped))
    given = first[~np.isnan(first)]
    report = JudgeReport(
        name=judge.name,
        model=judge.endpoint.name,
        endpoint_id=judge.endpoint.endpoint_id,
        judge_id=judge.judge_id,
        weight=weight,
        answers=len(first),
        no_verdict=int(np.isnan(first).sum()),
        verdicts=dict(Counter(said(score, names) for score in sorted(given.tolist(), reverse=True))),
        repeat=measure_repeatability(first, again),
        order=order,
        labels=label_agreement(first, labels, seed=seed),
        names=names,
        contradictions=_contradictions(judge, rounds, is_compared=is_compared),
    )
    warnings, notes = _warnings(report, settings), _notes(report, judge, rounds)
    return replace(report, warnings=tuple(warnings), notes=tuple(notes))


def _warnings(report: JudgeReport, settings: JudgeCheckSettings) -> list[str]:
    found = []
    if report.repeat is None:
        return ["it gave no verdict that could be compared with a second one"]
    if report.no_verdict > (1 - _MIN_VERDICTS) * report.answers:
        found.append(
            f"{report.no_verdict} of {report.answers} answers got no verdict: its replies could not be read; use a "
            "model with structured output, or a larger one"
        )
    agreement = report.repeat.agreement
    if agreement.value < settings.min_agreement:
        found.append(
            f"asked twice, it agrees with itself on {agreement.value:.0%} of the answers (at least "
            f"{settings.min_agreement:.0%} is wanted); set temperature: 0 for scorer_model, or use a stronger model"
        )
    if report.order is not None:
        found += _order_warnings(report.order, settings)
    if report.labels is not None:
        found += _label_warnings(report.labels, settings)
    return found


def _order_warnings(order: OrderEffect, settings: JudgeCheckSettings) -> list[str]:
    found = []
    if order.shift_p_value < _ORDER_ALPHA:
        liked = "higher" if order.shift > 0 else "lower"
        found.append(
            f"order counts: its scores are {liked} by {abs(order.shift):.2f} than with the two texts swapped (p = "
            f"{order.shift_p_value:.2g})"
        )
    elif order.changed_p_value < _ORDER_ALPHA:
        found.append(
            f"order counts: swapping the two texts changes {order.changed:.0%} more verdicts than asking again does "
            f"(p = {order.changed_p_value:.2g})"
        )
    elif order.agreement.value < settings.min_agreement:
        found.append(f"with the two texts swapped, only {order.agreement.value:.0%} of its verdicts stay")
    return found


def _label_warnings(labels: LabelAgreement, settings: JudgeCheckSettings) -> list[str]:
    found = []
    leans = "stricter" if labels.shift < 0 else "more lenient"
    if labels.agreement.value < settings.min_agreement:
        found.append(
            f"it agrees with {labels.agreement.value:.0%} of {labels.agreement.of} labels (at least "
            f"{settings.min_agreement:.0%} is wanted), and is {leans} than they are by {abs(labels.shift):.2f}"
        )
    if labels.kappa is not None and labels.kappa < settings.min_kappa:
        found.append(f"its kappa with the labels is {labels.kappa:.2f} (at least {settings.min_kappa:.2f} is wanted)")
    return found


def _notes(report: JudgeReport, judge: Judge, rounds: Rounds) -> list[str]:
    found = []
    if len(report.verdicts) == 1 and report.answers > 1:
        found.append(
            f"every verdict was {next(iter(report.verdicts))!r}, so agreement with itself says little; judge answers "
            "of another prompt, too (--prompt)"
        )
    replies = [
        (a.feedback.get(judge.name), b.feedback.get(judge.name))
        for a, b in zip(rounds.first, rounds.again, strict=True)
    ]
    worded = [pair for pair in replies if pair[0] and ": " in pair[0]]
    if len(worded) > 1 and all(a == b for a, b in worded) and judge.endpoint.sampling.temperature != 0.0:
        found.append(
            "asked again, it replied in the very same words every time, though its temperature is not 0: is there a "
            "cache in between? Then its noise can't be seen"
        )
    if report.labels is None:
        found.append("no labels: whether its verdicts are right is not known")
    elif report.labels.agreement.of < _FEW_LABELS:
        found.append(f"only {report.labels.agreement.of} labels: their agreement is a rough guess")
    if report.labels is not None and report.labels.kappa is None:
        found.append("labels and verdicts are all one class, so there is no kappa")
    return found


def _contradictions(judge: Judge, rounds: Rounds, *, is_compared: bool) -> tuple[Contradiction, ...]:
    found = []
    others = {
        "again": rounds.again,
        **({"in the other order": rounds.swapped} if is_compared and rounds.swapped else {}),
    }
    for asked, rollouts in others.items():
        for (row, output), first, then in zip(rounds.answers, rounds.first, rollouts, strict=True):
            before, after = first.scores.get(judge.name), then.scores.get(judge.name)
            if before is None or after is None or before == after:
                continue
            told = first.feedback.get(judge.name, ""), then.feedback.get(judge.name, "")
            found.append(Contradiction(row.inputs, output, asked, before, after, *told))
    return tuple(sorted(found, key=lambda one: -abs(one.first - one.then))[:_SHOWN])
