"""Scorers that compare texts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.errors import InputError
from udfs.scorers.protocol import Scorer, Subject
from udfs.scorers.text import Contains, ExactMatch, ExpectedFacts, Regex, TokenF1

texts = st.text(st.sampled_from("ab the 12 .,*\"'\n正")) | st.text()
json_scalars = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


def response(output, expected):
    return Subject({}, output, {"expected_response": expected})


@pytest.mark.parametrize(
    ("output", "expected", "value"),
    [
        ("Positive", "positive", 1.0),
        ("**positive**.", "Positive", 1.0),
        ("```\npositive\n```", "positive", 1.0),
        ("positive review", "positive", 0.0),
        ("negative", "positive", 0.0),
        ("", "positive", 0.0),
        ("", "", 1.0),
        ("42", 42, 1.0),
        ("42.0", 42, 1.0),
        ("43", 42, 0.0),
        ("True", True, 1.0),
        ("1", True, 0.0),
        ('{"b": 1, "a": [1, 2]}', {"a": [1, 2], "b": 1}, 1.0),
        ('```json\n{"a": 1}\n```', {"a": 1}, 1.0),
        ('{"a": 2}', {"a": 1}, 0.0),
        ("not json", {"a": 1}, 0.0),
        ("a, b", ["a", "b"], 0.0),
    ],
)
def test_exact_match(output, expected, value):
    """Equal after normalising, or the same JSON value where the expectation is no text."""
    assert ExactMatch().score(response(output, expected)).value == value


@pytest.mark.parametrize(
    ("scorer", "output", "value"),
    [
        (ExactMatch(strict=True), " Yes.\n", 1.0),
        (ExactMatch(strict=True), "Yes", 0.0),
        (ExactMatch(strict=True), "yes.", 0.0),
        (ExactMatch(case_sensitive=True), "**Yes**", 1.0),
        (ExactMatch(case_sensitive=True), "yes", 0.0),
        (ExactMatch(keep_punctuation=True), "yes.", 1.0),
        (ExactMatch(keep_punctuation=True), "Yes", 0.0),
    ],
)
def test_exact_match_as_strict_as_asked(scorer, output, value):
    """Each option takes back one thing that is forgiven otherwise."""
    assert scorer.score(response(output, "Yes.")).value == value


@pytest.mark.parametrize(
    ("scorer", "output", "how"),
    [
        (ExactMatch(), "", "the output is empty"),
        (ExactMatch(), "The sentiment is positive", "other text around it"),
        (ExactMatch(), "negative", "another answer"),
        (ExactMatch(strict=True), "POSITIVE", "upper and lower case"),
        (ExactMatch(strict=True), "**positive**", "markdown"),
    ],
)
def test_exact_match_says_how_they_differ(scorer, output, how):
    """The feedback holds both texts and the kind of difference."""
    feedback = scorer.score(response(output, "positive")).feedback
    assert feedback.startswith("expected: positive\ngot: ")
    assert how in feedback


def test_feedback_of_long_texts_is_trimmed():
    """A long answer doesn't fill the reflection prompt."""
    assert len(ExactMatch().score(response("a" * 10_000, "b" * 10_000)).feedback) < 800


@given(texts | json_scalars)
def test_exact_match_is_reflexive(expected):
    """The expected response itself always scores 1, strict or not."""
    output = expected if isinstance(expected, str) else json.dumps(expected)
    assert ExactMatch().score(response(output, expected)).value == 1.0
    assert ExactMatch(strict=True).score(response(output, expected)).value == 1.0


@pytest.mark.parametrize(
    ("output", "expected", "value"),
    [
        ("The capital is **Paris**.", "paris", 1.0),
        ("Parisian", "Paris", 0.0),
        ("built in 2012", 12, 0.0),
        ("12 of them", 12, 1.0),
        ("no", "yes", 0.0),
    ],
)
def test_contains(output, expected, value):
    """The expected response stands somewhere, on word borders."""
    assert Contains().score(response(output, expected)).value == value


def test_contains_a_fixed_text():
    """With a text of its own it needs no expectation."""
    scorer = Contains(text="Sources:", case_sensitive=True)
    assert scorer.needs == frozenset()
    assert scorer.score(Subject({}, "… Sources: [1]")).value == 1.0
    assert scorer.score(Subject({}, "… sources: [1]")).value == 0.0
    assert Contains(text="ari", whole_words=False).score(Subject({}, "Paris")).value == 1.0


