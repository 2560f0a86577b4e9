"""Error rates, coverage and exactness of the paired statistics."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from engine.statistics import Differences, bootstrap_interval, sign_flip_p_value

values = st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0])
samples = st.lists(st.tuples(values, st.sampled_from([1.0, 2.0, 7.0])), min_size=1, max_size=40)


def differences(sample):
    return Differences.of([value for value, _ in sample], [weight for _, weight in sample])


def test_under_the_null_the_test_errs_no_more_often_than_alpha():
    """Of 1,000 small data sets without a difference, at most alpha are called better (and the noise of counting)."""
    rng = np.random.default_rng(7)
    hits = 0
    for seed in range(1000):
        rows = int(rng.integers(5, 60))
        drawn = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], p=[0.15, 0.1, 0.5, 0.1, 0.15], size=rows)
        hits += sign_flip_p_value(Differences.of(drawn), minimum=0.0, seed=seed) < 0.05
    assert hits / 1000 < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)


def test_under_the_null_few_rows_that_differ_among_many_are_not_called_better():
    """Of 25,000 rows four differ: the normal approximation would call that a gain, the exact test does not."""
    sparse = Differences(np.array([0.0, 1.0]), np.ones(2), np.array([24_996, 4]))
    assert sign_flip_p_value(sparse, minimum=0.0, seed=0) == 0.0625


def test_a_real_difference_is_found():
    """The power is what the rows allow: most data sets with a clear gain are called better."""
    rng = np.random.default_rng(3)
    hits = 0
    for seed in range(200):
        drawn = rng.choice([-1.0, 0.0, 1.0], p=[0.05, 0.65, 0.3], size=100)
        hits += sign_flip_p_value(Differences.of(drawn), minimum=0.0, seed=seed) < 0.05
    assert hits > 180


@pytest.mark.parametrize("rows", [60, 400])
def test_the_interval_covers_the_truth_as_often_as_it_says(rows):
    """Of 400 samples, about 95 % of the 95 % intervals hold the true mean."""
    rng = np.random.default_rng(rows)
    truth = 0.4 - 0.1
    covered = 0
    for seed in range(400):
        drawn = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.5, 0.4], size=rows)
        low, high = bootstrap_interval(Differences.of(drawn), alpha=0.05, seed=seed)
        covered += low <= truth <= high
    assert 0.95 - 0.035 < covered / 400 < 0.95 + 0.03


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 100_000), st.sampled_from([1.0, 5.0]))
def test_for_right_or_wrong_it_is_mcnemars_exact_test(won, lost, same, weight):
    """For 0/1 scores of equal weight the p-value is the binomial's, however many rows there are."""
    found = sign_flip_p_value(
        Differences(np.array([1.0, -1.0, 0.0]), np.full(3, weight), np.array([won, lost, same])), minimum=0.0, seed=0
    )
    exact = binomtest(won, won + lost, alternative="greater").pvalue if won + lost else 1.0
    assert found == pytest.approx(exact, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(values, min_size=1, max_size=10), st.sampled_from([0.0, 0.1, -0.25]))
def test_few_rows_are_enumerated_exactly(drawn, minimum):
    """Up to 16 rows the p-value is the share of all sign patterns that do as well."""
    parts = [value - minimum for value in drawn if value != minimum]
    patterns = [
        sum(abs(part) * (1 if pattern >> at & 1 else -1) for at, part in enumerate(parts))
        for pattern in range(2 ** len(parts))
    ]
    exact = sum(total >= sum(parts) - 1e-9 for total in patterns) / len(patterns)
    assert sign_flip_p_value(Differences.of(drawn), minimum=minimum, seed=0) == pytest.approx(exact)


@settings(max_examples=25, deadline=None)
@given(samples, st.randoms(use_true_random=False))
def test_grouped_and_ungrouped_are_the_same(sample, random):
    """How rows are grouped or ordered on their way out of Spark changes no digit that is drawn."""
    shuffled = random.sample(sample, len(sample))
    one, other = differences(sample), differences(shuffled).grouped()
    assert other.rows == one.rows == len(sample)
    assert other.mean == pytest.approx(one.mean)
    assert bootstrap_interval(one, alpha=0.05, seed=1) == bootstrap_interval(other, alpha=0.05, seed=1)
    for minimum in (0.0, 0.02):
        p_values = [sign_flip_p_value(d, minimum=minimum, seed=1) for d in (one, other)]
        assert p_values[0] == p_values[1]


@settings(max_examples=25, deadline=None)
@given(samples)
def test_mean_interval_and_p_value_agree(sample):
    """The interval holds the mean between its ends, and p is a probability."""
    found = differences(sample)
    low, high = bootstrap_interval(found, alpha=0.05, seed=0)
    assert -1.0 <= low <= high <= 1.0
    assert low - 1e-9 <= found.mean or len(sample) < 20
    assert 0.0 < sign_flip_p_value(found, minimum=0.0, seed=0) <= 1.0


def test_weights_count():
    """A row that stands for nine weighs nine."""
    assert Differences.of([1.0, 0.0], [1.0, 9.0]).mean == 0.1


def test_many_different_values_are_worked_off_by_the_normal_approximation():
    """Above the resampling's reach, both results are close to what resampling gives just below."""
    rng = np.random.default_rng(5)
    drawn = rng.normal(0.01, 0.3, 6000)
    many, fewer = Differences.of(drawn), Differences.of(np.round(drawn, 2))
    assert np.allclose(
        bootstrap_interval(many, alpha=0.05, seed=0), bootstrap_interval(fewer, alpha=0.05, seed=0), atol=0.001
    )
    p_values = [sign_flip_p_value(d, minimum=0.0, seed=0) for d in (many, fewer)]
    assert p_values[0] == pytest.approx(p_values[1], abs=0.005)


def test_no_rows_say_nothing():
    """Without a row there is no gain, and no crash either."""
    nothing = Differences.of([])
    assert nothing.rows == 0
    assert math.isnan(nothing.mean)
    assert all(map(math.isnan, bootstrap_interval(nothing, alpha=0.05, seed=0)))
    assert sign_flip_p_value(nothing, minimum=0.0, seed=0) == 1.0


def test_rows_that_do_not_differ_are_no_gain():
    """Equal scores give p = 1."""
    assert sign_flip_p_value(Differences.of([0.0] * 50), minimum=0.0, seed=0) == 1.0
