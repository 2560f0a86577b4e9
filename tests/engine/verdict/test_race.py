"""Races, simulated by the thousand: how often they promote what is no better, find what is, and how soon they stop."""

import math
from collections import Counter

import numpy as np
import pytest

from engine.statistics import Differences
from engine.verdict.claims import Claim, Level
from engine.verdict.race import Answer, Look, Race, look_sizes, selection_rows

ALPHA = 0.05


def grouped(values, weights):
    pairs, counts = np.unique(np.round(values, 6) + 10j * weights, return_counts=True)
    return Differences(pairs.real, pairs.imag / 10, counts)


def race(draw, *, rows, challengers=1, seed=0, minimum=0.0, largest_weight=1.0):
    """Run one race; ``draw(n)`` returns the scores of n rows, a column a contestant, and their weights.

    The first contestant is the seed. Returns the standing at the end, how many rows were asked, and how many pairs.
    """
    names = [f"c{number}" for number in range(1, challengers + 1)]
    sizes = look_sizes(rows)
    running = Race(names, Level(ALPHA, len(sizes), largest_weight, seed), planned_rows=rows)
    found = {}
    asked = pairs = 0
    for size in sizes:
        scores, weights = draw(size - asked)
        pairs += (size - asked) * (1 + len(running.active))
        asked = size
        contestants = [0, *(names.index(name) + 1 for name in running.active)]
        for one in contestants[1:]:
            for other in contestants:
                drawn = grouped(scores[:, one] - scores[:, other], weights)
                known = found.get((one, other))
                found[one, other] = known.joined(drawn) if known else drawn
        gains = {name: found[names.index(name) + 1, 0] for name in running.active}
        standing = running.after(
            Look(
                size,
                {name: gain.mean for name, gain in gains.items()},
                {name: [Claim(gain, minimum, 0.01)] for name, gain in gains.items()},
                {
                    (one, other): Claim(found[names.index(one) + 1, names.index(other) + 1], 0.0)
                    for one in running.active
                    for other in running.active
                    if one != other
                },
                last=size == rows,
            )
        )
        if standing.answer is not None:
            break
    return standing, asked, pairs


def right_or_wrong(rng, *, gains, differing):
    """Scores of 0 and 1: each challenger differs from the seed on a share of rows, and gains on the whole."""

    def draw(rows):
        seed = rng.random(rows) < 0.5
        columns = [seed]
        for gain in gains:
            won, lost = differing / 2 + gain / 2, differing / 2 - gain / 2
            # Of the rows that the seed has wrong, so many are won; of those it has right, so many lost.
            columns.append(np.where(seed, rng.random(rows) >= 2 * lost, rng.random(rows) < 2 * won))
        return np.stack(columns, axis=1).astype(float), np.ones(rows)

    return draw


def graded(rng, *, spread=(0.05, 0.1, 0.1, 0.5, 0.1, 0.1, 0.05), weighted=False):
    """Graded scores without a gain, and weights with a heavy tail."""

    def draw(rows):
        change = rng.choice([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0], p=spread, size=rows)
        weights = np.minimum(np.ceil(rng.pareto(1.5, rows) + 1e-9), 50.0) if weighted else np.ones(rows)
        return np.stack([np.zeros(rows), change], axis=1), weights

    return draw


def skewed(rng, *, gain, loss, differing=0.5):
    """Many rows gain a little and few lose much: no gain on the whole."""

    def draw(rows):
        moved, won = rng.random(rows) < differing, rng.random(rows) < loss / (gain + loss)
        return np.stack([np.zeros(rows), np.where(moved, np.where(won, gain, -loss), 0.0)], axis=1), np.ones(rows)

    return draw


def heavy_losses(rng, *, weight, gain=1.0, won=0.3):
    """One row in so many weighs so many times as much, and what light rows gain, heavy rows lose."""

    def draw(rows):
        heavy = np.arange(rows) % weight == 0
        lost = gain * won * (weight - 1) / weight
        change = np.where(heavy, -(rng.random(rows) < lost).astype(float), gain * (rng.random(rows) < won))
        return np.stack([np.zeros(rows), change], axis=1), np.where(heavy, float(weight), 1.0)

    return draw


