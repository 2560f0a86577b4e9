"""What the ledger has for an evaluation: joined by Spark for a data set, looked up for the rows on the driver."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import InputError
from engine.ledger_frame import ENTRIES_DDL, latest_entry, read_segments
from udfs.ledger import Entry, LedgerLocation, answer_key, latest
from udfs.rollout import Item


@dataclass(frozen=True)
class Reuse:
    """How a run uses the ledger: as far as it goes, alone (``replay``), or but for what failed (``retry_failed``).

    Raises:
        InputError: it is asked for both.
    """

    replay: bool = False
    retry_failed: bool = False

    def __post_init__(self) -> None:
        if self.replay and self.retry_failed:
            raise InputError("--replay calls nothing and --retry-failed calls again; give one of them")


@dataclass(frozen=True)
class Asked:
    """Which entries an evaluation can use.

    ``failed_before`` (seconds since 1970) leaves out failures that were kept earlier, so that they are called again;
    those of this run stay, or each of its stages would call them once more.
    """

    endpoint_id: str
    judge_ids: tuple[str, ...] = ()
    failed_before: float | None = None

    def serves(self, found: Entry) -> bool:
        """Tell whether an entry of a wanted endpoint may be used."""
        return found.error_kind is None or self.failed_before is None or found.answered_at >= self.failed_before


def join_ledger(
    spark: SparkSession, rows: DataFrame, ledger: LedgerLocation, asked: Asked, *, candidate_ids: Collection[str]
) -> DataFrame:
    """Add the column ``entries`` to rows: what the ledger has for each with any of the candidates, null for nothing.

    Joined by row, before rows meet candidates, so that a row's text is moved once and not once a candidate;
    :func:`known_to` picks a pair's own. Of the ledger only what the endpoints and candidates are concerned in is read:
    both are filters that Parquet skips by, and compacted segments are sorted by them.
    """
    names = [segment.name for segment in ledger.listing().live]
    if not names:
        return rows.withColumn("entries", F.lit(None).cast(ENTRIES_DDL))
    kept = read_segments(spark, ledger, names, skip_corrupt=True)
    if asked.failed_before is not None:
        kept = kept.where(F.col("error_kind").isNull() | (F.col("answered_at") >= asked.failed_before))
    wanted = (
        (F.col("kind") == "answer")
        & (F.col("endpoint_id") == asked.endpoint_id)
        & F.col("candidate_id").isin(sorted(candidate_ids))
        & (F.col("sample") == 0)
    )
    if asked.judge_ids:
        # All verdicts over a row, whoever answered: the next candidate may well answer the same.
        wanted |= (F.col("kind") == "verdict") & F.col("endpoint_id").isin(list(asked.judge_ids))
    entries = (
        kept.where(wanted)
        .groupBy("key")
        .agg(latest_entry().alias("entry"))
        .groupBy(F.col("entry.row_id").alias("row_id"))
        .agg(F.collect_list("entry").alias("entries"))
    )
    return rows.join(entries, "row_id", "left")


def known_to(candidate_id: Column, entries: Column) -> Column:
    """Return the column ``known`` of a pair: a JSON array of its answer and the verdicts over its row, or null."""
    own = F.filter(entries, lambda one: (one["kind"] == "verdict") | (one["candidate_id"] == candidate_id))
    return F.when(F.size(own) > 0, F.to_json(own))


class Remembered:
    """What the ledger has for the rows on the driver: answers by key, verdicts by row. Read once, then kept up."""

    def __init__(self, ledger: LedgerLocation, asked: Asked, row_ids: Collection[str]) -> None:
        self._ledger, self._asked = ledger, asked
        self._endpoint_ids = {asked.endpoint_id, *asked.judge_ids}
        self._answers: dict[str, Entry] = {}
        self._verdicts: dict[str, dict[str, Entry]] = {}
        if row_ids:
            entries = ledger.entries(
                kinds=("answer", "verdict"), endpoint_ids=self._endpoint_ids, row_ids=frozenset(row_ids)
            )
            self._add(latest(found for found in entries if asked.serves(found)))

    def learn(self, evaluation_id: str) -> None:
        """Take in what an evaluation of this run has just kept."""
        found = latest(self._ledger.closed_by(f"{evaluation_id}-"))
        self._add({key: one for key, one in found.items() if one.endpoint_id in self._endpoint_ids})

    def attach(self, item: Item) -> Item:
        """Return the item with its answer, and all verdicts over its row: another candidate may have answered alike."""
        answer = self._answers.get(answer_key(self._asked.endpoint_id, item.candidate_id, item.row_id))
        verdicts = self._verdicts.get(item.row_id, {}).values()
        return replace(item, known=(*item.known, *((answer,) if answer else ()), *verdicts))

    def _add(self, entries: dict[str, Entry]) -> None:
        for key, found in entries.items():
            if found.kind == "verdict":
                self._verdicts.setdefault(found.row_id, {})[key] = found
            else:
                self._answers[key] = found
