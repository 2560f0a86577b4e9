"""Evidence that may be looked at at any time: it errs no more often than it says, on differences of any shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.statistics import Differences
from engine.verdict.betting import anytime_p_value, confidence_sequence, log_wealth

values = st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0])
samples = st.lists(st.tuples(values, st.sampled_from([1.0, 2.0, 7.0])), min_size=1, max_size=60)


def differences(sample):
    return Differences.of([value for value, _ in sample], [weight for _, weight in sample])


@pytest.mark.parametrize("gain", [0.02, 0.5])
@pytest.mark.parametrize("loss", [0.3, 1.0])
def test_of_those_without_a_gain_few_ever_look_like_one(gain, loss):
    """Looked at after every one of 400 rows, of 400 samples at most alpha ever cross the line, however skewed."""
    rng = np.random.default_rng(int(100 * gain))
    chance = loss / (gain + loss)
    drawn = np.where(rng.random((400, 400)) < chance * 0.3, gain, 0.0)
    losing = (drawn == 0.0) & (rng.random(drawn.shape) < (1 - chance) * 0.3 / (1 - chance * 0.3))
    drawn = np.where(losing, -loss, drawn)
    assert abs(drawn.mean()) < 0.02
    gains, losses = np.cumsum(drawn > 0, axis=1), np.cumsum(drawn < 0, axis=1)
    ever = 0
    for won, lost in zip(gains, losses, strict=True):
        # The wealth after each row, by the very same sums, at the looks where it can have risen.
        looks = np.flatnonzero(np.diff(won, prepend=0))[::7]
        moved = np.array([gain, -loss])
        seen = (Differences(moved, np.ones(2), np.array([won[at], lost[at]])) for at in looks)
        ever += any(anytime_p_value(one, minimum=0.0) < 0.2 for one in seen)
    assert ever / 400 < 0.1 + 2 * np.sqrt(0.1 * 0.9 / 400)


@settings(max_examples=40, deadline=None)
@given(samples, st.sampled_from([-0.5, 0.0, 0.1, 0.5]), st.sampled_from([0.01, 0.05, 0.4]))
def test_the_sequence_lies_above_a_minimum_exactly_where_the_p_value_says_so(sample, minimum, alpha):
    """One is the other, inverted."""
    found = differences(sample)
    low, high = confidence_sequence(found, alpha=alpha, largest_weight=7.0)
    assert -1.0 <= low <= found.mean <= high <= 1.0
    p_value = anytime_p_value(found, minimum=minimum, largest_weight=7.0)
    if abs(low - minimum) > 1e-5:
        assert (p_value <= alpha) == (low > minimum)


@settings(max_examples=40, deadline=None)
@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_their_grouping_change_nothing(sample, random):
    """So rounds may be added up, and groups may leave Spark in any order."""
    shuffled = differences(random.sample(sample, len(sample)))
    half = len(sample) // 2
    added = differences(sample[:half]).joined(differences(sample[half:])) if half else shuffled
    wealth = [log_wealth(one, minimum=0.0, largest_weight=7.0) for one in (differences(sample), shuffled, added)]
    assert wealth == pytest.approx([wealth[0]] * 3)


def test_rows_that_do_not_differ_neither_win_nor_lose():
    """A million ties say nothing against a gain of 0, and much against one of a tenth."""
    ties = Differences(np.zeros(1), np.ones(1), np.array([1_000_000]))
    assert log_wealth(ties, minimum=0.0) == pytest.approx(0.0, abs=1e-9)
    low, high = confidence_sequence(ties, alpha=0.05)
    assert -0.001 < low < 0.0 < high < 0.001


def test_without_a_row_nothing_is_known():
    """The whole range is open."""
    assert confidence_sequence(Differences.of([]), alpha=0.05) == (-1.0, 1.0)
    assert anytime_p_value(Differences.of([]), minimum=0.0) == 1.0
