"""gepa's reflection seam, served by our proposers: in parallel, each proposal guarded before a call is spent on it."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gepa.proposer.reflective_mutation.reflection_lm import ReflectionProposal

from engine.errors import EvaluationError
from engine.progress import Progress
from engine.proposers.protocol import Proposal, ProposalRequest, Proposer
from engine.search.attempts import attempts
from engine.search.guards import Guards
from engine.search.history import History
from engine.search.proposer_choice import InTurn, PayingOff, ProposerChoice
from engine.search.proposer_statistics import proposer_statistics
from udfs import event_loop
from udfs.prompt import Prompt

log = logging.getLogger(__name__)

Job = tuple[dict[str, str], Mapping[str, Sequence[Mapping[str, Any]]], list[str]]


class ProposerStrategy:
    """gepa's ``BatchReflectionLM``: ``reflect_many`` runs all jobs of a step at once.

    ``choice`` says which proposer gets which job; in turn where nothing is said. Jobs of one proposer on the same
    parent and minibatch are one request for so many proposals. A job's records hold a ``row`` and its ``rollout``;
    where ``shown`` is False, proposers learn no more of it than that its answer must not be given away.

    gepa swallows what a reflection raises and buys every call again; so nothing is raised here: a failure is an empty
    proposal, and what must stop the run is kept in ``failure``. ``budget_spent`` is set when the last step made no
    prompt because the budget did not cover a call to the reflection model.
    """

    def __init__(
        self,
        proposers: Sequence[Proposer],
        guards: Guards,
        history: History,
        progress: Progress,
        choice: ProposerChoice | None = None,
    ) -> None:
        self._proposers = list(proposers)
        self._guards = guards
        self._history = history
        self._progress = progress
        self._choice = choice or InTurn(len(self._proposers))
        self._jobs_done = 0
        self._seen = {_gist(history.seed.prompt): history.seed.label}
        self.step = 0
        self.failure: BaseException | None = None
        self.budget_spent = False

    def reflect(
        self, candidate: dict[str, str], reflective_dataset: Any, components_to_update: list[str]
    ) -> tuple[ReflectionProposal, ProposerStrategy]:
        """One job; see :meth:`reflect_many`."""
        return self.reflect_many([(candidate, reflective_dataset, components_to_update)])[0]

    def reflect_many(self, jobs: list[Job]) -> list[tuple[ReflectionProposal, ProposerStrategy]]:
        """Return one proposal a job, in order; an empty one where there is nothing fit to be scored."""
        first, self._jobs_done = self._jobs_done, self._jobs_done + len(jobs)
        chosen = self._choice.choose(self._history, first=first, count=len(jobs))
        self._tell_accounts()
        requests = self._requests(jobs, chosen, first)
        asked = [(self._proposers[position], request) for position, request, _ in requests]
        try:
            answers = event_loop.run(_all(asked))
        except Exception as error:
            # A defect or a full disk, not a bad reply: kept for the search to raise outside gepa.
            self.failure = error
            return [(ReflectionProposal({}), self) for _ in jobs]
        proposals = [proposal for answer in answers for proposal in answer]
        self.budget_spent = any(p.unaffordable for p in proposals) and not any(p.prompt for p in proposals)
        told = [proposal for proposal in proposals if proposal.prompt is not None or proposal.outage]
        if told and all(proposal.outage for proposal in told):
            # A search without its reflection model would end as "no improvement found", which nobody has looked for.
            self.failure = EvaluationError(f"{told[0].reason}. Mend it and start the same command again to go on.")
            return [(ReflectionProposal({}), self) for _ in jobs]
        by_job = {
            number: (proposer, request, proposal)
            for (proposer, request), (_, _, numbers), answer in zip(asked, requests, answers, strict=True)
            for number, proposal in zip(numbers, answer, strict=True)
        }
        return [(ReflectionProposal(self._admit(*by_job[number])), self) for number in range(len(jobs))]

    def _requests(
        self, jobs: Sequence[Job], chosen: Sequence[int], first: int
    ) -> list[tuple[int, ProposalRequest, list[int]]]:
        """The proposer's position, its request, and the jobs that it serves."""
        history = attempts(self._history)
        grouped: dict[tuple[Any, ...], list[int]] = {}
        found = []
        for number, (position, (components, dataset, _)) in enumerate(zip(chosen, jobs, strict=True)):
            parent = self._guards.seed.with_components(components)
            records = next(iter(dataset.values()), ())
            rollouts = [(record["row"], record["rollout"]) for record in records if record.get("shown", True)]
            tested_on = frozenset(record["row"].row_id for record in records if not record.get("shown", True))
            key = (position, parent.candidate_id, tuple(row.row_id for row, _ in rollouts), tested_on)
            if key not in grouped:
                grouped[key] = []
                # Its numbers end where the step's do: no later request bears one of them.
                request = ProposalRequest(parent, rollouts, first + number, history=history, tested_on=tested_on)
                found.append((position, request, grouped[key]))
            grouped[key].append(number)
        return [(position, replace(request, count=len(numbers)), numbers) for position, request, numbers in found]

    def _admit(self, proposer: Proposer, request: ProposalRequest, proposal: Proposal) -> dict[str, str]:
        """Guard the proposal and enter it into history; return the texts that changed, none for a refusal."""
        if proposal.unaffordable:
            self._progress.tell(f"{proposer.name}: {proposal.reason}")
            return {}
        parent = self._history.get(request.parent.candidate_id)
        prompt = proposal.prompt
        objection = proposal.reason
        if prompt is not None:
            objection = self._objection(prompt, proposal, proposer) or ""
        if prompt is None or objection:
            shown = prompt or Prompt(None, {"template": ""})
            # Who was not asked has nothing to account for.
            name = "" if _nothing_to_learn(request) else proposer.name
            refused = self._history.add(
                shown,
                parents=[parent.label],
                proposer=name,
                step=self.step,
                status="guarded",
                reason=objection,
            )
            refused.calls = proposal.calls
            who = f" ({name})" if name else ""
            self._progress.tell(f"{refused.label}{who}: refused before a call: {objection}")
            return {}
        added = self._history.add(
            prompt, parents=[parent.label], proposer=proposer.name, step=self.step, status="proposed"
        )
        added.calls = proposal.calls + len(request.rollouts)
        self._seen[_gist(prompt)] = added.label
        return {name: text for name, text in prompt.components.items() if text != request.parent.components.get(name)}

    def _objection(self, prompt: Prompt, proposal: Proposal, proposer: Proposer) -> str | None:
        if (known := self._history.find(prompt.candidate_id)) is not None:
            return f"the same prompt as {known.label}"
        if (label := self._seen.get(_gist(prompt))) is not None:
            return f"the same prompt as {label}, but for blanks"
        return self._guards.objection(prompt, truncated=proposal.truncated, copies_allowed=proposer.copies_allowed)

    def _tell_accounts(self) -> None:
        if isinstance(self._choice, PayingOff) and len(self._history.candidates) > 1:
            names = [proposer.name for proposer in self._proposers]
            self._progress.tell("; ".join(account.told() for account in proposer_statistics(self._history, names)))


