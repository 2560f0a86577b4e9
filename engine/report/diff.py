"""The difference between two prompts: by line, and by word inside a line that was changed rather than replaced."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

CONTEXT_LINES = 3
MIN_FOLDED_LINES = 4  # a fold of less saves nothing
# Under these, marked words are confetti and two whole lines read better: words shared of both lines together, or of
# the shorter one alone, because a rule of one clause usually grows by more clauses.
MIN_SHARED, MIN_CONTAINED, MIN_CONTAINED_WORDS = 0.4, 0.75, 2
# difflib's work on two lines grows with the pairs of equal words times the blocks it finds; natural text of 1,000
# words stays under this, and a line that repeats itself is not worth marking.
MAX_EQUAL_WORDS = 50_000
# Pairing lines inside a block is cubic at worst; a block above this is a rewrite, where pairs mean little.
MAX_PAIRS = 2_500

# CJK has no spaces: there, a character is a word.
_CJK = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
_TOKEN = re.compile(rf"(?:{_WORD.pattern}|[^\w\s])\s*|\s+")


@dataclass(frozen=True)
class Span:
    """A piece of a line; ``changed`` when the other side has not got it."""

    text: str
    changed: bool = False


@dataclass(frozen=True)
class DiffLine:
    """One line: ``kind`` is ``same``, ``removed`` or ``added``; numbers count from 1, None where a side has no line."""

    kind: str
    old_number: int | None
    new_number: int | None
    spans: tuple[Span, ...]

    @property
    def text(self) -> str:
        """The whole line."""
        return "".join(span.text for span in self.spans)


@dataclass(frozen=True)
class Run:
    """Lines that stand together; ``folded`` when they are unchanged and far from any change."""

    lines: tuple[DiffLine, ...]
    folded: bool


def diff_lines(old: str, new: str) -> list[DiffLine]:
    r"""Compare two texts.

    The ``same`` and ``removed`` lines in order are the old text, the ``same`` and ``added`` ones are the new text.

    >>> [(line.kind, line.text) for line in diff_lines("a\nb", "a\nc")]
    [('same', 'a'), ('removed', 'b'), ('added', 'c')]
    >>> [span.text for span in diff_lines("in one word.", "in one English word.")[1].spans if span.changed]
    ['English ']
    """
    before, after = old.split("\n"), new.split("\n")
    found: list[DiffLine] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after).get_opcodes():
        if tag == "equal":
            pairs = zip(range(i1, i2), range(j1, j2), strict=True)
            found += [DiffLine("same", i + 1, j + 1, (Span(before[i]),)) for i, j in pairs]
        else:
            found += _changed_block(before, after, (i1, i2), (j1, j2))
    return found


def fold(lines: list[DiffLine], context: int = CONTEXT_LINES) -> list[Run]:
    """Fold unchanged lines that are further than ``context`` lines from a change; no line is left out.

    A run is folded only where that hides at least ``MIN_FOLDED_LINES``.

    >>> same = [DiffLine("same", n, n, (Span("x"),)) for n in range(1, 10)]
    >>> [(len(run.lines), run.folded) for run in fold([*same, DiffLine("added", None, 10, (Span("y"),))])]
    [(6, True), (4, False)]
    """
    near = [False] * len(lines)
    for at, line in enumerate(lines):
        if line.kind != "same":
            start, end = max(0, at - context), min(len(lines), at + context + 1)
            near[start:end] = [True] * (end - start)
    runs: list[Run] = []
    start = 0
    for end in range(1, len(lines) + 1):
        if end == len(lines) or near[end] != near[start]:
            runs.append(Run(tuple(lines[start:end]), folded=not near[start] and end - start >= MIN_FOLDED_LINES))
            start = end
    return runs


def line_counts(lines: list[DiffLine]) -> tuple[int, int]:
    r"""Count removed and added lines.

    >>> line_counts(diff_lines("a", "b\nc"))
    (1, 2)
    """
    kinds = Counter(line.kind for line in lines)
    return kinds["removed"], kinds["added"]


def _changed_block(before: list[str], after: list[str], old: tuple[int, int], new: tuple[int, int]) -> list[DiffLine]:
    found: list[DiffLine] = []
    i, j = old[0], new[0]
    for pair_i, pair_j in [*_pairs(before, after, old, new), (old[1], new[1])]:
        found += [DiffLine("removed", n + 1, None, (Span(before[n]),)) for n in range(i, pair_i)]
        found += [DiffLine("added", None, n + 1, (Span(after[n]),)) for n in range(j, pair_j)]
        if pair_i < old[1]:
            removed, added = word_spans(before[pair_i], after[pair_j])
            found += [DiffLine("removed", pair_i + 1, None, removed), DiffLine("added", None, pair_j + 1, added)]
        i, j = pair_i + 1, pair_j + 1
    return found


def _pairs(
    before: list[str], after: list[str], old: tuple[int, int], new: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Give the line pairs that are each other's new wording, both indices rising.

    The most alike pair is taken first, then the most alike ones before and after it.
    """
    if (old[1] - old[0]) * (new[1] - new[0]) > MAX_PAIRS:
        return
    old_words = {i: Counter(_WORD.findall(before[i].lower())) for i in range(*old)}
    new_words = {j: Counter(_WORD.findall(after[j].lower())) for j in range(*new)}
    shared = {(i, j): _likeness(a, b) for i, a in old_words.items() for j, b in new_words.items()}
    ranges, found = [(old, new)], []
    while ranges:
        (i1, i2), (j1, j2) = ranges.pop()
        inside = [(shared[i, j], -i, -j) for i in range(i1, i2) for j in range(j1, j2)]
        best = max(inside, default=(0.0, 0, 0))
        if best[0] > 0:
            i, j = -best[1], -best[2]
            found.append((i, j))
            ranges += [((i1, i), (j1, j)), ((i + 1, i2), (j + 1, j2))]
    yield from sorted(found)


