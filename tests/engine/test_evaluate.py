"""Distributed evaluation with a judge, over real HTTP: what is asked, what is reused, what is written."""

import json
from dataclasses import replace

import planted_world as world
import pytest
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import InputError
from engine.evaluate import Evaluation
from engine.result_frame import summarize
from engine.rows import rows_from_records
from engine.scripted_endpoint import Reply, ScriptedEndpoint
from engine.storage import Storage
from udfs.allowance import Allowance
from udfs.endpoint import Endpoint, Limits, Price, Sampling
from udfs.keys import SecretFromEnv
from udfs.prompt import Prompt
from udfs.scorers import build_mix

GOOD = Prompt.parse(world.GOOD)
ALIKE = Prompt.parse("Give back in UPPER CASE: {{word}}")
SEED = Prompt.parse(world.SEED)
LIMITS = Limits(max_attempts=2)


def verdict(call):
    return json.dumps({"rationale": "scripted", "verdict": "same"})


@pytest.fixture
def world_of(spark, tmp_path):
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(verdict) as judge:

        def evaluation(run_id, *, scorers=("exact_match", {"judge": "equivalence"}), url=target.base_url):
            asked = Endpoint("judge", base_url=judge.base_url, limits=LIMITS)
            return Evaluation(
                spark,
                Endpoint("target", base_url=url, limits=LIMITS),
                build_mix(scorers, asked),
                Storage.at(str(tmp_path), str(tmp_path / run_id)),
                run_id,
            )

        yield evaluation, target, judge, rows_from_records(spark, world.records(40))


def test_nothing_is_paid_for_twice_and_alike_answers_are_judged_once(world_of):
    """The same evaluation again calls nothing; another candidate that answers alike needs no verdict of its own."""
    evaluation, target, judge, rows = world_of
    first = evaluation("one")
    result = first.frame([GOOD], rows, name="first", total=40)
    assert {line["score"] for line in result.collect()} == {1.0}
    assert (len(target.calls), len(judge.calls)) == (40, 40)
    again = evaluation("two")
    again.frame([GOOD], rows, name="again", total=40)
    assert (len(target.calls), len(judge.calls)) == (40, 40)
    assert again.usage.calls() == {"made": 0, "reused": 80, "resumed": 0, "retried": 0, "refused": 0, "failed": 0}
    alike = evaluation("three")
    alike.frame([ALIKE], rows, name="alike", total=40)
    assert (len(target.calls), len(judge.calls)) == (80, 40)
    assert alike.usage.judge.prompt == 0


def test_a_run_that_goes_on_counts_what_it_paid_for_before(world_of):
    """Resumed answers and verdicts count as the run's own, so that its totals are those of an uninterrupted run."""
    evaluation, _, _, rows = world_of
    first = evaluation("one")
    first.frame([GOOD], rows, name="first", total=40)
    again = evaluation("one")
    again.frame([GOOD], rows, name="second", total=40)
    assert again.usage.calls()["made"] == first.usage.calls()["made"] == 80
    assert again.usage.token_counts() == first.usage.token_counts()


@pytest.mark.parametrize("limit", ["tokens", "cost"])
def test_a_budget_holds_over_all_tasks_of_a_stage(world_of, limit):
    """Tokens and money that are left bound a Spark stage; what they do not cover is not asked."""
    evaluation, target, _, rows = world_of
    asked = evaluation("one", scorers=("exact_match",))
    price = Price(prompt_per_million=1e6, completion_per_million=1e6)  # a token costs 1
    asked.endpoint = replace(asked.endpoint, price=price, sampling=Sampling(max_tokens=16))
    result = asked.frame([SEED, GOOD], rows, name="some", total=80, allowance=Allowance(**{limit: 600.0}))
    lines = result.collect()
    made = [line for line in lines if line["error"] is None]
    assert (len(lines), len(made)) == (80, len(target.calls))
    assert 300 < sum(line["prompt_tokens"] + line["completion_tokens"] for line in made) <= 600
    assert {line["error"]["kind"] for line in lines if line["error"]} == {"budget"}
    assert all(line["score"] is None for line in lines if line["error"])


def test_identical_rows_cost_one_call(world_of):
    """Rows that stand twice in what a user hands over are evaluated once."""
    evaluation, target, _, rows = world_of
    result = evaluation("one", scorers=("exact_match",)).frame([GOOD], rows.union(rows), name="twice", total=80)
    assert (result.count(), len(target.calls)) == (40, 40)


def test_candidates_are_summarized_by_weight(world_of, spark):
    """A candidate's score is the mean by weight over its scored rows."""
    evaluation, _, _, _ = world_of
    records = [{**record, "weight": 3 if n == 0 else 1} for n, record in enumerate(world.records(2))]
    records[1]["expectations"] = {"expected_response": "something else"}
    rows = rows_from_records(spark, records)
    result = evaluation("w", scorers=("exact_match",)).frame([GOOD, SEED], rows, name="w", total=4)
    scores = {line["candidate_id"]: line["score"] for line in summarize(result, rows).collect()}
    assert scores == {GOOD.candidate_id: 0.75, SEED.candidate_id: 0.0}


def test_an_outage_leaves_rows_unscored_and_says_why(world_of):
    """An endpoint that is down gives no score of 0, but an error of its kind in every line."""
    evaluation, _, _, rows = world_of
    with ScriptedEndpoint(lambda call: Reply(status=400)) as down:
        result = evaluation("down", url=down.base_url).frame([SEED], rows, name="down", total=40)
        assert result.where(F.col("score").isNotNull()).count() == 0
        assert {line["kind"] for line in result.select("error.kind").distinct().collect()} == {"rejected"}


def test_rows_without_what_a_scorer_needs_stop_before_the_first_call(world_of, spark):
    """The message names the scorer, the key and a row."""
    evaluation, target, _, _ = world_of
    rows = rows_from_records(spark, [{"inputs": {"word": "word001"}}])
    with pytest.raises(InputError, match=r"exact_match.*expectations.expected_response.*word001"):
        evaluation("x").frame([SEED], rows, name="x", total=1)
    assert not target.calls


def test_a_key_that_is_not_set_stops_before_the_first_call(spark, tmp_path, monkeypatch):
    """The driver reads the key, and says which variable is missing."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    keyed = Endpoint("m", base_url="http://127.0.0.1:1/v1", api_key=SecretFromEnv("NO_SUCH_KEY"))
    with pytest.raises(InputError, match="NO_SUCH_KEY"):
        Evaluation(spark, keyed, (), Storage.at(str(tmp_path), str(tmp_path)), "run")
