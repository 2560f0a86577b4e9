"""What ``promptmill gate`` leaves: a verdict for each prompt, and what they took; as it stands in ``gate.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.gate import BETTER
from engine.questions import Question
from engine.record import LookLine, SliceLine

FORMAT_VERSION = 1
FILE_NAME = "gate.json"
# What a verdict is called, the most welcome first.
STATUSES = ("promoted", "need_more_data", "kept")


@dataclass(frozen=True)
class Challenger:
    """One prompt's verdict. Scores and the difference are means by weight over rows that were scored for both.

    ``p_value`` is corrected for the number of prompts and compares with ``gate.alpha``; ``alpha`` is the share of it
    that the interval has: the intervals of all prompts hold at once. ``looks`` are the race's, as long as this prompt
    was in it; ``no_worse`` is how it compares with the recorded answers, where ``gate.question`` asks, and
    ``judge_noise`` what noise of judges the intervals allow for.
    """

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
    looks: tuple[LookLine, ...] = ()
    no_worse: Mapping[str, Any] | None = None
    judge_noise: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Challenge:
    """All verdicts. ``status`` is the best of them; ``table`` is where the rows' results are (Parquet, by round).

    ``rows`` are in the data set, ``planned_rows`` of them the race could have asked within the budget, and
    ``asked_rows`` it did; ``looks`` counts how often it looked at them. ``pairs_not_asked`` counts the calls that
    were not made, of those for the planned rows. ``doubts`` say what is not known, or known to be bad, of the judges
    that the scores rest on.
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
    table: str | None
    doubts: tuple[str, ...] = ()
    question: str = BETTER
    planned_rows: int = 0
    asked_rows: int = 0
    looks: int = 0
    pairs_not_asked: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return what is written to ``gate.json``."""
        return {"format": FORMAT_VERSION, **asdict(self)}
