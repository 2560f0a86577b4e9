"""Traps of gepa 0.1.4 that the search steps round; each test fails without its step."""

import json
import random
import time
from collections import Counter
from contextlib import suppress

import gepa
import planted_world as world
import pytest
from gepa.core.adapter import EvaluationBatch
from gepa.core.data_loader import ListDataLoader
from gepa.strategies.batch_sampler import EpochShuffledBatchSampler
from hypothesis import given, settings
from hypothesis import strategies as st
from search_bench import rows, run_search

from engine.errors import EvaluationError, PromptmillError
from engine.scripted_endpoint import Reply, ScriptedEndpoint
from engine.search.sampling import MinibatchCursor, RowLoader
from engine.settings import BudgetSettings
from udfs.records import canonical_json


@pytest.fixture
def servers():
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(world.reflection) as reflection:
        yield target, reflection


def test_val_scores_are_never_served_from_train_rollouts(tmp_path, servers):
    """Val rows that no prompt can solve score 0, although train rows at the same positions are solved."""
    target, reflection = servers
    unsolvable = [
        row.__class__(row.row_id, row.inputs, canonical_json({"expected_response": "no answer is this"}))
        for row in rows(24, 12)
    ]
    found, _ = run_search(tmp_path, target, reflection, val=unsolvable)
    accepted = [c for c in found.history.candidates if c.status == "accepted"]
    assert accepted, "the planted prompt is better on train, so it must have reached val"
    assert [found.history.val_score(c) for c in accepted] == [0.0] * len(accepted)


def test_gepa_itself_still_numbers_train_and_val_alike():
    """The trap is still there: two list loaders share their ids, which ours never do."""
    assert ListDataLoader([1, 2]).all_ids() == ListDataLoader([3, 4]).all_ids()
    assert not set(RowLoader(rows(0, 4)).all_ids()) & set(RowLoader(rows(4, 4)).all_ids())


