"""Scorers that compare texts: equality, containment, patterns, facts and shared words."""

from __future__ import annotations

import re
import string
from collections import Counter
from dataclasses import dataclass

from udfs.errors import InputError
from udfs.scorers import json_text
from udfs.scorers.expectation import EXPECTED_FACTS, EXPECTED_RESPONSE, required, required_facts
from udfs.scorers.feedback import as_text, expected_and_got, shorten
from udfs.scorers.normalize import fold, holds_phrase, normalize, searchable
from udfs.scorers.protocol import Score, Subject

_AS_EXPECTED = "as expected"
_ARTICLES = frozenset({"a", "an", "the"})
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Han and kana stand without spaces: each character is a token of its own, as in the multilingual SQuAD scripts (MLQA).
_HAN_OR_KANA = re.compile(r"([\u3040-\u30ff\u3400-\u9fff])")


@dataclass(frozen=True)
class ExactMatch:
    r"""1 when the output is the expected response, else 0.

    Both are normalised first (see :func:`udfs.scorers.normalize.normalize`). ``case_sensitive`` and
    ``keep_punctuation`` forgive less; ``strict`` forgives nothing but white space round the whole answer. An expected
    response that is not a text (a number, an object) also matches an output that is the same JSON value.

    >>> ExactMatch().score(Subject({}, "**Positive.**", {"expected_response": "positive"})).value
    1.0
    >>> ExactMatch(strict=True).score(Subject({}, "Positive", {"expected_response": "positive"})).feedback
    'expected: positive\ngot: Positive\ndifference: upper and lower case'
    """

    strict: bool = False
    case_sensitive: bool = False
    keep_punctuation: bool = False
    name: str = "exact_match"

    @property
    def needs(self) -> frozenset[str]:
        """The expected response."""
        return frozenset({EXPECTED_RESPONSE})

    def score(self, subject: Subject) -> Score:
        """Return 1 or 0; the feedback says how the two differ."""
        value = required(self.name, subject, EXPECTED_RESPONSE)
        expected = as_text(value)
        if self._same(expected, subject.output) or (not isinstance(value, str) and _same_json(value, subject.output)):
            return Score(1.0, _AS_EXPECTED)
        return Score(0.0, expected_and_got(expected, subject.output, _difference(expected, subject.output)))

    def _same(self, expected: str, output: str) -> bool:
        """Compare two texts as strictly as asked."""
        if self.strict:
            return expected.strip() == output.strip()
        left, right = (
            normalize(text, case_sensitive=self.case_sensitive, keep_punctuation=self.keep_punctuation)
            for text in (expected, output)
        )
        return left == right


@dataclass(frozen=True)
class Contains:
    """1 when the output contains ``text``, or without it the expected response; else 0.

    Normalised, and on word borders: "12" is not in "2012". ``whole_words`` off accepts any place.

    >>> Contains().score(Subject({}, "It is **Paris**, of course.", {"expected_response": "paris"})).value
    1.0
    """

    text: str | None = None
    whole_words: bool = True
    case_sensitive: bool = False
    name: str = "contains"

    def __post_init__(self) -> None:
        if self.text is not None and not self.text.strip():
            raise InputError(f"scorer {self.name}: text is blank, and every output contains that; give a text")

    @property
    def needs(self) -> frozenset[str]:
        """The expected response, unless a fixed text was given."""
        return frozenset({EXPECTED_RESPONSE}) if self.text is None else frozenset()

    def score(self, subject: Subject) -> Score:
        """Return 1 or 0.

        Raises:
            InputError: the expected response is missing or blank.
        """
        wanted = self.text
        if wanted is None:
            wanted = as_text(required(self.name, subject, EXPECTED_RESPONSE))
        if not wanted.strip():
            raise InputError(f"scorer {self.name}: {EXPECTED_RESPONSE} is blank, and every output contains that")
        if _holds(subject.output, wanted, whole_words=self.whole_words, case_sensitive=self.case_sensitive):
            return Score(1.0, "contains what was expected")
        return Score(0.0, expected_and_got(wanted, subject.output, "the expected text is not in the output"))


@dataclass(frozen=True)
class Regex:
    r"""1 when ``pattern`` is found in the output (Python's ``re``), else 0.

    ``full_match``: the whole output, without white space round it, must match. ``compare``: what the pattern's first
    group (or the whole match) holds must also be the expected response, normalised. A pattern with nested repetition
    can take exponential time on an unlucky output: keep patterns plain.

    >>> Regex(r"Answer: (\w+)", compare=True).score(Subject({}, "Answer: Yes", {"expected_response": "yes"})).value
    1.0
    """

    pattern: str
    full_match: bool = False
    ignore_case: bool = False
    compare: bool = False
    name: str = "regex"

    def __post_init__(self) -> None:
        try:
            self._compiled()
        except (re.error, OverflowError, RecursionError) as error:
            raise InputError(
                f"scorer {self.name}: the pattern {shorten(self.pattern)!r} is not a regular expression: {error}; "
                f"in YAML put it in single quotes, so that backslashes stay"
            ) from error

    @property
    def needs(self) -> frozenset[str]:
        """The expected response when what was found is compared with it."""
        return frozenset({EXPECTED_RESPONSE}) if self.compare else frozenset()

    def score(self, subject: Subject) -> Score:
        """Return 1 or 0."""
        compiled = self._compiled()
        output = subject.output.strip() if self.full_match else subject.output
        match = compiled.fullmatch(output) if self.full_match else compiled.search(output)
        if match is None:
            how = "the whole output must match" if self.full_match else "the pattern was not found in the output"
            return Score(0.0, expected_and_got(f"a match of the pattern {self.pattern}", output, how))
        if not self.compare:
            return Score(1.0, "matches the pattern")
        expected = as_text(required(self.name, subject, EXPECTED_RESPONSE))
        found = (match.group(1) or "") if compiled.groups else match.group()
        if normalize(found) == normalize(expected):
            return Score(1.0, _AS_EXPECTED)
        return Score(0.0, expected_and_got(expected, found, _difference(expected, found)))

    def _compiled(self) -> re.Pattern[str]:
        """Return the compiled pattern; ``re`` keeps it."""
        return re.compile(self.pattern, re.IGNORECASE if self.ignore_case else 0)


