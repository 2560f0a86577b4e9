"""Reading a template backwards: the values of its variables, out of a text that was rendered from it.

Only where there is one answer. A separator that also stands inside a value, or two variables side by side, leave more
than one way to cut the text up; then nothing is returned but :data:`AMBIGUOUS`, because a row with a wrong input
teaches something false and nobody would see it.

How it is known that there is one answer: the separators are placed once as early as they can stand and once as late
as they can. Every way to cut the text lies between the two, so there is one way exactly if they are the same. Both are
plain searches for fixed texts, forward and backward, so the time is linear in the text whatever stands in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from udfs.prompt import placeholders

MISMATCH = "other text than the template's"
AMBIGUOUS = "more than one way to read the values"


@dataclass(frozen=True)
class Unmatched:
    """Why values can't be told; ``reason`` is one of this package's few fixed texts, so that it can be counted."""

    reason: str


def recover(template: str, text: str) -> dict[str, str] | Unmatched:
    """Return the values that ``template`` was rendered with to give ``text``, each as the text that stood there.

    White space at the two ends is not compared where the template's own ends there hold anything else, because
    applications strip what they send; it never becomes part of a value by that.

    >>> recover("Sort {{text}} into {{labels}}.", "Sort a cat into A, B.")
    {'text': 'a cat', 'labels': 'A, B'}
    >>> recover("Sort {{text}} into {{labels}}.", "Sort into into A into B.").reason
    'more than one way to read the values'
    """
    literals, names = _parts(template)
    first, last = literals[0], literals[-1]
    if not names:
        return {} if text.strip() == first.strip() else Unmatched(MISMATCH)
    if first.strip():
        first, text = first.lstrip(), text.lstrip()
    if last.strip():
        last, text = last.rstrip(), text.rstrip()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return Unmatched(MISMATCH)
    middle = text[len(first) : len(text) - len(last)]
    cuts = _only_cuts(middle, literals[1:-1])
    if isinstance(cuts, Unmatched):
        return cuts
    starts = [0, *(cut + len(literal) for cut, literal in zip(cuts, literals[1:-1], strict=True))]
    ends = [*cuts, len(middle)]
    return merged([(name, middle[a:b]) for name, a, b in zip(names, starts, ends, strict=True)])


def merged(found: Sequence[tuple[str, str]]) -> dict[str, str] | Unmatched:
    """Return the values by name; a variable that stands twice must have the same value in both places."""
    values: dict[str, str] = {}
    for name, value in found:
        if values.setdefault(name, value) != value:
            return Unmatched(MISMATCH)
    return values


def together(parts: Sequence[Mapping[str, str] | Unmatched]) -> dict[str, str] | Unmatched:
    """Join what several texts of one prompt gave; one that does not match outweighs one that is ambiguous."""
    failures = [part for part in parts if isinstance(part, Unmatched)]
    if failures:
        return next((part for part in failures if part.reason != AMBIGUOUS), failures[0])
    return merged([pair for part in parts if not isinstance(part, Unmatched) for pair in part.items()])


def _only_cuts(text: str, separators: Sequence[str]) -> list[int] | Unmatched:
    """Where the separators stand, in order, if there is one way to place them."""
    earliest = _placed(text, separators)
    if earliest is None:
        return Unmatched(MISMATCH)
    if not separators:
        return []
    # Searched forward in the text turned around: str.rfind has no linear bound, str.find has.
    turned = _placed(text[::-1], [separator[::-1] for separator in reversed(separators)])
    if turned is None:  # pragma: no cover - what can be placed from the left can be placed from the right
        return Unmatched(MISMATCH)
    latest = [len(text) - at - len(sep) for at, sep in zip(reversed(turned), separators, strict=True)]
    return earliest if earliest == latest else Unmatched(AMBIGUOUS)


def _placed(text: str, separators: Sequence[str]) -> list[int] | None:
    """Each separator's first place behind the one before it."""
    places, start = [], 0
    for separator in separators:
        at = text.find(separator, start)
        if at < 0:
            return None
        places.append(at)
        start = at + len(separator)
    return places


@lru_cache(maxsize=256)
def _parts(template: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The template's fixed texts (one more than variables, some perhaps empty) and its variables, in order."""
    pieces = placeholders(template)
    return tuple(pieces[::2]), tuple(pieces[1::2])
