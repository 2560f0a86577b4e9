"""A synthetic world: rows, hidden rules by which a model answers them, and every prompt's true quality in closed form.

A prompt is good as far as it names the rules that rows need, and bad as far as it names instructions that break them;
nothing else in its text counts. Only the standard library is used, because every system's environment runs this.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

_NORMAL = NormalDist()
# The spread of latencies: one call in a hundred takes more than three times the median.
_SIGMA = 0.5
_SYLLABLES = ("bra", "dek", "fil", "gor", "hul", "jin", "kep", "lor", "mub", "nav", "pox", "qui", "ryn", "sut", "tev")
_FILLER = ("the", "sender", "asks", "again", "about", "an", "older", "letter", "from", "last", "week", "and", "waits")


@dataclass(frozen=True)
class Family:
    """A family of worlds; the rates are shares of proposals, of answers and of verdicts.

    ``good``, ``harmful``, ``narrow``: proposals that add what the shown failures lack, that add something harmful or
    lose something good, and that mend the very rows that were shown and no other; the rest are useless. ``further``:
    how likely a good proposal mends one more kind of failure that it was shown. ``wording``: how often an answer hangs
    on a prompt's wording instead of on the row. ``judge_errors``: how often a judge says the opposite; ``None`` is a
    world without a judge, scored by exact match.
    """

    name: str
    good: float = 0.40
    harmful: float = 0.25
    narrow: float = 0.10
    further: float = 0.30
    wording: float = 0.10
    judge_errors: float | None = None


FAMILIES = {
    family.name: family
    for family in (
        Family("plain"),
        Family("sparse", good=0.15, harmful=0.30),
        Family("noisy", wording=0.30, judge_errors=0.10),
    )
}


@dataclass(frozen=True)
class World:
    """One world; everything about it follows from the family and ``number``.

    ``rules`` are the code words of the instructions that rows need, ``weights`` how often a needed rule is which;
    ``traps`` are code words of harmful instructions, each with the share of rows that it breaks. ``floor`` and
    ``ceiling`` are the chances of a right answer for a row whose needs are not met, and are.
    """

    family: Family
    number: int
    rules: tuple[str, ...] = field(init=False)
    weights: tuple[float, ...] = field(init=False)
    traps: dict[str, float] = field(init=False)
    floor: float = field(init=False)
    ceiling: float = field(init=False)
    easy: float = field(init=False)
    double: float = field(init=False)

    def __post_init__(self) -> None:
        draw = random.Random(f"world-{self.family.name}-{self.number}")
        count = draw.randint(6, 10)
        words: list[str] = []
        while len(words) < count + 4:
            word = "".join(draw.choices(_SYLLABLES, k=3))
            if word not in words:
                words.append(word)
        raw = [draw.gammavariate(1.5, 1.0) + 0.15 for _ in range(count)]
        made = {
            "rules": tuple(words[:count]),
            "weights": tuple(weight / sum(raw) for weight in raw),
            "traps": {word: draw.uniform(0.1, 0.4) for word in words[count:]},
            "floor": draw.uniform(0.05, 0.20),
            "ceiling": draw.uniform(0.88, 0.97),
            "easy": draw.uniform(0.10, 0.25),
            "double": draw.uniform(0.15, 0.35),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def needs(self, row: int) -> frozenset[str]:
        """Return the rules that a row needs: none, one or two."""
        kind = self._unit("kind", row)
        if kind < self.easy:
            return frozenset()
        first = self._pick(self._unit("first", row), self.rules, self.weights)
        if kind < 1.0 - self.double:
            return frozenset({first})
        others = [(rule, weight) for rule, weight in zip(self.rules, self.weights, strict=True) if rule != first]
        second = self._pick(self._unit("second", row), [r for r, _ in others], [w for _, w in others])
        return frozenset({first, second})

    def broken_by(self, row: int) -> frozenset[str]:
        """Return the harmful instructions under which the row is answered as if its needs were not met."""
        return frozenset(trap for trap, share in self.traps.items() if self._unit(trap, row) < share)

    def features(self, text: str) -> frozenset[str]:
        """Return the code words, good and harmful, that a text names."""
        return frozenset(word for word in (*self.rules, *self.traps) if word in text)

    def is_right(self, prompt: str, row: int) -> bool:
        """Say whether the model answers a row rightly; the same prompt always gets the same answer."""
        found = self.features(prompt)
        met = (self.needs(row) <= found or listed(row) in prompt) and not self.broken_by(row) & found
        wording = self._unit("hangs", row, prompt) < self.family.wording
        luck = self._unit("luck", row, prompt) if wording else self._unit("luck", row)
        return luck < (self.ceiling if met else self.floor)

    def quality(self, text: str) -> float:
        """Return the true quality of a prompt: the expected share of right answers over all rows there could be.

        Rows that it names do not count: there is no end to the others.
        """
        found = self.features(text)
        chance = dict(zip(self.rules, self.weights, strict=True))
        known = [rule for rule in self.rules if rule in found]
        both = sum(
            chance[one] * chance[other] / (1.0 - chance[one]) for one in known for other in known if one != other
        )
        single = sum(chance[rule] for rule in known)
        met = self.easy + (1.0 - self.easy - self.double) * single + self.double * both
        unbroken = math.prod(1.0 - share for trap, share in self.traps.items() if trap in found)
        return self.floor + (self.ceiling - self.floor) * met * unbroken

    @property
    def best_quality(self) -> float:
        """The quality of the best prompt there is: all rules, nothing harmful."""
        return self.quality(" ".join(self.rules))

    def judged_right(self, right: bool, answer: str) -> bool:
        """Return a judge's verdict on an answer, which is wrong at the family's rate."""
        return right != (self._unit("judge", answer) < (self.family.judge_errors or 0.0))

    def latency_s(self, request: str, median_s: float) -> float:
        """Return how long a request takes: log-normal, the same for the same request."""
        luck = min(max(self._unit("latency", request), 1e-6), 1 - 1e-6)
        return median_s * math.exp(_SIGMA * _NORMAL.inv_cdf(luck))

    def draw(self, *parts: object) -> random.Random:
        """Return a random stream of this world that ``parts`` tell apart."""
        return random.Random(self._unit("draw", *parts))

    def _unit(self, *parts: object) -> float:
        """A number from 0 to 1 that hangs on the world and the parts alone."""
        text = "\0".join(map(str, (self.family.name, self.number, *parts)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / (1 << 56)

    @staticmethod
    def _pick(luck: float, items: Sequence[str], weights: Sequence[float]) -> str:
        left = luck * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            left -= weight
            if left < 0:
                return item
        return items[-1]


SEED_INSTRUCTION = "Answer the note with its reference."


def note(row: int) -> str:
    """Return a row's text; nothing in it but the number matters."""
    words = " ".join(_FILLER[(row * 7 + place * (1 + row % 11)) % len(_FILLER)] for place in range(6))
    return f"Case {row:06d}. {words}."


def listed(row: int) -> str:
    """Return how a prompt names a row that it was written for; the row's own text does not hold it."""
    return f"#{row:06d}"


def right_answer(row: int) -> str:
    """Return what is expected for a row."""
    return f"ref-{row:06d}"


def wrong_answer(row: int) -> str:
    """Return what the model answers when it is wrong."""
    return f"miss-{row:06d}"
