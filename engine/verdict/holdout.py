"""Runs the race on the holdout: asks in rounds of growing size, and stops asking when the answer is known.

Rows stay in Spark. Their order is that of a hash, so that a round's rows are a random sample, the same in every run: a
run that is gone on with finds its earlier rounds in the ledger.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import permutations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.evaluate import Evaluation
from engine.gate import BETTER, NO_WORSE, RaceEnd, deciding
from engine.judge_noise import noise_variance
from engine.record import LookLine
from engine.settings import GateSettings
from engine.statistics import Differences
from engine.verdict.claims import Claim, Level
from engine.verdict.gathered import SOURCE, Gathered
from engine.verdict.race import Look, Race, Standing, look_sizes
from engine.verdict.slices import are_seen, rows_to_see
from udfs.allowance import Allowance
from udfs.errors import ErrorKind
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

    def run(self) -> RaceOutcome:
        """Race; deterministic given the endpoint's answers.

        Raises:
            EvaluationError: a round's job failed, or too few rows could be scored.
        """
        placed, sizes, largest_weight = self._rounds()
        planned = sum(sizes)
        looks = sum(size > 0 for size in sizes)
        level = Level(self.settings.alpha, looks, largest_weight, self.rng_seed)
        race = Race([prompt.candidate_id for prompt in self.challengers], level, planned_rows=planned)
        found = Gathered(noise_variance(self.evaluation.storage, self.evaluation.mix))
        wanted = rows_to_see(placed, self.slices) if looks > 1 else {}
        lines: list[LookLine] = []
        asked_rows = asked_pairs = 0
        for number, size in enumerate(sizes):
            if not size:
                continue
            asked_rows += size
            asked = placed.where(F.col("_round") <= number)
            pairs, spent = self._ask(race, placed.where(F.col("_round") == number), size, found)
            asked_pairs += pairs
            # Where more rows have failed than the whole race may have, the caller's check of the coverage says so now.
            failed = found.lacks_rows(self.settings.min_coverage, planned=planned)
            last = spent or failed or asked_rows >= planned
            if not last and found.lacks_rows(self.settings.min_coverage):
                continue
            look = self._look(race, found, asked_rows, last=last)
            if not last and wanted and not are_seen(asked, wanted):
                look = Look(look.rows, look.gains, look.claims, look.duels, promotable=False)
            standing = race.after(look)
            lines.append(self._line(look, standing, level, self._claim(BETTER, found, standing.leader)))
            if standing.answer is not None:
                break
            self._tell(lines[-1], planned)
        leader = next(prompt for prompt in self.challengers if prompt.candidate_id == standing.leader)
        claims = {
            name: claim
            for name in (BETTER, NO_WORSE)
            if (claim := self._claim(name, found, leader.candidate_id)) is not None
        }
        end = RaceEnd(standing, level, claims, look.last, planned, tuple(lines), found.source_score, found.judge_noise)
        saved = planned * (1 + len(self.challengers)) - asked_pairs
        result = reduce(DataFrame.unionByName, found.results)
        return RaceOutcome(end, leader, result, asked.drop("_round"), saved)

    def _rounds(self) -> tuple[DataFrame, list[int], float]:
        """The rows with the round that each is asked in, how many each round has, and the largest weight."""
        # 52 bits of a hash, from 0 to 1: exactly representable as a double.
        at = F.conv(F.substring(F.sha2(F.concat_ws("|", F.lit("gate"), F.col("row_id")), 256), 1, 13), 16, 10)
        placed = self.holdout.withColumn("_at", at.cast("double") / F.lit(16.0**13))
        until = 1.0
        if self.rows < self.holdout_rows:
            first = placed.select("_at").orderBy("_at").limit(self.rows)
            until = float(first.agg(F.max("_at")).collect()[0][0])
            placed = placed.where(F.col("_at") <= until)
        sizes = look_sizes(self.rows)
        edges = [until * size / sizes[-1] for size in sizes[:-1]]
        number = sum(((F.col("_at") > edge).cast("int") for edge in edges), F.lit(0))
        placed = placed.withColumn("_round", number).drop("_at")
        counted = placed.groupBy("_round").agg(F.count(F.lit(1)).alias("rows"), F.max("weight").alias("weight"))
        found = {int(line["_round"]): line for line in counted.collect()}
        counts = [int(found[n]["rows"]) if n in found else 0 for n in range(len(sizes))]
        return placed, counts, max((float(line["weight"]) for line in found.values()), default=1.0)

    def _ask(self, race: Race, rows: DataFrame, size: int, found: Gathered) -> tuple[int, bool]:
        """Evaluate a round; return the pairs asked, and whether the budget ended in it."""
        racing = [prompt for prompt in self.challengers if prompt.candidate_id in race.active]
        prompts = [self.seed, *racing]
        pairs = size * len(prompts)
        self.evaluation.usage.metric_calls += pairs
        # A folder of its own each time: a run that goes on after an outage asks again for the rows that failed, and
        # finds all others in the ledger.
        result = self.evaluation.frame(
            prompts,
            rows,
            name=f"holdout-{uuid.uuid4().hex[:12]}",
            stage="holdout",
            total=pairs,
            allowance=self.allowance(),
        )
        result = result.where(F.col("error").isNull() | (F.col("error.kind") != ErrorKind.BUDGET.value))
        unasked = pairs - found.take(result, rows, prompts, self._source(rows))
        if unasked:
            self.evaluation.progress.tell(
                f"the budget did not cover {unasked:,} of the gate's {pairs:,} calls; it judges on the rest"
            )
        return pairs - unasked, unasked > 0

    def _source(self, rows: DataFrame) -> DataFrame | None:
        return self.source_scores(rows) if self.source_scores is not None else None

    def _claim(self, name: str, found: Gathered, candidate_id: str) -> Claim | None:
        if name == BETTER:
            gain = found.differences(candidate_id, self.seed.candidate_id)
            return Claim(gain, self.settings.min_improvement, self.settings.worthwhile_gain)
        differences = found.differences(candidate_id, SOURCE)
        return Claim(differences, -self.settings.non_inferiority_margin) if differences.rows else None

    def _look(self, race: Race, found: Gathered, rows: int, *, last: bool) -> Look:
        claims = {
            one: tuple(
                self._claim(name, found, one) or Claim(_NOTHING, 0.0) for name in deciding(self.settings.question)
            )
            for one in race.active
        }
        gains = {one: found.differences(one, self.seed.candidate_id).mean for one in race.active}
        duels = {pair: Claim(found.differences(*pair), 0.0) for pair in permutations(race.active, 2)}
        return Look(rows, gains, claims, duels, last=last)

    def _line(self, look: Look, standing: Standing, level: Level, claim: Claim | None) -> LookLine:
        leader, gain = standing.leader, look.gains[standing.leader]
        interval = None
        if claim is not None and claim.differences.rows:
            interval = level.interval(claim, last=look.last, among=standing.among)
        names = {self.labels.get(one, one[:12]): why for one, why in standing.dropped.items()}
        return LookLine(
            rows=look.rows,
            leader=self.labels.get(leader, leader[:12]),
            difference=None if math.isnan(gain) else gain,
            p_value=standing.p_value,
            racing=len(look.claims),
            interval=interval,
            dropped=names,
        )

    def _tell(self, line: LookLine, planned: int) -> None:
        shown = "unknown" if line.difference is None else f"{line.difference:+.3f}"
        left = "".join(f"; {name} is out: {why}" for name, why in line.dropped.items())
        self.evaluation.progress.tell(
            f"race: {line.rows:,} of {planned:,} holdout rows, {line.leader} leads by {shown}{left}"
        )
