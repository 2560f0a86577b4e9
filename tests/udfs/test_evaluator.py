"""One evaluation over real HTTP: what is asked, what is scored, what is kept, and what is never paid for twice."""

import json
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from workspace import PAT, ServedEndpoint, Workspace

from engine.scripted_endpoint import Reply, ScriptedEndpoint
from udfs.endpoint import Endpoint, Limits
from udfs.errors import CallError, ErrorKind, InputError, LedgerError
from udfs.keys import Secret, SecretFromEnv
from udfs.ledger import LedgerLocation, answer_key
from udfs.plan import EvaluationPlan
from udfs.prompt import Prompt
from udfs.rollout import Item, to_columns
from udfs.scorers import build_mix
from udfs.scorers.protocol import Score, Weighted
from udfs.task import evaluate_stream

PROMPT = Prompt.parse("Shout {{word}}")
OTHER = Prompt.parse("Please shout {{word}}")
LIMITS = Limits(max_attempts=1, max_concurrency=8)


def verdict(word="same"):
    return json.dumps({"rationale": "because", "verdict": word})


@dataclass
class World:
    """A target and a judge on scripted endpoints, a ledger, and what they were asked."""

    root: Path
    target: ScriptedEndpoint
    judge: ScriptedEndpoint
    plan: EvaluationPlan = field(init=False)

    def __post_init__(self):
        self.plan = EvaluationPlan(
            endpoint=Endpoint("target", base_url=self.target.base_url, limits=LIMITS),
            prompts={prompt.candidate_id: prompt for prompt in (PROMPT, OTHER)},
            mix=build_mix(["exact_match"], None),
            ledger=LedgerLocation(str(self.root)),
            evaluation_id="e1",
            run_id="run",
        )

    def judged(self):
        judge = Endpoint("judge", base_url=self.judge.base_url, limits=LIMITS)
        self.plan = replace(self.plan, mix=build_mix(["exact_match", {"judge": "equivalence", "weight": 3.0}], judge))
        return self

    def run(self, words, *, prompts=(PROMPT,), known=(), batch=3, **changes):
        self.plan = replace(self.plan, **changes)
        items = [
            Item(
                prompt.candidate_id,
                f"row-{word}",
                json.dumps({"word": word}),
                json.dumps({"expected_response": word.upper()}),
                tuple(known),
            )
            for prompt in prompts
            for word in words
        ]
        batches = [items[at : at + batch] for at in range(0, len(items), batch)]
        return [rollout for found in evaluate_stream(self.plan, batches) for rollout in found]

    def entries(self, kind=None):
        return [one for one in self.plan.ledger.entries() if kind in {None, one.kind}]


def shout(call):
    return call.prompt.split()[-1].upper()


@pytest.fixture
def world(tmp_path):
    """Give a maker of worlds, by the scripts of target and judge."""
    with ExitStack() as stack:

        def make(target=shout, judge=lambda _: verdict()):
            servers = [stack.enter_context(ScriptedEndpoint(script)) for script in (target, judge)]
            return World(tmp_path, *servers)

        yield make


WORDS = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu"]


def test_each_item_is_asked_once_and_scored_in_order(world):
    """One call an item, the rendered prompt as its message, results in the order of the items."""
    w = world()
    found = w.run(WORDS)
    assert sorted(call.prompt for call in w.target.calls) == [f"Shout {word}" for word in WORDS]
    assert [r.output for r in found] == [word.upper() for word in WORDS]
    assert {(r.score, r.error, r.attempts, r.reused, r.resumed) for r in found} == {(1.0, None, 1, False, False)}
    assert [r.row_id for r in found] == [f"row-{word}" for word in WORDS]
    assert all(r.prompt_tokens > 0 and r.completion_tokens > 0 for r in found)
    assert len(w.entries()) == len(WORDS)


def test_known_answers_are_not_asked_again(world):
    """An entry of another run's serves: it is scored anew, marked as reused, and nothing is called or kept."""
    w = world()
    first = w.run(WORDS)
    known = w.entries()
    again = w.run(WORDS, known=known, evaluation_id="e2", run_id="later")
    assert len(w.target.calls) == len(WORDS)
    assert [(r.output, r.score, r.prompt_tokens) for r in again] == [
        (r.output, r.score, r.prompt_tokens) for r in first
    ]
    assert {(r.reused, r.resumed) for r in again} == {(True, False)}
    assert len(w.entries()) == len(WORDS)


def test_known_answers_of_the_same_run_are_resumed(world):
    """A run that was interrupted counts what it had paid for as its own."""
    w = world()
    w.run(WORDS)
    again = w.run(WORDS, known=w.entries(), evaluation_id="e2")
    assert {(r.reused, r.resumed) for r in again} == {(True, True)}


