"""What a proposer is: it writes new prompts from what a parent did; all are scored by the same engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.rows import Row
from udfs.prompt import Prompt
from udfs.rollout import Rollout


@dataclass(frozen=True)
class ProposalRequest:
    """One job: improve ``parent``, which did ``rollouts`` on the rows of its minibatch.

    ``sample`` numbers the jobs of a search; with the search's seed it is all the randomness a proposer may use.
    """

    parent: Prompt
    rollouts: Sequence[tuple[Row, Rollout]]
    sample: int


@dataclass(frozen=True)
class Proposal:
    """A new prompt, or ``None`` with the reason why there is none.

    ``truncated``: the model's reply was cut off. ``outage``: the model could not be asked at all, which says nothing
    about the prompt.
    """

    prompt: Prompt | None
    reason: str = ""
    truncated: bool = False
    outage: bool = False


class Proposer(Protocol):
    """Writes new prompts.

    Implementations are deterministic given the request, their seed and the reflection model's replies (which the
    ledger keeps), and never raise for a bad reply: that is a proposal without a prompt.
    """

    @property
    def name(self) -> str:
        """The name in the configuration."""
        ...

    @property
    def copies_allowed(self) -> bool:
        """True for proposers whose craft is to show training rows."""
        ...

    async def propose(self, request: ProposalRequest) -> Proposal:
        """Return one proposal. Several run at once on one event loop."""
        ...
