"""The proposer ``mipro``: grounded instructions and sets of demonstrations, put together by Optuna, k at a time.

MIPROv2 (Opsahl-Ong et al., arXiv 2406.11695): instructions are written once, knowing the data, the prompt and
demonstrations; then a Bayesian optimizer (TPE) learns which of them goes with which set. Instead of one trial after
the other, each step asks for as many as it has slots and is told their scores before the next (Optuna's ask and tell,
with a constant liar for those that are still out). Needs the extra ``dspy``.
"""

from __future__ import annotations

import asyncio
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.proposers.demos import can_show, draw, showing, without_demos
from engine.proposers.instructions import instruction_component, with_instruction
from engine.proposers.protocol import Attempt, Proposal, ProposalRequest
from engine.proposers.reflection_client import ReflectionClient
from engine.proposers.replies import failure
from engine.rows import Row
from engine.search.copies import Copies
from udfs.errors import CallError
from udfs.prompt import Prompt

# MIPROv2's light setting: six instructions and six sets of demonstrations, of each the first being what is there.
INSTRUCTIONS, DEMO_SETS = 6, 6
# Calls to the reflection model, made once a search: four for the summary of the data, three for each new instruction.
MIPRO_CALLS = 4 + 3 * (INSTRUCTIONS - 1)
# TPE draws at random first; in MIPROv2 a search has tens of trials, here it may have ten.
_STARTUP_TRIALS = 4
# After so many pairs in a row that were tried before, the rest is taken for tried, too.
_MOST_ASKED = 50

Pair = tuple[int, int]


@dataclass
class _Space:
    """What is chosen from, the study, and what came of each pair; mutated as the search goes on."""

    base: Prompt
    instructions: Sequence[str | None]
    demo_sets: Sequence[Sequence[Row]]
    study: Any
    labels: Sequence[str] = ()
    tried: dict[Pair, str | None] = field(default_factory=dict)
    out: dict[str, Any] = field(default_factory=dict)

    def prompt(self, pair: Pair, scored_on: frozenset[str]) -> Prompt:
        """Return the prompt of this pair; rows that it is about to be scored on are left out of its demonstrations."""
        instruction = self.instructions[pair[0]]
        component = instruction_component(self.base)
        told = self.base if instruction is None else with_instruction(self.base, component, instruction)
        return showing(told, [row for row in self.demo_sets[pair[1]] if row.row_id not in scored_on], self.labels)


class MiproProposer:
    """Proposes pairs of an instruction and a set of demonstrations, around the first parent that it is given."""

    name = "mipro"
    copies_allowed = True

    def __init__(
        self,
        client: ReflectionClient,
        max_tokens: int,
        train: Sequence[Row],
        num_demos: int,
        seed: int,
        labels: Sequence[str] = (),
    ) -> None:
        self._client = client
        self._max_tokens = max_tokens
        self._train = train
        self._num_demos = num_demos
        self._seed = seed
        self._labels = labels
        self._space: _Space | None = None
        self._opening = asyncio.Lock()

    async def propose(self, request: ProposalRequest) -> Sequence[Proposal]:
        """Return ``count`` pairs as prompts; those out before are told to the optimizer first."""
        calls = 0
        if not can_show(request.parent, self._train[:1]):
            reason = "mipro writes for one prompt that the rows fill in, not for those of a program"
            return [Proposal(None, reason)] * request.count
        async with self._opening:
            if self._space is None:
                try:
                    self._space, calls = await self._opened(request)
                except CallError as error:
                    return [failure(error)] * request.count
        space = self._space
        scores = {attempt.prompt.candidate_id: attempt.score for attempt in request.history}
        _settle(space, scores)
        made = [self._one(space, scores, request.scored_on) for _ in range(request.count)]
        # The calls that opened the search space stand with the first proposal.
        return [Proposal(made[0].prompt, made[0].reason, calls=calls), *made[1:]]

    def _one(self, space: _Space, scores: Mapping[str, float], scored_on: frozenset[str]) -> Proposal:
        for _ in range(_MOST_ASKED):
            trial = space.study.ask(_distributions(space))
            pair = (trial.params["instruction"], trial.params["demos"])
            if pair not in space.tried:
                prompt = space.prompt(pair, scored_on)
                known = prompt.candidate_id in space.tried.values()
                space.tried[pair] = prompt.candidate_id
                if not known:
                    space.out[prompt.candidate_id] = trial
                    return Proposal(prompt)
            _tell(space, trial, scores.get(space.tried[pair] or ""))
        return Proposal(None, "all its instructions and demonstrations were tried together")

    async def _opened(self, request: ProposalRequest) -> tuple[_Space, int]:
        from engine.proposers.grounded import Grounding, propose_instructions

        base = without_demos(request.parent)
        rng = random.Random(f"mipro-{self._seed}")  # noqa: S311 - reproducible, not secret
        drawn = [draw(self._train, self._num_demos, rng) for _ in range(DEMO_SETS - 1)]
        demo_sets = [[], *(rows for rows in drawn if rows)]
        grounding = Grounding(self._train, demo_sets, self._max_tokens, self._seed)
        written, calls = await propose_instructions(self._client, base, grounding, INSTRUCTIONS - 1)
        component = instruction_component(base)
        # Its prompts may show rows, its instructions may not; the guards can't tell the two apart.
        copies = Copies.of(self._train, allowed=base.text())
        fit = [
            text
            for text in written
            if with_instruction(base, component, text).variables == base.variables and copies.found_in(text) is None
        ]
        space = _Space(base, [None, *fit], demo_sets, _study(self._seed), self._labels)
        space.tried[0, 0] = base.candidate_id
        _tell_default(space, request.history)
        return space, calls


def _study(seed: int) -> Any:
    import optuna

    # Its news of every trial would stand between the lines of our progress.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # `multivariate` and `constant_liar` have been called experimental for years; MIPROv2 rests on the first, too.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=_STARTUP_TRIALS
        )
    return optuna.create_study(direction="maximize", sampler=sampler)


def _distributions(space: _Space) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution

    return {
        "instruction": CategoricalDistribution(range(len(space.instructions))),
        "demos": CategoricalDistribution(range(len(space.demo_sets))),
    }


def _tell_default(space: _Space, history: Sequence[Attempt]) -> None:
    """Tell what the prompt does as it is, as MIPROv2's first trial does."""
    import optuna

    score = next((a.score for a in history if a.prompt.candidate_id == space.base.candidate_id), None)
    if score is not None:
        params = {"instruction": 0, "demos": 0}
        space.study.add_trial(
            optuna.trial.create_trial(params=params, distributions=_distributions(space), value=score)
        )


def _settle(space: _Space, scores: Mapping[str, float]) -> None:
    """Tell what came of the trials that were out and have been scored.

    The others stay out: some are under way in this very step, and one that was refused before a call never comes back,
    which the constant liar takes for a bad score.
    """
    for candidate_id in [known for known in space.out if known in scores]:
        _tell(space, space.out.pop(candidate_id), scores[candidate_id])


def _tell(space: _Space, trial: Any, score: float | None) -> None:
    from optuna.trial import TrialState

    if score is None:
        space.study.tell(trial, state=TrialState.FAIL)
    else:
        space.study.tell(trial, score)