def _gist(prompt: Prompt) -> str:
    """What is left of a prompt when blanks are taken for the same: nobody pays to tell such prompts apart."""
    return "\n\n".join(f"{name}: {' '.join(text.split())}" for name, text in sorted(prompt.components.items()))


def _nothing_to_learn(request: ProposalRequest) -> str | None:
    """Why no proposer is asked, ``None`` where one is."""
    if all(rollout.score is None for _, rollout in request.rollouts):
        return "no row of the minibatch could be scored"
    if all(rollout.score is None or rollout.score >= 1 for _, rollout in request.rollouts):
        # No child could do strictly better here, so neither a reflection nor a minibatch is worth its price.
        return "nothing to learn: the whole minibatch is right"
    return None


async def _all(asked: Sequence[tuple[Proposer, ProposalRequest]]) -> list[list[Proposal]]:
    return list(await asyncio.gather(*(_some(proposer, request) for proposer, request in asked)))


async def _some(proposer: Proposer, request: ProposalRequest) -> list[Proposal]:
    if (reason := _nothing_to_learn(request)) is not None:
        return [Proposal(None, reason)] * request.count
    spare = itertools.repeat(Proposal(None, "it had no more to propose"))
    return list(itertools.islice(itertools.chain(await proposer.propose(request), spare), request.count))
