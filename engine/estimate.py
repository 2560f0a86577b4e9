"""What a migration would cost, before anything is paid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.errors import InputError
from engine.proposers.mipro import MIPRO_CALLS
from engine.rows import Row
from engine.search.adapter import CHECKED_ROWS, PROBE_ROWS
from engine.search.sampling import ROUNDS
from engine.settings import BudgetSettings, SearchSettings
from engine.split import Split
from engine.token_estimate import tokens_in
from udfs.endpoint import Endpoint
from udfs.prompt import Prompt
from udfs.scorers.protocol import Judge, Subject

# An answer's length where the endpoint has no max_tokens, and a judge's or a reflection's reply.
ANSWER_TOKENS, VERDICT_TOKENS, _REFLECTION_TOKENS = 256, 120, 600
# Judges see the row and their own instructions.
_JUDGE_PROMPT_TOKENS = 400
# New prompts are longer than the seed: so much, in tokens, is assumed for a candidate.
_CANDIDATE_GROWTH_TOKENS = 150
# Proposers whose prompts show training rows; none of them asks the reflection model for each of its proposals.
_SHOW_ROWS = frozenset({"demos", "mipro"})
# Rows whose lengths are looked at.
_SAMPLED_ROWS = 200


@dataclass(frozen=True)
class Part:
    """Calls and tokens at one endpoint, at the least and at the most."""

    name: str
    calls_low: int
    calls_high: int
    prompt_tokens_high: int
    completion_tokens_high: int
    cost_high: float | None


@dataclass(frozen=True)
class Estimate:
    """The whole bill, foreseen; ``tokens_each`` is the target's for one pair."""

    parts: tuple[Part, ...]
    tokens_each: float
    currency: str | None
    max_metric_calls: int | None

    @property
    def calls_high(self) -> int:
        """The most calls to all endpoints."""
        return sum(part.calls_high for part in self.parts)

    @property
    def tokens_high(self) -> int:
        """The most tokens at all endpoints."""
        return sum(part.prompt_tokens_high + part.completion_tokens_high for part in self.parts)

    @property
    def cost_high(self) -> float | None:
        """The highest cost; ``None`` where no endpoint has a price."""
        known = [part.cost_high for part in self.parts if part.cost_high is not None]
        return sum(known) if known else None


def estimate(
    *,
    seed: Prompt,
    split: Split,
    search: SearchSettings,
    target: Endpoint,
    reflection: Endpoint | None,
    judges: Sequence[Endpoint],
    gate_rows: int,
    finalist_calls: int,
    budget: BudgetSettings,
) -> Estimate:
    """Foresee calls, tokens and money; calls nothing.

    At the least: the seed on val and holdout, with nothing reused. At the most: every proposal accepted and scored on
    all of val, within the budget's ``max_metric_calls``. ``finalist_calls`` are those that the gate may make beside the
    seed's and the winner's.
    """
    val = len(split.val)
    proposals = search.num_candidates * search.max_steps
    batch = min(search.minibatch_size, len(split.train))
    low = val + gate_rows
    parents = search.max_steps * min(search.num_parents, search.num_candidates) * ROUNDS * batch
    high = val + parents + proposals * (PROBE_ROWS + CHECKED_ROWS + val) + 2 * gate_rows + finalist_calls
    if budget.max_metric_calls is not None:
        high = min(high, budget.max_metric_calls)
    low = min(low, high)
    prompt_each = pair_tokens(seed, split, search, None) if proposals else _prompt_tokens(seed, split)
    answer_each = target.sampling.max_tokens or ANSWER_TOKENS
    parts = [part(f"target {target.name}", target, low, high, prompt_each, answer_each)]
    for judge in judges:
        asked = prompt_each + answer_each + _JUDGE_PROMPT_TOKENS
        parts.append(part(f"judge {judge.name}", judge, low, high, asked, VERDICT_TOKENS))
    if reflection is not None and search.asks_reflection:
        asked = _reflection_calls(search, proposals, batch)
        reply = reflection.sampling.max_tokens or _REFLECTION_TOKENS
        parts.append(part(f"reflection {reflection.name}", reflection, 0, asked, search.reflection_tokens, reply))
    priced = [e.price for e in (target, reflection, *judges) if e is not None and e.price is not None]
    return Estimate(
        tuple(parts), prompt_each + answer_each, priced[0].currency if priced else None, budget.max_metric_calls
    )


