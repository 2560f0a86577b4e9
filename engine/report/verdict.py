"""The verdict page in words: what was decided, on how much evidence, and what would change it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.record import RunRecord, SliceLine
from engine.report.summary import section
from engine.report.words import change, count, finite, percent, score

_ASKED = {
    "better": "Is the new prompt better than the current prompt, on the new model?",
    "no_worse": "Is the new prompt on the new model no worse than the source model's recorded answers?",
    "both": "Is the new prompt better than the current prompt on the new model, and no worse than the source model's "
    "recorded answers?",
}
_VETOED = "On the whole yes, but something else forbids it: the current prompt stays."
_ANSWERED = {
    "promote": "Yes, with confidence.",
    "keep": "No: the current prompt stays.",
    "need more data": "These rows can't tell: the current prompt stays until more do.",
}


@dataclass(frozen=True)
class Test:
    """One question and what the rows say to it: texts to be shown, and whether what is ``needed`` was shown."""

    name: str
    scores: str
    difference: str
    interval: str
    needed: str
    shown: bool


@dataclass(frozen=True)
class VerdictPage:
    """The page's texts: ``decided``, ``evidence`` and ``changes`` are sentences."""

    question: str
    answer: str
    decided: tuple[str, ...]
    evidence: tuple[str, ...]
    changes: tuple[str, ...]
    tests: tuple[Test, ...]


def verdict_page(record: RunRecord) -> VerdictPage | None:
    """Return the verdict in words; ``None`` where the record has none: it failed, or nothing beat the seed prompt."""
    holdout = section(record.result, "holdout")
    answer = holdout.get("answer")
    if answer not in _ANSWERED or finite(holdout.get("difference")) is None or record.best_text == record.seed_text:
        return None
    question = str(holdout.get("question") or "better")
    tests = tuple(_tests(record, holdout))
    vetoed = answer == "keep" and _is_shown(tests, question)
    return VerdictPage(
        question=_ASKED.get(question, _ASKED["better"]),
        answer=_VETOED if vetoed else _ANSWERED[answer],
        decided=tuple(_decided(record, holdout, question)),
        evidence=tuple(_evidence(record, holdout, sure=vetoed or answer == "promote")),
        changes=tuple(_changes(record, holdout, str(answer))),
        tests=tests,
    )


def _is_shown(tests: tuple[Test, ...], question: str) -> bool:
    """Whether the rows showed all that the question rests on; the first test is of the gain."""
    asked = {"better": tests[:1], "no_worse": tests[1:]}.get(question, tests)
    return bool(asked) and all(test.shown for test in asked)


def _decided(record: RunRecord, holdout: Mapping[str, Any], question: str) -> Iterator[str]:
    promoted = record.result.get("status") == "promoted"
    yield "The new prompt is promoted." if promoted else "The current prompt stays, and no alias moves."
    text = record.verdict.strip()
    if text:
        yield text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
    source = section(holdout, "no_worse")
    if question == "better" and source:
        shown = "is no worse" if source.get("shown") else "may be worse"
        yield (
            f"Against the source model's recorded answers it {shown}, by a margin of {count(source.get('margin'))}; "
            "that was measured, and did not decide (gate.question: better)."
        )


def _evidence(record: RunRecord, holdout: Mapping[str, Any], *, sure: bool) -> Iterator[str]:
    rows, planned = holdout.get("rows"), holdout.get("rows_planned")
    looks = len(record.looks)
    asked = record.looks[-1].rows if record.looks else rows
    told = f"{count(rows)} rows that no search stage has seen were scored with both prompts"
    if finite(planned) is not None and finite(asked) is not None and float(planned or 0) > float(asked or 0):
        why = "the answer was known" if sure else "the rest would hardly have changed the answer"
        told += f", of {count(planned)} that there were for it: the race ended early, because {why}"
    yield f"{told}."
    if looks > 1:
        confidence = percent(holdout.get("alpha"))
        yield (
            f"The rows were looked at {looks} times. The {confidence} confidence holds over all looks and all "
            "candidates together."
        )
    yield from _noise(holdout)
    unscored = section(holdout, "unscored")
    if any(unscored.values()):
        yield (
            f"{count(unscored.get('seed'))} rows could not be scored with the seed prompt and "
            f"{count(unscored.get('best'))} with the best one; a row that lacks either is not compared."
        )
    if record.won_count or record.lost_count:
        yield f"The best prompt won {count(record.won_count)} rows and lost {count(record.lost_count)}."
    worse = [line for line in record.slices if line.worse]
    if record.slices:
        yield (
            f"Of {len(record.slices)} slices {len(worse) or 'none'} {'is' if len(worse) < 2 else 'are'} worse with "
            "confidence."
        )


