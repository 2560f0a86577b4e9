"""What two scores must have in common to be compared: data set, scorers, judges, and the model's parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import InputError
from udfs.endpoint import Endpoint
from udfs.scorers.protocol import Judge, Weighted

_WORDS = {"data": "data set", "scorers": "scorers", "judges": "judges", "parameters": "model or its parameters"}


@dataclass(frozen=True)
class Fingerprints:
    """Hashes; equal ones stand for equal things. ``data`` covers inputs, expectations and weights of all rows."""

    data: str
    scorers: str
    judges: str
    parameters: str

    @classmethod
    def of(cls, rows: DataFrame, mix: tuple[Weighted, ...], endpoint: Endpoint) -> Fingerprints:
        """Take the fingerprints of an evaluation of ``rows``; one sum leaves Spark."""
        row = F.xxhash64("row_id", F.coalesce("expectations", F.lit("")), "weight").cast("decimal(38,0)")
        line = rows.agg(F.count(F.lit(1)).alias("rows"), F.sum(row).alias("sum")).collect()[0]
        judges = [(w.scorer, w.weight) for w in mix if isinstance(w.scorer, Judge)]
        scorers = [w for w in mix if not isinstance(w.scorer, Judge)]
        return cls(
            data=_hash([int(line["rows"]), str(line["sum"])]),
            scorers=_hash([[_plain(w.scorer), w.weight] for w in scorers]),
            judges=_hash([[judge.judge_id, judge.endpoint.endpoint_id, weight] for judge, weight in judges]),
            parameters=_hash(endpoint.endpoint_id),
        )

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Fingerprints:
        """Read what :func:`dataclasses.asdict` wrote, as it stands in ``result.json``."""
        return cls(**{field.name: str(found.get(field.name)) for field in fields(cls)})


def check_comparable(one: Fingerprints, other: Fingerprints, *, names: tuple[str, str] = ("one", "the other")) -> None:
    """Make sure that two results may be compared.

    >>> check_comparable(Fingerprints("a", "b", "c", "d"), Fingerprints("a", "b", "c", "d"))

    Raises:
        InputError: they were made on different rows, by different scorers or judges, or with other parameters.
    """
    differing = [word for name, word in _WORDS.items() if asdict(one)[name] != asdict(other)[name]]
    if differing:
        raise InputError(
            f"{names[0]} and {names[1]} can't be compared: they differ in {', '.join(differing)}; evaluate both with "
            "the same"
        )


def check_goes_on(run_dir: str, now: Fingerprints) -> None:
    """Make sure that what a run in ``run_dir`` came to so far may be compared with what it would come to now.

    Raises:
        InputError: it was made on other rows or by other scorers.
    """
    path = Path(run_dir) / "result.json"
    if not path.exists():
        return
    found = json.loads(path.read_text("utf-8")).get("fingerprints")
    if found:
        before = Fingerprints.read(found)
        check_comparable(before, now, names=(f"the run in {run_dir}", "what it would go on with"))


def _plain(scorer: Any) -> Any:
    """What a scorer is made of, as data that is written the same in every process."""
    if callable(scorer) and hasattr(scorer, "__code__"):
        return [scorer.__qualname__, scorer.__code__.co_code.hex(), [str(n) for n in scorer.__code__.co_names]]
    if is_dataclass(scorer):
        return [type(scorer).__name__, {f.name: _plain(getattr(scorer, f.name)) for f in fields(scorer)}]
    if isinstance(scorer, Mapping):
        return {str(key): _plain(value) for key, value in scorer.items()}
    if isinstance(scorer, list | tuple):
        return [_plain(value) for value in scorer]
    if isinstance(scorer, set | frozenset):
        return sorted(map(str, scorer))
    return scorer if isinstance(scorer, str | int | float | bool | None) else type(scorer).__qualname__


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
