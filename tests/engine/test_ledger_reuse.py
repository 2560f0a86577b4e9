"""How a run uses the ledger: all of it, it alone, or but for what failed; over real HTTP and on Spark."""

import json
import logging
from pathlib import Path

import planted_world as world
import pytest
import search_bench
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import InputError
from engine.evaluate import Evaluation
from engine.ledger_compaction import SparkMerge, compact
from engine.ledger_join import Reuse
from engine.proposers.reflection_client import ReflectionClient
from engine.rows import rows_from_records
from engine.scripted_endpoint import Reply, ScriptedEndpoint
from engine.storage import Storage
from engine.usage import Usage
from udfs import event_loop
from udfs.endpoint import Endpoint, Limits
from udfs.errors import LedgerError
from udfs.keys import SecretFromEnv
from udfs.ledger.listing import forget_checks
from udfs.prompt import Prompt
from udfs.scorers import build_mix

GOOD = Prompt.parse(world.GOOD)
OTHER = Prompt.parse("Give back in UPPER CASE: {{word}}")
THIRD = Prompt.parse("UPPER CASE, please: {{word}}")
LIMITS = Limits(max_attempts=1)
KEY = SecretFromEnv("A_KEY_THAT_NOBODY_SET")


def verdict(call):
    return json.dumps({"rationale": "scripted", "verdict": "same"})


class Refusing:
    """A target that refuses some words for good, until it is told otherwise."""

    def __init__(self, *words):
        self.words = words

    def __call__(self, call):
        if any(word in call.prompt for word in self.words):
            return Reply(status=400, error_code="content_filter")
        return world.target(call)


class World:
    def __init__(self, spark, folder, target, judge):
        self.spark, self.folder, self.target, self.judge = spark, folder, target, judge
        self.rows = rows_from_records(spark, world.records(12))

    def evaluation(self, run_id, *, judged=True, key=None, **options):
        judge = Endpoint("judge", base_url=self.judge.base_url, limits=LIMITS, api_key=key)
        scorers = ["exact_match", {"judge": "equivalence"}] if judged else ["exact_match"]
        return Evaluation(
            self.spark,
            Endpoint("target", base_url=self.target.base_url, limits=LIMITS, api_key=key),
            build_mix(scorers, judge),
            Storage.at(str(self.folder), str(self.folder / run_id)),
            run_id,
            **options,
        )

    def frame(self, evaluation, name, *, prompts=(GOOD,), rows=None):
        return evaluation.frame(list(prompts), rows or self.rows, name=name, total=12 * len(prompts)).collect()

    @property
    def calls(self):
        return len(self.target.calls), len(self.judge.calls)


@pytest.fixture
def make(spark, tmp_path):
    servers = []

    def made(script=world.target):
        target, judge = ScriptedEndpoint(script).__enter__(), ScriptedEndpoint(verdict).__enter__()
        servers.extend([target, judge])
        return World(spark, tmp_path, target, judge)

    yield made
    for server in servers:
        server.__exit__(None, None, None)


REPLAY = Reuse(replay=True)


def outcome(lines):
    return sorted((line["row_id"], line["output"], line["score"], line["feedback"]["equivalence"]) for line in lines)


def test_a_replay_calls_nothing_and_needs_no_key(make):
    """It gives what the run gave; where something lacks, it says how much, and names the first, and calls nothing."""
    w = make()
    first = w.frame(w.evaluation("one"), "first")
    again = w.frame(w.evaluation("two", key=KEY, reuse=REPLAY), "replayed")
    assert outcome(again) == outcome(first)
    with pytest.raises(LedgerError) as told:
        w.frame(w.evaluation("three", key=KEY, reuse=REPLAY), "lacking", prompts=(GOOD, OTHER))
    assert w.calls == (12, 12)
    for part in (
        "12 of 24 pairs",
        "endpoint 'target'",
        f"candidate {OTHER.candidate_id}",
        "row ",
        '"word"',
        "--replay",
    ):
        assert part in str(told.value)