def test_an_answer_is_known_only_to_the_same_question(world):
    """Another candidate, sampling or model asks for itself."""
    w = world()
    w.run(["ant"])
    known = w.entries()
    w.run(["ant"], prompts=(OTHER,), known=known, evaluation_id="e2")
    w.run(["ant"], known=known, evaluation_id="e3", endpoint=replace(w.plan.endpoint, name="other"))
    assert len(w.target.calls) == 3


def test_a_second_attempt_of_a_task_finds_the_segments_of_the_first(world):
    """A task that Spark runs again pays for nothing that its earlier attempt had kept; another partition does."""
    w = world()
    stream = evaluate_stream(
        w.plan, [[Item(PROMPT.candidate_id, "row-ant", '{"word": "ant"}', '{"expected_response": "ANT"}')]], partition=0
    )
    next(stream)
    stream.close()
    assert len(w.entries()) == 1
    found = w.run(["ant", "bee"])
    assert len(w.target.calls) == 2
    assert [r.reused for r in found] == [True, False]
    item = Item(PROMPT.candidate_id, "row-ant", '{"word": "ant"}', '{"expected_response": "ANT"}')
    list(evaluate_stream(w.plan, [[item]], partition=1))
    assert len(w.target.calls) == 3


def test_an_evaluation_that_breaks_keeps_what_was_paid_for(world):
    """Answers that came before the source of items broke are on storage when the exception arrives."""
    w = world()

    scored = threading.Event()

    @dataclass(frozen=True)
    class Signal:
        name: str = "signal"
        needs: frozenset = frozenset()

        def score(self, subject):
            scored.set()
            return Score(1.0)

    def batches():
        yield [Item(PROMPT.candidate_id, "row-ant", '{"word": "ant"}', None)]
        scored.wait(30)
        raise OSError("the executor is lost")

    with pytest.raises(OSError, match="lost"):
        list(evaluate_stream(replace(w.plan, mix=(Weighted(Signal()),)), batches()))
    assert [one.output for one in w.entries()] == ["ANT"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(status=503), ErrorKind.OVERLOADED),
        # One attempt: the deadline is nearer than the time that the endpoint asks for.
        (Reply(status=429, headers={"Retry-After": "9999"}), ErrorKind.RATE_LIMITED),
        (Reply(status=401), ErrorKind.CREDENTIALS),
        (Reply(status=400), ErrorKind.REJECTED),
        (Reply(hang_up=True), ErrorKind.NETWORK),
    ],
)
def test_an_outage_leaves_the_row_unscored(world, reply, kind):
    """Infrastructure failures are no score, and are not kept: the row is asked again next time."""
    w = world(lambda _: reply)
    (found,) = w.run(["ant"])
    assert (found.score, found.output, dict(found.scores), found.error.kind) == (None, None, {}, kind)
    assert found.attempts == 1
    assert w.entries() == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(finish_reason="content_filter"), ErrorKind.CONTENT_FILTER),
        (Reply(status=400, error_code="context_length_exceeded"), ErrorKind.CONTEXT_LENGTH),
    ],
)
def test_the_prompts_own_failure_is_zero_with_feedback(world, reply, kind):
    """Reflection can learn from it; it is kept, and not asked again."""
    w = world(lambda _: reply)
    (found,) = w.run(["ant"])
    assert (found.score, dict(found.scores), found.error.kind) == (0.0, {"exact_match": 0.0}, kind)
    assert kind.value in found.feedback["exact_match"]
    again = w.run(["ant"], known=w.entries(), evaluation_id="e2")
    assert len(w.target.calls) == 1
    assert (again[0].score, again[0].error, again[0].reused) == (0.0, found.error, True)


def test_a_row_with_an_outage_does_not_touch_the_others(world):
    """Failures are each row's own."""
    w = world(lambda call: Reply(status=503) if "cat" in call.prompt else shout(call))
    assert [r.score for r in w.run(WORDS)] == [1.0, 1.0, None, 1.0, 1.0, 1.0, 1.0]


def test_judge_and_scorer_are_mixed_by_weight(world):
    """The score is the weighted mean; the judge's calls and tokens are counted beside the answer's."""
    w = world(lambda _: "wrong", lambda _: verdict("partly")).judged()
    (found,) = w.run(["ant"])
    assert dict(found.scores) == {"exact_match": 0.0, "equivalence": 0.5}
    assert found.score == pytest.approx(0.375)
    assert (found.judge_calls, found.judge_attempts, found.judge_reused) == (1, 1, 0)
    assert found.judge_prompt_tokens > 0
    assert "because" in found.feedback["equivalence"]
    assert [one.kind for one in w.entries()] == ["answer", "verdict"]


