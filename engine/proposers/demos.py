"""The proposer ``demos``: few-shot demonstrations from training rows; needs no reflection model.

Bootstrapped as in DSPy's BootstrapFewShotWithRandomSearch (Khattab et al., arXiv 2310.03714, section 4): each proposal
draws another set, and the search keeps what scores. What is demonstrated is the recorded answer.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from engine.proposers.labels import answer_of
from engine.proposers.protocol import Proposal, ProposalRequest
from engine.rows import Row
from udfs.conversation import Message, conversation_of
from udfs.prompt import DEMOS, TEMPLATE, Prompt, render

# A demonstration longer than this teaches less than it costs in every call.
_MOST_CHARACTERS = 1500
_HEAD = "Examples:\n\n"
_TAIL = "\n\nNow this one:\n\n"
# Without the allowed answers at its very end, a small model goes on with the pattern of a text prompt's examples
# instead of answering (measured with a 0.5B model: no answer right without, every second with).
_LABELS = "\n\nReply with only one of: "


@dataclass(frozen=True)
class DemosProposer:
    """Puts demonstrations into the parent: into the text of a text prompt, as turns of a chat prompt."""

    train: tuple[Row, ...]
    num_demos: int
    seed: int
    labels: tuple[str, ...] = ()
    name: str = "demos"
    copies_allowed: bool = True

    async def propose(self, request: ProposalRequest) -> Sequence[Proposal]:
        """Return the parent with fresh sets of demonstrations in place of those it had, one set a proposal.

        Rows that the child is about to be scored on are not shown.
        """
        return [self._one(request.parent, request.scored_on, sample) for sample in request.samples]

    def _one(self, parent: Prompt, scored_on: Collection[str], sample: int) -> Proposal:
        rng = random.Random(f"demos-{self.seed}-{sample}")  # noqa: S311 - reproducible, not secret
        chosen = draw(self.train, self.num_demos, rng, excluded=scored_on)
        if not chosen:
            return Proposal(None, "no training row has a recorded answer that could be shown")
        if not can_show(parent, chosen):
            return Proposal(None, "what fills this prompt in is a program: its inputs can't be shown as demonstrations")
        return Proposal(showing(parent, chosen, self.labels))


def draw(train: Sequence[Row], count: int, rng: random.Random, *, excluded: Collection[str] = ()) -> list[Row]:
    """Draw rows that can be shown so that different answers take turns, as far as answers repeat."""
    by_answer: dict[str, list[Row]] = defaultdict(list)
    for row in train:
        answer = answer_of(row)
        if row.row_id in excluded or not answer or "{{" in row.inputs + answer:
            continue
        if len(answer) + len(row.inputs) <= _MOST_CHARACTERS:
            by_answer[answer].append(row)
    for rows in by_answer.values():
        rng.shuffle(rows)
    answers = sorted(by_answer)
    rng.shuffle(answers)
    drawn: list[Row] = []
    while len(drawn) < count and any(by_answer.values()):
        for answer in answers:
            if by_answer[answer] and len(drawn) < count:
                drawn.append(by_answer[answer].pop())
    rng.shuffle(drawn)
    return drawn


def can_show(prompt: Prompt, rows: Sequence[Row]) -> bool:
    """Say whether these rows can be demonstrations of ``prompt``: it is one prompt, and their inputs fill it in."""
    if not prompt.is_chat and TEMPLATE not in prompt.components:
        return False
    inputs = [json.loads(row.inputs) for row in rows]
    # In a conversation the question is no part of the prompt, and so could be none of a demonstration's.
    return all(prompt.variables <= one.keys() and conversation_of(one) is None for one in inputs)


def showing(prompt: Prompt, rows: Sequence[Row], labels: Sequence[str] = ()) -> Prompt:
    """Return ``prompt`` with these rows as its demonstrations, in place of those it had; none where there are none."""
    bare = without_demos(prompt)
    shown = [(json.loads(row.inputs), answer_of(row) or "") for row in rows]
    return with_demos(bare, shown, labels) if shown else bare


def with_demos(prompt: Prompt, demos: Sequence[tuple[Mapping[str, object], str]], labels: Sequence[str] = ()) -> Prompt:
    """Return ``prompt`` with demonstrations: inputs and the answer to each.

    ``labels`` are the allowed answers, where these are few; a text prompt ends with them.

    >>> print(with_demos(Prompt.parse("Sort: {{x}}"), [({"x": "a"}, "first")]).text())
    Examples:
    <BLANKLINE>
    Sort: a
    first
    <BLANKLINE>
    Now this one:
    <BLANKLINE>
    Sort: {{x}}
    """
    if not prompt.is_chat:
        template = prompt.components[TEMPLATE]
        allowed = _LABELS + ", ".join(labels) if labels else ""
        blocks = [f"{render(template, inputs).rstrip()}\n{answer}" for inputs, answer in demos]
        return prompt.with_components({TEMPLATE: _HEAD + "\n\n".join(blocks) + _TAIL + template + allowed})
    turns: list[Message] = []
    for inputs, answer in demos:
        user = [m for m in prompt.messages(inputs) if m["role"] == "user"][-1]
        turns += [user, {"role": "assistant", "content": answer}]
    return prompt.with_components({**prompt.components, DEMOS: json.dumps(turns, ensure_ascii=False)})


def without_demos(prompt: Prompt) -> Prompt:
    """Return ``prompt`` without the demonstrations that :func:`with_demos` put in.

    >>> bare = Prompt.parse("Sort: {{x}}")
    >>> without_demos(with_demos(bare, [({"x": "a"}, "first")])) == bare
    True
    """
    if prompt.is_chat:
        return prompt.with_components({**prompt.components, DEMOS: ""})
    text = prompt.components[TEMPLATE]
    if text.startswith(_HEAD) and _TAIL in text:
        return prompt.with_components({TEMPLATE: text.rpartition(_TAIL)[2].partition(_LABELS)[0]})
    return prompt
