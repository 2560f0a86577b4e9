"""The gate promotes on evidence, keeps on noise, and never lets a regression or a lost variable through."""

import math

import pytest

from engine import gate
from engine.settings import GateSettings
from engine.verdict import paired as gate_rows
from engine.verdict.race import Answer
from udfs.prompt import Prompt

SEED = Prompt.parse("Sort {{text}}")
BEST = Prompt.parse("Sort {{text}} into a or b")
PAIRED_DDL = (
    "row_id string, inputs string, expectations string, weight bigint, slices map<string,string>, trace_id string, "
    "seed_output string, seed_score double, seed_error struct<kind:string,message:string>, "
    "seed_feedback map<string,string>, best_output string, best_score double, "
    "best_error struct<kind:string,message:string>, best_feedback map<string,string>"
)


def paired(spark, scores):
    """Make a paired frame of (seed score, best score[, weight[, slices]])."""
    lines = []
    for number, (seed, best, *rest) in enumerate(scores):
        weight = rest[0] if rest else 1
        slices = rest[1] if len(rest) > 1 else None
        error = ("timeout", "late")
        lines.append(
            (
                *(f"r{number:05d}", "{}", None, weight, slices, None),
                *("s", seed, None if seed is not None else error, {"f": "seed says"}),
                *("b", best, None if best is not None else error, {"f": "best says", "g": ""}),
            )
        )
    return spark.createDataFrame(lines, PAIRED_DDL)


def judged(spark, scores, *, best=BEST, slices=(), **settings):
    return gate.judge(paired(spark, scores), SEED, best, GateSettings(**settings), slices=slices, rng_seed=0)


GAIN = [(0.0, 1.0)] * 12 + [(1.0, 1.0)] * 20 + [(0.0, 0.0)] * 8


def test_a_clear_gain_is_promoted(spark):
    """Twelve rows won and none lost: the verdict says by how much, over how many rows."""
    found = judged(spark, GAIN)
    assert found.promote, found.reason
    assert (found.rows, found.seed_score, found.best_score) == (40, 0.5, 0.8)
    assert found.difference == pytest.approx(0.3)
    assert found.interval[0] < 0.3 < found.interval[1]
    assert found.p_value == 0.5**12


def test_a_gain_from_zero_counts(spark):
    """Where the old prompt never scored, the new one may."""
    found = judged(spark, [(0.0, 1.0)] * 30)
    assert (found.promote, found.seed_score, found.best_score) == (True, 0.0, 1.0)


def test_noise_keeps_the_old_prompt(spark):
    """Won and lost about alike, or too few won: the old prompt stays, and the reason says what was short."""
    for scores in ([(0.0, 1.0)] * 11 + [(1.0, 0.0)] * 9, [(0.0, 1.0)] * 4 + [(1.0, 1.0)] * 400):
        found = judged(spark, scores)
        assert not found.promote
        assert "may be chance" in found.reason


def test_no_gain_keeps_the_old_prompt(spark):
    """Equal or worse is not better."""
    for scores in ([(1.0, 1.0)] * 20, [(1.0, 0.0)] * 20):
        found = judged(spark, scores)
        assert not found.promote
        assert "no gain" in found.reason


def test_a_gain_below_what_was_asked_for_keeps_the_old_prompt(spark):
    """``min_improvement`` is what the gain must be above with confidence."""
    assert judged(spark, GAIN, min_improvement=0.05).promote
    assert not judged(spark, GAIN, min_improvement=0.25).promote


def test_a_lost_variable_never_passes(spark):
    """Whatever the scores say."""
    found = judged(spark, [(0.0, 1.0)] * 100, best=Prompt.parse("Sort it"))
    assert not found.promote
    assert "text" in found.reason


def test_rows_unscored_on_one_side_are_left_out(spark):
    """An outage is neither won nor lost: means, difference and counts are over rows scored for both."""
    found = judged(spark, [*GAIN, *[(None, 1.0)] * 50, *[(1.0, None)] * 50, (None, None)])
    assert (found.rows, found.seed_score, found.best_score, found.promote) == (40, 0.5, 0.8, True)


def test_without_a_row_scored_for_both_the_old_prompt_stays(spark):
    """Nothing is known, and the verdict says so instead of breaking."""
    found = judged(spark, [(None, 1.0)] * 5, slices=("lang",))
    assert (found.promote, found.rows) == (False, 0)
    assert "no row was scored for both" in found.reason
    assert math.isnan(found.seed_score)


