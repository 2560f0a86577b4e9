"""The source model's own score: its recorded answers, scored by the same scorers as everybody's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import ConfigError
from engine.evaluate import Evaluation
from engine.given_answers import score_column
from udfs.allowance import Allowance
from udfs.scorers.protocol import Judge, Weighted
from udfs.scorers.recorded import RECORDED, AgreesWithItself


@dataclass(frozen=True)
class RecordedAnswers:
    """Scores recorded answers with ``evaluation``, whose judges that compare with them are not asked."""

    evaluation: Evaluation
    allowance: Callable[[], Allowance]

    @classmethod
    def of(
        cls, evaluation: Evaluation, rows: DataFrame, allowance: Callable[[], Allowance], *, question: str
    ) -> RecordedAnswers | None:
        """Make it, or return ``None`` where it can't be had, or would cost judges' calls that no question asks for."""
        mix = tuple(
            Weighted(AgreesWithItself(weighted.scorer.name), weighted.weight)
            if isinstance(weighted.scorer, Judge) and RECORDED in weighted.scorer.needs
            else weighted
            for weighted in evaluation.mix
        )
        if question == "better" and any(isinstance(weighted.scorer, Judge) for weighted in mix):
            return None
        return cls(replace(evaluation, mix=mix), allowance) if _any_recorded(rows) else None

    def scores(self, rows: DataFrame) -> DataFrame:
        """Return ``row_id``, ``score`` and ``output`` of the rows that hold a recorded answer.

        Raises:
            EvaluationError: the job failed.
        """
        recorded = rows.where(_recorded().isNotNull())
        scored = score_column(
            self.evaluation,
            recorded,
            _recorded(),
            name="recorded",
            total=recorded.count(),
            allowance=self.allowance(),
        )
        return scored.select("row_id", "score", "output")


def check_recorded(rows: DataFrame, question: str) -> None:
    """Make sure that the rows can answer the gate's question.

    Raises:
        ConfigError: it compares with recorded answers, and no row holds one.
    """
    if question != "better" and not _any_recorded(rows):
        raise ConfigError(
            f"gate.question: {question} compares with the source model's recorded answers, but no row has "
            f"expectations.{RECORDED}; record them (promptmill collect), or ask gate.question: better"
        )


def _any_recorded(rows: DataFrame) -> bool:
    return rows.where(_recorded().isNotNull()).limit(1).count() > 0


def _recorded() -> Column:
    return F.get_json_object("expectations", f"$.{RECORDED}")
