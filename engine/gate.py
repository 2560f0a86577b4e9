"""The gate: may the new prompt replace the current one? Judged on holdout rows that no search stage has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pyspark.sql import DataFrame

from engine.record import LookLine, SliceLine
from engine.settings import GateSettings
from engine.verdict.claims import Claim, Level
from engine.verdict.paired import gain, scores, unscored
from engine.verdict.race import Answer, Look, Race, Standing
from engine.verdict.slices import slice_lines
from udfs.prompt import Prompt

BETTER, NO_WORSE = "better", "no_worse"


@dataclass(frozen=True)
class RaceEnd:
    """How a race on the holdout ended: the leader's standing and claims by name, at the look that was its last.

    ``planned_rows`` is what the last look would have had. ``source_score`` is the recorded answers' own mean score.
    ``cut_short``: the budget ended it, though there are more rows. ``judge_noise`` is the variance that judges' noise
    gives one row's score, ``None`` where it was never measured.
    """

    standing: Standing
    level: Level
    claims: Mapping[str, Claim]
    last: bool
    planned_rows: int
    looks: tuple[LookLine, ...] = ()
    source_score: float | None = None
    cut_short: bool = False
    judge_noise: float | None = None


@dataclass(frozen=True)
class Finding:
    """What the rows say to one question: the mean paired difference has to be above ``minimum``.

    ``shown``: it is, with confidence, over all looks and candidates. ``more_rows`` would show it with a power of 80 %
    if the difference stays as it is; ``None`` where it is shown, or there is nothing to show.
    ``widened``: the rows showed less spread than judges' noise alone gives, and the interval allows for that.
    """

    minimum: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    shown: bool
    more_rows: int | None = None
    widened: bool = False


@dataclass(frozen=True)
class Verdict:
    """The gate's answer and what it rests on. Scores are means by weight over the rows scored for both.

    ``findings`` are by question: ``better`` than the current prompt, and ``no_worse`` than the recorded answers where
    that was measured. ``unscored`` counts rows of seed and best that could not be scored. ``judge_noise`` is the
    variance that judges' noise gives one row's score, ``None`` where it was never measured.
    """

    answer: Answer
    reason: str
    rows: int
    planned_rows: int
    seed_score: float
    best_score: float
    source_score: float | None
    findings: Mapping[str, Finding]
    alpha: float
    slices: tuple[SliceLine, ...] = ()
    looks: tuple[LookLine, ...] = ()
    unscored: tuple[int, int] = (0, 0)
    question: str = BETTER
    dropped: Mapping[str, str] = field(default_factory=dict)
    cut_short: bool = False
    judge_noise: float | None = None

    @property
    def promote(self) -> bool:
        """Whether the new prompt may replace the current one."""
        return self.answer is Answer.PROMOTE

    @property
    def difference(self) -> float:
        """The gain over the current prompt."""
        return self.findings[BETTER].difference

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the gain over the current prompt."""
        return self.findings[BETTER].interval

    @property
    def p_value(self) -> float:
        """The p-value of the gain over the current prompt."""
        return self.findings[BETTER].p_value

    @property
    def more_rows(self) -> int | None:
        """How many more rows would settle it; ``None`` where it is settled, or no gain is in sight."""
        if self.answer is not Answer.NEED_MORE_DATA:
            return None
        open_ = [self.findings[name] for name in deciding(self.question) if name in self.findings]
        wanted = [finding.more_rows for finding in open_ if not finding.shown]
        return max((rows for rows in wanted if rows is not None), default=None) if None not in wanted else None


def deciding(question: str) -> tuple[str, ...]:
    """Return the names of the findings that a question rests on.

    >>> deciding("both")
    ('better', 'no_worse')
    """
    return (BETTER, NO_WORSE) if question == "both" else (question,)


def judge(
    paired: DataFrame,
    seed: Prompt,
    best: Prompt,
    settings: GateSettings,
    *,
    slices: tuple[str, ...],
    rng_seed: int,
    race: RaceEnd | None = None,
) -> Verdict:
    """Decide over ``paired`` (see :func:`engine.verdict.paired.pair`), as ``race`` ended; without one, at one look.

    Promotes only if the race did, every variable of the seed is still in the prompt, and no slice is worse than
    ``max_slice_regression`` with confidence, corrected for their number.
    """
    end = race or _one_look(paired, settings, rng_seed)
    seed_score, best_score = scores(paired)
    findings = {name: _finding(claim, end) for name, claim in end.claims.items()}
    lines = slice_lines(paired, slices, settings, rng_seed=rng_seed)
    verdict = Verdict(
        answer=end.standing.answer or Answer.NEED_MORE_DATA,
        reason="",
        rows=end.claims[BETTER].differences.rows,
        planned_rows=end.planned_rows,
        seed_score=seed_score,
        best_score=best_score,
        source_score=end.source_score,
        findings=findings,
        alpha=settings.alpha,
        slices=lines,
        looks=end.looks,
        unscored=unscored(paired),
        question=settings.question,
        cut_short=end.cut_short,
        judge_noise=end.judge_noise,
    )
    return _reasoned(verdict, settings, lost=sorted(seed.variables - best.variables))