def _noise(holdout: Mapping[str, Any]) -> Iterator[str]:
    if "judge_noise" in holdout and holdout["judge_noise"] is None:
        yield (
            "The judges' noise was never measured (promptmill judge-check does it): the interval knows of it what "
            "these rows show."
        )
    found = section(holdout, "judge_noise")
    if finite(found.get("sd")):
        allowed = (
            "these rows happened to differ by less than such noise alone makes them, so the interval was widened for it"
            if found.get("widened")
            else "the spread of these rows holds it, so the interval does, too"
        )
        yield f"The judges' noise gives one row's score a standard deviation of {score(found.get('sd'))}; {allowed}."


def _tests(record: RunRecord, holdout: Mapping[str, Any]) -> Iterator[Test]:
    before, after = (section(record.result, side).get("holdout_score") for side in ("seed", "best"))
    p_value, alpha = finite(holdout.get("p_value")), finite(holdout.get("alpha"))
    yield Test(
        "Better than the current prompt",
        f"{score(before)} → {score(after)}",
        change(holdout.get("difference")),
        _ends(holdout.get("interval")),
        f"above {change(holdout.get('min_improvement'))}",
        p_value is not None and alpha is not None and p_value <= alpha,
    )
    found = section(holdout, "no_worse")
    margin = finite(found.get("margin"))
    if margin is not None:
        yield Test(
            "No worse than the source model",
            f"{score(found.get('source_score'))} → {score(after)}",
            change(found.get("difference")),
            _ends(found.get("interval")),
            f"above {change(-margin)}",
            bool(found.get("shown")),
        )


def _changes(record: RunRecord, holdout: Mapping[str, Any], answer: str) -> Iterator[str]:
    gate = section(record.settings, "gate")
    low, high = ((*map(finite, holdout.get("interval") or ()), None, None))[:2]
    needed = finite(holdout.get("min_improvement")) or 0.0
    worse = [line for line in record.slices if line.worse]
    if answer == "promote":
        if low is not None:
            yield (
                f"The gain is at least {change(low)} with {percent(holdout.get('alpha'))} confidence: a "
                "gate.min_improvement above that would have kept the current prompt."
            )
        yield from _nearest_slice(record.slices, gate)
        return
    if answer == "need more data":
        more = holdout.get("more_rows")
        if finite(more):
            yield (
                f"About {count(more)} more rows would settle it, with a chance of 80%, if the difference stays "
                f"{change(holdout.get('difference'))}. Add traces to the data set, or raise the budget where it ended "
                "the race."
            )
        else:
            yield "More rows would tell; how many can't be foreseen from these."
        yield "A larger gate.alpha would ask for less certainty, and promote by chance more often."
        return
    for line in worse:
        yield (
            f"The slice {line.name}={line.value} is worse by {change(-(line.difference or 0.0))} on {count(line.rows)} "
            "rows: mend the prompt for it, or allow it with gate.max_slice_regression."
        )
    if not worse and high is not None and high <= needed:
        yield "More rows won't change it: on these, the new prompt is worse with confidence. Another prompt may."
    elif not worse and high is not None:
        yield (
            f"With {percent(holdout.get('alpha'))} confidence the gain is below {change(high)}: more rows of the same "
            "kind can't show more than that. A better prompt can: give the search more steps or more budget."
        )


def _nearest_slice(slices: tuple[SliceLine, ...], gate: Mapping[str, Any]) -> Iterator[str]:
    """The slice that comes nearest to forbidding it."""
    behind = [line for line in slices if line.difference is not None and line.difference < 0]
    if behind:
        line = min(behind, key=lambda one: one.p_value if one.p_value is not None else 1.0)
        yield (
            f"The slice {line.name}={line.value} is behind by {change(-(line.difference or 0.0)).lstrip('+')} on "
            f"{count(line.rows)} rows, which may be chance; known to be more than "
            f"{count(gate.get('max_slice_regression'))}, it would have forbidden the promotion."
        )


def _ends(interval: object) -> str:
    ends = interval if isinstance(interval, (list, tuple)) and len(interval) == 2 else (None, None)
    return f"{change(ends[0])} to {change(ends[1])}"