def against_recorded(rng, *, margin, heavy=1.0):
    """The source model's answers score 1 by definition, and the new prompt loses as many rows as it just may not: a
    fifth of the rows, all ``heavy``, has all losses where that is above 1.
    """

    def draw(rows):
        weights = np.where(np.arange(rows) % 5 == 0, heavy, 1.0)
        lost = np.where(weights > 1.0, margin * (heavy + 4) / heavy, margin if heavy == 1.0 else 0.0)
        return np.stack([np.ones(rows), rng.random(rows) >= lost], axis=1).astype(float), weights

    return draw


NULLS = {
    "0/1, one row in twenty differs": lambda rng: right_or_wrong(rng, gains=[0.0], differing=0.05),
    "0/1, four in ten differ": lambda rng: right_or_wrong(rng, gains=[0.0], differing=0.4),
    "graded": graded,
    "graded and weighted": lambda rng: graded(rng, weighted=True),
    "rows of weight 20 lose": lambda rng: heavy_losses(rng, weight=20),
    "rows of weight 5 lose much, light ones gain little": lambda rng: heavy_losses(rng, weight=5, gain=0.25, won=0.6),
    "skewed": lambda rng: skewed(rng, gain=0.25, loss=1.0),
    "skewed, all rows": lambda rng: skewed(rng, gain=0.1, loss=0.9, differing=1.0),
}


@pytest.mark.parametrize("name", NULLS)
def test_what_is_no_better_is_promoted_less_often_than_alpha(name):
    """Small holdouts, ties, graded scores, weights, skew: of 480 races without a gain, over all their looks."""
    draw = NULLS[name](np.random.default_rng(11))
    largest = 50.0 if "weighted" in name else 20.0 if "rows of weight" in name else 1.0
    promoted = Counter(
        rows
        for rows, races in ((20, 150), (60, 150), (100, 150), (500, 30))
        for seed in range(races)
        if race(draw, rows=rows, seed=seed, largest_weight=largest)[0].answer is Answer.PROMOTE
    )
    assert promoted.total() / 480 < ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / 480)
    assert max(promoted.values(), default=0) / 150 < ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 150)


@pytest.mark.parametrize(
    ("rows", "margin", "heavy"),
    [(60, 0.02, 1.0), (60, 0.1, 1.0), (120, 0.1, 1.0), (220, 0.02, 1.0), (50, 0.1, 5.0), (100, 0.1, 5.0)],
)
def test_what_is_worse_by_the_margin_is_found_no_worse_less_often_than_alpha(rows, margin, heavy):
    """Rows without a loss by chance prove nothing, and heavy rows least."""
    draw = against_recorded(np.random.default_rng(rows), margin=margin, heavy=heavy)
    promoted = sum(
        race(draw, rows=rows, seed=seed, minimum=-margin, largest_weight=heavy)[0].answer is Answer.PROMOTE
        for seed in range(150)
    )
    assert promoted / 150 < ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / 150)


@pytest.mark.parametrize("rows", [2000])
def test_several_candidates_and_many_looks_hold_the_same_error(rows):
    """Three that are no better race over eight looks: any of them is promoted less often than alpha."""
    rng = np.random.default_rng(rows)
    draw = right_or_wrong(rng, gains=[0.0, 0.0, 0.0], differing=0.2)
    answers = Counter(race(draw, rows=rows, challengers=3, seed=seed)[0].answer for seed in range(150))
    assert answers[Answer.PROMOTE] / 150 < ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / 150)


def test_a_small_holdout_with_a_large_gain_promotes_at_once():
    """72 rows are one look with all of alpha; a gain of a half is always seen."""
    rng = np.random.default_rng(1)
    draw = right_or_wrong(rng, gains=[0.5], differing=0.5)
    for seed in range(50):
        standing, asked, _ = race(draw, rows=72, seed=seed)
        assert (standing.answer, asked) == (Answer.PROMOTE, 72)


@pytest.mark.parametrize(("rows", "gain", "differing"), [(400, 0.06, 0.2), (1000, 0.05, 0.3), (4000, 0.02, 0.2)])
def test_the_power_is_near_that_of_one_test_over_all_rows(rows, gain, differing):
    """What looking early costs is a few points of power."""
    rng = np.random.default_rng(rows)
    draw = right_or_wrong(rng, gains=[gain], differing=differing)
    raced = fixed = 0
    for seed in range(150):
        raced += race(draw, rows=rows, seed=seed)[0].answer is Answer.PROMOTE
        scores, _ = draw(rows)
        drawn = Differences.of(scores[:, 1] - scores[:, 0]).grouped()
        fixed += Level(ALPHA, seed=seed).p_value(Claim(drawn, 0.0), last=True) <= ALPHA
    assert 0.5 < fixed / 150 < 1.0
    assert raced >= fixed - 150 * 0.05 - 2 * math.sqrt(2 * 150 * 0.25)


