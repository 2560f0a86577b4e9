"""Judges' noise and the verdict: a floor for the spread of rows that are judged twice, and for nothing else."""

import math
from dataclasses import replace

import judge_world as judges
import numpy as np
import planted_world as world
import pytest

from engine import gate, judge_noise
from engine.evaluate import Evaluation
from engine.progress import Progress
from engine.rows import rows_from_records
from engine.scripted_endpoint import ScriptedEndpoint
from engine.settings import GateSettings
from engine.statistics import Differences, bootstrap_interval, sign_flip_p_value
from engine.storage import Storage
from engine.verdict.betting import anytime_p_value
from engine.verdict.claims import Claim, Level
from engine.verdict.gathered import SOURCE, Gathered
from engine.verdict.holdout import HoldoutRace
from engine.verdict.paired import pair
from engine.verdict.section import holdout_section
from udfs.allowance import Allowance
from udfs.endpoint import Endpoint
from udfs.prompt import Prompt
from udfs.scorers import build_mix

SEED, GOOD = Prompt.parse(world.SEED), Prompt.parse(world.GOOD)
# A judge that says the opposite in one case of ten: the variance of one verdict.
NOISE = 0.09


def alike(rows, *, noise=NOISE):
    """Rows that differ alike, each judged twice."""
    return Differences(np.array([0.1]), np.ones(1), np.array([rows]), noise=2 * noise * rows)


def test_rows_that_happen_to_differ_alike_have_the_intervals_width_of_the_noise():
    """Without the floor the interval is a point, and the gain as good as proven."""
    low, high = bootstrap_interval(alike(40), alpha=0.05, seed=0)
    half = 1.96 * math.sqrt(2 * NOISE / 40)
    assert (low, high) == pytest.approx((0.1 - half, 0.1 + half), abs=0.005)
    assert bootstrap_interval(alike(40, noise=0.0), alpha=0.05, seed=0) == (0.1, 0.1)


def test_the_test_and_the_rows_to_settle_it_have_the_same_floor():
    """Forty rows that gain a tenth prove it of a judge without noise, not of this one; a few hundred do."""
    level = Level(0.05)
    assert level.p_value(Claim(alike(40, noise=0.0), 0.0), last=True) <= 0.05
    noisy = Claim(alike(40), 0.0)
    assert level.p_value(noisy, last=True) > 0.05
    rows = level.rows_to_show(noisy)
    assert 100 < rows < 300
    assert level.p_value(Claim(alike(2 * rows), 0.0), last=True) <= 0.05


def test_where_the_rows_show_the_noise_it_is_not_counted_twice():
    """No digit of the interval moves, and none of the p-value."""
    rng = np.random.default_rng(2)
    drawn = Differences.of(rng.choice([-1.0, 0.0, 1.0], p=[0.2, 0.5, 0.3], size=60))
    noisy = Differences(drawn.values, drawn.weights, drawn.counts, noise=2 * NOISE * 60)
    assert noisy.lacking_noise == 0.0
    assert bootstrap_interval(noisy, alpha=0.05, seed=1) == bootstrap_interval(drawn, alpha=0.05, seed=1)
    p_values = [Level(0.05).p_value(Claim(one, 0.0), last=True) for one in (noisy, drawn)]
    assert p_values[0] == p_values[1]


def noisy_rows(rng, rows):
    """Differences of two prompts that are equally good, by a judge that is wrong one time in ten."""
    return (rng.random(rows) < 0.9).astype(float) - (rng.random(rows) < 0.9)


@pytest.mark.parametrize("rows", [6, 10])
def test_with_the_floor_the_interval_of_few_rows_covers_the_truth_more_often(rows):
    """Of 400 samples of nothing but noise: without the floor many an interval is a point or misses 0, with it few."""
    rng = np.random.default_rng(rows)
    covered = {0.0: 0, NOISE: 0}
    for seed in range(400):
        drawn = Differences.of(noisy_rows(rng, rows))
        for noise in covered:
            floored = Differences(drawn.values, drawn.weights, drawn.counts, noise=2 * noise * rows)
            low, high = bootstrap_interval(floored, alpha=0.05, seed=seed)
            covered[noise] += low <= 0.0 <= high and low < high
    assert covered[0.0] / 400 < 0.9
    assert covered[NOISE] / 400 > 0.95


