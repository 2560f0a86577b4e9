"""How a search says that it ended, over real HTTP."""

import numpy as np
import planted_world as world
import pytest
import rules_world
from scipy.stats import norm
from search_bench import rows, run_search

from engine.progress import Progress
from engine.scripted_endpoint import ScriptedEndpoint
from engine.search.ending import End, judge_end
from engine.search.history import History
from engine.settings import BudgetSettings, SearchSettings
from udfs.prompt import Prompt
from udfs.rollout import Rollout


def search(folder, *, target=world.target, reflection=world.reflection, **options):
    with ScriptedEndpoint(target) as one, ScriptedEndpoint(reflection) as other:
        return run_search(folder, one, other, **options)


def test_an_improvement_is_said_with_the_rows_it_rests_on(tmp_path):
    """The planted prompt is better on each of the val rows."""
    lines = []
    found, _ = search(tmp_path, progress=Progress(say=lines.append))
    assert found.ended == End.IMPROVED
    assert "+1.000 better than the seed on 12 val rows" in found.ending.sentence
    assert found.ending.would_tell is None
    assert f"improved: {found.ending.sentence}" in lines


def test_a_perfect_seed_is_run_on_all_of_val_and_costs_no_reflection(tmp_path):
    """The first shard alone does not make it perfect; then there is nothing to gain."""
    found, usage = search(
        tmp_path, target=lambda call: world.target(call).upper().split()[-1].rstrip("."), val=world_rows(40)
    )
    assert found.ended == End.PERFECT
    assert usage.metric_calls == 40
    assert "40 val rows" in found.ending.sentence


def test_nothing_found_says_what_was_tried_and_what_val_could_have_told(tmp_path):
    """All steps were made, so that it was not the budget; twelve rows tell large gains only."""
    found, _ = search(tmp_path, reflection=world.useless_reflection)
    assert found.ended == End.NOT_IMPROVED
    assert "6 proposals were tried in 2 of 2 steps" in found.ending.sentence
    assert "val has 12 rows, enough for a gain of" in found.ending.sentence


@pytest.mark.parametrize("limit", [1, 14, 25])
def test_a_budget_that_ended_the_search_says_how_much_would_have_told(tmp_path, limit):
    """Before val, after it, or in the middle of a step."""
    budget = BudgetSettings(max_metric_calls=limit)
    found, _ = search(tmp_path, reflection=world.useless_reflection, max_steps=9, budget=budget)
    assert found.ended == End.TOO_SMALL
    told = found.ending.would_tell
    assert told.rows > 12
    assert told.metric_calls > limit
    assert f"{told.metric_calls:,} metric calls" in found.ending.sentence
    assert found.ending.as_dict()["would_tell"]["rows"] == told.rows


def test_the_rows_that_would_tell_do_so_at_the_stated_power():
    """Simulated: on so many rows as are named, a gain of 5 points is told apart from none in 80 of 100 cases."""
    val = rules_world.rows(200, part="val")
    history = History(Prompt.parse("seed {{item}}"), val)
    other = history.add(Prompt.parse("other {{item}}"), parents=["seed"], proposer="x", step=1, status="accepted")
    for number, row in enumerate(history.val):  # one row in ten is won, one lost
        history.note(history.seed.candidate_id, [Rollout("", row.row_id, score=float(number % 10 == 0))])
        history.note(other.candidate_id, [Rollout("", row.row_id, score=float(number % 10 == 5))])
    ending = judge_end(history, SearchSettings(), alpha=0.05, steps=3, spent="the last stage")
    assert ending.end == End.TOO_SMALL
    needed = ending.would_tell.rows
    rng = np.random.default_rng(0)
    drawn = rng.choice([1.0, -1.0, 0.0], p=[0.125, 0.075, 0.8], size=(4_000, needed))
    told = drawn.mean(axis=1) / drawn.std(axis=1, ddof=1) * np.sqrt(needed) > norm.ppf(0.95)
    assert abs(told.mean() - 0.8) < 0.03


def world_rows(count):
    return rows(100, count)