def test_a_difference_of_five_points_takes_a_fifth_of_the_calls():
    """Among 20,000 rows: promoted, and four calls of five are never made."""
    rng = np.random.default_rng(4)
    draw = right_or_wrong(rng, gains=[0.05], differing=0.2)
    ended = [race(draw, rows=20_000, seed=seed) for seed in range(40)]
    assert all(standing.answer is Answer.PROMOTE for standing, _, _ in ended)
    assert np.mean([pairs for _, _, pairs in ended]) < 40_000 / 5


def test_what_is_worse_is_kept_soon():
    """A candidate that only looked good on val is out long before all rows are asked."""
    rng = np.random.default_rng(5)
    draw = right_or_wrong(rng, gains=[-0.05], differing=0.2)
    ended = [race(draw, rows=20_000, seed=seed) for seed in range(40)]
    assert {standing.answer for standing, _, _ in ended} == {Answer.KEEP}
    assert np.mean([asked for _, asked, _ in ended]) < 20_000 / 5


def test_the_best_of_three_wins():
    """Losers are dropped on the way, nobody but the leader goes on after a quarter, and the right one is promoted."""
    rng = np.random.default_rng(6)
    draw = right_or_wrong(rng, gains=[0.0, -0.1, 0.04], differing=0.2)
    leaders = []
    for seed in range(20):
        standing, asked, pairs = race(draw, rows=8000, challengers=3, seed=seed)
        assert standing.answer is Answer.PROMOTE
        assert pairs < 2 * asked + 2 * 1.5 * selection_rows(8000)
        leaders.append(standing.leader)
    assert leaders.count("c3") >= 19


def one_look(*, p_rows, rows, last=False, promotable=True, planned=1000):
    won, lost = p_rows
    claim = Claim(
        Differences(np.array([1.0, -1.0, 0.0]), np.ones(3), np.array([won, lost, rows - won - lost])), 0.0, 0.01
    )
    running = Race(["c1"], Level(ALPHA, 5), planned_rows=planned)
    return running.after(Look(rows, {"c1": claim.differences.mean}, {"c1": [claim]}, last=last, promotable=promotable))


def test_nothing_is_promoted_before_its_time():
    """However sure, where something else has to be seen first."""
    assert one_look(p_rows=(60, 0), rows=200).answer is Answer.PROMOTE
    assert one_look(p_rows=(60, 0), rows=200, promotable=False).answer is None
    assert one_look(p_rows=(60, 0), rows=200, last=True, promotable=False).answer is Answer.PROMOTE


def test_the_end_says_whether_more_rows_could_help():
    """A gain that may be chance wants more rows; none, or one that can only be tiny, does not."""
    assert one_look(p_rows=(30, 20), rows=1000, last=True).answer is Answer.NEED_MORE_DATA
    assert one_look(p_rows=(20, 30), rows=1000, last=True).answer is Answer.KEEP
    assert one_look(p_rows=(11, 10), rows=100_000, last=True).answer is Answer.KEEP


def test_a_race_that_can_no_longer_be_won_is_called_off():
    """At half of the rows a loss is as good as sure to stay one; a gain is not given up."""
    behind = one_look(p_rows=(60, 80), rows=500)
    assert (behind.answer, behind.hopeless) == (Answer.KEEP, True)
    assert one_look(p_rows=(70, 60), rows=300).answer is None


def test_rows_to_settle_it_do_settle_it():
    """Of as many rows as are said to be needed, four races of five show the gain."""
    rng = np.random.default_rng(8)
    claim = Claim(Differences(np.array([1.0, -1.0, 0.0]), np.ones(3), np.array([30, 18, 152])), 0.0)
    rows = Level(ALPHA).rows_to_show(claim)
    shown = 0
    for seed in range(300):
        won, lost, same = rng.multinomial(rows, [0.15, 0.09, 0.76])
        drawn = Differences(np.array([1.0, -1.0, 0.0]), np.ones(3), np.array([won, lost, same]))
        shown += Level(ALPHA, seed=seed).p_value(Claim(drawn, 0.0), last=True) <= ALPHA
    assert 0.72 < shown / 300 < 0.88
