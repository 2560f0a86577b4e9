"""What a reflection model is shown: failures first, by kind, within a bound."""

import random

from hypothesis import given
from hypothesis import strategies as st
from requests_by_hand import pair

from engine.proposers.failures import kinds_of_failure, records_text
from engine.token_estimate import tokens_in
from udfs.errors import ErrorKind, RowError


def mixed():
    return [
        *(pair(n, feedback=f"expected: yes\ngot: maybe {n}\ndifference: another answer") for n in range(5)),
        *(pair(n, feedback="the judge says: the tone is far too rude for a customer") for n in range(5, 7)),
        pair(7, output=None, error=RowError(ErrorKind.CONTENT_FILTER, "refused")),
        pair(8, score=1.0, output="yes"),
        pair(9, score=1.0, output="yes"),
        pair(10, score=1.0, output="yes"),
        pair(11, score=None, output=None, error=RowError(ErrorKind.TIMEOUT, "slow")),
    ]


def test_failures_are_grouped_by_kind_the_most_frequent_first():
    """Scorers' words and errors tell kinds apart; what feedback quotes of a row does not."""
    kinds = kinds_of_failure(mixed())
    assert [len(kind.pairs) for kind in kinds] == [5, 2, 1]
    assert "another answer" in kinds[0].name
    assert "tone" in kinds[1].name
    assert kinds[2].name == "content filter"


def test_an_allowed_answer_in_place_of_another_is_a_kind_of_its_own():
    """With few labels, a confusion of two of them is what there is to learn."""
    pairs = [pair(1, output="No.", expected="yes"), pair(2, output="no", expected="yes"), pair(3, output="well, no")]
    kinds = kinds_of_failure(pairs, labels=("yes", "no"))
    assert [(kind.name.split(":")[0], len(kind.pairs)) for kind in kinds] == [
        ("answered 'no' where 'yes' was expected", 2),
        ("exact not satisfied", 1),
    ]


def test_every_kind_is_shown_before_any_is_shown_twice():
    """In little room there is one record of each kind rather than five of one."""
    text = records_text(mixed(), max_tokens=160)
    assert tokens_in(text) <= 160
    assert "tone is far too rude" in text
    assert "content filter" in text
    assert text.index("Kind of failure 1") < text.index("Kind of failure 2") < text.index("Kind of failure 3")


def test_right_answers_come_last_and_few():
    """Two answers that are right show what must stay; rows without a score are not shown."""
    text = records_text(mixed(), max_tokens=6000)
    assert text.count("this answer is right") == 2
    assert text.index("this answer is right") > text.rindex("feedback:")
    assert "input 11" not in text


def test_the_order_of_the_rows_does_not_matter():
    """The same minibatch is shown in the same way, so that the ledger knows the request."""
    pairs = mixed()
    for seed in range(5):
        shuffled = random.Random(seed).sample(pairs, len(pairs))
        assert records_text(shuffled, max_tokens=400) == records_text(pairs, max_tokens=400)


@given(st.integers(250, 2000), st.integers(1, 30), st.text(max_size=400), st.text(max_size=400))
def test_the_bound_holds(max_tokens, count, output, feedback):
    """Whatever stands in the rows, no more than the bound is shown, and never nothing."""
    pairs = [pair(n, output=output, feedback=feedback, scorer=f"scorer {n % 3}") for n in range(count)]
    text = records_text(pairs, max_tokens=max_tokens)
    assert tokens_in(text) <= max_tokens
    assert "model answered" in text


def test_one_record_is_shown_where_not_even_one_fits():
    """Then its texts are cut as short as they get."""
    text = records_text([pair(1, output="a" * 5000)], max_tokens=1)
    assert "model answered: aaa" in text
    assert len(text) < 400
