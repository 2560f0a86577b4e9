"""What a check of judges found: plain data, as it stands in ``judge_check.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.judge_check.agreement import LabelAgreement, OrderEffect, Repeatability

FORMAT_VERSION = 1
FILE_NAME = "judge_check.json"


@dataclass(frozen=True)
class Contradiction:
    """An answer that a judge scored differently when it was asked again, or in the other order."""

    inputs: str
    output: str
    asked: str
    first: float
    then: float
    first_feedback: str
    then_feedback: str


@dataclass(frozen=True)
class JudgeReport:
    """What was found of one judge.

    ``verdicts`` counts its first verdicts by name; ``no_verdict`` is how many answers got none. ``labels["confusion"]``
    counts verdicts by label. ``warnings`` is empty for a judge that can be relied on; ``notes`` say what limits the
    finding.
    """

    name: str
    model: str
    endpoint_id: str
    judge_id: str
    weight: float
    answers: int
    no_verdict: int
    verdicts: Mapping[str, int]
    repeat: Repeatability | None
    order: OrderEffect | None
    labels: LabelAgreement | None
    names: Mapping[str, float]
    contradictions: tuple[Contradiction, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON holds it: the confusion as label -> verdict -> count."""
        shown = asdict(self)
        shown.pop("names")
        if self.labels is not None:
            table: dict[str, dict[str, int]] = {}
            for (label, verdict), count in self.labels.confusion.items():
                table.setdefault(self.said(label), {})[self.said(verdict)] = count
            shown["labels"]["confusion"] = table
        return shown

    def said(self, score: float) -> str:
        """Return the name of the verdict that scores so much, else the number.

        >>> JudgeReport("j", "m", "", "", 1.0, 0, 0, {}, None, None, None, {"same": 1.0}).said(1.0)
        'same'
        """
        return said(score, self.names)


def said(score: float, names: Mapping[str, float]) -> str:
    """Return the name of the verdict that scores ``score``, else the number."""
    return next((name for name, value in names.items() if abs(value - score) < 1e-6), f"{score:.3g}")


@dataclass(frozen=True)
class JudgeCheck:
    """A whole check.

    ``not_judges`` are the scorers that compute, so that there is nothing to measure; ``noise_sd`` is the standard
    deviation that the judges' noise gives one row's score, over the whole mix of scorers.
    """

    optimization: str
    rows: int
    labelled: int
    without_answer: int
    judges: tuple[JudgeReport, ...]
    not_judges: tuple[str, ...]
    noise_sd: float
    calls: Mapping[str, int]
    tokens: Mapping[str, int]
    cost: Mapping[str, Any] | None
    seconds: float
    run_dir: str
    format: int = FORMAT_VERSION

    @property
    def warnings(self) -> list[str]:
        """All judges' warnings, with their names."""
        return [f"{judge.name}: {warning}" for judge in self.judges for warning in judge.warnings]

    def to_json(self) -> dict[str, Any]:
        """Return what is written to ``judge_check.json``."""
        plain = {key: value for key, value in vars(self).items() if key != "judges"}
        return {
            "format": plain.pop("format"),
            **plain,
            "judges": [judge.to_json() for judge in self.judges],
            "warnings": self.warnings,
        }
