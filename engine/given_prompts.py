"""Prompts that somebody has written: files and registry versions, and the current one that they are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine import registry
from engine.config import PromptOptimizationModel
from engine.errors import InputError
from engine.migration import seed_prompt
from udfs.prompt import Prompt


@dataclass(frozen=True)
class GivenPrompts:
    """Prompts by the place that each came from; ``configured`` is the optimization's own, ``current`` the one to beat.

    ``current_place`` names the latter to people.
    """

    configured: Prompt
    current: Prompt
    current_place: str
    named: Mapping[str, Prompt]

    @classmethod
    def load(
        cls, settings: PromptOptimizationModel, places: Sequence[str], *, current: str | None = None
    ) -> GivenPrompts:
        """Load the prompts at ``places`` and the ``current`` one, the configured one where nothing is said.

        Raises:
            InputError: one can't be read, or has a variable that the current prompt lacks.
        """
        configured = seed_prompt(settings)
        base = registry.load_file_or_uri(current) if current else configured
        named = {place: registry.load_file_or_uri(place) for place in places}
        for place, prompt in named.items():
            unknown = sorted(prompt.variables - base.variables)
            if unknown:
                raise InputError(
                    f"{place}: has the variable {{{{{unknown[0]}}}}}, which the current prompt lacks; mend the prompt"
                )
        return cls(configured, base, current or settings.prompt.full_name, named)


def distinct(*prompts: Prompt) -> tuple[Prompt, ...]:
    """Return each prompt once, in order: two files may hold the same text."""
    return tuple({prompt.candidate_id: prompt for prompt in prompts}.values())
