"""Copies: runs of words that a prompt shares with a training row, and so has from it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.proposers.labels import labels_of
from engine.rows import Row

Shingle = tuple[str, ...]
# Thousands of long rows have millions of runs of words: what is kept of one is its hash, in this process.
Mark = int

# So many words in a row that also stand in a row's inputs are copied, not coincidence.
INPUT_WORDS = 8
# Of an expected answer more than a few, four, would give it away.
ANSWER_WORDS = 5
# An answer of fewer words is known by its whole text, where that is long: a sentence without blanks, an address, a key.
_LONG_ANSWER_CHARACTERS = 24
# Words that stand in so large a share of the rows, and in three at least, are the form of the data and no single row's:
# a prompt may well say that every answer begins with them.
_FORM_SHARE, _FORM_ROWS = 0.05, 3
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Copies:
    """What no prompt may share with training rows: runs of words of their inputs and of their expected answers."""

    inputs: frozenset[Mark]
    answers: frozenset[Mark]
    long_answers: frozenset[str]

    @classmethod
    def of(cls, train: Sequence[Row], *, allowed: str = "") -> Copies:
        """Learn from the rows. What stands in ``allowed`` is no copy, nor are answers that are labels.

        >>> row = Row("r", '{"x": "1"}', '{"expected_response": "Press the red button twice, then wait"}')
        >>> other = Row("s", '{"x": "2"}', '{"expected_response": "Do nothing"}')
        >>> Copies.of([row, other]).found_in("If in doubt, press the red button twice.")
        "it copies a training row's expected answer: 'press the red button twice'"
        """
        labels = frozenset(labels_of(train))
        inputs = _not_form((_marks(_values(row.inputs), INPUT_WORDS) for row in train), len(train))
        texts = [[text for text in _values(row.expectations) if text not in labels] for row in train]
        answers = _not_form((_marks(found, ANSWER_WORDS) for found in texts), len(train))
        whole = Counter(text for found in texts for text in set(found))
        folded = allowed.casefold()
        long_answers = frozenset(
            text.casefold()
            for text, rows in whole.items()
            if len(_WORD.findall(text)) < ANSWER_WORDS
            and len(text) >= _LONG_ANSWER_CHARACTERS
            and rows < _form_rows(len(train))
            and text.casefold() not in folded
        )
        return cls(
            inputs - _marks([allowed], INPUT_WORDS),
            answers - _marks([allowed], ANSWER_WORDS),
            long_answers,
        )

    def found_in(self, text: str) -> str | None:
        """Return what ``text`` copies, as an objection; ``None`` where it copies nothing."""
        answer = next((s for s in _shingles([text], ANSWER_WORDS) if hash(s) in self.answers), None)
        if answer is not None:
            return f"it copies a training row's expected answer: {' '.join(answer)!r}"
        folded = text.casefold()
        whole = next((known for known in sorted(self.long_answers) if known in folded), None)
        if whole is not None:
            return f"it copies a training row's expected answer: {whole!r}"
        copied = next((s for s in _shingles([text], INPUT_WORDS) if hash(s) in self.inputs), None)
        return f"it copies a training row: {' '.join(copied)!r}" if copied else None


def _form_rows(rows: int) -> float:
    return max(_FORM_ROWS, _FORM_SHARE * rows)


def _not_form(found: Iterable[set[Mark]], rows: int) -> frozenset[Mark]:
    counts = Counter(mark for marks in found for mark in marks)
    return frozenset(mark for mark, count in counts.items() if count < _form_rows(rows))


def _values(text: str | None) -> list[str]:
    """All texts in a JSON object, those in its lists and objects too."""
    return list(_leaves(json.loads(text))) if text else []


def _leaves(value: object) -> Iterable[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None:
        yield str(value)


def _marks(texts: Iterable[str], length: int) -> set[Mark]:
    return set(map(hash, _shingles(texts, length)))


def _shingles(texts: Iterable[str], length: int) -> Iterable[Shingle]:
    """All runs of ``length`` words, casefolded."""
    for text in texts:
        words = [word.casefold() for word in _WORD.findall(text)]
        for start in range(len(words) - length + 1):
            yield tuple(words[start : start + length])
