"""The seam between gepa and the proposers."""

import asyncio
import random

import pytest
from requests_by_hand import CHAT, TEXT, pair

from engine.progress import Progress
from engine.proposers.protocol import Proposal
from engine.search.attempts import attempts
from engine.search.guards import Guards
from engine.search.history import History
from engine.search.proposer_choice import PayingOff
from engine.search.proposer_statistics import proposer_statistics
from engine.search.reflection_strategy import ProposerStrategy
from udfs.prompt import Prompt
from udfs.rollout import Rollout

VAL = [pair(n)[0] for n in range(100, 110)]


class Scripted:
    """Returns prompts that a function writes, and keeps the requests."""

    copies_allowed = False

    def __init__(self, name, write):
        self.name = name
        self.write = write
        self.requests = []

    async def propose(self, request):
        self.requests.append(request)
        await asyncio.sleep(0)
        return [Proposal(Prompt.parse(self.write(sample)), calls=1) for sample in request.samples]


def strategy_of(*proposers, choice=None):
    history = History(TEXT, VAL)
    history.note(TEXT.candidate_id, [Rollout(TEXT.candidate_id, row.row_id, score=0.5) for row in VAL])
    guards = Guards.of(TEXT, [], max_prompt_tokens=100)
    return ProposerStrategy(proposers, guards, history, Progress(), choice), history


def jobs(*minibatches):
    records = [[{"row": row, "rollout": rollout} for row, rollout in batch] for batch in minibatches]
    return [(dict(TEXT.components), {"template": batch}, ["template"]) for batch in records]


def texts(proposals):
    return [proposal.new_texts.get("template") for proposal, _ in proposals]


def test_jobs_on_one_parent_and_minibatch_are_one_request():
    """Each proposer is asked once for all it is to write, with numbers that no other of its requests bears."""
    one, other = (Scripted(name, lambda sample, name=name: f"{name} {sample} {{{{x}}}}") for name in ("one", "other"))
    strategy, _ = strategy_of(one, other)
    same, another = [pair(1), pair(2)], [pair(3), pair(4)]
    first = texts(strategy.reflect_many(jobs(same, same, same, another)))
    second = texts(strategy.reflect_many(jobs(another, another)))
    assert [(r.sample, r.count) for r in one.requests] == [(0, 2), (4, 1)]
    assert [(r.sample, r.count) for r in other.requests] == [(1, 1), (3, 1), (5, 1)]
    assert first == ["one 0 {{x}}", "other 1 {{x}}", "one 1 {{x}}", "other 3 {{x}}"]
    assert second == ["one 4 {{x}}", "other 5 {{x}}"]


def test_rows_that_are_not_shown_are_known_by_their_ids_alone():
    """What a child is tested on beside the rows that its author sees must not be given away by demonstrations."""
    seen = Scripted("seen", lambda sample: f"{sample} {{{{x}}}}")
    strategy, _ = strategy_of(seen)
    job = jobs([pair(1), pair(2)])
    job[0][1]["template"][1]["shown"] = False
    strategy.reflect_many(job)
    (request,) = seen.requests
    assert [row.row_id for row, _ in request.rollouts] == ["r001"]
    assert request.tested_on == {"r002"}
    assert request.scored_on == {"r001", "r002"}


def test_proposals_that_are_missing_are_no_crash():
    """A proposer that returns too few has had its say."""

    class Short(Scripted):
        async def propose(self, request):
            return (await super().propose(request))[:1]

    strategy, history = strategy_of(Short("short", lambda sample: f"{sample} {{{{x}}}}"))
    assert texts(strategy.reflect_many(jobs([pair(1)], [pair(1)]))) == ["0 {{x}}", None]
    assert "no more to propose" in history.candidates[-1].reason


def test_proposers_see_scores_and_no_row_of_val():
    """The history holds means of val, and rollouts of training rows alone."""
    seen = Scripted("seen", lambda sample: f"{sample} {{{{x}}}}")
    strategy, history = strategy_of(seen)
    history.note(TEXT.candidate_id, [pair(1)[1]])
    strategy.reflect_many(jobs([pair(1)]))
    (attempt,) = seen.requests[0].history
    assert (attempt.score, attempt.on_val) == (0.5, True)
    assert set(attempt.rollouts) == {"r001"}


