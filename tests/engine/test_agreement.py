"""Agreement: kappa is the textbook's, intervals cover, and noise is told from a liking for an order."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from engine.judge_check.agreement import cohens_kappa, label_agreement, order_effect, repeatability
from engine.judge_noise import mixed_noise_variance
from udfs.endpoint import Endpoint
from udfs.scorers import build_mix

grades = st.sampled_from([0.0, 0.5, 1.0])


@settings(deadline=None)
@given(st.lists(st.tuples(grades, grades), min_size=2, max_size=60))
def test_kappa_is_that_of_scikit_learn(pairs):
    """Over any verdicts and labels; where chance alone agrees on all, there is none."""
    labels, verdicts = (np.array(side) for side in zip(*pairs, strict=True))
    found = label_agreement(verdicts, labels, seed=0)
    if len({*labels, *verdicts}) == 1:
        assert found.kappa is None
        return
    expected = cohen_kappa_score([str(x) for x in labels], [str(x) for x in verdicts])
    assert found.kappa == pytest.approx(expected)
    assert sum(found.confusion.values()) == len(pairs)


def test_kappa_of_cohens_own_example():
    """Cohen, 1960, table 1: three classes, kappa 0.492."""
    table = np.array([[88, 14, 18], [10, 40, 10], [2, 6, 12]])
    assert cohens_kappa(table[None])[0] == pytest.approx(0.492, abs=0.0005)


def test_kappas_interval_covers_the_truth_at_its_rate():
    """Of 200 samples of 100 labels, about 95 % of the intervals hold the true kappa of 0.6."""
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        labels = rng.integers(0, 2, 100).astype(float)
        verdicts = np.where(rng.random(100) < 0.2, 1 - labels, labels)
        low, high = label_agreement(verdicts, labels, seed=trial).kappa_interval
        held += low <= 0.6 <= high
    # Four standard errors of a rate of 0.95 over 200 samples.
    assert held / 200 > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 200)


def test_noise_alone_is_seldom_taken_for_a_liking():
    """Judges with noise and without a liking are suspected in at most 5 % of the cases."""
    rng = np.random.default_rng(1)
    suspected = 0
    for _ in range(300):
        truth = rng.integers(0, 2, 80).astype(float)
        asked = [np.where(rng.random(80) < 0.15, 1 - truth, truth) for _ in range(3)]
        found = order_effect(*asked)
        suspected += min(found.shift_p_value, found.changed_p_value) < 0.025
    assert suspected / 300 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)


def test_a_liking_without_direction_is_seen():
    """An order that changes verdicts both ways shifts nothing, and shows beside the judge's own noise."""
    first = np.array([1.0, 0.0] * 20)
    found = order_effect(first, first.copy(), np.concatenate([1 - first[:20], first[20:]]))
    assert (found.shift, found.shift_p_value) == (0.0, 1.0)
    assert (found.changed, found.changed_p_value) == (0.5, 0.5**20)


def test_answers_without_a_verdict_are_left_out():
    """Only pairs count; without any there is no finding."""
    nothing = np.full(3, np.nan)
    assert repeatability(nothing, np.ones(3)) is None
    assert order_effect(np.ones(3), np.ones(3), nothing) is None
    assert label_agreement(np.ones(3), nothing, seed=0) is None
    assert repeatability(np.array([1.0, np.nan, 0.5]), np.array([1.0, 1.0, 1.0])).agreement.of == 2


def test_the_noise_of_a_mix_is_weighed():
    """A judge of half the weight brings a quarter of its variance; scorers that compute bring none."""
    mix = build_mix(["exact_match", {"judge": "equivalence"}], Endpoint("judge"))
    assert mixed_noise_variance(mix, lambda judge: 0.16) == pytest.approx(0.04)
    assert mixed_noise_variance(mix, lambda judge: None) is None
    assert mixed_noise_variance(mix[:1], lambda judge: None) == 0.0