def pair_tokens(seed: Prompt, split: Split, search: SearchSettings, target: Endpoint | None) -> float:
    """Return the tokens that one (candidate, row) pair may take: of the prompt, and with ``target`` of the answer too.

    Candidates are longer than the seed: by an instruction, or by as many demonstrations as are asked for.
    """
    growth = float(_CANDIDATE_GROWTH_TOKENS)
    if _SHOW_ROWS.intersection(search.proposers):
        shown = split.train[:_SAMPLED_ROWS]
        lengths = [tokens_in(row.inputs + (row.expectations or "") + seed.text()) for row in shown]
        growth = max(growth, search.num_demos * sum(lengths) / max(1, len(lengths)))
    answer = (target.sampling.max_tokens or ANSWER_TOKENS) if target else 0
    return _prompt_tokens(seed, split) + min(growth, search.max_prompt_tokens) + answer


def _reflection_calls(search: SearchSettings, proposals: int, batch: int) -> int:
    """The most calls to the reflection model: one a proposal, more where many failures are summed up first."""
    names = search.proposers
    asking = [name for name in names if name not in _SHOW_ROWS]
    # A bandit may give every slot to any of them.
    share = float(bool(asking)) if search.is_auto else len(asking) / len(names)
    each = 1
    large = search.reflection_map_reduce_from
    if "gepa" in asking and large is not None and batch >= large:
        each += math.isqrt(batch)
    once = MIPRO_CALLS if "mipro" in names else 0
    return math.ceil(proposals * share) * each + once


def part(name: str, endpoint: Endpoint, low: int, high: int, prompt_each: float, answer_each: float) -> Part:
    """Return the bill of so many calls, each with so many tokens of prompt and of answer."""
    prompt, completion = int(high * prompt_each), int(high * answer_each)
    cost = endpoint.price.cost(prompt, completion) if endpoint.price else None
    return Part(name, low, high, prompt, completion, cost)


def estimate_given(
    prompts: Sequence[Prompt],
    rows: Sequence[Row],
    *,
    target: Endpoint,
    judges: Sequence[Judge],
    pairs: tuple[int, int],
    recorded_rows: int = 0,
    max_metric_calls: int | None = None,
) -> Estimate:
    """Foresee what scoring given prompts takes, by a sample of the ``rows``; calls nothing.

    ``pairs`` of (prompt, row) are asked at the least, with nothing reused, and at the most. Judges also judge the
    recorded answers of ``recorded_rows``, unless they compare with them.
    """
    low, high = pairs
    prompt_each = mean([_filled_tokens(p, row) for p in prompts for row in rows])
    answer_each = target.sampling.max_tokens or ANSWER_TOKENS
    parts = [part(f"target {target.name}", target, low, high, prompt_each, answer_each)]
    for judge in judges:
        recorded = 0 if "expected_response" in judge.needs else recorded_rows
        parts.append(judge_part(judge, [subject(row) for row in rows], low, high + recorded))
    priced = [e.price for e in (target, *(judge.endpoint for judge in judges)) if e.price is not None]
    currency = priced[0].currency if priced else None
    return Estimate(tuple(parts), prompt_each + answer_each, currency, max_metric_calls)


def judge_part(judge: Judge, subjects: Sequence[Subject], low: int, high: int) -> Part:
    """Return the bill of so many verdicts on texts such as ``subjects``."""
    asked = mean([message_tokens(judge.messages(one)) for one in subjects])
    return part(f"judge {judge.name}", judge.endpoint, low, high, asked, VERDICT_TOKENS)


def subject(row: Row, output: str | None = None) -> Subject:
    """Return a row's answer for a judge; what the source answered stands for one that is not there yet."""
    expectations = json.loads(row.expectations or "{}")
    stand_in = str(expectations.get("expected_response", "")) if output is None else output
    return Subject(json.loads(row.inputs), stand_in, expectations)


def message_tokens(messages: Sequence[Mapping[str, str]]) -> int:
    """Return about how many tokens the messages of one call have."""
    return sum(tokens_in(message["content"]) for message in messages)


def mean(lengths: Sequence[float]) -> float:
    """Return the mean, 0 of nothing."""
    return sum(lengths) / len(lengths) if lengths else 0.0


def _prompt_tokens(seed: Prompt, split: Split) -> float:
    rows = split.val[:_SAMPLED_ROWS]
    lengths = [_filled_tokens(seed, row) for row in rows]
    return sum(lengths) / len(lengths)


def _filled_tokens(prompt: Prompt, row: Row) -> int:
    try:
        return message_tokens(prompt.messages(json.loads(row.inputs)))
    except InputError:  # the prompt of a program, which fills it in itself
        return tokens_in(prompt.text()) + tokens_in(row.inputs)
