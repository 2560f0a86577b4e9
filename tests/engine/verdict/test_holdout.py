"""The race over real HTTP and real Spark: what is asked, what is not, and what is asked again."""

import itertools
import json
from contextlib import ExitStack

import planted_world as world
import pytest

from engine.errors import InputError
from engine.evaluate import Evaluation
from engine.progress import Progress
from engine.rows import rows_from_records
from engine.scripted_endpoint import Reply, ScriptedEndpoint
from engine.settings import GateSettings
from engine.storage import Storage
from engine.verdict.fingerprints import Fingerprints, check_comparable
from engine.verdict.holdout import HoldoutRace
from engine.verdict.race import Answer
from engine.verdict.recorded import RecordedAnswers
from udfs.allowance import Allowance
from udfs.endpoint import Endpoint, Limits
from udfs.prompt import Prompt
from udfs.scorers import build_mix

SEED, GOOD, USELESS = (Prompt.parse(text) for text in (world.SEED, world.GOOD, world.USELESS))
ROWS = 400


def guessing(call):
    """A model that does what it is told only for three words of four."""
    told = world.target(call)
    return told if not told.isupper() or int(told[4:]) % 4 else "I don't know"


class Told(Progress):
    def __init__(self):
        super().__init__()
        self.lines = []

    def tell(self, message):
        self.lines.append(message)


@pytest.fixture
def race_of(spark, tmp_path):
    """Make races of one world; each is a run of its own over the same ledger."""
    rows = rows_from_records(spark, world.records(ROWS)).cache()
    held = ExitStack()
    runs = itertools.count()

    def make(challengers, answer=world.target, *, rows_asked=ROWS, scorers=("exact_match",), allowance=None, **gate):
        target = held.enter_context(ScriptedEndpoint(answer))
        judge = held.enter_context(ScriptedEndpoint(lambda _: "no judge should be asked"))
        run = f"run{next(runs)}"
        evaluation = Evaluation(
            spark,
            Endpoint("target", base_url=target.base_url, limits=Limits(max_attempts=1)),
            build_mix(scorers, Endpoint("judge", base_url=judge.base_url)),
            Storage.at(str(tmp_path), str(tmp_path / run)),
            run,
            Told(),
        )
        settings = GateSettings(**gate)
        recorded = RecordedAnswers.of(evaluation, rows, Allowance, question=settings.question)
        race = HoldoutRace(
            evaluation,
            rows,
            ROWS,
            SEED,
            challengers,
            settings,
            rows_asked,
            allowance or Allowance,
            labels={prompt.candidate_id: f"c{n}" for n, prompt in enumerate(challengers, 1)},
            source_scores=recorded.scores if recorded else None,
        )
        return race, target, judge

    with held:
        yield make
    rows.unpersist()


def test_a_clear_gain_is_known_after_the_first_round(race_of):
    """A quarter of the rows is asked, the rest never; the same race again finds every answer in the ledger."""
    race, target, _ = race_of([GOOD, USELESS])
    found = race.run()
    assert (found.end.standing.answer, found.leader) == (Answer.PROMOTE, GOOD)
    assert found.end.judge_noise == 0.0
    asked = found.end.looks[0].rows
    assert 90 < asked < 160
    assert len(target.calls) == 3 * asked == found.result.count()
    assert found.pairs_not_asked == 3 * (ROWS - asked)
    assert {row["row_id"] for row in found.asked.collect()} == {row["row_id"] for row in found.result.collect()}
    again, target, _ = race_of([GOOD, USELESS])
    assert again.run().end.looks == found.end.looks
    assert target.calls == []


def test_a_candidate_that_changes_nothing_is_out(race_of):
    """Nothing differs on any row: after some rounds the rest is not worth asking."""
    race, target, _ = race_of([USELESS], worthwhile_gain=0.05)
    found = race.run()
    assert found.end.standing.answer is Answer.KEEP
    assert len(target.calls) < 2 * ROWS


