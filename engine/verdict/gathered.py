"""What a race's rounds have brought so far: paired differences by pair of contestants, and what could be scored."""

from __future__ import annotations

from functools import reduce
from itertools import combinations
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.coverage import allowed_unscored
from engine.statistics import Differences
from engine.verdict.paired import DECIMALS, differences_of
from udfs.prompt import Prompt

# Stands for the source model's recorded answers among the contestants.
SOURCE = "source"
_NOTHING = Differences.of([])


class Gathered:
    """Adds up rounds, whose rows are not the same; only counts and groups of equal differences leave Spark.

    ``results`` are the rounds' lines as they were evaluated. ``judge_noise`` is the variance that judges' noise gives
    one row's score, ``None`` where it was never measured.
    """

    def __init__(self, judge_noise: float | None = 0.0) -> None:
        self.results: list[DataFrame] = []
        self.judge_noise = judge_noise
        self._noise = judge_noise or 0.0
        self._differences: dict[tuple[str, str], Differences] = {}
        self._rows: dict[str, int] = {}
        self._missing: dict[str, int] = {}
        self._source = [0.0, 0.0]

    def take(self, result: DataFrame, rows: DataFrame, prompts: list[Prompt], source: DataFrame | None) -> int:
        """Add a round: ``result`` has its lines, ``rows`` the weights, ``source`` the recorded answers as
        ``output`` and their scores.

        Returns how many pairs were asked.
        """
        self.results.append(result)
        missing = F.sum(F.col("score").isNull().cast("bigint")).alias("missing")
        asked = 0
        for line in result.groupBy("candidate_id").agg(F.count(F.lit(1)).alias("rows"), missing).collect():
            asked += int(line["rows"])
            self._rows[line["candidate_id"]] = self._rows.get(line["candidate_id"], 0) + int(line["rows"])
            self._missing[line["candidate_id"]] = self._missing.get(line["candidate_id"], 0) + int(line["missing"])
        names = [prompt.candidate_id for prompt in prompts]
        own = [
            F.max(F.when(F.col("candidate_id") == name, column)).alias(f"{key}{n}")
            for n, name in enumerate(names)
            for key, column in self._columns().items()
        ]
        scored = rows.select("row_id", "weight").join(result.groupBy("row_id").agg(*own), "row_id")
        if source is not None:
            recorded = [column.alias(f"{key}{len(names)}") for key, column in self._columns().items()]
            scored = scored.join(source.select("row_id", *recorded), "row_id", "left")
            names.append(SOURCE)
            self._take_source(scored, f"s{len(names) - 1}")
        self._take_differences(scored, names)
        return asked

    def _columns(self) -> dict[str, Column]:
        """What is compared: scores and, where they are noisy, texts; a hash says whether two are the same."""
        columns = {"s": F.col("score")}
        return columns | {"t": F.xxhash64("output")} if self._noise else columns

    def _take_differences(self, scored: DataFrame, names: list[str]) -> None:
        pairs = list(combinations(range(len(names)), 2))
        each = [
            F.struct(
                F.lit(n).alias("pair"),
                F.round(F.col(f"s{a}") - F.col(f"s{b}"), DECIMALS).alias("d"),
                ((F.col(f"t{a}") != F.col(f"t{b}")).cast("bigint") if self._noise else F.lit(0)).alias("apart"),
            )
            for n, (a, b) in enumerate(pairs)
        ]
        lines = scored.select("weight", F.explode(F.array(*each)).alias("one")).select("weight", "one.*")
        counts = F.count(F.lit(1)).alias("count"), F.sum("apart").alias("apart")
        groups: dict[int, list[Any]] = {}
        for group in lines.where(F.col("d").isNotNull()).groupBy("pair", "d", "weight").agg(*counts).collect():
            groups.setdefault(int(group["pair"]), []).append(group)
        for n, found in groups.items():
            a, b = (names[at] for at in pairs[n])
            # Judges that compare with the recorded answer are not asked about it: at least one of the two is noisy.
            noise = self._noise * (1 if b == SOURCE else 2)
            added = differences_of(found, noise=noise)
            self._differences[a, b] = self._differences.get((a, b), _NOTHING).joined(added)

    def _take_source(self, scored: DataFrame, column: str) -> None:
        line = scored.where(F.col(column).isNotNull()).agg(
            F.sum(F.col(column) * F.col("weight")).alias("sum"), F.sum("weight").alias("weight")
        )
        found = line.collect()[0]
        self._source[0] += float(found["sum"] or 0.0)
        self._source[1] += float(found["weight"] or 0.0)

    def differences(self, one: str, other: str) -> Differences:
        """Return the paired differences, ``one`` minus ``other``, over the rows scored for both."""
        if (one, other) in self._differences:
            return self._differences[one, other]
        return self._differences.get((other, one), _NOTHING).mirrored

    @property
    def result(self) -> DataFrame:
        """The lines of all rounds together."""
        return reduce(DataFrame.unionByName, self.results)

    def rows_of(self, candidate_id: str) -> int:
        """Return how many rows one was asked so far."""
        return self._rows.get(candidate_id, 0)

    @property
    def pairs(self) -> int:
        """How many pairs were asked so far."""
        return sum(self._rows.values())

    @property
    def source_score(self) -> float | None:
        """The recorded answers' own mean score by weight; ``None`` where it was not measured."""
        return self._source[0] / self._source[1] if self._source[1] else None

    def lacks_rows(self, min_coverage: float, *, planned: int | None = None) -> bool:
        """Tell whether too many rows are unscored for some prompt, of those asked, or of as many as are ``planned``."""
        return any(
            self._missing[name] > allowed_unscored(planned or rows, min_coverage) or self._missing[name] == rows
            for name, rows in self._rows.items()
        )
