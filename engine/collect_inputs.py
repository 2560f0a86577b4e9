"""The inputs that a collection asks: rows of a file in whatever shape people have it."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import InputError
from engine.rows import rows_from_frame
from engine.sources import read_path
from udfs.records import RESERVED


def input_rows(spark: SparkSession, path: str, variables: frozenset[str], slices: Sequence[str]) -> DataFrame:
    """Make rows of the file: of its column ``inputs``, else of the columns that the template's variables name.

    Other columns of such a flat file are left out, so that an id or a time in it makes no two equal inputs differ;
    those that ``slices`` names become slices.

    Raises:
        InputError: the file can't be read, or lacks a variable.
    """
    frame = read_path(spark, path)
    if "inputs" in frame.columns:
        return rows_from_frame(frame)
    missing = sorted(variables - set(frame.columns))
    if missing:
        raise InputError(
            f"inputs {path}: the template's variable {{{{{missing[0]}}}}} is none of its columns "
            f"({', '.join(frame.columns)}); rename the column or the variable"
        )
    columns: dict[str, Column] = {"inputs": F.struct(*[F.col(f"`{name}`") for name in sorted(variables)])}
    columns |= {name: F.col(name) for name in RESERVED if name in frame.columns and name not in variables}
    named = [name for name in slices if name in frame.columns]
    if named and "slices" not in columns:
        tags = [part for name in named for part in (F.lit(name), F.col(f"`{name}`").cast("string"))]
        columns["slices"] = F.map_filter(F.create_map(*tags), lambda _, value: value.isNotNull())
    return rows_from_frame(frame.select(*[column.alias(name) for name, column in columns.items()]))