def test_rows_weigh_by_their_count(spark):
    """A row that stands for many traces weighs that much in scores and difference."""
    found = judged(spark, [(0.0, 1.0, 3), (1.0, 1.0, 1)])
    assert (found.seed_score, found.best_score, found.difference) == (0.25, 1.0, 0.75)


def test_a_regression_on_a_slice_blocks(spark):
    """A gain overall does not pay for a slice that is worse with confidence; the reason names it."""
    scores = [(0.0, 1.0, 1, {"lang": "en"})] * 60 + [(1.0, 0.0, 1, {"lang": "de"})] * 12
    found = judged(spark, scores, slices=("lang",))
    assert not found.promote
    assert "lang=de" in found.reason
    assert [(line.value, line.rows, line.seed_score, line.best_score) for line in found.slices] == [
        ("de", 12, 1.0, 0.0),
        ("en", 60, 0.0, 1.0),
    ]
    assert judged(spark, scores).promote


def test_a_slice_that_is_worse_by_chance_does_not_block(spark):
    """One row lost of three says nothing; rows without the tag belong to no slice."""
    scores = [*[(0.0, 1.0, 1, {"lang": "en"})] * 40, *[(0.0, 1.0)] * 5, (1.0, 0.0, 1, {"lang": "de"})]
    found = judged(spark, scores, slices=("lang", "tenant"))
    assert found.promote, found.reason
    assert [line.value for line in found.slices] == ["de", "en"]


def test_pairing_joins_the_two_prompts_by_row(spark):
    """Only rows that were evaluated with both, with each side's own output, score, error and feedback."""
    rows = spark.createDataFrame([("a", "{}", 2), ("b", "{}", 1)], "row_id string, inputs string, weight bigint")
    result = spark.createDataFrame(
        [
            (SEED.candidate_id, "a", "old", 0.25, None, {"f": "x"}),
            (BEST.candidate_id, "a", "new", None, ("timeout", "late"), None),
            (SEED.candidate_id, "b", "old", 1.0, None, None),
        ],
        "candidate_id string, row_id string, output string, score double, error struct<kind:string,message:string>, "
        "feedback map<string,string>",
    )
    (line,) = gate_rows.pair(result, rows, SEED, BEST).collect()
    assert (line["row_id"], line["weight"], line["seed_output"], line["seed_score"]) == ("a", 2, "old", 0.25)
    assert (line["best_output"], line["best_score"], line["best_error"]["kind"]) == ("new", None, "timeout")


def test_reports_show_rows_flips_and_errors(spark):
    """What people see is sorted by what matters, and counts only rows scored for both."""
    frame = paired(spark, [(0.0, 1.0), (1.0, 0.0, 5), (1.0, 0.5), (1.0, 1.0), (None, 0.0)])
    assert gate_rows.flips(frame) == (1, 2)
    lost = gate_rows.row_lines(frame, order="lost")
    assert [(line.row_id, line.weight, line.feedback) for line in lost] == [
        ("r00001", 5, "best says"),
        ("r00002", 1, "best says"),
    ]
    assert [line.row_id for line in gate_rows.row_lines(frame, order="won")] == ["r00000"]
    assert [line.row_id for line in gate_rows.row_lines(frame, order="worst")] == ["r00001", "r00002"]
    (error,) = gate_rows.error_lines(frame)
    assert (error.kind, error.seed_rows, error.best_rows) == ("timeout", 1, 0)


def test_of_two_questions_the_one_that_is_ruled_out_is_the_reason():
    """A gain that may be chance is not what keeps a prompt out that is far worse than the source model."""
    findings = {
        gate.BETTER: gate.Finding(0.0, 0.067, (0.0, 0.15), 0.125, shown=False),
        gate.NO_WORSE: gate.Finding(-0.02, -0.933, (-1.0, -0.85), 1.0, shown=False),
    }
    verdict = gate.Verdict(Answer.KEEP, "", 60, 60, 0.0, 0.067, 1.0, findings, 0.05, question="both")
    found = gate._reasoned(verdict, GateSettings(question="both"), lost=[]).reason
    assert found == "no difference to the source model above -0.020 (difference -0.933 on 60 rows)"