def test_a_replay_that_lacks_a_verdict_names_the_judge(make):
    """The answers are there, but nobody has judged them yet."""
    w = make()
    w.frame(w.evaluation("one", judged=False), "first")
    with pytest.raises(LedgerError, match=r"12 of 12.*no verdict of the judge 'equivalence' at the endpoint 'judge'"):
        w.frame(w.evaluation("two", reuse=REPLAY), "replayed")
    assert w.calls == (12, 0)


def test_what_was_refused_for_good_is_called_again_only_on_demand(make):
    """A content filter's refusal is kept and reused; with retry_failed it alone is called again, once a run."""
    script = Refusing("word003", "word007")
    w = make(script)
    lines = w.frame(w.evaluation("one", judged=False), "first")
    assert sorted(line["score"] for line in lines).count(0.0) == 2
    w.frame(w.evaluation("two", judged=False), "second")
    assert w.calls[0] == 12
    script.words = ("word007",)
    run = w.evaluation("three", judged=False, reuse=Reuse(retry_failed=True))
    lines = w.frame(run, "third")
    assert [line["score"] for line in lines].count(0.0) == 1
    assert w.calls[0] == 14
    w.frame(run, "third again")
    assert w.calls[0] == 14, "what was refused in this very run is not asked for in each of its stages"
    assert len(w.frame(w.evaluation("four", judged=False, reuse=REPLAY), "fourth")) == 12


def test_a_search_asks_again_for_what_was_refused_on_demand(make, tmp_path):
    """The same on the driver, where small stages run."""
    script = Refusing("word001")
    w = make(script)
    rows = search_bench.rows(0, 4)
    ids = frozenset(row.row_id for row in rows)

    def scores(run_id, **options):
        evaluation = w.evaluation(run_id, judged=False, local_row_ids=ids, **options)
        first = evaluation.rollouts([(GOOD, rows)], stage="s")
        evaluation.rollouts([(GOOD, rows)], stage="s")
        return [rollout.score for rollout in first[0]]

    assert scores("one") == [1.0, 0.0, 1.0, 1.0]
    assert scores("two") == [1.0, 0.0, 1.0, 1.0]
    assert w.calls[0] == 4
    assert scores("three", reuse=Reuse(retry_failed=True)) == [1.0, 0.0, 1.0, 1.0]
    assert w.calls[0] == 5
    script.words = ()
    assert scores("four", reuse=Reuse(retry_failed=True)) == [1.0] * 4
    assert scores("five", reuse=REPLAY) == [1.0] * 4
    assert w.calls[0] == 6
    with pytest.raises(LedgerError, match="4 of 4 pairs"):
        w.evaluation("six", reuse=REPLAY, local_row_ids=ids).rollouts([(OTHER, rows)], stage="s")


def test_replay_and_retry_failed_exclude_each_other():
    """One calls nothing, the other calls."""
    with pytest.raises(InputError, match="give one of them"):
        Reuse(replay=True, retry_failed=True)


def test_a_reflection_is_replayed_or_named(make, tmp_path):
    """The reflection model's replies come from the ledger, too; what lacks is named with the request's beginning."""
    w = make(lambda call: f"reply {call.number}")
    storage = Storage.at(str(tmp_path), str(tmp_path / "r"))
    endpoint = Endpoint("big", base_url=w.target.base_url)
    messages = [{"role": "user", "content": "Improve this prompt"}]

    async def ask(client, *samples):
        import asyncio

        found = await asyncio.gather(*(client.ask(messages, sample=sample) for sample in samples))
        await client.flush()
        return [text for text, _ in found]

    used = Usage()
    first = ReflectionClient(endpoint, storage.ledger, run_id="one", usage=used)
    texts = event_loop.run(ask(first, 0, 0, 1))
    assert texts[0] == texts[1] != texts[2]
    assert len(w.target.calls) == 2, "the same request is asked once, even while it is under way"
    assert (used.made, used.resumed, used.reused) == (2, 0, 0), "and it is counted once"
    keyed = Endpoint("big", base_url=w.target.base_url, api_key=KEY)
    replayed = ReflectionClient(keyed, storage.ledger, run_id="two", usage=Usage(), replay=True)
    assert event_loop.run(ask(replayed, 0, 1)) == texts[1:]
    with pytest.raises(LedgerError, match=r"reflection endpoint 'big'.*request number 7.*Improve this prompt"):
        event_loop.run(ask(replayed, 7))
    assert len(w.target.calls) == 2