def test_a_reply_that_is_no_verdict_is_asked_for_again_with_another_seed(world):
    """At temperature 0 the same request would bring the same reply."""
    w = world(judge=lambda call: "hm" if call.number < 3 else verdict()).judged()
    (found,) = w.run(["ant"])
    assert (found.score, found.judge_calls) == (1.0, 3)
    assert [call.body.get("seed") for call in w.judge.calls] == [None, 1, 2]
    assert len(w.entries("verdict")) == 1


def test_without_a_verdict_the_row_stays_unscored_and_its_answer_kept(world):
    """A judge's failure says nothing about the prompt; what it cost is counted, and only the judge is asked again."""
    w = world(judge=lambda _: "hm").judged()
    (found,) = w.run(["ant"])
    assert (found.score, found.output, found.error.kind) == (None, "ANT", ErrorKind.JUDGE)
    assert "equivalence" in found.error.message
    assert (found.judge_calls, len(w.judge.calls)) == (3, 3)
    assert found.judge_completion_tokens > 0
    assert [one.kind for one in w.entries()] == ["answer"]


def test_an_outage_of_the_judge_leaves_the_row_unscored(world):
    """Only the judge is asked again next time."""
    w = world(judge=lambda call: Reply(status=503) if call.number == 1 else verdict()).judged()
    (found,) = w.run(["ant"])
    assert (found.score, found.error.kind, found.judge_calls) == (None, ErrorKind.OVERLOADED, 1)
    (again,) = w.run(["ant"], known=w.entries(), evaluation_id="e2")
    assert again.score == 1.0
    assert (len(w.target.calls), len(w.judge.calls)) == (1, 2)


def test_a_judges_content_filter_is_not_the_prompts_failure(world):
    """What the judge's endpoint withholds leaves the row unscored."""
    w = world(judge=lambda _: Reply(finish_reason="content_filter")).judged()
    (found,) = w.run(["ant"])
    assert (found.score, found.error.kind) == (None, ErrorKind.JUDGE)


def test_known_verdicts_are_not_asked_again(world):
    """Answer and verdict both come from the ledger; feedback and score are the same."""
    w = world().judged()
    first = w.run(WORDS)
    again = w.run(WORDS, known=w.entries(), evaluation_id="e2", run_id="later")
    assert (len(w.target.calls), len(w.judge.calls)) == (len(WORDS), len(WORDS))
    assert [(r.score, dict(r.feedback)) for r in again] == [(r.score, dict(r.feedback)) for r in first]
    assert {(r.judge_calls, r.judge_reused) for r in again} == {(0, 1)}


def test_candidates_that_answer_alike_are_judged_once(world):
    """Even while both are under way: the second waits for the first's verdict instead of paying for its own."""
    w = world(judge=lambda _: Reply(verdict(), delay_s=0.05)).judged()
    found = w.run(WORDS, prompts=(PROMPT, OTHER), batch=100)
    assert len(w.target.calls) == 2 * len(WORDS)
    assert len(w.judge.calls) == len(WORDS)
    assert sum(r.judge_calls for r in found) == sum(r.judge_reused for r in found) == len(WORDS)


def test_when_the_first_of_two_alike_gets_no_verdict_the_second_asks_itself(world):
    """A failure is not shared."""
    w = world(judge=lambda call: Reply(status=503, delay_s=0.05) if call.number == 1 else verdict()).judged()
    found = w.run(["ant"], prompts=(PROMPT, OTHER))
    assert sorted(str(r.score) for r in found) == ["1.0", "None"]
    assert len(w.judge.calls) == 2


@dataclass(frozen=True)
class Fixed:
    """A scorer that returns or raises what it was given."""

    result: object
    name: str = "fixed"
    needs: frozenset = frozenset()

    def score(self, subject):
        if isinstance(self.result, Exception):
            raise self.result
        return Score(self.result)


@pytest.mark.parametrize(
    "result",
    [
        ZeroDivisionError("oh"),
        InputError("oh"),
        CallError(ErrorKind.UNPARSABLE, "oh"),
        float("nan"),
        float("inf"),
        1.01,
        -0.01,
    ],
)
def test_a_scorer_that_breaks_leaves_the_row_unscored(world, result):
    """Whatever a scorer raises, and a score that is none: a defect of the scorer is no verdict on the prompt."""
    w = world()
    found = w.run(["ant", "bee"], mix=(Weighted(Fixed(result)), *w.plan.mix))
    assert {(r.score, r.error.kind) for r in found} == {(None, ErrorKind.SCORER)}
    assert all("fixed" in r.error.message for r in found)
    assert {dict(r.scores)["exact_match"] for r in found} == {1.0}
    assert len(w.entries()) == 2


