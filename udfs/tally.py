"""A task's running count: what it has done and used, and what the next call will take."""

from __future__ import annotations

from collections.abc import Sequence

from udfs.conversation import Message
from udfs.endpoint import Endpoint, Price
from udfs.errors import ErrorKind
from udfs.rollout import Rollout
from udfs.task_status import TaskStatus

# English text has about four characters a token; corrected by what the endpoint reports as soon as it has answered.
_CHARACTERS_PER_TOKEN = 4
# What an answer is taken to have where neither max_tokens nor an earlier answer says.
_FIRST_COMPLETION_TOKENS = 256


class Tally:
    """Counts finished rows; used from one event loop. ``target_price`` and ``judge_price`` turn tokens into money."""

    def __init__(self, target_price: Price | None, judge_price: Price | None) -> None:
        self._target_price = target_price
        self._judge_price = judge_price
        self._longest: dict[str, int] = {}
        self.done = self.reused = self.failed = self.retried = self.refused = 0
        self.tokens = self.scored = 0
        self.cost = self.score_sum = 0.0

    def add(self, rollout: Rollout) -> None:
        """Count a finished row."""
        r = rollout
        self.done += 1
        self.refused += r.refused
        if r.score is not None:
            self.scored += 1
            self.score_sum += r.score
        elif r.error is not None and r.error.kind is not ErrorKind.BUDGET:
            self.failed += 1
        if r.reused:
            self.reused += 1
        else:
            self.retried += max(0, r.attempts - 1)
            self._spend(self._target_price, r.prompt_tokens, r.completion_tokens)
        if r.judge_calls:
            self.retried += max(0, r.judge_attempts - r.judge_calls)
            self._spend(self._judge_price, r.judge_prompt_tokens, r.judge_completion_tokens)

    def _spend(self, price: Price | None, prompt: int, completion: int) -> None:
        self.tokens += prompt + completion
        if price is not None:
            self.cost += price.cost(prompt, completion)

    @property
    def status(self) -> TaskStatus:
        """The count as it is reported."""
        return TaskStatus(
            done=self.done,
            reused=self.reused,
            failed=self.failed,
            retried=self.retried,
            refused=self.refused,
            tokens=self.tokens,
            cost=self.cost,
            score_sum=self.score_sum,
            scored=self.scored,
        )

    def answered(self, endpoint: Endpoint, completion_tokens: int) -> None:
        """Learn how long this endpoint's answers get."""
        known = self._longest.get(endpoint.endpoint_id, 0)
        self._longest[endpoint.endpoint_id] = max(known, completion_tokens)

    def foreseen(self, endpoint: Endpoint, messages: Sequence[Message]) -> tuple[int, int]:
        """Return the prompt and completion tokens that a call will take at the most, as far as can be told.

        Its text, and the longest answer so far; before the first, ``max_tokens``, or a guess where the endpoint has
        none. A reservation that is too large costs nothing but a little time at a budget's very end.
        """
        prompt = sum(len(message["content"]) for message in messages) // _CHARACTERS_PER_TOKEN + 1
        first = endpoint.sampling.max_tokens or _FIRST_COMPLETION_TOKENS
        return prompt, self._longest.get(endpoint.endpoint_id, first)