def test_scores_of_candidates_off_val_are_estimated_from_their_parents():
    """A child that never went to val has its parent's score, moved by its minibatch; on half of val, by that half."""
    _, history = strategy_of(Scripted("any", str))
    child = history.add(Prompt.parse("b {{x}}"), parents=["seed"], proposer="p", step=1, status="rejected")
    child.minibatch_before, child.minibatch_after = 0.5, 0.25
    half = history.add(Prompt.parse("c {{x}}"), parents=["seed"], proposer="p", step=1, status="accepted")
    history.note(half.candidate_id, [Rollout(half.candidate_id, row.row_id, score=0.8) for row in VAL[:5]])
    history.add(Prompt.parse("d {{x}}"), parents=["seed"], proposer="p", step=1, status="proposed")
    assert [(round(a.score, 6), a.on_val) for a in attempts(history)] == [(0.5, True), (0.25, False), (0.8, False)]


def play(history, name, number, *, gain, calls):
    """Enter a proposal of ``name`` as the search would, with what it gained over the seed on val."""
    added = history.add(
        Prompt.parse(f"{name} {number} {{{{x}}}}"), parents=["seed"], proposer=name, step=1, status="rejected"
    )
    added.calls = calls
    if gain:
        history.note(added.candidate_id, [Rollout(added.candidate_id, row.row_id, score=0.5 + gain) for row in VAL])


def test_the_account_of_a_proposer():
    """Proposals, acceptances, gain on val, and calls: to the model, on minibatches and on val."""
    _, history = strategy_of(Scripted("any", str))
    play(history, "a", 1, gain=0.25, calls=9)
    play(history, "a", 2, gain=0, calls=9)
    (account, untried) = proposer_statistics(history, ["a", "b"])
    assert (account.proposals, account.accepted, round(account.gain, 6), account.calls) == (2, 1, 0.25, 28)
    assert untried.proposals == 0


@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_the_bandit_spends_on_what_pays_off(scale):
    """Over simulated searches the one proposer that gains gets most of the slots, whatever the scale of the gain."""
    names = ["idle", "good", "dear"]
    share = dict.fromkeys(names, 0)
    for seed in range(30):
        _, history = strategy_of(Scripted("any", str))
        choice = PayingOff(names, seed=seed)
        rng = random.Random(seed)
        for step in range(8):
            for slot in choice.choose(history, first=5 * step, count=5):
                name = names[slot]
                chance = {"idle": 0.02, "good": 0.5, "dear": 0.5}[name]
                gain = scale * 0.4 if rng.random() < chance else 0
                play(history, name, len(history.candidates), gain=gain, calls=200 if name == "dear" else 9)
                share[name] += 1
    whole = sum(share.values())
    assert share["good"] > 0.5 * whole
    assert share["good"] > 3 * share["idle"]
    assert share["good"] > 1.5 * share["dear"]


def test_the_bandit_tries_everyone_first_and_repeats_itself():
    """No proposer is left untried, and the same history gives the same choice."""
    _, history = strategy_of(Scripted("any", str))
    choice = PayingOff(["a", "b", "c", "d"], seed=0)
    assert choice.choose(history, first=0, count=3) == [0, 1, 2]
    assert sorted(set(choice.choose(history, first=0, count=9))) == [0, 1, 2, 3]
    play(history, "a", 1, gain=0.1, calls=9)
    assert choice.choose(history, first=3, count=6) == PayingOff(["a", "b", "c", "d"], seed=0).choose(
        history, first=3, count=6
    )
    assert choice.choose(history, first=3, count=3) == [1, 2, 3]


def test_chat_prompts_keep_their_messages():
    """A proposal with other roles than the seed's is refused."""
    guards = Guards.of(CHAT, [], max_prompt_tokens=100)
    other = Prompt(("user", "user"), CHAT.components)
    assert "messages differ" in guards.objection(other)
