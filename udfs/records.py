"""Records as they come from any source, brought to one shape; runs on executors and on the driver alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from udfs.conversation import flat_inputs
from udfs.well_formed import well_formed

RECORDS_DDL = (
    "inputs string, expectations string, weight bigint, slices string, trace_id string, defect string, "
    "by_person bigint, recorded_ms bigint"
)
# What traces say of themselves: whether a person gave the expectations, and when the call was.
BY_PERSON, RECORDED_MS = "_by_person", "_recorded_ms"
# Columns of a source that are not inputs when it has no column `inputs`.
RESERVED = (
    *("expectations", "expected_response", "expected_facts", "weight", "slices", "trace_id", "outputs"),
    *(BY_PERSON, RECORDED_MS),
)


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces, so that equal values have equal texts.

    >>> canonical_json({"b": 1, "a": "ä"})
    '{"a":"ä","b":1}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return well_formed(text)


def row_id(inputs: Mapping[str, Any]) -> str:
    """Return the identity of the row with these inputs.

    >>> row_id({"a": 1, "b": 2}) == row_id({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(canonical_json(inputs).encode()).hexdigest()


def normal_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Bring one record to the columns of :data:`RECORDS_DDL`; ``inputs`` and ``expectations`` as canonical JSON."""
    inputs = parsed(record.get("inputs"))
    defect = None
    if not isinstance(inputs, dict) or not inputs:
        shown = repr(record.get("inputs"))[:80]
        defect = f"has inputs {shown}; give an object of the template's variables, such as {{text: …}}"
        inputs = {}
    inputs = flat_inputs(inputs)
    expectations = parsed(record.get("expectations"))
    expectations = dict(expectations) if isinstance(expectations, dict) else {}
    for key in ("expected_response", "expected_facts"):
        if record.get(key) is not None:
            expectations.setdefault(key, parsed(record[key]) if key == "expected_facts" else record[key])
    if record.get("outputs") is not None and not expectations:
        # Text stays text: an answer "1e5" or "null" is what the model said, not a number or nothing.
        expectations["expected_response"] = record["outputs"]
    slices = parsed(record.get("slices"))
    slices = {str(k): str(v) for k, v in slices.items()} if isinstance(slices, dict) else {}
    weight = _weight(record.get("weight"))
    if weight is None:
        defect = defect or f"has weight {record['weight']!r}; give a whole number from 1, or leave it out"
    return {
        "inputs": None if defect else canonical_json(inputs),
        "expectations": canonical_json(expectations) if expectations else None,
        "weight": weight or 1,
        "slices": canonical_json(slices),
        "trace_id": record.get("trace_id"),
        "defect": defect,
        "by_person": int(record.get(BY_PERSON) or 0),
        "recorded_ms": int(record.get(RECORDED_MS) or 0),
    }


def _weight(value: Any) -> int | None:
    """Read a weight: 1 where there is none, ``None`` where it is no whole number from 1."""
    if value is None or value == "":
        return 1
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number >= 1 and number.is_integer() else None


def parsed(value: Any) -> Any:
    """Parse JSON text; what is not JSON stays the text it is.

    >>> parsed('{"a": 1}'), parsed("a text")
    ({'a': 1}, 'a text')
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def record_normaliser(
    columns: Sequence[str], wrapped: Collection[str]
) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    """Return the body of a ``mapInPandas`` that normalises records.

    ``columns`` are the frame's, in order; those in ``wrapped`` hold ``{"v": value}`` as JSON text.
    """
    names, unwrap = tuple(columns), frozenset(wrapped)

    def value(name: str, found: Any) -> Any:
        if not isinstance(found, str):
            return None
        return json.loads(found).get("v") if name in unwrap else found

    def normalise(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            records = [
                normal_record({name: value(name, found) for name, found in zip(names, values, strict=True)})
                for values in batch.itertuples(index=False, name=None)
            ]
            yield pd.DataFrame(records, columns=[column.split()[0] for column in RECORDS_DDL.split(", ")])

    return normalise