def _likeness(a: Counter[str], b: Counter[str]) -> float:
    """Rank how far one line is the other's new wording, 0 for not at all."""
    shared, shorter, total = (a & b).total(), min(a.total(), b.total()), a.total() + b.total()
    if not shared:
        return 0.0
    of_both, of_shorter = 2 * shared / total, shared / shorter
    contained = of_shorter >= MIN_CONTAINED and shared >= MIN_CONTAINED_WORDS
    return (of_both + of_shorter) / 2 if of_both >= MIN_SHARED or contained else 0.0


def word_spans(old: str, new: str) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Mark the words of two lines that the other line has not got; the spans of a side join to its line.

    Lines that would take long to compare come back unmarked. A space counts only where nothing else differs.

    >>> word_spans("one word", "two word")[1]
    (Span(text='two ', changed=True), Span(text='word', changed=False))
    """
    tokens = _TOKEN.findall(old), _TOKEN.findall(new)
    # Words are compared without the space behind them, or every word before new punctuation would count as changed.
    a, b = ([token.strip() for token in side] for side in tokens)
    if a == b:
        a, b = tokens
    in_old, in_new = Counter(a), Counter(b)
    if sum(times * in_new[word] for word, times in in_old.items()) > MAX_EQUAL_WORDS:
        return (Span(old),), (Span(new),)
    left, right = [], []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        left.append(Span("".join(tokens[0][i1:i2]), tag != "equal"))
        right.append(Span("".join(tokens[1][j1:j2]), tag != "equal"))
    return _joined(left), _joined(right)


def _joined(spans: list[Span]) -> tuple[Span, ...]:
    found: list[Span] = []
    for span in spans:
        if found and found[-1].changed == span.changed:
            found[-1] = Span(found[-1].text + span.text, span.changed)
        elif span.text:
            found.append(span)
    return tuple(found)
