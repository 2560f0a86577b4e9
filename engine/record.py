"""The record of a run: all that its report, its tracking and ``result.json`` are made of, as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from engine.errors import InputError

FORMAT_VERSION = 1
FILE_NAME = "record.json"


@dataclass(frozen=True)
class CandidateLine:
    """One candidate: where it came from and how it did.

    ``label`` is short and unique in the run (``seed``, ``c1``, …), ``parents`` are labels. ``status`` is ``seed``,
    ``accepted`` (raced on val), ``rejected`` (no better on its minibatch) or ``guarded`` (refused before a call was
    spent); ``reason`` says why. Scores are means from 0 to 1; ``val_score`` is over the first ``val_rows`` rows of val,
    after which the race was decided, so that only those of as many rows stand beside each other.
    """

    label: str
    candidate_id: str
    parents: tuple[str, ...]
    proposer: str
    step: int
    status: str
    reason: str
    text: str
    minibatch_before: float | None = None
    minibatch_after: float | None = None
    val_score: float | None = None
    val_rows: int | None = None


@dataclass(frozen=True)
class RowLine:
    """One holdout row before and after: ``inputs`` and ``expectations`` are JSON text."""

    row_id: str
    inputs: str
    expectations: str | None
    weight: int
    seed_output: str | None
    seed_score: float | None
    best_output: str | None
    best_score: float | None
    feedback: str


@dataclass(frozen=True)
class StepLine:
    """State after one step (0 is the seed's): the best candidate's label and val score, and what was used by then."""

    step: int
    best_val_score: float | None
    metric_calls: int
    tokens: int
    seconds: float
    best_label: str = ""


@dataclass(frozen=True)
class ErrorLine:
    """How often a kind of failure came up for the seed and for the best prompt on the holdout, and one message."""

    kind: str
    seed_rows: int
    best_rows: int
    example: str


@dataclass(frozen=True)
class SliceLine:
    """One slice of the holdout: scores, paired difference, and its interval, which holds for all slices at once.

    ``p_value`` is of "no worse than the gate allows", corrected for the number of slices; ``worse`` blocks promotion.
    """

    name: str
    value: str
    rows: int
    seed_score: float
    best_score: float
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    worse: bool = False


@dataclass(frozen=True)
class LookLine:
    """The race after one round: rows asked so far, the leader, its gain over the seed, and how sure that was.

    ``racing`` counts the candidates that were in the race then; ``dropped`` says who left after it, and why.
    """

    rows: int
    leader: str
    difference: float | None
    p_value: float
    racing: int
    interval: tuple[float, float] | None = None
    dropped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PartLine:
    """One prompt of a program that has several: the seed's text and the best candidate's."""

    name: str
    seed_text: str
    best_text: str


@dataclass(frozen=True)
class RunRecord:
    """A run. ``result`` is what stands in ``result.json``; ``settings`` what it ran with, without secrets.

    ``parts`` are a program's several prompts; ``seed_text`` and ``best_text`` then are all of them as one text.
    """

    result: Mapping[str, Any]
    settings: Mapping[str, Any]
    verdict: str
    seed_text: str
    best_text: str
    candidates: tuple[CandidateLine, ...]
    steps: tuple[StepLine, ...]
    worst_rows: tuple[RowLine, ...] = ()
    lost_rows: tuple[RowLine, ...] = ()
    won_rows: tuple[RowLine, ...] = ()
    won_count: int = 0
    lost_count: int = 0
    slices: tuple[SliceLine, ...] = ()
    looks: tuple[LookLine, ...] = ()
    errors: tuple[ErrorLine, ...] = ()
    format: int = FORMAT_VERSION
    notes: tuple[str, ...] = field(default=())
    parts: tuple[PartLine, ...] = ()

    def write(self, run_dir: str | Path) -> Path:
        """Write ``record.json`` and ``result.json`` into the folder; return the record's path."""
        folder = Path(run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps(self.result, indent=2, ensure_ascii=False) + "\n", "utf-8")
        path = folder / FILE_NAME
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")
        return path

    @classmethod
    def read(cls, run_dir: str | Path) -> RunRecord:
        """Read a run's record.

        Raises:
            InputError: the folder holds no record, or one of an unknown format.
        """
        path = Path(run_dir) / FILE_NAME
        try:
            found = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise InputError(
                f"{run_dir}: holds no run ({FILE_NAME} is missing); give the --run-dir of a run"
            ) from error
        except ValueError as error:
            raise InputError(f"{path}: is not JSON: {error}; run the optimization again to write it anew") from error
        version = found.get("format")
        if version != FORMAT_VERSION:
            raise InputError(
                f"{path}: has format {version!r}, this promptmill reads {FORMAT_VERSION}; upgrade promptmill"
            )
        lines: dict[str, type[Any]] = {
            "candidates": CandidateLine,
            "parts": PartLine,
            "steps": StepLine,
            "worst_rows": RowLine,
            "lost_rows": RowLine,
            "won_rows": RowLine,
            "slices": SliceLine,
            "looks": LookLine,
            "errors": ErrorLine,
        }
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in found.items() if key in known}
        for key, line in lines.items():
            values[key] = tuple(line(**entry) for entry in found.get(key, ()))
        values["notes"] = tuple(found.get("notes", ()))
        return cls(**values)
