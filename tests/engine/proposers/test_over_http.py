"""Every proposer through a whole search, over real HTTP, against a scripted reflection model."""

import json
import math
import re
from collections import Counter

import planted_proposals as planted
import planted_world as world
import pytest
from search_bench import run_search

from engine.errors import ConfigError
from engine.proposers.build import check_proposers
from engine.scripted_endpoint import Reply, ScriptedEndpoint
from engine.settings import AUTO, PROPOSERS, BudgetSettings, SearchSettings

ASKING = ["gepa", "metaprompt", "copro", "simba"]


@pytest.fixture
def target():
    with ScriptedEndpoint(world.target) as server:
        yield server


@pytest.mark.parametrize("proposer", ASKING)
def test_the_planted_edit_is_found_and_deployed_as_it_was_scored(tmp_path, target, proposer):
    """A useful reply becomes the best prompt, and the target saw exactly the text that is handed out."""
    with ScriptedEndpoint(planted.reply) as reflection:
        found, usage = run_search(tmp_path, target, reflection, proposer=proposer)
    assert found.ended == "improved"
    assert found.history.val_score(found.best) == 1.0
    assert found.best.proposer == proposer
    assert {planted.asked_by(call) for call in reflection.calls} == {proposer}
    rendered = {call.messages[-1]["content"] for call in target.calls}
    assert found.best.prompt.messages({"word": "word030"})[-1]["content"] in rendered
    assert usage.reflection.prompt > 0


@pytest.mark.parametrize("proposer", [*ASKING, AUTO])
def test_a_search_that_is_started_again_asks_nobody(tmp_path, target, proposer):
    """Every proposer, and the bandit's choices among them, depend on the seed and on what the ledger keeps."""
    with ScriptedEndpoint(planted.reply) as reflection:
        first, _ = run_search(tmp_path, target, reflection, proposer=proposer, num_candidates=4, max_steps=3)
        calls = len(target.calls), len(reflection.calls)
        again, _ = run_search(tmp_path, target, reflection, proposer=proposer, num_candidates=4, max_steps=3)
    assert (len(target.calls), len(reflection.calls)) == calls
    seen = [[(c.proposer, c.status, c.prompt) for c in search.history.candidates] for search in (first, again)]
    assert seen[0] == seen[1]


def test_what_another_run_has_scored_costs_nothing_and_is_not_lost(tmp_path, target):
    """A second run on the same ledger is proposed the same prompts, scores them from it, and finds what was found."""
    with ScriptedEndpoint(planted.reply) as reflection:
        first, _ = run_search(tmp_path, target, reflection, proposer=AUTO, run_id="one")
        calls = len(target.calls), len(reflection.calls)
        other, usage = run_search(tmp_path, target, reflection, proposer=AUTO, run_id="two")
    assert (len(target.calls), len(reflection.calls)) == calls
    assert usage.made == 0
    assert other.best.prompt == first.best.prompt
    assert [c.status for c in other.history.candidates] == [c.status for c in first.history.candidates]


@pytest.mark.parametrize("proposer", ASKING)
def test_truncated_replies_are_not_adopted(tmp_path, target, proposer):
    """However good a reply looks, at the token limit it was not finished."""
    with ScriptedEndpoint(lambda call: Reply(planted.reply(call), finish_reason="length")) as reflection:
        found, _ = run_search(tmp_path, target, reflection, proposer=proposer, max_steps=1)
    assert found.best is found.history.seed
    assert reflection.calls
    assert all("cut off" in candidate.reason for candidate in found.history.candidates[1:])


@pytest.mark.parametrize("proposer", ASKING)
def test_monologues_are_not_adopted(tmp_path, target, proposer):
    """A reply without the object that was asked for is refused with the reason, before a call is spent on it."""
    with ScriptedEndpoint(lambda call: f"I think it should say: {world.GOOD}") as reflection:
        found, _ = run_search(tmp_path, target, reflection, proposer=proposer, max_steps=1)
    assert found.best is found.history.seed
    assert all("reply holds no" in c.reason for c in found.history.candidates[1:])
    assert not any(c.train or c.val for c in found.history.candidates[1:])


def test_copro_sees_what_was_tried_in_increasing_order(tmp_path, target):
    """From the second step on the model is shown instructions with their scores, and no row of the data."""
    tries = iter(range(100))

    def reflection_model(call):
        return json.dumps({"new_prompt": f"Say the word in UPPER CASE letters, try {next(tries)}: {{{{word}}}}"})

    def half_right(call):
        number = int(call.prompt.rpartition("word")[2][:3])
        return world.target(call) if number % 2 else "no"

    with ScriptedEndpoint(reflection_model) as reflection, ScriptedEndpoint(half_right) as half:
        run_search(tmp_path, half, reflection, proposer="copro", num_candidates=2, max_steps=2)
    shown = reflection.calls[-1].messages[-1]["content"]
    scores = [int(line.removeprefix("Score: ")) for line in shown.split("\n") if line.startswith("Score: ")]
    assert scores == sorted(scores)
    assert len(scores) >= 2
    assert scores[-1] > scores[0] == 0
    assert "word0" not in shown