def _one_look(paired: DataFrame, settings: GateSettings, rng_seed: int) -> RaceEnd:
    differences = gain(paired)
    level = Level(settings.alpha, seed=rng_seed)
    claim = Claim(differences, settings.min_improvement, settings.worthwhile_gain)
    race = Race(["best"], level, planned_rows=differences.rows)
    look = Look(differences.rows, {"best": differences.mean}, {"best": (claim,)}, last=True)
    return RaceEnd(race.after(look), level, {BETTER: claim}, last=True, planned_rows=differences.rows)


def _finding(claim: Claim, end: RaceEnd) -> Finding:
    among = end.standing.among
    at_once = end.standing.at_once or among
    p_value = min(1.0, end.level.p_value(claim, last=end.last) * among)
    shown = p_value <= end.level.alpha
    more = None if shown else end.level.rows_to_show(claim, among=among)
    return Finding(
        minimum=claim.minimum,
        difference=claim.differences.mean,
        interval=end.level.interval(claim, last=end.last, among=at_once),
        p_value=p_value,
        shown=shown,
        more_rows=None if more is None else max(1, more - claim.differences.rows),
        # Bets, which alone speak before the last look, are valid for noise as it is.
        widened=claim.differences.lacking_noise > 0 and (end.last or not end.level.early_share),
    )


def _reasoned(verdict: Verdict, settings: GateSettings, *, lost: list[str]) -> Verdict:
    """Give the verdict its reason; what the race can't see may turn a promotion down."""
    if lost:
        reason = f"the new prompt has lost the variable {', '.join(lost)}"
        return replace(verdict, answer=Answer.KEEP, reason=reason)
    if not verdict.rows:
        reason = "no row was scored for both prompts" + ("; the budget covers none" if verdict.cut_short else "")
        return replace(verdict, answer=Answer.NEED_MORE_DATA, reason=reason)
    if verdict.answer is not Answer.PROMOTE:
        return replace(verdict, reason=_short(verdict, settings))
    veto = _veto(verdict)
    return replace(verdict, answer=Answer.KEEP, reason=veto) if veto else replace(verdict, reason=_gain(verdict))


def _veto(verdict: Verdict) -> str:
    """Say what forbids a promotion that the questions would allow, if anything."""
    worse = [line for line in verdict.slices if line.worse]
    if worse:
        first = worse[0]
        return (
            f"worse with confidence on the slice {first.name}={first.value} ({first.difference:+.3f} on {first.rows} "
            "rows)"
        )
    if verdict.difference < 0 and verdict.question == NO_WORSE:
        return f"no worse than the source model, but behind the current prompt ({verdict.difference:+.3f})"
    return ""


def _gain(verdict: Verdict) -> str:
    confidence = f"with confidence {1 - verdict.alpha:.0%}"
    if verdict.question == BETTER:
        return f"better by {verdict.difference:+.3f} {confidence}"
    told = f"no worse than the source model ({verdict.findings[NO_WORSE].difference:+.3f}) {confidence}"
    return told if verdict.question == NO_WORSE else f"better by {verdict.difference:+.3f}, and {told}"


def _short(verdict: Verdict, settings: GateSettings) -> str:
    """Say what was short."""
    bar = {BETTER: settings.min_improvement + settings.worthwhile_gain, NO_WORSE: -settings.non_inferiority_margin}
    told = {BETTER: "gain", NO_WORSE: "difference to the source model"}
    findings = [(name, verdict.findings[name]) for name in deciding(verdict.question) if name in verdict.findings]
    short = [(name, found) for name, found in findings if not found.shown and not math.isnan(found.difference)]
    if verdict.answer is Answer.KEEP:  # of two, the one that is ruled out, not the one that is merely open
        short.sort(key=lambda one: one[1].difference > one[1].minimum and one[1].interval[1] >= bar[one[0]])
    if not short:
        return "the answer was not settled"
    name, found = short[0]
    low, high = found.interval
    what, rows = told[name], f"{verdict.rows:,} rows"
    if verdict.answer is Answer.NEED_MORE_DATA:
        more = f"; about {found.more_rows:,} more rows would settle it" if found.more_rows else ""
        if verdict.cut_short:
            return (
                f"the budget ended after {rows}, which can't tell: {what} {found.difference:+.3f}, interval "
                f"[{low:+.3f}, {high:+.3f}], p = {found.p_value:.3f}{more}"
            )
        return (
            f"the {what} of {found.difference:+.3f} on {rows} may be chance: interval [{low:+.3f}, {high:+.3f}], "
            f"p = {found.p_value:.3f}{more}"
        )
    if found.difference <= found.minimum:
        return f"no {what} above {found.minimum:+.3f} (difference {found.difference:+.3f} on {rows})"
    return (
        f"a {what} of {bar[name]:+.3f} or more is ruled out: {found.difference:+.3f} on {rows}, interval "
        f"[{low:+.3f}, {high:+.3f}]"
    )
