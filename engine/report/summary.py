"""What the top of the report says: the outcome in words, and the four facts that people open it for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.record import CandidateLine, RunRecord
from engine.report.words import NONE, change, count, duration, finite, money, percent, score

STATUS_WORDS = {
    "promoted": ("Promoted", "The new prompt is better on rows that no search stage has seen."),
    "kept": ("Kept", "No new prompt passed the gate; the current prompt stays."),
    "need_more_data": ("More data needed", "The holdout is too small to tell; the current prompt stays."),
    "failed": ("Failed", "The run ended before it could decide; the current prompt stays."),
}


@dataclass(frozen=True)
class Fact:
    """One fact: its name, the value, a line under it; ``code`` for values to copy."""

    name: str
    value: str
    detail: str
    code: bool = False


@dataclass(frozen=True)
class Summary:
    """The top of the report. ``status`` is one of ``result.json``'s or ``other``; what was not measured is None."""

    name: str
    status: str
    word: str
    sentence: str
    facts: tuple[Fact, ...]
    difference: float | None
    interval: tuple[float | None, ...]
    needed: float
    winner: CandidateLine | None
    same_prompt: bool

    @property
    def unchanged(self) -> bool:
        """Whether the holdout compared the seed prompt with itself, so that there is no difference to draw."""
        return self.same_prompt and not self.difference


def section(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Give a section of ``result.json``, empty where it is null or missing.

    >>> section({"holdout": None}, "holdout"), section({"cost": {"amount": 1}}, "cost")
    ({}, {'amount': 1})
    """
    found = result.get(name)
    return found if isinstance(found, Mapping) else {}


def winner_of(record: RunRecord) -> CandidateLine | None:
    """Find the best candidate's line: by its id, else by its text; None when the record has neither."""
    best = section(record.result, "best").get("candidate_id")
    for found in (
        [c for c in record.candidates if best is not None and c.candidate_id == best],
        [c for c in record.candidates if c.text == record.best_text],
    ):
        if found:
            return found[0]
    return None


def summarize(record: RunRecord) -> Summary:
    """Gather the top of the report. Anything that ``result.json`` lacks is said to be missing, never guessed."""
    result, holdout = record.result, section(record.result, "holdout")
    status = str(result.get("status") or "failed")
    word, line = STATUS_WORDS.get(status, (status, ""))
    interval = holdout.get("interval")
    difference = finite(holdout.get("difference"))
    return Summary(
        name=str(result.get("optimization") or "optimization"),
        status=status if status in STATUS_WORDS else "other",
        word=word,
        sentence=record.verdict or line,
        facts=(_difference(record), _prompt(result, status), _cost(result), _time(result)),
        difference=difference,
        interval=tuple(finite(end) for end in interval) if isinstance(interval, (list, tuple)) else (),
        needed=finite(section(record.settings, "gate").get("min_improvement")) or 0.0,
        winner=winner_of(record),
        same_prompt=record.best_text == record.seed_text,
    )


def _difference(record: RunRecord) -> Fact:
    result, holdout = record.result, section(record.result, "holdout")
    if finite(holdout.get("difference")) is None:
        return Fact("Holdout difference", "Not measured", "no comparison on the holdout was made")
    if record.best_text == record.seed_text and not holdout["difference"]:
        own = score(section(result, "seed").get("holdout_score"))
        return Fact(
            "Holdout difference",
            "None",
            f"the best prompt is the seed prompt; score {own}, {count(holdout.get('rows'))} rows",
        )
    interval = holdout.get("interval")
    ends = (
        f"{change(interval[0])} to {change(interval[1])}"
        if isinstance(interval, (list, tuple)) and len(interval) == 2
        else NONE
    )
    before, after = (section(result, side).get("holdout_score") for side in ("seed", "best"))
    scores = (
        f"score {score(before)} → {score(after)}, " if finite(before) is not None and finite(after) is not None else ""
    )
    detail = f"{percent(holdout.get('alpha'))} interval {ends}; {scores}{count(holdout.get('rows'))} rows"
    return Fact("Holdout difference", change(holdout["difference"]), detail)


def _prompt(result: Mapping[str, Any], status: str) -> Fact:
    uri = section(result, "prompt").get("uri")
    whose = "the new version" if status == "promoted" else "the current version, unchanged"
    listed = result.get("prompts")
    if not uri and isinstance(listed, list) and len(listed) > 1:
        found = [str(one["uri"]) for one in listed if isinstance(one, Mapping) and one.get("uri")]
        uri, whose = ", ".join(found), f"{whose}, of a program's {len(listed)} prompts"
    return Fact("Prompt", str(uri), whose, code=True) if uri else Fact("Prompt", "No URI", "not in a prompt registry")


def _cost(result: Mapping[str, Any]) -> Fact:
    tokens = section(result, "tokens")
    value = money(result.get("cost"))
    detail = f"{count(tokens.get('prompt'))} prompt and {count(tokens.get('completion'))} completion tokens"
    saved = section(result, "saved")
    if finite(saved.get("calls")):
        worth = money(saved.get("cost"))
        detail += f"; the ledger saved {count(saved.get('tokens'))} tokens" + (
            "" if worth == "Not known" else f", {worth}"
        )
    return Fact("Cost", value, detail if value != "Not known" else f"no price is set; {detail}")


def _time(result: Mapping[str, Any]) -> Fact:
    calls = section(result, "calls")
    return Fact(
        "Time",
        duration(result.get("seconds")),
        f"{count(calls.get('made'))} calls made, {count(calls.get('reused'))} reused",
    )