def clear_against_vague(rng, rows):
    """Differences of two equally good prompts, of which one has answers that the judge is never unsure of."""
    return 0.75 - (rng.random(rows) < 0.75)


@pytest.mark.parametrize("draw", [noisy_rows, clear_against_vague])
def test_the_fixed_test_and_the_bets_need_no_floor(draw):
    """Noise that no floor is known for promotes less often than alpha, whichever prompt it comes with."""
    rng = np.random.default_rng(3)
    fixed = early = 0
    for seed in range(200):
        found = Differences.of(draw(rng, (15, 40, 100)[seed % 3]))
        fixed += sign_flip_p_value(found.guarded(0.0), minimum=0.0, seed=seed) <= 0.05
        early += anytime_p_value(found, minimum=0.0) <= 0.05
    assert fixed / 200 < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 200)
    assert early <= fixed


def gathered(spark, rounds):
    """Add up rounds of (row, weight, seed's text and score, the new prompt's, the recorded answer and its score)."""
    found = Gathered(NOISE)
    for lines in rounds:
        sides = ((SEED, 2), (GOOD, 4))
        result = spark.createDataFrame(
            [(prompt.candidate_id, line[0], line[at], line[at + 1]) for line in lines for prompt, at in sides],
            "candidate_id string, row_id string, output string, score double",
        )
        rows = spark.createDataFrame([line[:2] for line in lines], "row_id string, weight bigint")
        source = spark.createDataFrame(
            [(line[0], *line[6:]) for line in lines], "row_id string, output string, score double"
        )
        found.take(result, rows, [SEED, GOOD], source)
    return found


ROUNDS = (
    (("a", 1, "same", 1.0, "same", 1.0, "same", 1.0), ("b", 2, "x", 0.0, "y", 1.0, "z", 1.0)),
    (("c", 3, "x", 1.0, "y", 1.0, "y", 1.0), ("d", 9, None, None, "y", 1.0, "z", 1.0)),
)


def test_rows_count_by_weight_whose_two_texts_are_not_the_same(spark):
    """A text is judged once, so the same text twice has no noise; a row without a score has none either. Recorded
    answers are the reference of their judges: only the other text's noise is sure.
    """
    found = gathered(spark, ROUNDS)
    gained = found.differences(GOOD.candidate_id, SEED.candidate_id)
    assert (gained.rows, gained.noise) == (3, pytest.approx(2 * NOISE * (2**2 + 3**2)))
    assert found.differences(GOOD.candidate_id, SOURCE).noise == pytest.approx(NOISE * (2**2 + 9**2))


def test_a_race_takes_the_noise_that_was_measured_and_says_so(spark, tmp_path):
    """Every row gains alike: the interval is as wide as the judge's noise makes it, in the verdict and its record."""
    rows = rows_from_records(spark, world.records(60)).cache()
    settings = GateSettings()
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(judges.perfect) as asked:
        mix = build_mix(({"judge": "equivalence"},), Endpoint("judge", base_url=asked.base_url))
        storage = Storage.at(str(tmp_path), str(tmp_path / "run"))
        evaluation = Evaluation(spark, Endpoint("target", base_url=target.base_url), mix, storage, "run", Progress())
        judge_noise.keep(storage, mix[0].scorer, answers=200, self_agreement=0.82, noise_variance=NOISE)
        found = HoldoutRace(evaluation, rows, 60, SEED, [GOOD], settings, 60, Allowance).run()
    paired = pair(found.result, found.asked, SEED, GOOD)
    sections = [
        holdout_section(
            gate.judge(paired, SEED, GOOD, settings, slices=(), rng_seed=0, race=replace(found.end, judge_noise=noise)),
            improved=True,
        )
        for noise in (found.end.judge_noise, None)
    ]
    assert [one["judge_noise"] for one in sections] == [{"sd": 0.3, "widened": True}, None]
    low, high = sections[0]["interval"]
    assert high - low > 0.05
    rows.unpersist()