@dataclass(frozen=True)
class ExpectedFacts:
    r"""The share of ``expected_facts`` that stand in the output word for word (normalised, on word borders).

    A fact told in other words is not found; for that there is the correctness judge.

    >>> subject = Subject({}, "Built in 1889, in Paris.", {"expected_facts": ["Paris", "1889", "330 m"]})
    >>> ExpectedFacts().score(subject).feedback
    'the output misses 1 of 3 expected facts:\n- 330 m\ngot: Built in 1889, in Paris.'
    """

    whole_words: bool = True
    name: str = "expected_facts"

    @property
    def needs(self) -> frozenset[str]:
        """The expected facts."""
        return frozenset({EXPECTED_FACTS})

    def score(self, subject: Subject) -> Score:
        """Return the share of facts found; the feedback lists the missing ones.

        Raises:
            InputError: there are no facts, or one is blank.
        """
        facts = required_facts(self.name, subject)
        missing = [fact for fact in facts if not _holds(subject.output, fact, whole_words=self.whole_words)]
        if not missing:
            return Score(1.0, "states every expected fact")
        listed = "\n".join(f"- {shorten(fact)}" for fact in missing)
        said = f"the output misses {len(missing)} of {len(facts)} expected facts:\n{listed}"
        return Score(1.0 - len(missing) / len(facts), f"{said}\ngot: {shorten(subject.output)}")


@dataclass(frozen=True)
class TokenF1:
    """Harmonic mean of precision and recall over the words that output and expected response share.

    The measure of SQuAD's ``evaluate-v1.1.py`` (Rajpurkar et al., 2016, https://arxiv.org/abs/1606.05250): lower
    case, no ASCII punctuation, no English articles, words as multisets. It departs from it in three ways: NFKC and
    plain quotes first; each Han or kana character is a token, as in MLQA; and two texts without any word count as 1.

    >>> TokenF1().score(Subject({}, "the cat sat", {"expected_response": "A cat sat down"})).value
    0.8
    """

    name: str = "token_f1"

    @property
    def needs(self) -> frozenset[str]:
        """The expected response."""
        return frozenset({EXPECTED_RESPONSE})

    def score(self, subject: Subject) -> Score:
        """Return the F1; the feedback lists words that are missing and words too many."""
        expected = as_text(required(self.name, subject, EXPECTED_RESPONSE))
        wanted, got = _tokens(expected), _tokens(subject.output)
        if wanted == got:
            return Score(1.0, _AS_EXPECTED)
        shared = (wanted & got).total()
        value = 2 * shared / (wanted.total() + got.total())
        missing, surplus = " ".join((wanted - got).elements()), " ".join((got - wanted).elements())
        how = f"missing words: {shorten(missing or 'none', 120)}; words too many: {shorten(surplus or 'none', 120)}"
        return Score(value, expected_and_got(expected, subject.output, how))


def _tokens(text: str) -> Counter[str]:
    """Count the words that :class:`TokenF1` compares."""
    spaced = _HAN_OR_KANA.sub(r" \1 ", fold(text).translate(_PUNCTUATION))
    return Counter(token for token in spaced.split() if token not in _ARTICLES)


def _holds(output: str, wanted: str, *, whole_words: bool, case_sensitive: bool = False) -> bool:
    """Tell whether ``wanted`` stands in ``output``, both normalised for searching."""
    phrase = searchable(normalize(wanted, case_sensitive=case_sensitive), case_sensitive=case_sensitive)
    return holds_phrase(searchable(output, case_sensitive=case_sensitive), phrase, whole_words=whole_words)


def _same_json(expected: object, output: str) -> bool:
    """Tell whether ``output`` is JSON of the same value."""
    try:
        return json_text.Comparison().equal(expected, json_text.parse(output))
    except ValueError:
        return False


def _difference(expected: str, output: str) -> str:
    """Say in words how an output misses the expected text."""
    if not output.strip():
        return "the output is empty"
    if expected.strip().casefold() == output.strip().casefold():
        return "upper and lower case"
    if normalize(expected) == normalize(output):
        return "punctuation, quotes, white space or markdown"
    if expected.strip() and _holds(output, expected, whole_words=True):
        return "the expected answer is in the output, but with other text around it"
    if _holds(expected, output, whole_words=True):
        return "the output is only a part of the expected answer"
    return "another answer"
