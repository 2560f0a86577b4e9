"""What a proposer is: it writes new prompts from what a parent did; all are scored by the same engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.rows import Row
from udfs.prompt import Prompt
from udfs.rollout import Rollout


@dataclass(frozen=True)
class Attempt:
    """A prompt that this search has scored, as proposers see it.

    ``score`` is from 0 to 1, higher is better: the mean on val where ``on_val``; else what the parent has there, moved
    by the difference of the two on the candidate's minibatch. ``rollouts`` are those on train rows, by ``row_id``; of
    val rows a proposer sees nothing but the mean.
    """

    prompt: Prompt
    proposer: str
    score: float
    on_val: bool
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)


@dataclass(frozen=True)
class ProposalRequest:
    """One job: improve ``parent``, which did ``rollouts`` on the rows of its minibatch.

    ``count`` proposals are wanted; they bear the numbers ``sample`` to ``sample + count - 1``, which no other request
    to the same proposer bears: with the search's seed they are all the randomness a proposer may use. ``history``
    holds what was scored before, in the order it came up, the seed first. ``tested_on`` are further rows that the
    proposals will be scored on and that no proposer is shown.
    """

    parent: Prompt
    rollouts: Sequence[tuple[Row, Rollout]]
    sample: int
    count: int = 1
    history: Sequence[Attempt] = ()
    tested_on: frozenset[str] = frozenset()

    @property
    def scored_on(self) -> frozenset[str]:
        """Ids of all rows that the proposals are about to be scored on: none of them may be given away."""
        return self.tested_on | {row.row_id for row, _ in self.rollouts}

    @property
    def samples(self) -> range:
        """The numbers of the proposals.

        >>> ProposalRequest(Prompt.parse("{{x}}"), (), sample=4, count=2).samples
        range(4, 6)
        """
        return range(self.sample, self.sample + self.count)


@dataclass(frozen=True)
class Proposal:
    """A new prompt, or ``None`` with the reason why there is none.

    ``truncated``: the model's reply was cut off. ``outage``: the model could not be asked at all, which says nothing
    about the prompt. ``unaffordable``: the budget did not cover asking. ``calls`` is how often a model was asked.
    """

    prompt: Prompt | None
    reason: str = ""
    truncated: bool = False
    outage: bool = False
    unaffordable: bool = False
    calls: int = 0


class Proposer(Protocol):
    """Writes new prompts.

    Implementations are deterministic given the requests so far, their seed and the reflection model's replies (which
    the ledger keeps), and never raise for a bad reply: that is a proposal without a prompt.
    """

    @property
    def name(self) -> str:
        """The name in the configuration."""
        ...

    @property
    def copies_allowed(self) -> bool:
        """True for proposers whose craft is to show training rows."""
        ...

    async def propose(self, request: ProposalRequest) -> Sequence[Proposal]:
        """Return ``request.count`` proposals, in order. Several requests are served at once on one event loop."""
        ...
