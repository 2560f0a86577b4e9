"""Curtailment: the minibatch's verdict is never another one, and the race drops no more than it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.search.curtailment import chance_ahead, minibatch_verdict
from engine.search.race import looks
from engine.statistics import Differences

scores = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 1.0])


@given(pairs=st.lists(st.tuples(scores, scores), min_size=1, max_size=12), asked=st.integers(0, 12))
@settings(max_examples=300, deadline=None)
def test_an_early_verdict_is_that_of_the_whole_minibatch(pairs, asked):
    """Whatever part of the rows was asked: where there is a verdict, the rest of them does not change it."""
    differences = [after - before for before, after in pairs]
    whole = minibatch_verdict(differences, [])
    early = minibatch_verdict(differences[:asked], [before for before, _ in pairs[asked:]])
    assert whole is not None
    assert early in {None, whole}


def test_a_child_that_gains_nothing_where_its_parent_failed_is_decided():
    """Where the parent was right there is nothing to gain, so those rows are not asked for."""
    assert minibatch_verdict([0.0], [1.0] * 7) is False
    assert minibatch_verdict([1.0], [1.0] * 7) is None


def test_all_rows_seen_leave_no_chance():
    """On all of val the one ahead is ahead; a tie stays a tie."""
    for total, chance in ((-1.0, 0.0), (1.0, 1.0), (0.0, 0.5)):
        assert chance_ahead(Differences.of([total, 0.0, 0.0]), rows=3) == chance


def test_few_rows_that_are_all_alike_don_t_make_certain():
    """Three wins of three leave the rest of 300 rows open; thirty of thirty hardly."""
    assert chance_ahead(Differences.of([1.0] * 3), rows=300) < 0.98
    assert chance_ahead(Differences.of([1.0] * 30), rows=300) > 0.999
    assert chance_ahead(Differences.of([]), rows=300) == 0.5


def test_weights_count_as_so_many_traces_but_not_as_so_many_rows():
    """A heavy row moves the mean and makes it less certain."""
    light = Differences.of([1.0] * 6 + [0.0] * 10)
    heavy = Differences.of([1.0] * 6 + [0.0] * 10, [10.0] + [1.0] * 15)
    assert heavy.mean > light.mean
    assert chance_ahead(heavy, rows=100, evenness=0.9) < chance_ahead(light, rows=100)


@pytest.mark.parametrize("rows", [60, 300])
def test_of_the_dropped_at_most_the_stated_share_would_have_come_out_ahead(rows):
    """Over 4,000 races of candidates of all qualities, dropped at the first look that says so."""
    rng = np.random.default_rng(0)
    early_stop, dropped, wrong = 0.2, 0, 0
    for _ in range(4_000):
        wins = np.clip(rng.normal(0.1, 0.06), 0, 0.45)
        losses = np.clip(rng.normal(0.1, 0.06), 0, 0.45)
        values = rng.choice([1.0, -1.0, 0.0], size=rows, p=[wins, losses, 1 - wins - losses])
        for look in looks(rows):
            if look < rows and chance_ahead(Differences.of(values[:look]), rows=rows) < early_stop:
                dropped += 1
                wrong += values.sum() > 0
                break
    assert dropped > 1_000
    assert wrong / dropped < early_stop
