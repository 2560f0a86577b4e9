"""The prompts that one candidate is made of, under the names that the registry has for them: one, or a program's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.config import PromptOptimizationModel
from engine.record import PartLine
from engine.registry import RegisteredPrompt
from udfs.conversation import Message
from udfs.prompt import Prompt
from udfs.prompt_set import PromptSet


@dataclass(frozen=True)
class OptimizedPart:
    """One prompt as it is deployed; ``uri`` is ``None`` where the registry could not take it."""

    name: str
    template: str | list[Message]
    uri: str | None


def parts_of(settings: PromptOptimizationModel, prompt: Prompt) -> dict[str, Prompt]:
    """Return the prompts that ``prompt`` is made of, by full name, in the order of the configuration."""
    if isinstance(prompt, PromptSet):
        return {one.full_name: prompt.prompts[one.name] for one in settings.prompts}
    return {settings.prompt.full_name: prompt}


def optimized_parts(parts: Mapping[str, Prompt], registered: Sequence[RegisteredPrompt]) -> tuple[OptimizedPart, ...]:
    """Return each part with its URI."""
    uris = {one.name: one.uri for one in registered}
    return tuple(OptimizedPart(name, prompt.deployed(), uris.get(name)) for name, prompt in parts.items())


def prompt_section(parts: Mapping[str, Prompt], registered: Sequence[RegisteredPrompt]) -> dict[str, Any]:
    """Return what ``result.json`` says of the prompt to use from now on.

    ``prompts`` lists all parts, chat prompts with their ``messages``; ``prompt`` is there for one alone.
    """
    uris = {one.name: one.uri for one in registered}
    listed: list[dict[str, Any]] = []
    for name, prompt in parts.items():
        deployed = prompt.deployed()
        chat = {} if isinstance(deployed, str) else {"messages": deployed}
        listed.append({"name": name, "uri": uris.get(name), "text": prompt.text(), **chat})
    if len(listed) > 1:
        return {"prompts": listed}
    return {"prompt": {"uri": listed[0]["uri"], "text": listed[0]["text"]}, "prompts": listed}


def part_lines(seed: Mapping[str, Prompt], best: Mapping[str, Prompt]) -> tuple[PartLine, ...]:
    """Return the parts before and after, for the record; nothing for a single prompt."""
    if len(seed) == 1:
        return ()
    return tuple(PartLine(name, prompt.text(), best[name].text()) for name, prompt in seed.items())
