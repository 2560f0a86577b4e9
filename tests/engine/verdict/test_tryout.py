"""Tryouts: each challenger's own answer, over several looks; and how often chance alone promotes one."""

import math

import numpy as np
import pytest

from engine.statistics import Differences
from engine.verdict.claims import Claim, Level
from engine.verdict.race import Answer, Look, look_sizes
from engine.verdict.tryout import Tryout

ALPHA = 0.05


def grouped(values):
    found, counts = np.unique(values, return_counts=True)
    return Differences(found.astype(float), np.ones(len(found)), counts)


def tried(draw, *, rows, challengers, looks=None, cut_at=None):
    """Run one tryout; ``draw(n)`` returns the differences to the current prompt on n rows, a column a challenger.

    Returns each one's last standing and the rows that it saw; ``cut_at``: the budget ends at that look.
    """
    names = [f"c{number}" for number in range(challengers)]
    sizes = looks or look_sizes(rows)
    tryout = Tryout(names, Level(ALPHA, len(sizes)), planned_rows=rows)
    drawn = draw(rows)
    ended = {}
    for number, size in enumerate(sizes):
        seen = {name: grouped(drawn[:size, names.index(name)]) for name in tryout.active}
        cut = number == cut_at
        look = Look(
            size,
            {name: found.mean for name, found in seen.items()},
            {name: (Claim(found, 0.0, 0.01),) for name, found in seen.items()},
            last=cut or size == rows,
            cut_short=cut,
        )
        ended |= {
            name: (standing, size) for name, standing in tryout.after(look).items() if standing.answer is not None
        }
        if not tryout.active or cut:
            break
    return [ended[name] for name in names]


def columns(rng, *, gains, differing=0.2):
    """Differences of -1, 0 and 1 with these means."""

    def draw(rows):
        shares = [((differing - gain) / 2, 1 - differing, (differing + gain) / 2) for gain in gains]
        return np.stack([rng.choice([-1, 0, 1], p=share, size=rows) for share in shares], axis=1)

    return draw


def test_each_has_an_answer_of_its_own_and_is_asked_no_longer():
    """A clear gain and a clear loss end at the first looks; a small gain goes on alone, dropped for nobody's sake."""
    rng = np.random.default_rng(1)
    (good, harmful, small) = tried(columns(rng, gains=(0.2, -0.2, 0.03)), rows=2000, challengers=3)
    assert (good[0].answer, harmful[0].answer) == (Answer.PROMOTE, Answer.KEEP)
    assert harmful[0].dropped == {"c1": "no gain worth having, with confidence"}
    assert max(good[1], harmful[1]) < 600
    assert small[1] > good[1]


def test_a_promotion_frees_its_share_of_alpha():
    """Holm's steps: alone each of these p-values would have to be below a half of alpha; the second need not."""
    # Sign flips of as many wins and no loss: 0.5**9, and 0.5**5 = 0.031.
    large, small = (Claim(Differences.of([1.0] * wins + [0.0] * (40 - wins)), 0.0) for wins in (9, 5))
    look = Look(40, {"a": 0.2, "b": 0.1}, {"a": (large,), "b": (small,)}, last=True)
    found = Tryout(["a", "b"], Level(ALPHA), planned_rows=40).after(look)
    assert [found[name].answer for name in "ab"] == [Answer.PROMOTE, Answer.PROMOTE]
    assert (found["a"].among, found["b"].among) == (2, 1)
    assert found["b"].at_once == 2
    useless = Claim(Differences.of([0.0] * 40), 0.0)
    look = Look(40, {"a": 0.0, "b": 0.1}, {"a": (useless,), "b": (small,)}, last=True)
    found = Tryout(["a", "b"], Level(ALPHA), planned_rows=40).after(look)
    assert found["b"].answer is Answer.NEED_MORE_DATA
    assert found["b"].p_value == pytest.approx(2 * 0.5**5)


def test_a_slice_that_was_not_seen_puts_a_promotion_off():
    """However sure: the share of alpha is not freed either."""
    clear = Claim(Differences.of([1.0] * 60), 0.0)
    tryout = Tryout(["a"], Level(ALPHA, 3), planned_rows=200)
    assert tryout.after(Look(60, {"a": 1.0}, {"a": (clear,)}, promotable=False))["a"].answer is None
    assert tryout.active == ["a"]
    assert tryout.after(Look(60, {"a": 1.0}, {"a": (clear,)}))["a"].answer is Answer.PROMOTE


@pytest.mark.parametrize(
    ("gain", "answer"), [(0.0, Answer.NEED_MORE_DATA), (math.nan, Answer.NEED_MORE_DATA), (-1.0, Answer.KEEP)]
)
def test_a_budget_that_ends_leaves_it_open_unless_a_gain_is_ruled_out(gain, answer):
    """No sign of a gain on a few rows says nothing of the rest; losing all of them does."""
    found = Differences.of([] if math.isnan(gain) else [gain] * 30)
    look = Look(30, {"a": gain}, {"a": (Claim(found, 0.0, 0.01),)}, last=True, cut_short=True)
    assert Tryout(["a"], Level(ALPHA), planned_rows=200).after(look)["a"].answer is answer
    whole = Look(30, {"a": gain}, {"a": (Claim(found, 0.0, 0.01),)}, last=True)
    asked = Answer.NEED_MORE_DATA if math.isnan(gain) else Answer.KEEP
    assert Tryout(["a"], Level(ALPHA), planned_rows=30).after(whole)["a"].answer is asked


@pytest.mark.parametrize("gains", [(0.0, 0.0, 0.0), (0.18, 0.0, 0.0)])
def test_chance_promotes_no_more_often_than_alpha(gains):
    """Over all looks and all challengers, whether or not one of them is good and frees its share."""
    rng = np.random.default_rng(7)
    false = 0
    races = 200
    for _ in range(races):
        ended = tried(columns(rng, gains=gains), rows=300, challengers=3)
        false += any(
            standing.answer is Answer.PROMOTE for (standing, _), gain in zip(ended, gains, strict=True) if gain == 0.0
        )
    # Three standard errors above alpha.
    assert false / races < ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / races)


def test_rounds_find_what_one_look_finds():
    """A gain that all rows show at one look is rarely lost to looking more often, and costs fewer rows."""
    rng = np.random.default_rng(3)
    found, at_once, asked = 0, 0, 0
    races = 50
    for _ in range(races):
        drawn = columns(rng, gains=(0.1, 0.0))(800)
        ended = tried(lambda _rows, drawn=drawn: drawn, rows=800, challengers=2)
        found += ended[0][0].answer is Answer.PROMOTE
        asked += sum(size for _, size in ended)
        once = tried(lambda _rows, drawn=drawn: drawn, rows=800, challengers=2, looks=[800])
        at_once += once[0][0].answer is Answer.PROMOTE
    assert found > at_once - 0.12 * races
    assert asked < 0.8 * 2 * 800 * races