def test_simba_compares_with_what_another_prompt_answered(tmp_path, target):
    """Where an earlier prompt did better on the row, its answer is the better one."""
    tries = iter(range(100))

    def odd_words(call):
        """Prompts told to shout answer odd words right; with a second rule, those that end in a zero, too."""
        number = int(call.prompt.rpartition("word")[2][:3])
        return world.target(call) if number % 2 else "no"

    def rules(call):
        return json.dumps({"discussion": "d", "rule": f"Answer in UPPER CASE, rule {next(tries)}."})

    with ScriptedEndpoint(rules) as reflection, ScriptedEndpoint(odd_words) as half:
        run_search(tmp_path, half, reflection, proposer="simba", num_candidates=2, max_steps=3)
    assert all("The better answer (score 1.00): WORD" in call.prompt for call in reflection.calls)
    assert any("Rules:\n- Answer in UPPER CASE" in call.prompt for call in reflection.calls)


def test_metaprompt_writes_for_the_target_with_examples(tmp_path, target):
    """The meta prompt names the target and its style, and holds rows with the wanted answers."""
    with ScriptedEndpoint(planted.reply) as reflection:
        run_search(tmp_path, target, reflection, proposer="metaprompt", max_steps=1)
    asked = reflection.calls[0].prompt
    assert "small-1b" in asked
    assert "It is a small model" in asked
    assert asked.count("wanted: WORD") == 12


def test_all_replies_that_lack_a_message_are_refused(tmp_path, target):
    """A prompt is rewritten whole or not at all."""
    with ScriptedEndpoint(lambda call: json.dumps({"prompt": world.GOOD})) as reflection:
        found, _ = run_search(tmp_path, target, reflection, proposer="metaprompt", max_steps=1)
    assert all("no new text for: template" in c.reason for c in found.history.candidates[1:])


def test_a_prompt_that_was_rejected_is_not_scored_again(tmp_path, target):
    """The second time it comes up, blanks aside, no call is spent on it, and the log says which one it was."""
    texts = ["Please say it: {{word}}", "Please  say it:\n{{word}}", "Please say it: {{word}} "]
    replies = iter(texts * 9)
    with ScriptedEndpoint(lambda call: json.dumps({"new_prompt": next(replies)})) as reflection:
        found, _ = run_search(tmp_path, target, reflection, max_steps=3)
    known = [c for c in found.history.candidates[1:] if c.status != "guarded"]
    assert len(known) == 1
    assert all("the same prompt as c" in c.reason for c in found.history.candidates[1:] if c is not known[0])
    asked = Counter(call.prompt for call in target.calls)
    assert max(asked.values()) == 1


@pytest.mark.parametrize("limit", [2500, 3000, 4000, 6000])
def test_reflection_is_asked_of_the_budget_beforehand(tmp_path, target, limit):
    """No call to the reflection model is made that could overspend the budget; the search ends and says so."""
    with ScriptedEndpoint(lambda call: json.dumps({"new_prompt": f"Say {{{{word}}}} {call.number}"})) as reflection:
        found, usage = run_search(
            tmp_path, target, reflection, max_steps=50, budget=BudgetSettings(max_tokens=limit), num_candidates=2
        )
    assert usage.tokens <= limit
    assert len(reflection.calls) > 0
    assert found.ended.startswith("budget ")
    assert found.steps[-1].step < 50


def test_a_budget_without_room_for_reflection_makes_no_call_to_it(tmp_path, target):
    """What a call may take is foreseen, and there is no call of which that is too much."""
    with ScriptedEndpoint(planted.reply) as reflection:
        _, usage = run_search(tmp_path, target, reflection, budget=BudgetSettings(max_tokens=900))
    assert not reflection.calls
    assert usage.tokens <= 900


def test_many_failures_are_summed_up_in_parallel_first(tmp_path, target):
    """With map-reduce on, chunks of the minibatch are summed up, and one call writes the prompt from the summaries."""
    with ScriptedEndpoint(planted.reply) as reflection:
        found, _ = run_search(
            tmp_path, target, reflection, minibatch_size=16, num_candidates=1, max_steps=1, reflection_map_reduce_from=9
        )
    asked = [planted.asked_by(call) for call in reflection.calls]
    summed_up = [call.prompt for call in reflection.calls[:-1]]
    shown = Counter(word for prompt in summed_up for word in re.findall(r'"word":"(word\d+)"', prompt))
    assert asked == ["lessons"] * math.isqrt(len(shown)) + ["gepa"]
    assert set(shown.values()) == {2}, "every failure stands in two chunks"
    assert "- the answer is in upper case" in reflection.calls[-1].prompt
    assert found.ended == "improved"
    assert found.best.calls == len(asked) + len(shown)


def test_few_failures_are_shown_as_they_are(tmp_path, target):
    """Below the configured number reflection is one call."""
    with ScriptedEndpoint(planted.reply) as reflection:
        run_search(tmp_path, target, reflection, num_candidates=1, max_steps=1, reflection_map_reduce_from=9)
    assert [planted.asked_by(call) for call in reflection.calls] == ["gepa"]


def test_every_proposer_that_asks_needs_a_reflection_model():
    """The error names the proposer and the mend."""
    for name in PROPOSERS:
        if name != "demos":
            with pytest.raises(ConfigError, match=f"proposer {name} needs a reflection_model"):
                check_proposers(SearchSettings(proposer=name), has_reflection_model=False)
