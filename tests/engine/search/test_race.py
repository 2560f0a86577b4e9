"""The race on val: what it saves, what it never does, and that an interruption changes nothing, over real HTTP."""

import json
from contextlib import suppress

import pytest
import rules_world
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_world import RulesWorld, quality
from search_bench import run_search

from engine.errors import PromptmillError
from engine.progress import Progress
from engine.scripted_endpoint import Reply, ScriptedEndpoint
from engine.search.ending import End
from engine.search.history import History
from engine.search.race import looks
from engine.settings import BudgetSettings
from udfs.prompt import Prompt

SIZES = {"num_candidates": 4, "num_parents": 4, "max_steps": 5, "minibatch_size": 6}
VAL = rules_world.rows(96, part="val")


def search(folder, world, **options):
    """One search in a rules world; returns what was found, what was used, and how many calls the target answered."""
    data = {"train": rules_world.rows(80, part="train"), "val": VAL, "seed": rules_world.SEED}
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(world.reflection) as reflection:
        found, usage = run_search(folder, target, reflection, **{**data, **SIZES, **options})
        return found, usage, len(target.answered)


@given(rows=st.integers(1, 2000))
@settings(max_examples=50, deadline=None)
def test_looks_grow_and_end_with_all_rows(rows):
    """Each look is at more rows than the last, and the last one at all."""
    found = list(looks(rows))
    assert found == sorted(set(found))
    assert found[-1] == rows


def test_racing_spends_less_and_finds_as_good(tmp_path):
    """Over four worlds the race takes under three quarters of the calls, and its winners are no worse on the whole."""
    raced = whole = 0
    gain = 0.0
    for seed in range(4):
        one, used, calls = search(tmp_path / f"race{seed}", RulesWorld(seed), max_steps=8)
        all_, _, all_calls = search(tmp_path / f"whole{seed}", RulesWorld(seed), max_steps=8, early_stop=0.0)
        assert used.metric_calls == calls
        raced, whole = raced + calls, whole + all_calls
        gain += quality(one.best.prompt.text()) - quality(all_.best.prompt.text())
    assert raced < 0.75 * whole
    assert gain / 4 > -0.05


def test_the_winner_is_measured_on_all_of_val(tmp_path):
    """Others may have been dropped earlier; none that was run on all of it, too, is ahead of the winner."""
    found, _, _ = search(tmp_path, RulesWorld(1))
    history = found.history
    assert found.ended == End.IMPROVED
    assert history.is_complete(found.best)
    shorter = [c for c in history.candidates if 0 < len(c.val) < len(VAL)]
    assert shorter
    complete = [c for c in history.candidates if history.is_complete(c)]
    assert all(history.differences(c, found.best).mean <= 0 for c in complete)


def test_gepa_is_told_of_the_rows_that_were_run_only(tmp_path):
    """A dropped candidate was asked for a prefix of val's seeded order, whichever rows those are."""
    found, _, _ = search(tmp_path, RulesWorld(2))
    order = [row.row_id for row in found.history.val]
    assert order != [row.row_id for row in VAL]
    for candidate in found.history.candidates:
        assert set(candidate.val) == set(order[: len(candidate.val)])


@pytest.mark.parametrize("limit", [10, 97, 130, 200, 260, 400])
def test_a_raced_search_keeps_to_its_budget_and_completes_its_winner(tmp_path, limit):
    """Wherever the budget ends the search, what completing val takes was kept back."""
    budget = BudgetSettings(max_metric_calls=limit)
    found, usage, calls = search(tmp_path, RulesWorld(3), max_steps=50, budget=budget)
    assert calls == usage.metric_calls <= limit
    assert found.history.is_complete(found.best) or limit < len(VAL)


@pytest.mark.parametrize("dies_at", [5, 30, 60, 110, 170])
def test_interrupted_in_the_middle_of_a_race_it_ends_like_the_whole_run(tmp_path, dies_at):
    """Candidates, rows run and winner are those of the uninterrupted run."""
    whole, whole_usage, _ = search(tmp_path / "whole", RulesWorld(4))
    world = RulesWorld(4)
    data = {"train": rules_world.rows(80, part="train"), "val": VAL, "seed": rules_world.SEED}

    def dying(call):
        return world.target(call) if call.number < dies_at else Reply(status=401)

    with ScriptedEndpoint(dying) as target, ScriptedEndpoint(world.reflection) as reflection, suppress(PromptmillError):
        run_search(tmp_path / "part", target, reflection, **data, **SIZES)
    found, usage, _ = search(tmp_path / "part", RulesWorld(4))

    def walked(result):
        return [(c.prompt, c.status, sorted(c.val), sorted(c.train)) for c in result.history.candidates]

    assert walked(found) == walked(whole)
    assert found.best.prompt == whole.best.prompt
    assert usage.metric_calls == whole_usage.metric_calls


def test_the_step_of_a_race_is_one_stage_a_shard(tmp_path):
    """All candidates still in the race are asked for their shard at once."""
    stages = []
    progress = Progress(show=lambda snapshot: stages.append((snapshot.stage, snapshot.total)))
    found, _, _ = search(
        tmp_path, RulesWorld(1, good=1.0, noise=0.0), progress=progress, max_steps=1, num_candidates=12
    )
    first = [c for c in found.history.candidates if c.step == 1 and c.val]
    assert len(first) > 1
    on_val = [total for stage, total in dict.fromkeys(stages) if stage == "step 1: val"]
    assert on_val[0] == 16 * len(first)


def test_a_few_rows_that_fail_now_and_then_do_not_end_a_search(tmp_path):
    """Two of a shard's sixteen rows may stay unscored: nothing is compared on them, and val is covered enough."""
    world = RulesWorld(1)
    order = History(Prompt.parse(rules_world.SEED), VAL).val
    broken = {json.loads(row.inputs)["item"] for row in order[:2]}

    def failing(call):
        return Reply(status=400) if call.messages[-1]["content"].split("\n")[1] in broken else world.target(call)

    data = {"train": rules_world.rows(80, part="train"), "val": VAL, "seed": rules_world.SEED}
    with ScriptedEndpoint(failing) as target, ScriptedEndpoint(world.reflection) as reflection:
        found, _ = run_search(tmp_path, target, reflection, min_coverage=0.97, **data, **SIZES)
    history = found.history
    assert history.is_complete(found.best)
    assert history.differences(found.best, history.seed).rows == len(VAL) - 2