@given(size=st.integers(1, 9), pool=st.integers(1, 40), deals=st.integers(1, 30), seed=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_every_row_comes_once_before_any_comes_twice(size, pool, deals, seed):
    """Over all deals no row is used twice more than another, and none stands twice in a minibatch."""
    cursor = MinibatchCursor([f"r{n}" for n in range(pool)], seed=seed)
    batches = [cursor.deal(size) for _ in range(deals)]
    assert all(len(set(batch)) == len(batch) == min(size, pool) for batch in batches)
    counts = Counter(row for batch in batches for row in batch)
    assert max(counts.values()) - min(counts.get(f"r{n}", 0) for n in range(pool)) <= 2


def test_minibatches_of_one_epoch_do_not_overlap():
    """K minibatches a step and step after step, no row comes back within an epoch; gepa's own sampler repeats K-1."""
    cursor = MinibatchCursor([f"r{n}" for n in range(24)], seed=0)
    ours = [row for _ in range(8) for row in cursor.deal(3)]
    assert len(set(ours)) == 24

    class State:
        i = 0

    sampler = EpochShuffledBatchSampler(3, random.Random(0))
    loader = ListDataLoader(list(range(24)))
    theirs: list[int] = []
    for step in range(2):
        State.i = step
        theirs += [row for _ in range(4) for row in sampler.next_minibatch_ids(loader, State)]
    assert len(set(theirs)) < len(theirs), "gepa no longer repeats minibatches: our own sampler may go"


@pytest.mark.parametrize("limit", [5, 12, 13, 17, 23, 29, 40, 60, 100])
def test_budget_is_looked_at_before_every_stage(tmp_path, servers, limit):
    """The budget is never overspent, wherever in a step it ends; gepa would look only between steps."""
    target, reflection = servers
    found, usage = run_search(tmp_path, target, reflection, budget=BudgetSettings(max_metric_calls=limit), max_steps=3)
    assert usage.metric_calls <= limit
    assert len(target.answered) <= limit
    assert found.best is not None


def test_best_so_far_is_kept_when_the_budget_ends(tmp_path, servers):
    """A budget that ends right after a better prompt was found returns that prompt."""
    target, reflection = servers
    _, whole = run_search(tmp_path / "a", target, reflection, max_steps=1)
    found, usage = run_search(
        tmp_path / "b", target, reflection, max_steps=9, budget=BudgetSettings(max_metric_calls=whole.metric_calls + 1)
    )
    assert found.best.prompt.text() == world.GOOD
    assert usage.metric_calls <= whole.metric_calls + 1


def test_started_again_the_search_walks_the_same_way_and_pays_nothing(tmp_path, servers):
    """A second start with the same ledger finds the same candidates without a single call; gepa's resume would not."""
    target, reflection = servers
    first, _ = run_search(tmp_path, target, reflection)
    calls = len(target.calls), len(reflection.calls)
    again, usage = run_search(tmp_path, target, reflection)
    assert (len(target.calls), len(reflection.calls)) == calls
    assert [c.prompt for c in again.history.candidates] == [c.prompt for c in first.history.candidates]
    assert usage.resumed > 0


@pytest.mark.parametrize("dies_at", [3, 14, 20, 31, 41])
def test_interrupted_search_ends_like_the_uninterrupted_one(tmp_path, dies_at):
    """Whenever the endpoint's owner pulls the plug, the next start ends where the whole run would have ended."""
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(world.reflection) as reflection:
        whole, _ = run_search(tmp_path / "whole", target, reflection)

    def dying(call):
        return world.target(call) if call.number < dies_at else Reply(status=401)

    with ScriptedEndpoint(dying) as target, ScriptedEndpoint(world.reflection) as reflection:
        with suppress(PromptmillError):
            run_search(tmp_path / "part", target, reflection)
        answered = len(target.answered), len(reflection.answered)
    with ScriptedEndpoint(world.target) as target:
        # The reflection model answers by call number, so the second server goes on counting where the first stopped.
        counter = answered[1]
        with ScriptedEndpoint(lambda c: world.reflection(type(c)(c.number + counter, c.body))) as reflection:
            found, _ = run_search(tmp_path / "part", target, reflection)
    assert found.best.prompt == whole.best.prompt


def test_reflection_runs_in_parallel(tmp_path):
    """All proposals of a step are asked for at once; gepa asks a plain callable one after another."""
    with ScriptedEndpoint(world.target) as target:
        in_flight = _InFlight()
        with ScriptedEndpoint(in_flight.script) as reflection:
            run_search(tmp_path, target, reflection, max_steps=1)
    assert in_flight.arrived_within(3, seconds=0.5)


class _InFlight:
    """Delays each answer and notes when calls arrived."""

    def __init__(self):
        self.arrivals: list[float] = []

    def script(self, call):
        self.arrivals.append(time.monotonic())
        return Reply(world.reflection(call), delay_s=1.0)

    def arrived_within(self, count, *, seconds):
        first = sorted(self.arrivals)[:count]
        return len(first) == count and first[-1] - first[0] < seconds


def test_failing_reflection_is_bought_once_and_ends_the_search(tmp_path):
    """Gepa would swallow the failure and ask for the whole batch again, and then say that nothing was found."""
    refusing = ScriptedEndpoint(lambda call: Reply(status=400, error_code="bad"))
    failing = pytest.raises(EvaluationError, match="the reflection model failed")
    with ScriptedEndpoint(world.target) as target, refusing as reflection, failing:
        run_search(tmp_path, target, reflection, max_steps=3)
    # One attempt with structured output and one without it for each of the jobs under way, then none.
    assert len(reflection.calls) <= 2 * 3


def test_search_ends_although_no_step_spends_anything(tmp_path, servers):
    """When every proposal is refused, no metric call is spent, and the search still ends after its steps."""
    target, _ = servers
    with ScriptedEndpoint(lambda call: json.dumps({"diagnosis": "", "new_prompt": world.HARMFUL})) as reflection:
        found, _ = run_search(tmp_path, target, reflection, max_steps=3, budget=BudgetSettings(max_metric_calls=10**6))
    assert found.steps[-1].step == 3
    assert all("{{word}} is lost" in c.reason for c in found.history.candidates[1:])


def test_reflection_sees_failing_rows_with_expected_answers(tmp_path, servers):
    """What reflection is shown holds the row's input, the model's answer and the expected one."""
    target, reflection = servers
    run_search(tmp_path, target, reflection, max_steps=1)
    shown = reflection.calls[0].messages[-1]["content"]
    assert world.SEED in shown
    assert "Sure! The word is word" in shown
    assert "expected: WORD" in shown


def test_gepa_still_evaluates_accepted_candidates_through_batch_evaluate():
    """The seam the engine rests on: with batch_evaluate every stage of several tasks is one call."""
    stages = []

    class Adapter:
        propose_new_texts = None

        def evaluate(self, batch, candidate, capture_traces=False):
            return EvaluationBatch([None] * len(batch), [0.0] * len(batch), [None] * len(batch))

        def batch_evaluate(self, items, *, capture_traces=True, **_):
            stages.append(len(items))
            return [EvaluationBatch([0] * len(b), [float(len(c["t"])) / 100] * len(b), [0] * len(b)) for c, b in items]

        def make_reflective_dataset(self, candidate, eval_batch, components_to_update):
            return {"t": [{"x": 1}]}

    class Grow:
        def reflect(self, candidate, dataset, components):
            from gepa.proposer.reflective_mutation.reflection_lm import ReflectionProposal

            return ReflectionProposal({"t": candidate["t"] + "x" * (len(stages) + 1)}), self

    gepa.optimize(
        seed_candidate={"t": "a"},
        trainset=list(range(8)),
        valset=list(range(4)),
        adapter=Adapter(),
        reflection_strategy=Grow(),
        max_metric_calls=20,
        logger=type("Quiet", (), {"log": lambda self, message: None})(),
    )
    assert stages
