"""The proposer mipro, with dspy and optuna as they are installed: over real HTTP, through the ledger and the budget."""

import importlib.util
import json
import logging
from dataclasses import replace

import planted_proposals as planted
import planted_world as world
import pytest
from search_bench import rows, run_search

from engine.errors import ConfigError
from engine.proposers import build
from engine.proposers.mipro import DEMO_SETS, INSTRUCTIONS, MIPRO_CALLS
from engine.scripted_endpoint import Reply, ScriptedEndpoint
from engine.settings import BudgetSettings, SearchSettings

LACKING = [name for name in ("dspy", "optuna") if importlib.util.find_spec(name) is None]
needs_dspy = pytest.mark.skipif(bool(LACKING), reason=f"the extra dspy is not installed ({LACKING}): make test-dspy")
pytestmark = [
    # dspy and litellm bring warnings of their own, which are not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]


@pytest.fixture
def target():
    with ScriptedEndpoint(world.target) as server:
        yield server


def test_without_the_extra_the_error_names_the_mend(monkeypatch):
    """Bad input, found before anything is called."""
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"mipro needs dspy and optuna.*pip install 'promptmill\[dspy\]'"):
        build.check_proposers(SearchSettings(proposer="mipro"), has_reflection_model=True)


@needs_dspy
def test_the_planted_instruction_is_found_and_deployed_as_it_was_scored(tmp_path, target):
    """What dspy wrote is put into our template: the target sees the text that is handed out, and nothing of dspy."""
    with ScriptedEndpoint(planted.reply) as reflection:
        found, usage = run_search(tmp_path, target, reflection, proposer="mipro", max_steps=3)
    assert found.ended == "improved"
    assert found.best.proposer == "mipro"
    assert planted.RULE in found.best.prompt.text()
    rendered = {call.messages[-1]["content"] for call in target.calls}
    assert found.best.prompt.messages({"word": "word030"})[-1]["content"] in rendered
    assert not any("[[ ##" in text for text in rendered)
    # One summary of 24 rows in three batches, and for each instruction: the program, the prompt in it, the instruction.
    assert len(reflection.calls) == 4 + 3 * (INSTRUCTIONS - 1) == MIPRO_CALLS
    assert usage.reflection.prompt > 0


@needs_dspy
def test_a_search_that_is_started_again_asks_nobody(tmp_path, target):
    """Calls of dspy go through the ledger, and what Optuna chooses hangs on the seed and the scores alone."""
    settings = {"proposer": "mipro", "num_candidates": 4, "max_steps": 4}
    bad = ScriptedEndpoint(lambda call: "no")
    with bad as hopeless, ScriptedEndpoint(planted.reply) as reflection:
        first, _ = run_search(tmp_path, hopeless, reflection, **settings)
        calls = len(hopeless.calls), len(reflection.calls)
        again, _ = run_search(tmp_path, hopeless, reflection, **settings)
        assert (len(hopeless.calls), len(reflection.calls)) == calls
    assert [c.prompt for c in again.history.candidates] == [c.prompt for c in first.history.candidates]


@needs_dspy
def test_optuna_is_asked_for_as_many_as_there_are_slots_and_repeats_nothing(tmp_path, target):
    """Pairs of instruction and demonstrations come up once each; when all were tried, it says so."""
    with ScriptedEndpoint(planted.reply) as reflection, ScriptedEndpoint(lambda call: "no") as hopeless:
        found, _ = run_search(tmp_path, hopeless, reflection, proposer="mipro", num_candidates=12, max_steps=4)
    made = [c.prompt.text() for c in found.history.candidates if c.status != "guarded"]
    assert len(made) == len(set(made)) > 20
    # Three of the five instructions are the same useful one, three texts in all with the seed's.
    refused = [c.reason for c in found.history.candidates if c.status == "guarded"]
    assert len(made) <= INSTRUCTIONS * DEMO_SETS
    assert all("were tried together" in reason for reason in refused)


@needs_dspy
def test_rows_that_it_is_scored_on_are_not_among_the_demonstrations(tmp_path):
    """Whether reflection is shown them or not: a prompt must not hold the answers that it is tested on."""
    with ScriptedEndpoint(planted.reply) as reflection, ScriptedEndpoint(lambda call: "no") as hopeless:
        run_search(tmp_path, hopeless, reflection, proposer="mipro", num_candidates=6, max_steps=2)
    assert any("WORD" in call.prompt for call in hopeless.calls)
    for call in hopeless.calls:
        asked = call.prompt.rpartition("word")[2][:3]
        assert f"word{asked}\nWORD{asked}" not in call.prompt


@needs_dspy
def test_dspy_is_asked_of_the_budget_beforehand_too(tmp_path, target):
    """A budget that covers no reflection buys none, and the search ends as one that was spent."""
    with ScriptedEndpoint(planted.reply) as reflection:
        found, usage = run_search(
            tmp_path, target, reflection, proposer="mipro", budget=BudgetSettings(max_tokens=1500), max_steps=20
        )
    assert usage.tokens <= 1500
    assert found.ended.startswith("budget ")
    assert len(reflection.calls) < MIPRO_CALLS


@needs_dspy
def test_instructions_that_are_cut_off_are_not_adopted(tmp_path, target):
    """The end of a reply that hit the token limit is missing, wherever that was."""

    def cut(call):
        text = planted.reply(call)
        return Reply(text, finish_reason="length" if planted.dspy_field(call) == "proposed_instruction" else "stop")

    with ScriptedEndpoint(cut) as reflection:
        found, _ = run_search(tmp_path, target, reflection, proposer="mipro", max_steps=2)
    assert not any(planted.RULE in c.prompt.text() for c in found.history.candidates)


@needs_dspy
def test_instructions_that_give_answers_away_are_left_out(tmp_path):
    """Its prompts may show training rows as demonstrations; its instructions may not copy from them."""
    answers = [f"The parcel number {n} goes to the last house of road {n}" for n in range(24)]
    train = [
        replace(row, expectations=json.dumps({"expected_response": a}))
        for row, a in zip(rows(0, 24), answers, strict=True)
    ]

    def copying(call):
        asked = planted.dspy_field(call) == "proposed_instruction"
        text = f"Say it: the parcel number {call.body['seed']} goes to the last house of road {call.body['seed']}"
        return f"[[ ## proposed_instruction ## ]]\n{text}" if asked else planted.reply(call)

    with ScriptedEndpoint(copying) as reflection, ScriptedEndpoint(lambda call: "no") as hopeless:
        found, _ = run_search(tmp_path, hopeless, reflection, proposer="mipro", train=train, max_steps=2)
    assert len(found.history.candidates) > 1
    assert not any("Say it" in c.prompt.text() for c in found.history.candidates)


@needs_dspy
def test_mlflow_autolog_of_dspy_keeps_working(tmp_path, target):
    """Where it is switched on, dspy's calls stand in MLflow as traces."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        experiment = mlflow.set_experiment("autolog").experiment_id
        mlflow.dspy.autolog()
        with ScriptedEndpoint(planted.reply) as reflection:
            run_search(tmp_path, target, reflection, proposer="mipro", max_steps=1)
        mlflow.flush_trace_async_logging()
        traces = mlflow.search_traces(locations=[experiment], return_type="list", max_results=100)
    finally:
        mlflow.dspy.autolog(disable=True)
        mlflow.set_tracking_uri(before)
    assert len(traces) >= len(reflection.calls) // 3