def test_no_worse_than_the_source_is_asked_of_the_recorded_answers(race_of):
    """What the source model answered is scored by the same scorers."""
    race, _, _ = race_of([GOOD], question="no_worse")
    found = race.run()
    assert found.end.standing.answer is Answer.PROMOTE
    assert found.end.source_score == 1.0
    claim = found.end.claims["no_worse"]
    assert (claim.minimum, claim.differences.mean) == (-0.02, 0.0)


def test_no_judge_is_asked_whether_a_text_says_what_it_says(race_of):
    """A judge that compares with the recorded answer finds it the same by definition; nothing is called."""
    race, target, judge = race_of([GOOD], scorers=("exact_match", {"judge": "equivalence"}))
    scores = race.source_scores(race.holdout.limit(20)).collect()
    assert [line["score"] for line in scores] == [1.0] * 20
    assert target.calls == judge.calls == []
    assert race.evaluation.usage.calls()["reused"] == 0


def test_better_than_the_seed_may_still_be_worse_than_the_source(race_of):
    """One word of four is wrong: better with confidence, but not what the source model did."""
    race, _, _ = race_of([GOOD], guessing, question="both")
    found = race.run()
    assert found.end.standing.answer is Answer.KEEP
    assert found.end.claims["better"].differences.mean > 0.6
    assert found.end.claims["no_worse"].differences.mean < -0.15
    better, _, _ = race_of([GOOD], guessing)
    assert better.run().end.standing.answer is Answer.PROMOTE


def test_at_most_so_many_rows_are_asked(race_of):
    """The budget's rows bound the race to the row; so few are one look."""
    race, target, _ = race_of([GOOD], rows_asked=100)
    found = race.run()
    assert found.end.planned_rows == 100
    assert len(target.calls) == 200
    assert len(found.end.looks) == 1


def test_an_allowance_that_ends_makes_its_round_the_last(race_of):
    """What was asked until then is judged on, and the user is told."""
    race, _, _ = race_of([USELESS], allowance=lambda: Allowance(tokens=0.0))
    found = race.run()
    assert found.end.last
    assert len(found.end.looks) == 1
    assert found.end.standing.answer is Answer.NEED_MORE_DATA
    assert "the budget did not cover" in race.evaluation.progress.lines[0]


def test_an_outage_ends_the_race_instead_of_deciding_it(race_of):
    """More rows failed than the whole race may have: it ends at once, for the check of coverage to say so."""
    race, _, _ = race_of([GOOD], lambda call: Reply(status=400) if "word1" in call.prompt else world.target(call))
    found = race.run()
    assert found.end.last
    assert found.result.where("score is null").count() > 8


def test_fingerprints_tell_what_can_not_be_compared(spark):
    """Other answers, other scorers, another judge or other parameters each have another fingerprint."""
    rows = rows_from_records(spark, world.records(30))
    other = rows_from_records(spark, [r | {"expectations": {"expected_response": "x"}} for r in world.records(30)])
    target = Endpoint("target", base_url="http://127.0.0.1:1/v1")
    mix = build_mix(["exact_match"], None)
    judged = build_mix([{"judge": "equivalence"}], target)
    one = Fingerprints.of(rows, mix, target)
    check_comparable(one, Fingerprints.of(rows.orderBy("row_id").repartition(3), mix, target))
    for found, word in (
        (Fingerprints.of(other, mix, target), "data set"),
        (Fingerprints.of(rows.limit(29), mix, target), "data set"),
        (Fingerprints.of(rows, build_mix(["contains"], None), target), "scorers"),
        (Fingerprints.of(rows, judged, target), "judges"),
        (Fingerprints.of(rows, mix, Endpoint("another", base_url="http://127.0.0.1:1/v1")), "parameters"),
    ):
        with pytest.raises(InputError, match=word):
            check_comparable(one, found)
    assert json.dumps(one.__dict__)