def test_an_output_that_cannot_be_parsed_scores_zero_and_says_so(world):
    """Broken JSON is the prompt's own failure: a score with an error beside it."""
    w = world(lambda _: "{broken")
    mix = build_mix([{"json_schema": {"schema": {"type": "object"}}}], None)
    (found,) = w.run(["ant"], mix=mix)
    assert (found.score, found.error.kind) == (0.0, ErrorKind.UNPARSABLE)


def test_a_judge_without_its_key_stops_the_run_before_anything_is_paid(world):
    """A missing variable is not each row's failure."""
    w = world().judged()
    judge = w.plan.mix[1]
    endpoint = replace(judge.scorer.endpoint, api_key=SecretFromEnv("SURELY_NOT_SET_ANYWHERE"))
    mix = (w.plan.mix[0], replace(judge, scorer=replace(judge.scorer, endpoint=endpoint)))
    with pytest.raises(InputError, match="SURELY_NOT_SET_ANYWHERE"):
        w.run(["ant"], mix=mix)
    assert w.target.calls == []


def test_a_missing_variable_stops_the_run(world):
    """A template that a row can't fill is bad input, and nothing is called."""
    w = world()
    prompt = Prompt.parse("{{word}} {{tone}}")
    plan = replace(w.plan, prompts={prompt.candidate_id: prompt})
    with pytest.raises(InputError, match="tone"):
        list(evaluate_stream(plan, [[Item(prompt.candidate_id, "r", '{"word": "x"}', None)]]))
    assert w.target.calls == []


@pytest.mark.parametrize("judged", [False, True])
def test_a_ledger_that_cannot_be_written_stops_the_run(world, tmp_path, judged):
    """It is not taken for a row's failure, wherever it shows: what is paid for from then on would be lost."""
    w = world()
    w = w.judged() if judged else w
    (tmp_path / "ledger").write_text("in the way")
    with pytest.raises(LedgerError):
        w.run(WORDS)


def test_endpoints_in_one_place_share_one_window(world):
    """A judge at the target's endpoint does not double the calls in flight there."""
    under_way = []

    def script(call):
        under_way.append(len(w.target.calls) - len(w.target.answered))
        return Reply(verdict() if "same" in call.prompt else "x", delay_s=0.02)

    w = world(script)
    place = replace(w.plan.endpoint, limits=Limits(max_concurrency=2))
    mix = build_mix([{"judge": "equivalence"}], replace(place, limits=Limits()))
    found = w.run(WORDS, endpoint=place, mix=mix)
    assert {r.score for r in found} == {1.0}
    assert len(w.target.answered) == 2 * len(WORDS)
    assert max(under_way) == 2


def test_half_a_character_in_an_answer_is_kept_and_scored(world):
    """One such answer does not end the job, nor does one in a judge's rationale."""
    w = world(lambda _: "cut \ud83d", lambda _: '{"rationale": "see \\ud83d", "verdict": "different"}').judged()
    (found,) = w.run(["ant"])
    assert found.output == "cut \ufffd"
    assert found.score == 0.0
    json.dumps(to_columns([found]), ensure_ascii=False).encode()
    assert w.entries("answer")[0].key == answer_key(w.plan.endpoint.endpoint_id, PROMPT.candidate_id, "row-ant")


def test_a_custom_model_that_had_scaled_to_zero_scores_every_row(tmp_path):
    """The rows' inputs are its columns; two seconds of 503 cost no row, not even where a call has one try only."""
    served = ServedEndpoint(
        "m", lambda call: call.body["body"]["dataframe_records"][0]["word"].upper(), None, cold_s=2.0
    )
    with Workspace(served) as workspace:
        limits = replace(LIMITS, warm_up_s=60.0)
        model = Endpoint("m", "databricks", workspace.host, Secret(PAT), limits=limits, task="dataframe_records")
        world = World(tmp_path, ScriptedEndpoint(str), ScriptedEndpoint(str))
        found = world.run(["a", "b", "c", "d"], endpoint=model)
    assert [(rollout.output, rollout.score) for rollout in found] == [("A", 1.0), ("B", 1.0), ("C", 1.0), ("D", 1.0)]
    assert max(rollout.attempts for rollout in found) > 1
    records = [call.body["body"]["dataframe_records"] for call in served.calls]
    assert sorted(record["word"] for (record,) in records) == ["a", "b", "c", "d"]
    assert all(record["prompt"] == f"Shout {record['word']}" for (record,) in records)
