"""What a run used: calls, tokens, money; counted from what evaluations return."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from udfs.endpoint import Price
from udfs.errors import ErrorKind
from udfs.rollout import Rollout


@dataclass
class Tokens:
    """Tokens paid for at one endpoint."""

    prompt: int = 0
    completion: int = 0

    def add(self, prompt: int, completion: int) -> None:
        """Add so many tokens."""
        self.prompt += prompt
        self.completion += completion


class Usage:
    """Calls and tokens of a run; mutated as the run goes on.

    ``made`` counts calls that were answered or failed for good, once each; ``retried`` the further attempts that
    they took; ``refused`` the attempts that were answered 429; ``failed`` the calls without an answer; ``reused``
    the answers and verdicts that the ledger had from other runs; ``resumed`` those of ``made`` that this run had
    made before it was interrupted. ``metric_calls`` counts distinct (candidate, row) pairs, wherever their answers
    came from; who evaluates them counts them.

    >>> usage = Usage()
    >>> usage.add([Rollout("c", "r", output="x", score=1.0, prompt_tokens=10, attempts=3, refused=1)])
    >>> usage.calls()
    {'made': 1, 'reused': 0, 'resumed': 0, 'retried': 2, 'refused': 1, 'failed': 0}
    """

    def __init__(self) -> None:
        self.made = self.reused = self.resumed = self.retried = self.refused = self.failed = 0
        self.target, self.judge, self.reflection = Tokens(), Tokens(), Tokens()
        self.saved_target, self.saved_judge, self.saved_reflection = Tokens(), Tokens(), Tokens()
        self.metric_calls = 0

    def add(self, rollouts: Iterable[Rollout], *, given: bool = False) -> None:
        """Count what these rollouts used.

        Where the answers were ``given``, only what judges were asked counts: the ledger saved nothing.
        """
        for r in rollouts:
            if r.output is None and r.error is not None and r.error.kind is ErrorKind.BUDGET:
                continue  # never asked
            ours = not given and (not r.reused or r.resumed)
            self._count(
                answered=int(ours),
                reused=int(not ours and not given) + r.judge_reused,
                resumed=int(r.resumed),
                attempts=r.attempts if ours else 0,
                refused=r.refused,
                failed=int(not r.reused and r.output is None and (r.error is None or r.error.kind.is_infrastructure)),
                judge_calls=r.judge_calls,
                judge_attempts=r.judge_attempts,
            )
            if ours or r.reused:
                (self.target if ours else self.saved_target).add(r.prompt_tokens, r.completion_tokens)
            self.judge.add(r.judge_prompt_tokens, r.judge_completion_tokens)
            self.saved_judge.add(r.judge_reused_prompt_tokens, r.judge_reused_completion_tokens)

    def add_frame(self, result: DataFrame, *, given: bool = False) -> None:
        """Count what an evaluation's result used, as :meth:`add` does; only sums leave Spark."""
        ours = F.lit(False) if given else ~F.col("reused") | F.col("resumed")
        saved = F.lit(0).cast("bigint") if given else (~ours).cast("bigint")
        by_budget = F.coalesce(F.col("error.kind") == ErrorKind.BUDGET.value, F.lit(False))
        asked = result.where(~(by_budget & F.col("output").isNull()))
        line = asked.agg(
            F.sum(ours.cast("bigint")).alias("answered"),
            F.sum(saved + F.col("judge_reused")).alias("reused"),
            F.sum((ours & F.col("resumed")).cast("bigint")).alias("resumed"),
            F.sum(F.when(ours, F.col("attempts"))).alias("attempts"),
            F.sum("refused").alias("refused"),
            F.sum((ours & F.col("output").isNull() & F.col("score").isNull()).cast("bigint")).alias("failed"),
            F.sum("judge_calls").alias("judge_calls"),
            F.sum("judge_attempts").alias("judge_attempts"),
            F.sum(F.when(ours, F.col("prompt_tokens"))).alias("prompt"),
            F.sum(F.when(ours, F.col("completion_tokens"))).alias("completion"),
            F.sum("judge_prompt_tokens").alias("judge_prompt"),
            F.sum("judge_completion_tokens").alias("judge_completion"),
            F.sum(F.when(~ours, F.col("prompt_tokens"))).alias("saved_prompt"),
            F.sum(F.when(~ours, F.col("completion_tokens"))).alias("saved_completion"),
            F.sum("judge_reused_prompt_tokens").alias("saved_judge_prompt"),
            F.sum("judge_reused_completion_tokens").alias("saved_judge_completion"),
        ).collect()[0]
        found = {name: int(value or 0) for name, value in line.asDict().items()}
        self.target.add(found.pop("prompt"), found.pop("completion"))
        self.judge.add(found.pop("judge_prompt"), found.pop("judge_completion"))
        self.saved_target.add(found.pop("saved_prompt"), found.pop("saved_completion"))
        self.saved_judge.add(found.pop("saved_judge_prompt"), found.pop("saved_judge_completion"))
        self._count(**found)

    def add_reflection(self, *, attempts: int, refused: int, prompt: int, completion: int) -> None:
        """Count one answered call to the reflection model."""
        self.made += 1
        self.retried += attempts - 1
        self.refused += refused
        self.reflection.add(prompt, completion)

    def _count(
        self,
        *,
        answered: int,
        reused: int,
        resumed: int,
        attempts: int,
        refused: int,
        failed: int,
        judge_calls: int,
        judge_attempts: int,
    ) -> None:
        self.made += answered + judge_calls
        self.reused += reused
        self.resumed += resumed
        self.retried += max(0, attempts - answered) + max(0, judge_attempts - judge_calls)
        self.refused += refused
        self.failed += failed

    @property
    def tokens(self) -> int:
        """All tokens paid for."""
        return sum(t.prompt + t.completion for t in (self.target, self.judge, self.reflection))

    def calls(self) -> dict[str, int]:
        """The counts as they stand in ``result.json``."""
        return {name: getattr(self, name) for name in ("made", "reused", "resumed", "retried", "refused", "failed")}

    def token_counts(self) -> dict[str, int]:
        """Prompt and completion tokens as they stand in ``result.json``."""
        return _counts(self.target, self.judge, self.reflection)

    def saved_token_counts(self) -> dict[str, int]:
        """Prompt and completion tokens that the ledger saved."""
        return _counts(self.saved_target, self.saved_judge, self.saved_reflection)

    def cost(self, target: Price | None, judge: Price | None, reflection: Price | None) -> dict[str, Any] | None:
        """Return ``{"amount", "currency"}``; ``None`` where no endpoint has a price."""
        return _bill((target, self.target), (judge, self.judge), (reflection, self.reflection))

    def saved(self, target: Price | None, judge: Price | None, reflection: Price | None) -> dict[str, Any]:
        """Return what the ledger saved, of which this run paid nothing: ``calls``, ``tokens``, ``cost``.

        >>> usage = Usage()
        >>> usage.add([Rollout("c", "r", output="x", score=1.0, prompt_tokens=10, completion_tokens=2, reused=True)])
        >>> usage.saved(Price(prompt_per_million=1e6), None, None)
        {'calls': 1, 'tokens': 12, 'cost': {'amount': 10.0, 'currency': 'USD'}}
        """
        parts = (target, self.saved_target), (judge, self.saved_judge), (reflection, self.saved_reflection)
        return {"calls": self.reused, "tokens": sum(self.saved_token_counts().values()), "cost": _bill(*parts)}


def _counts(*parts: Tokens) -> dict[str, int]:
    return {name: sum(asdict(part)[name] for part in parts) for name in ("prompt", "completion")}


def _bill(*parts: tuple[Price | None, Tokens]) -> dict[str, Any] | None:
    priced = [(price, tokens) for price, tokens in parts if price is not None]
    if not priced:
        return None
    amount = sum(price.cost(tokens.prompt, tokens.completion) for price, tokens in priced)
    return {"amount": round(amount, 6), "currency": priced[0][0].currency}