def test_identical_pairs_are_called_once_in_a_job(make, spark):
    """Wherever they stand in the rows, and however often a prompt is given: one call, one line."""
    w = make()
    rows = w.rows.unionByName(w.rows).unionByName(w.rows).repartition(5)
    lines = w.frame(w.evaluation("one"), "doubled", prompts=(GOOD, GOOD, OTHER), rows=rows)
    assert len(lines) == 24
    assert w.calls == (24, 12), "two candidates that answer alike are judged once"


def test_a_compacted_ledger_serves_a_run_as_before(make, spark):
    """After compaction nothing is called again but what was never asked."""
    w = make()
    first = w.frame(w.evaluation("one"), "first")
    w.frame(w.evaluation("one"), "other", prompts=(OTHER,))
    ledger = Storage.at(str(w.folder), str(w.folder)).ledger
    assert compact(ledger, SparkMerge(spark)).into == 1
    forget_checks()
    assert outcome(w.frame(w.evaluation("two"), "second")) == outcome(first)
    assert w.calls == (24, 12)
    joined = w.evaluation("three").frame([GOOD, THIRD], w.rows, name="third", total=24)
    assert joined.where(F.col("reused")).count() == 12
    assert w.calls == (36, 12)


def test_damaged_segments_are_told_on_the_driver_and_called_again(make, caplog):
    """Spark would skip them without a word: their footers are looked at before."""
    w = make()
    w.frame(w.evaluation("one", judged=False), "first")
    ledger = Storage.at(str(w.folder), str(w.folder)).ledger
    paths = [Path(path) for path in ledger.segments()]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-30])
    with caplog.at_level(logging.WARNING):
        lines = w.frame(w.evaluation("two", judged=False), "second")
    assert {line["score"] for line in lines} == {1.0}
    assert w.calls[0] == 24
    assert all(str(path) in caplog.text for path in paths)


def test_of_several_entries_the_latest_counts(make):
    """A pair that two drivers paid for has one answer, the later one, in Spark and on the driver alike."""
    w = make()
    w.frame(w.evaluation("one", judged=False), "first")
    ledger = Storage.at(str(w.folder), str(w.folder)).ledger
    from ledger_entries import keep

    entries = list(ledger.entries())
    keep(ledger, [one._replace(output="EARLIER", answered_at=one.answered_at - 9) for one in entries], writer="a")
    keep(ledger, [one._replace(output="LATER", answered_at=one.answered_at + 9) for one in entries], writer="b")
    assert {line["output"] for line in w.frame(w.evaluation("two", judged=False), "second")} == {"LATER"}
    rows = search_bench.rows(0, 4)
    evaluation = w.evaluation("three", judged=False, local_row_ids=frozenset(row.row_id for row in rows))
    assert {rollout.output for rollout in evaluation.rollouts([(GOOD, rows)], stage="s")[0]} == {"LATER"}
    assert w.calls[0] == 12


def test_a_search_is_replayed_whole(tmp_path):
    """Target and reflection model alike come from the ledger: same candidates, no call; without it the search fails."""
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(world.reflection) as reflection:
        first, usage = search_bench.run_search(tmp_path, target, reflection)
        calls = len(target.calls) + len(reflection.calls)
        again, replayed = search_bench.run_search(tmp_path, target, reflection, run_id="again", reuse=REPLAY)
        assert [c.prompt for c in again.history.candidates] == [c.prompt for c in first.history.candidates]
        assert (again.best.prompt, again.ended) == (first.best.prompt, first.ended)
        assert (replayed.made, replayed.reused) == (0, usage.made)
        with pytest.raises(LedgerError, match="--replay: 12 of 12 pairs"):
            search_bench.run_search(tmp_path / "empty", target, reflection, reuse=REPLAY)
        assert len(target.calls) + len(reflection.calls) == calls
