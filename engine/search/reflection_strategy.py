"""gepa's reflection seam, served by our proposers: in parallel, each proposal guarded before a call is spent on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from gepa.proposer.reflective_mutation.reflection_lm import ReflectionProposal

from engine.errors import EvaluationError
from engine.progress import Progress
from engine.proposers.protocol import Proposal, ProposalRequest, Proposer
from engine.search.guards import Guards
from engine.search.history import History
from udfs import event_loop
from udfs.prompt import Prompt

log = logging.getLogger(__name__)

Job = tuple[dict[str, str], Mapping[str, Sequence[Mapping[str, Any]]], list[str]]


class ProposerStrategy:
    """gepa's ``BatchReflectionLM``: ``reflect_many`` runs all jobs of a step at once, proposers in turn.

    gepa swallows what a reflection raises and buys every call again; so nothing is raised here: a failure is an empty
    proposal, and what must stop the run is kept in ``failure``.
    """

    def __init__(self, proposers: Sequence[Proposer], guards: Guards, history: History, progress: Progress) -> None:
        self._proposers = list(proposers)
        self._guards = guards
        self._history = history
        self._progress = progress
        self._jobs_done = 0
        self.step = 0
        self.failure: BaseException | None = None

    def reflect(
        self, candidate: dict[str, str], reflective_dataset: Any, components_to_update: list[str]
    ) -> tuple[ReflectionProposal, ProposerStrategy]:
        """One job; see :meth:`reflect_many`."""
        return self.reflect_many([(candidate, reflective_dataset, components_to_update)])[0]

    def reflect_many(self, jobs: list[Job]) -> list[tuple[ReflectionProposal, ProposerStrategy]]:
        """Return one proposal a job, in order; an empty one where there is nothing fit to be scored."""
        requests = []
        for number, (components, dataset, _) in enumerate(jobs):
            records = next(iter(dataset.values()), ())
            requests.append(
                ProposalRequest(
                    parent=self._guards.seed.with_components(components),
                    rollouts=[(record["row"], record["rollout"]) for record in records],
                    sample=self._jobs_done + number,
                )
            )
        chosen: list[Proposer] = [self._proposers[request.sample % len(self._proposers)] for request in requests]
        self._jobs_done += len(jobs)
        try:
            proposals = event_loop.run(_all(chosen, requests))
        except Exception as error:
            # A defect or a full disk, not a bad reply: kept for the search to raise outside gepa.
            self.failure = error
            return [(ReflectionProposal({}), self) for _ in jobs]
        asked = [proposal for proposal in proposals if proposal.prompt is not None or proposal.outage]
        if asked and all(proposal.outage for proposal in asked):
            # A search without its reflection model would end as "no improvement found", which nobody has looked for.
            self.failure = EvaluationError(f"{asked[0].reason}. Mend it and start the same command again to go on.")
            return [(ReflectionProposal({}), self) for _ in jobs]
        return [
            (ReflectionProposal(self._admit(proposer, request, proposal)), self)
            for proposer, request, proposal in zip(chosen, requests, proposals, strict=True)
        ]

    def _admit(self, proposer: Proposer, request: ProposalRequest, proposal: Proposal) -> dict[str, str]:
        """Guard the proposal and enter it into history; return the texts that changed, none for a refusal."""
        parent = self._history.get(request.parent.candidate_id)
        prompt = proposal.prompt
        objection = proposal.reason
        if prompt is not None:
            objection = self._objection(prompt, proposal, proposer) or ""
        if prompt is None or objection:
            shown = prompt or Prompt(None, {"template": ""})
            refused = self._history.add(
                shown,
                parents=[parent.label],
                proposer=proposer.name,
                step=self.step,
                status="guarded",
                reason=objection,
            )
            self._progress.tell(f"{refused.label} ({proposer.name}): refused before a call: {objection}")
            return {}
        self._history.add(prompt, parents=[parent.label], proposer=proposer.name, step=self.step, status="proposed")
        return {name: text for name, text in prompt.components.items() if text != request.parent.components.get(name)}

    def _objection(self, prompt: Prompt, proposal: Proposal, proposer: Proposer) -> str | None:
        known = self._history.find(prompt.candidate_id)
        if known is not None:
            return f"the same prompt as {known.label}"
        return self._guards.objection(prompt, truncated=proposal.truncated, copies_allowed=proposer.copies_allowed)


async def _all(proposers: Sequence[Proposer], requests: Sequence[ProposalRequest]) -> list[Proposal]:
    jobs = (_one(proposer, request) for proposer, request in zip(proposers, requests, strict=True))
    return list(await asyncio.gather(*jobs))


async def _one(proposer: Proposer, request: ProposalRequest) -> Proposal:
    if all(rollout.score is None for _, rollout in request.rollouts):
        return Proposal(None, "no row of the minibatch could be scored")
    if all(rollout.score is None or rollout.score >= 1 for _, rollout in request.rollouts):
        # No child could do strictly better here, so neither a reflection nor a minibatch is worth its price.
        return Proposal(None, "nothing to learn: the whole minibatch is right")
    return await proposer.propose(request)
