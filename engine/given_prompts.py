"""Prompts that somebody has written: files and registry versions, and the current one that they are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine import registry
from engine.config import PromptOptimizationModel
from engine.errors import InputError
from engine.given_parts import current_parts, load_parts
from engine.migration import seed_prompt
from udfs.prompt import Prompt
from udfs.prompt_set import PromptSet


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
        cls,
        settings: PromptOptimizationModel,
        places: Sequence[str],
        *,
        current: str | Sequence[str] | None = None,
        of_program: bool = False,
    ) -> GivenPrompts:
        """Load the prompts at ``places`` and the ``current`` one, the configured one where nothing is said.

        Of a program with several prompts a place is ``part=FILE_OR_URI``, see :func:`engine.given_parts.load_parts`;
        ``current`` then may be several places.

        Raises:
            InputError: one can't be read, or has a variable that the current prompt lacks.
        """
        configured = seed_prompt(settings, needs_variables=not of_program)
        held = [current] if isinstance(current, str) else list(current or ())
        base: Prompt
        named: Mapping[str, Prompt]
        if isinstance(configured, PromptSet):
            base, place = current_parts(held, configured)
            named = load_parts(places, configured)
        else:
            if len(held) > 1:
                raise InputError(f"the current prompt is one, and {len(held)} are given: {', '.join(held)}; give one")
            base = registry.load_file_or_uri(held[0]) if held else configured
            place = held[0] if held else settings.prompt.full_name
            named = {one: registry.load_file_or_uri(one) for one in places}
        for where, prompt in named.items():
            unknown = sorted(prompt.variables - base.variables)
            if unknown:
                raise InputError(
                    f"{where}: has the variable {{{{{unknown[0]}}}}}, which the current prompt lacks; mend the prompt"
                )
        return cls(configured, base, place, named)


def distinct(*prompts: Prompt) -> tuple[Prompt, ...]:
    """Return each prompt once, in order: two files may hold the same text."""
    return tuple({prompt.candidate_id: prompt for prompt in prompts}.values())
