"""Labels: what people say that a judge should have said of an answer.

A label belongs to one answer to one row, so it comes with that answer: in a file with the columns ``output`` and
``label``, or in the data set's expectations as ``labelled_output`` and ``label``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import InputError
from engine.rows import Row, local_rows
from engine.sources import read_path
from udfs.records import normal_record, row_id
from udfs.scorers.protocol import Graded, Judge

OUTPUT_KEY, LABEL_KEY = "labelled_output", "label"
# Labelled answers are held on the driver, and each is judged two or three times.
_MOST_LABELS = 10_000


@dataclass(frozen=True)
class Labelled:
    """An answer with its label: the name of a verdict, or a score from 0 to 1; of one ``judge``, or of all.

    ``place`` says where it stands, for messages.
    """

    row: Row
    output: str
    label: Any
    place: str
    judge: str | None = None


def labels_in_rows(rows: DataFrame) -> list[Labelled]:
    """Return the labels that stand in the data set's expectations."""
    holds = [F.get_json_object("expectations", f"$.{key}").isNotNull() for key in (OUTPUT_KEY, LABEL_KEY)]
    found = local_rows(rows.where(holds[0] & holds[1]).orderBy("row_id").limit(_MOST_LABELS))
    labelled = []
    for row in found:
        expectations = json.loads(row.expectations or "{}")
        place = f"the row with inputs {row.inputs[:120]}"
        output = expectations[OUTPUT_KEY]
        labelled.append(Labelled(row, _text(output), expectations[LABEL_KEY], place))
    return labelled


def labels_in_file(spark: SparkSession, path: str, rows: DataFrame) -> list[Labelled]:
    """Return the labels in a file: ``output``, ``label``, and ``row_id`` or ``inputs``; perhaps ``judge``.

    Expectations are the file's (``expectations``, ``expected_response`` or ``expected_facts``), else those of the data
    set's row with these inputs.

    Raises:
        InputError: the file can't be read, lacks a column, or holds a record that can't be used.
    """
    frame = read_path(spark, path)
    columns = set(frame.columns)
    lacking = [name for name in ("output", "label") if name not in columns]
    if lacking or not columns & {"row_id", "inputs"}:
        wanted = lacking[0] if lacking else "inputs (or row_id)"
        raise InputError(
            f"--labels {path}: has no column {wanted}; its columns are {', '.join(sorted(columns))}. Each line is a "
            "labelled answer: inputs or row_id, output, label, and perhaps expected_response and judge"
        )
    # Nested columns as JSON: Spark's own rows would hold every key that any other record has.
    nested = ("struct", "map", "array")
    flat = [F.to_json(name).alias(name) if kind.startswith(nested) else F.col(name) for name, kind in frame.dtypes]
    lines = [line.asDict() for line in frame.select(*flat).limit(_MOST_LABELS + 1).collect()]
    if len(lines) > _MOST_LABELS:
        raise InputError(f"--labels {path}: has more than {_MOST_LABELS:,} lines; give a sample of them")
    read = [_read(line, f"--labels {path}, record {number}") for number, line in enumerate(lines, start=1)]
    known = _known(spark, rows, {one.row.row_id for one in read})
    return [_completed(one, known) for one in read]


def label_scores(labelled: Sequence[Labelled], judges: Iterable[Judge]) -> dict[str, list[float]]:
    """Return by judge's name the score that each label means, NaN where it is none of this judge's.

    Raises:
        InputError: a label, or the judge that it names, is unknown.
    """
    by_name = {judge.name: judge for judge in judges}
    scores = {name: [math.nan] * len(labelled) for name in by_name}
    for position, one in enumerate(labelled):
        if one.judge is not None and one.judge not in by_name:
            raise InputError(f"{one.place}: names the judge {one.judge!r}; the judges are {', '.join(by_name)}")
        understood = False
        for name, judge in by_name.items():
            score = _score(one.label, judge) if one.judge in {None, name} else None
            if score is not None:
                scores[name][position], understood = score, True
        if not understood:
            words = sorted({word for judge in by_name.values() if isinstance(judge, Graded) for word in judge.verdicts})
            raise InputError(
                f"{one.place}: the label is {one.label!r}; give a score from 0 to 1, or one of {', '.join(words)}"
            )
    return scores


def _score(label: Any, judge: Judge) -> float | None:
    words: Mapping[str, float] = judge.verdicts if isinstance(judge, Graded) else {}
    if isinstance(label, str) and label.strip().lower() in words:
        return words[label.strip().lower()]
    try:
        score = float(label)
    except (TypeError, ValueError):
        return None
    return score if 0.0 <= score <= 1.0 else None


def _read(line: Mapping[str, Any], place: str) -> Labelled:
    if line["output"] is None or line["label"] is None:
        raise InputError(f"{place}: has no {'output' if line['output'] is None else 'label'}; mend it or take it out")
    if line.get("inputs") is None and not line.get("row_id"):
        raise InputError(f"{place}: has neither inputs nor row_id; mend it or take it out")
    inputs, identity = "", str(line.get("row_id") or "")
    # Without its own columns `output` and `label`, which say nothing about the row.
    normal = normal_record({key: value for key, value in line.items() if key not in {"outputs", "weight"}})
    if line.get("inputs") is not None:
        if normal["defect"]:
            raise InputError(f"{place}: {normal['defect']}")
        inputs = normal["inputs"]
        identity = row_id(json.loads(inputs))
    row = Row(identity, inputs, normal["expectations"])
    return Labelled(row, _text(line["output"]), line["label"], place, line.get("judge"))


def _known(spark: SparkSession, rows: DataFrame, row_ids: set[str]) -> dict[str, Row]:
    wanted = spark.createDataFrame([(one,) for one in sorted(row_ids)], "row_id string")
    return {row.row_id: row for row in local_rows(rows.join(F.broadcast(wanted), "row_id", "left_semi"))}


def _completed(one: Labelled, known: Mapping[str, Row]) -> Labelled:
    row = known.get(one.row.row_id)
    if row is None and not one.row.inputs:
        raise InputError(f"{one.place}: the data set has no row {one.row.row_id}; give its inputs instead")
    found = Row(
        one.row.row_id,
        one.row.inputs or (row.inputs if row else ""),
        one.row.expectations or (row.expectations if row else None),
    )
    return Labelled(found, one.output, one.label, one.place, one.judge)


def _text(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
