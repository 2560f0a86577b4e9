"""The shapes that dao-ai's optimization section has had, told apart by what stands in them, and what each means here.

==============  ==========================  ==========================================================================
generation      dao-ai                      by what it is known
==============  ==========================  ==========================================================================
``A0``          before 2025-10-16           stands right below ``optimizations``
``A``           git, 2025-10-16             ``dataset_name``
``A'``          git, 2025-10-17             ``max_steps`` or ``temperature``, or an agent by its name
``B``           0.0.26 to 0.0.36            ``scorer_model``, or a ``dataset`` that is a name
``C``           0.1.0 to 0.1.112            a ``dataset`` of inline chats
``promptmill``                              any key of promptmill's own, and all else
==============  ==========================  ==========================================================================

Two things differ: how an answer is scored, which no shape says, and ``num_candidates``: proposals a step up to A', in B
and C the metric calls that a whole run may make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.config.datasets import DatasetModel
from engine.config.optimization import SEARCH_KEYS, PromptOptimizationModel
from engine.config.remarks import Remarks
from engine.errors import ConfigError

OWN = "promptmill"
DESCRIBED: Mapping[str, str] = {
    "A0": "dao-ai before 2025-10-16, entries right below optimizations",
    "A": "dao-ai's of 2025-10-16, with dataset_name",
    "A'": "dao-ai's of 2025-10-17, with max_steps or temperature",
    "B": "dao-ai 0.0.26 to 0.0.36",
    "C": "dao-ai 0.1.0 to 0.1.112",
    OWN: "promptmill's own",
}
_SHARED = frozenset(
    {
        "name",
        "prompt",
        "prompts",
        "agent",
        "dataset",
        "reflection_model",
        "scorer_model",
        "num_candidates",
        "max_steps",
        "temperature",
    }
)
_OWN_KEYS = (frozenset(PromptOptimizationModel.model_fields) | SEARCH_KEYS) - _SHARED
_OWN_SOURCES = frozenset(DatasetModel.model_fields) - {"name", "data"}
# What dao-ai spends where generation B or C says nothing.
_THEIR_BUDGET = 50


@dataclass(frozen=True)
class Change:
    """What takes a key's place in an entry; without a value the key is taken out."""

    key: str
    value: Any = None


def generation_of(entry: Mapping[str, Any], dataset: Any, *, nested: bool = True) -> str:
    """Return the generation of an entry; ``dataset`` is what it names, ``nested`` whether ``prompt_optimizations`` is.

    >>> generation_of({"agent": "a", "dataset_name": "d", "num_candidates": 5}, None)
    'A'
    >>> generation_of({"agent": "a", "dataset_name": "d", "scorers": ["exact_match"]}, None)
    'promptmill'
    """
    data = dataset.get("data") if isinstance(dataset, Mapping) else None
    sources = dataset.keys() if isinstance(dataset, Mapping) else set()
    # dao-ai's inline rows are chats, all of them.
    own_rows = data and not is_chats(data)
    if _OWN_KEYS & entry.keys() or _OWN_SOURCES & sources or isinstance(entry.get("prompt"), list) or own_rows:
        return OWN
    if not nested:
        return "A0"
    if "dataset_name" in entry:
        return "A"
    if {"max_steps", "temperature"} & entry.keys() or isinstance(entry.get("agent"), str):
        return "A'"
    if data and "scorer_model" not in entry and not isinstance(entry.get("dataset"), str):
        return "C"
    return "B" if "scorer_model" in entry or isinstance(entry.get("dataset"), str) else OWN


def is_chats(data: Any) -> bool:
    """Say whether inline rows are chats: ``inputs`` of ``messages`` or ``input``."""
    return isinstance(data, list) and any(
        isinstance(row, Mapping)
        and isinstance(row.get("inputs"), Mapping)
        and any(isinstance(row["inputs"].get(key), list) for key in ("messages", "input"))
        for row in data
    )


def changes(
    entry: Mapping[str, Any], generation: str, dataset: Any, agents_model: Any, where: str, remarks: Remarks
) -> list[Change]:
    """Return what brings an entry of ``generation`` to promptmill's own shape, and tell it.

    ``agents_model`` is how the agent's model is referred to, for the models that dao-ai takes it for.

    Raises:
        ConfigError: ``num_candidates`` is a budget and no whole number from 1.
    """
    if generation == OWN:
        return []
    found: list[Change] = []
    if generation in {"B", "C"}:
        found += _budget(entry.get("num_candidates"), where, remarks)
        if "num_candidates" in entry:
            found.append(Change("num_candidates"))
    scorer = _scorer(generation, dataset)
    found.append(Change("scorers", [scorer]))
    if agents_model is None:
        return found  # there is no agent, which is told as an error
    if isinstance(scorer, dict) and entry.get("scorer_model") is None:
        found.append(Change("scorer_model", agents_model))
        remarks.note(where, "scorer_model is not given: the agent's model judges, as in dao-ai")
    if generation == "C":
        remarks.note(
            where,
            f"scored by {scorer}, which comes next to dao-ai's counting of facts and words; scorers says it otherwise",
        )
    else:
        remarks.note(where, f"scored by {scorer}, as in dao-ai by MLflow's Correctness; scorers says it otherwise")
    if entry.get("reflection_model") is None:
        found.append(Change("reflection_model", agents_model))
        remarks.note(where, "reflection_model is not given: the agent's model writes new prompts, as in dao-ai")
    return found


def _budget(given: Any, where: str, remarks: Remarks) -> list[Change]:
    if given is None:
        remarks.warn(
            where,
            f"num_candidates is not given: dao-ai makes {_THEIR_BUDGET} metric calls then, which tells next to "
            "nothing; nothing bounds this run, so set budget.max_metric_calls",
        )
        return []
    try:
        calls = int(given)
    except (TypeError, ValueError, OverflowError):
        calls = 0
    if isinstance(given, bool) or calls < 1 or calls != float(given):
        raise ConfigError(
            f"{where}: num_candidates is {given!r}: in this shape it is the number of metric calls; give a whole "
            "number from 1"
        )
    remarks.note(
        where,
        f"num_candidates {calls} is the number of metric calls in this shape, not of candidates a step; it is read as "
        f"budget.max_metric_calls {calls}",
    )
    return [Change("budget", {"max_metric_calls": calls})]


def _scorer(generation: str, dataset: Any) -> str | dict[str, Any]:
    """Return the scorer that comes next to what the generation did."""
    facts = _has_facts(dataset)
    if generation == "C":
        return "expected_facts" if facts else "token_f1"
    return {"judge": "correctness", **({"against": "expected_facts"} if facts else {})}


def _has_facts(dataset: Any) -> bool:
    data = dataset.get("data") if isinstance(dataset, Mapping) else None
    if not isinstance(data, list):
        return False
    rows = [{**row, **(row.get("expectations") or {})} for row in data if _is_row(row)]
    return any(row.get("expected_facts") is not None for row in rows)


def _is_row(row: Any) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("expectations") or {}, Mapping)
