"""Runs the race on the holdout: asks in rounds of growing size, and stops asking when the answer is known.

Rows stay in Spark. Their order is that of a hash, so that a round's rows are a random sample, the same in every run: a
run that is gone on with finds its earlier rounds in the ledger.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

from pyspark.sql import DataFrame

from engine.coverage import covered
from engine.evaluate import Evaluation
from engine.gate import BETTER, NO_WORSE, RaceEnd, deciding
from engine.judge_noise import noise_variance
from engine.record import LookLine
from engine.settings import GateSettings
from engine.statistics import Differences
from engine.verdict.claims import Claim, Level
from engine.verdict.gathered import SOURCE, Gathered
from engine.verdict.look_lines import look_line, race_told, tryout_told
from engine.verdict.race import Look, Race, Standing, look_sizes
from engine.verdict.rounds import Rounds, place
from engine.verdict.slices import are_seen, rows_to_see
from engine.verdict.tryout import Tryout
from udfs.allowance import Allowance
from udfs.prompt import Prompt

_NOTHING = Differences.of([])


@dataclass(frozen=True)
class RaceOutcome:
    """What a race came to: its end, the winner, and what was asked.

    ``result`` has the lines of the rows ``asked``, of all rounds, as :meth:`Evaluation.frame` returns them, without
    those that the budget did not cover.
    """

    end: RaceEnd
    leader: Prompt
    result: DataFrame
    asked: DataFrame
    pairs_not_asked: int


@dataclass(frozen=True)
class TryoutOutcome:
    """What a tryout came to: each challenger's own end, by candidate id; the rest as in :class:`RaceOutcome`.

    ``asked_rows`` were asked with the current prompt: of the last round's, those that the budget covered.
    """

    ends: Mapping[str, RaceEnd]
    result: DataFrame
    asked: DataFrame
    pairs_not_asked: int
    asked_rows: int


@dataclass(frozen=True)
class RaceForm:
    """How a race is run: all rows at ``one_look`` instead of rounds; ``stage`` is what progress calls it.

    With a ``folder`` the rounds' results are written into it, as one table; else into folders of their own.
    """

    one_look: bool = False
    stage: str = "holdout"
    folder: str | None = None


@dataclass
class HoldoutRace:
    """A race of ``challengers`` (best first by val) against ``seed`` over at most ``rows`` rows of ``holdout``.

    ``allowance`` is asked before each round. ``source_scores`` returns, for rows, a frame of ``row_id``, ``score`` and
    ``output`` of the recorded answers; without it ``no_worse`` can't be asked. ``labels`` name the challengers to
    people. Counts the pairs that it asks in the evaluation's ``usage``. Allows for the noise of judges that was
    measured under the evaluation's storage root.
    """

    evaluation: Evaluation
    holdout: DataFrame
    holdout_rows: int
    seed: Prompt
    challengers: Sequence[Prompt]
    settings: GateSettings
    rows: int
    allowance: Callable[[], Allowance]
    slices: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    source_scores: Callable[[DataFrame], DataFrame] | None = None
    rng_seed: int = 0
    form: RaceForm = field(default_factory=RaceForm)

    def run(self) -> RaceOutcome:
        """Race for one winner; deterministic given the endpoint's answers.

        Raises:
            EvaluationError: a round's job failed, or too few rows could be scored.
        """
        rounds = self._rounds()
        level = self._level(rounds)
        race = Race([prompt.candidate_id for prompt in self.challengers], level, planned_rows=rounds.planned)
        found = self._gathered()
        lines: list[LookLine] = []
        for look, asked in self._looks(race, rounds, found):  # noqa: B007 - the last is used below
            standing = race.after(look)
            lines.append(look_line(look, standing, level, self._claim(BETTER, found, standing.leader), self.labels))
            if standing.answer is not None:
                break
            self.evaluation.progress.tell(race_told(lines[-1], rounds.planned))
        leader = next(prompt for prompt in self.challengers if prompt.candidate_id == standing.leader)
        end = self._end(look, standing, level, found, rounds.planned, lines)
        return RaceOutcome(end, leader, found.result, asked, self._not_asked(rounds, found))

    def run_each(self) -> TryoutOutcome:
        """Race until each challenger has an answer of its own; see :meth:`run`."""
        rounds = self._rounds()
        level = self._level(rounds)
        tryout = Tryout([prompt.candidate_id for prompt in self.challengers], level, planned_rows=rounds.planned)
        found = self._gathered()
        lines: dict[str, list[LookLine]] = {name: [] for name in tryout.active}
        ends: dict[str, RaceEnd] = {}
        for look, asked in self._looks(tryout, rounds, found):  # noqa: B007 - the last is used below
            for name, standing in tryout.after(look).items():
                claim = self._claim(BETTER, found, name)
                lines[name].append(look_line(look, standing, level, claim, self.labels))
                if standing.answer is not None:
                    ends[name] = self._end(look, standing, level, found, rounds.planned, lines[name])
            if not tryout.active:
                break
            told = tryout_told({name: lines[name][-1] for name in look.claims}, set(ends), rounds.planned)
            self.evaluation.progress.tell(told)
        asked_rows = found.rows_of(self.seed.candidate_id)
        return TryoutOutcome(ends, found.result, asked, self._not_asked(rounds, found), asked_rows)

    def _rounds(self) -> Rounds:
        sizes = [self.rows] if self.form.one_look else look_sizes(self.rows)
        return place(self.holdout, self.holdout_rows, sizes)

    def _gathered(self) -> Gathered:
        return Gathered(noise_variance(self.evaluation.storage, self.evaluation.mix))

    def _level(self, rounds: Rounds) -> Level:
        return Level(self.settings.alpha, rounds.looks, rounds.largest_weight, self.rng_seed)

    def _looks(self, race: Race | Tryout, rounds: Rounds, found: Gathered) -> Iterator[tuple[Look, DataFrame]]:
        """Ask round after round who is still active, and yield what is known after each, and the rows asked so far."""
        wanted = rows_to_see(rounds.rows, self.slices) if rounds.looks > 1 else {}
        asked_rows = 0
        for number, size in enumerate(rounds.sizes):
            if not size:
                continue
            asked_rows += size
            asked = rounds.until(number)
            spent = self._ask(race, rounds.of(number), number, size, found)
            # Where more rows have failed than the whole race may have, the caller's check of the coverage says so now.
            failed = found.lacks_rows(self.settings.min_coverage, planned=rounds.planned)
            last = spent or failed or asked_rows >= rounds.planned
            if not last and found.lacks_rows(self.settings.min_coverage):
                continue
            look = self._look(race, found, asked_rows, last=last)
            look = replace(
                look,
                promotable=last or not wanted or are_seen(asked, wanted),
                cut_short=last and (spent or rounds.planned < self.holdout_rows),
            )
            yield look, asked.drop("_round")
            if last:
                return

    def _ask(self, race: Race | Tryout, rows: DataFrame, number: int, size: int, found: Gathered) -> bool:
        """Evaluate a round; return whether the budget ended in it."""
        racing = [prompt for prompt in self.challengers if prompt.candidate_id in race.active]
        prompts = [self.seed, *racing]
        pairs = size * len(prompts)
        folder, stage = self.form.folder, self.form.stage
        result = self.evaluation.frame(
            prompts,
            rows,
            name=f"{folder}/round={number}" if folder else f"{stage}-{uuid.uuid4().hex[:12]}",
            stage=stage,
            total=pairs,
            allowance=self.allowance(),
        )
        result = covered(result)
        unasked = pairs - found.take(result, rows, prompts, self._source(rows))
        self.evaluation.usage.metric_calls += pairs - unasked
        if unasked:
            self.evaluation.progress.tell(
                f"the budget did not cover {unasked:,} of the gate's {pairs:,} calls; it judges on the rest"
            )
        return unasked > 0

    def _not_asked(self, rounds: Rounds, found: Gathered) -> int:
        return rounds.planned * (1 + len(self.challengers)) - found.pairs

    def _end(
        self, look: Look, standing: Standing, level: Level, found: Gathered, planned: int, lines: Sequence[LookLine]
    ) -> RaceEnd:
        claims = {
            name: claim
            for name in (BETTER, NO_WORSE)
            if (claim := self._claim(name, found, standing.leader)) is not None
        }
        return RaceEnd(
            standing,
            level,
            claims,
            look.last,
            planned,
            tuple(lines),
            found.source_score,
            cut_short=look.cut_short,
            judge_noise=found.judge_noise,
        )

    def _source(self, rows: DataFrame) -> DataFrame | None:
        return self.source_scores(rows) if self.source_scores is not None else None

    def _claim(self, name: str, found: Gathered, candidate_id: str) -> Claim | None:
        if name == BETTER:
            gain = found.differences(candidate_id, self.seed.candidate_id)
            return Claim(gain, self.settings.min_improvement, self.settings.worthwhile_gain)
        differences = found.differences(candidate_id, SOURCE)
        return Claim(differences, -self.settings.non_inferiority_margin) if differences.rows else None

    def _look(self, race: Race | Tryout, found: Gathered, rows: int, *, last: bool) -> Look:
        claims = {
            one: tuple(
                self._claim(name, found, one) or Claim(_NOTHING, 0.0) for name in deciding(self.settings.question)
            )
            for one in race.active
        }
        gains = {one: found.differences(one, self.seed.candidate_id).mean for one in race.active}
        duels = {pair: Claim(found.differences(*pair), 0.0) for pair in permutations(race.active, 2)}
        return Look(rows, gains, claims, duels, last=last)