def test_contains_refuses_blank_texts():
    """What every output contains is a mistake, in the options as in the data."""
    with pytest.raises(InputError, match="text is blank"):
        Contains(text=" ")
    with pytest.raises(InputError, match="expected_response is blank"):
        Contains().score(response("x", " "))


@pytest.mark.parametrize(
    ("scorer", "output", "value"),
    [
        (Regex(r"\d+"), "a 1 b", 1.0),
        (Regex(r"\d+"), "a b", 0.0),
        (Regex(r"\d+", full_match=True), " 12\n", 1.0),
        (Regex(r"\d+", full_match=True), "a 12", 0.0),
        (Regex(r"YES", ignore_case=True), "yes", 1.0),
        (Regex(r"YES"), "yes", 0.0),
        (Regex(r"Answer: (\w+)", compare=True), "… Answer: Yes", 1.0),
        (Regex(r"Answer: (\w+)", compare=True), "… Answer: No", 0.0),
        (Regex(r"yes|no", compare=True), "so yes", 1.0),
        (Regex(r"x(y)?", compare=True), "x", 0.0),
    ],
)
def test_regex(scorer, output, value):
    """Found, or found and equal to the expected response."""
    assert scorer.score(response(output, "yes")).value == value


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "x{99999999999}", "(?P<1>a)", "(" * 5000 + ")" * 5000])
def test_an_invalid_pattern_is_refused_where_it_is_made(pattern):
    """The error shows the pattern and says what is wrong."""
    with pytest.raises(InputError, match="is not a regular expression"):
        Regex(pattern)


def test_regex_needs_an_expectation_only_to_compare():
    """A bare pattern runs on unlabelled rows."""
    assert Regex("x").needs == frozenset()
    assert Regex("x", compare=True).needs == {"expected_response"}


def test_expected_facts_lists_what_is_missing():
    """The score is the share found; the feedback names each missing fact."""
    score = ExpectedFacts().score(
        Subject({}, "Built in **1889** in Paris", {"expected_facts": ["Paris", 1889, "330 m", "Eiffel"]})
    )
    assert score.value == 0.5
    assert "misses 2 of 4 expected facts:\n- 330 m\n- Eiffel" in score.feedback


@pytest.mark.parametrize(
    ("output", "expected", "value"),
    [
        ("the cat", "a cat", 1.0),
        ("cat!", "Cat", 1.0),
        ("cat dog", "cat", 2 / 3),
        ("cat cat", "cat", 2 / 3),
        ("dog", "cat", 0.0),
        ("", "cat", 0.0),
        ("cat", "", 0.0),
        ("the", "", 1.0),
        ("正面", "正", 2 / 3),
        ("3", 3, 1.0),
    ],
)
def test_token_f1(output, expected, value):
    """SQuAD's values, with characters as tokens where there are no spaces."""
    assert TokenF1().score(response(output, expected)).value == pytest.approx(value)


def test_token_f1_names_the_words():
    """The feedback says which words are missing and which are too many."""
    feedback = TokenF1().score(response("the black cat", "the white cat")).feedback
    assert feedback.endswith("difference: missing words: white; words too many: black")


@given(texts, texts)
def test_token_f1_is_symmetric(left, right):
    """Swapping output and expectation swaps precision and recall."""
    assert TokenF1().score(response(left, right)).value == TokenF1().score(response(right, left)).value


@given(texts, texts.filter(str.strip))
def test_every_score_is_in_range(output, expected):
    """From 0 to 1, whatever the texts."""
    subject = Subject({}, output, {"expected_response": expected, "expected_facts": [expected, "a"]})
    for scorer in (ExactMatch(), Contains(), Regex("a|1", compare=True), ExpectedFacts(), TokenF1()):
        score = scorer.score(subject)
        assert 0.0 <= score.value <= 1.0
        assert score.feedback
        assert scorer.score(subject) == score


@pytest.mark.parametrize("scorer", [ExactMatch(), Contains(), Regex("x", compare=True), ExpectedFacts(), TokenF1()])
def test_needs_are_named_when_missing(scorer):
    """A scorer that is called without what it needs names the key."""
    assert isinstance(scorer, Scorer)
    (key,) = scorer.needs
    with pytest.raises(InputError, match=key):
        scorer.score(Subject({}, "x", {}))
