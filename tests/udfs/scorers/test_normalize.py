"""Normal forms of answers, and searching for phrases."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.scorers.normalize import fold, holds_phrase, normalize, searchable, unfenced

# What models wrap answers in, so that hypothesis finds nested and broken wrappings.
dressed = st.text(st.sampled_from("ab *`\"'«».,!?-_#\n~ßİ“”ﬁ")) | st.text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Positive", "positive"),
        ("  positive \n", "positive"),
        ("**Positive**", "positive"),
        ("***Positive***.", "positive"),
        ("`positive`", "positive"),
        ("“Positive.”", "positive"),
        ("'positive'", "positive"),
        ("«positive»", "positive"),
        ("```\nPositive\n```", "positive"),
        ("```text\nPositive\n```\n", "positive"),
        ("~~~\nPositive\n~~~", "positive"),
        ("¡Sí!", "sí"),
        ("正面。", "正面"),
        ("don\u2019t", "don't"),
        ("10\u201320", "10-20"),
        ("ﬁne", "fine"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("a\u00a0 b\t\nc", "a b c"),
        ("a\u200bb\ufeff", "ab"),
        ("C#", "c#"),
        ("5%", "5%"),
        ("-5", "-5"),
        (".5", ".5"),
        ("**a** and **b**", "**a** and **b**"),
        ('"a" and "b"', '"a" and "b"'),
        ("__init__", "__init__"),
        ("?", "?"),
        ("", ""),
    ],
)
def test_normal_form(text, expected):
    """Dress goes, meaning stays."""
    assert normalize(text) == expected


def test_strictness_options():
    """Case and punctuation stay where they are asked to."""
    assert normalize("**Yes.**", case_sensitive=True) == "Yes"
    assert normalize("Yes.", keep_punctuation=True) == "yes."


@given(dressed, st.booleans(), st.booleans())
def test_normalizing_is_idempotent(text, case_sensitive, keep_punctuation):
    """The normal form of a normal form is itself, under every option."""
    once = normalize(text, case_sensitive=case_sensitive, keep_punctuation=keep_punctuation)
    assert normalize(once, case_sensitive=case_sensitive, keep_punctuation=keep_punctuation) == once


@given(dressed)
def test_only_invisible_texts_vanish(text):
    """An answer with something visible in it never becomes the empty answer."""
    assert bool(normalize(text)) == bool(fold(text))


@pytest.mark.parametrize(
    "text",
    ["see ```x```", "```a\nx\n```\nand\n```b\ny\n```", "text\n```\nx\n```", "```\nx", "````\nx\n````", "```\n```x"],
)
def test_only_a_fence_round_everything_goes(text):
    """Fences inside, several, and unclosed fences stay."""
    assert unfenced(text) == text


@pytest.mark.parametrize(
    ("text", "phrase", "found"),
    [
        ("in 2012", "12", False),
        ("12 in all", "12", True),
        ("12, in all", "12", True),
        ("2012 and 12", "12", True),
        ("none", "no", False),
        ("答案是正面的", "正面", True),
        ("긍정입니다", "긍정", True),
        ("c++ code", "c++", True),
        ("", "x", False),
    ],
)
def test_phrases_are_found_on_word_borders(text, phrase, found):
    """A phrase inside a longer word is not found, except in scripts without spaces."""
    assert holds_phrase(text, phrase) is found


@given(dressed.filter(str.strip), dressed)
def test_a_text_holds_itself(phrase, other):
    """Word borders or not, a text is found in itself and beside others."""
    assert holds_phrase(phrase, phrase)
    assert holds_phrase(f"{other} {phrase} {other}", phrase)


@pytest.mark.parametrize(
    "text", [" " * 200_000, "`" * 200_000, "** " * 100_000, "```\n" + " " * 200_000, "\"'" * 50_000]
)
def test_degenerate_outputs_take_linear_time(text):
    """A model that repeats one character for ever doesn't hold up the task."""
    start = time.perf_counter()
    normalize(text)
    searchable(text)
    # A quadratic step over so many characters takes minutes; a linear one about 0.1 s.
    assert time.perf_counter() - start < 5
