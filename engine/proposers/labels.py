"""What training rows expect: the recorded answer of a row, and the allowed answers where these are few."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from engine.rows import Row

# Expected answers that take at most so many values over the training rows are labels: models are shown them all.
_MOST_LABELS = 40


def answer_of(row: Row) -> str | None:
    """Return the recorded answer of a row as text, ``None`` where it has none."""
    expected = (json.loads(row.expectations) if row.expectations else {}).get("expected_response")
    if expected is None:
        return None
    return expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False)


def labels_of(train: Sequence[Row]) -> tuple[str, ...]:
    """Return the training rows' expected responses, most frequent first, where these are few; else nothing.

    >>> labels_of([Row("a", "{}", '{"expected_response": "yes"}'), Row("b", "{}", '{"expected_response": "yes"}')])
    ('yes',)
    """
    counts: Counter[str] = Counter()
    for row in train:
        expected = (json.loads(row.expectations) if row.expectations else {}).get("expected_response")
        if not isinstance(expected, str):
            return ()
        counts[expected] += 1
    if not counts or len(counts) > min(_MOST_LABELS, max(1, len(train) // 2)):
        return ()
    return tuple(sorted(counts, key=lambda label: (-counts[label], label)))
