"""What is needed to find a prompt's calls in traces: its template, and those of its registered versions."""

from __future__ import annotations

import json
import logging
from collections import Counter

from engine import registry
from engine.config.datasets import TraceReadingModel
from udfs.conversation import Message
from udfs.prompt import Prompt
from udfs.trace_rows import TraceReading

log = logging.getLogger(__name__)


def trace_reading(
    settings: TraceReadingModel, prompt: Prompt | None, prompt_name: str, variables: frozenset[str]
) -> TraceReading:
    """Return how the traces are read; versions are looked up in the registry where links to them count.

    ``prompt`` is ``None`` for a program that fills in prompts of its own: then only root spans count.
    """
    templates: list[tuple[str, str | list[Message]]] = []
    if prompt is not None:
        if settings.match in {"auto", "linked"} and prompt_name:
            templates += [(version, one.deployed()) for version, one in registry.versions(prompt_name).items()]
        templates.append(("", prompt.deployed()))
    return TraceReading(
        variables=variables,
        prompt_name=prompt_name,
        templates=tuple(templates),
        match=settings.match,
        include=frozenset(settings.include),
        span=settings.span,
        feedback=tuple(settings.feedback),
    )


def identity_of(settings: TraceReadingModel, reading: TraceReading, place: str) -> str:
    """What must be the same for what was read to be used again: where it comes from, and how it is read."""
    how = [sorted(reading.variables), reading.prompt_name, reading.templates]
    return json.dumps([place, settings.model_dump(mode="json"), how], sort_keys=True)


def told(left_out: Counter[str], source: str, records: int) -> str | None:
    """Say how many traces gave no row and why, the commonest reason first; ``None`` where all did.

    >>> told(Counter({"failed": 2}), "traces of app", 8)
    'traces of app: 2 traces are left out, 8 calls are used. Left out: 2 x failed'
    """
    if not left_out:
        return None
    causes = ", ".join(f"{count} x {reason}" for reason, count in left_out.most_common())
    total = sum(left_out.values())
    return f"{source}: {total} traces are left out, {records} calls are used. Left out: {causes}"
