"""Several prompts of one program as one candidate: they are proposed, scored and deployed together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from udfs.conversation import Message
from udfs.errors import InputError
from udfs.prompt import DEMOS, Prompt, candidate_id


@dataclass(frozen=True)
class PromptSet(Prompt):
    """Prompts by name; each message of each is a component, called ``<name>/<message>``.

    ``shapes`` are the roles of the prompts' messages (``None`` for a plain text prompt), which stay as they are.
    """

    roles: tuple[str, ...] | None = None
    components: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)

    @classmethod
    def of(cls, prompts: Mapping[str, Prompt]) -> PromptSet:
        """Make one of prompts by name; demonstrations are not taken along.

        Raises:
            InputError: there is no prompt, or a name holds a slash.

        >>> PromptSet.of({"plan": Prompt.parse("Plan {{task}}"), "do": Prompt.parse("Do {{step}}")}).components
        {'plan/template': 'Plan {{task}}', 'do/template': 'Do {{step}}'}
        """
        if not prompts:
            raise InputError("a program needs at least one prompt; give some by name")
        if bad := [name for name in prompts if "/" in name]:
            raise InputError(
                f"the prompt name {bad[0]!r} holds a slash, which divides prompts from messages; rename it"
            )
        texts = {
            f"{name}/{key}": text for name, p in prompts.items() for key, text in p.components.items() if key != DEMOS
        }
        return cls(None, texts, {name: prompt.roles for name, prompt in prompts.items()})

    @property
    def prompts(self) -> dict[str, Prompt]:
        """The prompts by name."""
        return {name: self._prompt(name, roles) for name, roles in self.shapes.items()}

    @property
    def candidate_id(self) -> str:
        """Identity of the whole: of all prompts under their names, roles included."""
        return candidate_id({name: prompt.candidate_id for name, prompt in self.prompts.items()})

    @property
    def variables(self) -> frozenset[str]:
        """All placeholders, each with its prompt's name: one that moves to another prompt is lost and added."""
        return frozenset(f"{name}/{variable}" for name, prompt in self.prompts.items() for variable in prompt.variables)

    def with_components(self, components: Mapping[str, str]) -> PromptSet:
        """Return this set with other texts; names and roles stay."""
        return PromptSet(None, dict(components), self.shapes)

    def deployed(self) -> Any:
        """Return what each prompt is deployed as, by name."""
        return {name: prompt.deployed() for name, prompt in self.prompts.items()}

    def text(self) -> str:
        """Return all prompts as one text, for people."""
        return "\n\n".join(f"# {name}\n{prompt.text()}" for name, prompt in self.prompts.items())

    def messages(self, inputs: Mapping[str, Any]) -> list[Message]:
        """Only a program knows what to do with several prompts.

        Raises:
            InputError: always.
        """
        del inputs
        raise InputError(
            f"the prompts {', '.join(sorted(self.shapes))} belong to one program; evaluate them with a Program as the "
            "endpoint"
        )

    def _prompt(self, name: str, roles: tuple[str, ...] | None) -> Prompt:
        prefix = f"{name}/"
        texts = {key.removeprefix(prefix): text for key, text in self.components.items() if key.startswith(prefix)}
        return Prompt(roles, texts if roles is None else {**texts, DEMOS: ""})
