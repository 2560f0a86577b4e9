"""The proposer ``copro``: coordinate ascent over instructions, from what was tried and how it scored.

DSPy's COPRO (Khattab et al., arXiv 2310.03714) after OPRO (Yang et al., arXiv 2309.03409): the model sees instructions
in increasing order of their scores, and writes a better one. It sees no rows: cheap, and the same for any task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from engine.proposers.instructions import components_in_turn, placeholders, with_instruction
from engine.proposers.protocol import Proposal, ProposalRequest
from engine.proposers.reflection_client import ReflectionClient
from engine.proposers.replies import failure, new_prompt, reply_format
from engine.token_estimate import tokens_in
from udfs.conversation import Message
from udfs.errors import CallError

# OPRO shows its model the best 20; more text makes it no better.
_MOST_SHOWN = 20
_RESPONSE_FORMAT = reply_format("proposal", ["new_prompt"])
_SYSTEM = """You are an instruction optimizer for large language models. I give you instructions that were tried for \
one task, each with its score from 0 to 100; they stand in increasing order of their scores, and higher is \
better. Find out what the better ones have that the worse ones lack, and write a new instruction, different from \
all of them, that will score higher still. Don't be afraid to be creative.

The new instruction contains every one of these placeholders, written exactly the same, and no other: {placeholders}

Reply with a JSON object: {{"new_prompt": "<the new instruction>"}}"""


@dataclass(frozen=True)
class CoproProposer:
    """Writes instructions from those tried so far; the components of a chat prompt take turns, the others stay."""

    client: ReflectionClient
    max_tokens: int
    labels: tuple[str, ...] = ()
    name: str = "copro"
    copies_allowed: bool = False

    async def propose(self, request: ProposalRequest) -> Sequence[Proposal]:
        """Return ``count`` instructions, all asked for at once."""
        return await asyncio.gather(*(self._one(request, sample) for sample in request.samples))

    async def _one(self, request: ProposalRequest, sample: int) -> Proposal:
        component = components_in_turn(request.parent, sample)
        try:
            reply, truncated = await self.client.ask(
                self.messages(request, component), sample=sample, response_format=_RESPONSE_FORMAT
            )
        except CallError as error:
            return failure(error)
        text = new_prompt(reply)
        if text is None:
            return Proposal(None, "the reply holds no new instruction", truncated=truncated, calls=1)
        return Proposal(with_instruction(request.parent, component, text), truncated=truncated, calls=1)

    def messages(self, request: ProposalRequest, component: str) -> list[Message]:
        """Return what the model is asked; of the attempts the best that fit into ``max_tokens`` tokens."""
        wanted = placeholders(request.parent.components[component])
        system = _SYSTEM.format(placeholders=", ".join(wanted) or "none")
        best: dict[str, float] = {request.parent.components[component]: 0.0}
        for attempt in request.history:
            text = attempt.prompt.components[component]
            best[text] = max(attempt.score, best.get(text, 0.0))
        tail = f"The allowed answers: {' | '.join(self.labels)}\n\n" if self.labels else ""
        room = self.max_tokens - tokens_in(system) - tokens_in(tail)
        shown: list[str] = []
        for text, score in sorted(best.items(), key=lambda tried: (-tried[1], tried[0]))[:_MOST_SHOWN]:
            block = f"Score: {100 * score:.0f}\n<instruction>\n{text}\n</instruction>"
            room -= tokens_in(block) + 1
            if shown and room < 0:
                break
            shown.append(block)
        return [
            {"role": "system", "content": system},
            {"role": "user", "content": tail + "\n\n".join(reversed(shown))},
        ]
