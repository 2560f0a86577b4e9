"""Failures by kind, and the records that a reflection model is shown of them, within a bound of tokens.

A minibatch of many rows fails in few ways. Shown in the order of the rows, ten failures of one kind hide the single one
of another; so failures are grouped, the kinds take turns, and what is right comes last.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.rows import Row
from engine.token_estimate import BYTES_PER_TOKEN
from udfs.rollout import Rollout

Pair = tuple[Row, Rollout]

# Feedback of judges is free text: two speak of one thing when they share so many of their words.
_ALIKE = 0.4
_WORD = re.compile(r"[^\W\d_]{3,}")
# What feedback quotes of a row says nothing about the kind of failure.
_QUOTED = re.compile(r"^(expected|got): .*$|'[^'\n]*'|\"[^\"\n]*\"", re.MULTILINE)
# A record's texts are cut to so many characters; to fewer where not even one record would fit otherwise.
_CUTS = (600, 200, 60)
# So much of the first one's feedback names a kind.
_TITLE_CHARACTERS = 80
# Answers that are right are shown at most so many, so that the model sees what must stay as it is.
_MOST_RIGHT = 2


@dataclass(frozen=True)
class Kind:
    """Failures of one kind, the worst first."""

    name: str
    pairs: tuple[Pair, ...]


def is_failure(rollout: Rollout) -> bool:
    """Say whether an answer was scored below 1."""
    return rollout.score is not None and rollout.score < 1


def kinds_of_failure(pairs: Sequence[Pair], labels: Sequence[str] = ()) -> list[Kind]:
    """Return the failures by kind, the most frequent kind first; the same for the same pairs in any order.

    The kind is the error where there was one; an allowed answer (``labels``) given in place of another; else the
    scorers that were not satisfied, and within them what their feedback says.
    """
    failed = sorted(
        ((row, rollout) for row, rollout in pairs if is_failure(rollout)), key=lambda p: (p[1].score or 0, p[0].row_id)
    )
    found: list[tuple[_Sign, list[Pair]]] = []
    for pair in failed:
        sign = _sign(pair, labels)
        alike = next((members for other, members in found if _alike(other, sign)), None)
        if alike is None:
            found.append((sign, [pair]))
        else:
            alike.append(pair)
    kinds = [Kind(sign.title, tuple(members)) for sign, members in found]
    return sorted(kinds, key=lambda kind: (-len(kind.pairs), kind.name, kind.pairs[0][0].row_id))


def records_text(pairs: Sequence[Pair], *, max_tokens: int, labels: Sequence[str] = ()) -> str:
    """Return the records as text, failures first and by kind, then a few answers that are right.

    At most ``max_tokens`` tokens, and never less than one record where there is one: its texts are cut as far as need
    be. Deterministic, whatever the order of the pairs. Pairs without a score are left out.
    """
    kinds = kinds_of_failure(pairs, labels)
    right = sorted((p for p in pairs if p[1].score is not None and not is_failure(p[1])), key=lambda p: p[0].row_id)
    for cut in _CUTS:
        text = _text(kinds, right, cut, max_tokens)
        if text is not None:
            return text
    first = next(itertools.chain((kind.pairs[0] for kind in kinds), right), None)
    return "" if first is None else record_text(1, *first, cut=_CUTS[-1])


def record_text(number: int, row: Row, rollout: Rollout, *, cut: int = _CUTS[0]) -> str:
    """Return one record: inputs, the answer, what was expected, and what the scorers say."""
    expectations = json.loads(row.expectations) if row.expectations else {}
    expected = expectations.get("expected_response", expectations)
    feedback = "; ".join(text for text in rollout.feedback.values() if text)
    answered = rollout.output if rollout.output is not None else "(no answer)"
    lines = [f"{number}. {_cut(row.inputs, cut)}", f"   model answered: {_cut(answered, cut)}"]
    if expected != {}:
        shown = expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False)
        lines.append(f"   expected: {_cut(shown, cut)}")
    if not is_failure(rollout):
        lines.append("   this answer is right")
    elif feedback:
        lines.append(f"   feedback: {_cut(feedback, cut)}")
    return "\n".join(lines)


def _text(kinds: Sequence[Kind], right: Sequence[Pair], cut: int, max_tokens: int) -> str | None:
    """Return as many records as fit, the kinds taking turns; ``None`` where not even one does."""
    left = max_tokens * BYTES_PER_TOKEN
    shown: list[list[Pair]] = [[] for _ in kinds]
    for number, pair in _in_turn(kinds):
        heading = 0 if shown[number] else len(_heading(len(kinds), len(kinds), kinds[number]).encode()) + 1
        size = heading + _size(pair, cut)
        if size <= left:
            shown[number].append(pair)
            left -= size
    kept = []
    for pair in right[:_MOST_RIGHT]:
        size = _size(pair, cut)
        if size <= left:
            kept.append(pair)
            left -= size
    if not kept and not any(shown):
        return None
    numbers = itertools.count(1)
    lines = []
    for number, (kind, members) in enumerate(zip(kinds, shown, strict=True), start=1):
        if members:
            lines.append(_heading(number, len(kinds), kind))
            lines += [record_text(next(numbers), *pair, cut=cut) for pair in members]
    lines += [record_text(next(numbers), *pair, cut=cut) for pair in kept]
    return "\n".join(lines)


def _heading(number: int, kinds: int, kind: Kind) -> str:
    count = len(kind.pairs)
    return f"Kind of failure {number} of {kinds}: {kind.name} ({count} record{'s' if count > 1 else ''})"


def _size(pair: Pair, cut: int) -> int:
    # Records are numbered later; no minibatch has more than four digits of them.
    return len(record_text(9999, *pair, cut=cut).encode("utf-8", "replace")) + 1


def _in_turn(kinds: Sequence[Kind]) -> Iterator[tuple[int, Pair]]:
    """The first of each kind, then the second of each."""
    for turn in itertools.zip_longest(*(kind.pairs for kind in kinds)):
        yield from ((number, pair) for number, pair in enumerate(turn) if pair is not None)


@dataclass(frozen=True)
class _Sign:
    """What tells the kind of a failure: a name that must be the same, and words that must be alike."""

    name: str
    words: frozenset[str] = frozenset()
    said: str = ""

    @property
    def title(self) -> str:
        return f"{self.name}: {self.said}" if self.said else self.name


def _sign(pair: Pair, labels: Sequence[str]) -> _Sign:
    row, rollout = pair
    if rollout.error is not None:
        return _Sign(str(rollout.error.kind.value).replace("_", " "))
    known = {label.casefold(): label for label in labels}
    answered = known.get((rollout.output or "").strip().strip(".").casefold())
    expected = (json.loads(row.expectations) if row.expectations else {}).get("expected_response")
    if answered is not None and isinstance(expected, str):
        return _Sign(f"answered {answered!r} where {expected!r} was expected")
    below = sorted(name for name, score in rollout.scores.items() if score < 1)
    said = " ".join(" ".join(_QUOTED.sub(" ", rollout.feedback.get(name, "")) for name in below).split())
    words = frozenset(word.casefold() for word in _WORD.findall(said))
    return _Sign(f"{', '.join(below) or 'the scorers'} not satisfied", words, _cut(said, _TITLE_CHARACTERS))


def _alike(one: _Sign, other: _Sign) -> bool:
    if one.name != other.name:
        return False
    either = one.words | other.words
    return not either or len(one.words & other.words) >= _ALIKE * len(either)


def _cut(text: str, cut: int) -> str:
    return text if len(text) <= cut else text[:cut] + " …"
