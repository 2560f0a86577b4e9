"""Guards: what a proposal must be before a call is spent on it. A guard rejects and says why; it never repairs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine.rows import Row
from engine.search.copies import Copies
from engine.token_estimate import tokens_in
from udfs.errors import InputError
from udfs.prompt import DEMOS, Prompt

_PLACEHOLDER = re.compile(r"\{\{\s*[A-Za-z_][\w.]*\s*\}\}")
# How a chat prompt is shown to the reflection model: a proposal that holds such a line is several messages in one.
_ROLE_LINE = re.compile(r"^\[(system|user|assistant)\]\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Guards:
    """Checks proposals against the seed prompt and the training rows.

    ``copies_allowed`` is for proposers whose craft is to show training rows (demonstrations).
    """

    seed: Prompt
    max_prompt_tokens: int
    copies: Copies

    @classmethod
    def of(cls, seed: Prompt, train: Sequence[Row], *, max_prompt_tokens: int) -> Guards:
        """Make guards for a search; what stands in the seed itself is no copy."""
        return cls(seed, max_prompt_tokens, Copies.of(train, allowed=seed.text()))

    def objection(self, proposal: Prompt, *, truncated: bool = False, copies_allowed: bool = False) -> str | None:
        """Return why the proposal is refused, ``None`` when it is fit to be scored.

        >>> guards = Guards.of(Prompt.parse("Sort {{text}}"), [], max_prompt_tokens=100)
        >>> guards.objection(Prompt.parse("Sort the text"))
        'the variable {{text}} is lost'
        """
        checks: tuple[Callable[[], str | None], ...] = (
            lambda: "the reflection model's reply was cut off" if truncated else None,
            lambda: _demos_defect(proposal),
            lambda: self._shape_objection(proposal),
            lambda: self._variables_objection(proposal),
            lambda: self._length_objection(proposal),
            lambda: None if copies_allowed else self.copies.found_in(proposal.text()),
        )
        return next((found for check in checks if (found := check()) is not None), None)

    def _shape_objection(self, proposal: Prompt) -> str | None:
        if proposal.roles != self.seed.roles or proposal.components.keys() != self.seed.components.keys():
            return "the prompt's messages differ from the seed's"
        if not proposal.text().strip():
            return "the prompt is empty"
        return next(self._text_objections(proposal), None)

    def _text_objections(self, proposal: Prompt) -> Iterator[str]:
        """What is wrong with single messages: each keeps the shape that the seed's has."""
        for name, seed_text in self.seed.components.items():
            text = proposal.components[name]
            if name == DEMOS:
                continue
            where = f"the message {name!r}" if self.seed.is_chat else "the prompt"
            if seed_text.strip() and not text.strip():
                yield f"{where} is empty"
            if _ROLE_LINE.search(text) and not _ROLE_LINE.search(seed_text):
                yield f"{where} holds several messages: roles stay as they are in the seed"
            if text.count("```") % 2 and not seed_text.count("```") % 2:
                yield "a code fence is open: the prompt was cut off in the middle"
            expected, found = _json_shape(seed_text), _json_shape(text)
            if found != expected:
                yield f"{where} is {_described(found)}, and the seed's is {_described(expected)}"

    def _variables_objection(self, proposal: Prompt) -> str | None:
        if lost := self.seed.variables - proposal.variables:
            return f"the variable {_named(lost)} is lost"
        if added := proposal.variables - self.seed.variables:
            return f"the variable {_named(added)} is new: no row has a value for it"
        return None

    def _length_objection(self, proposal: Prompt) -> str | None:
        tokens = tokens_in(proposal.text())
        if tokens <= self.max_prompt_tokens:
            return None
        return f"the prompt has about {tokens} tokens, above max_prompt_tokens {self.max_prompt_tokens}"


def _json_shape(text: str) -> str | None:
    """Return what tells the shape of a text that is a JSON object or list; ``None`` for ordinary text.

    A placeholder stands inside a string or for a whole value: a digit is good JSON in both places.

    >>> _json_shape('{"task": "{{x}}", "n": {{n}}}')
    '{n,task}'
    """
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        found: Any = json.loads(_PLACEHOLDER.sub("0", text), strict=False)
    except ValueError:
        return None
    if isinstance(found, dict):
        return "{" + ",".join(sorted(found)) + "}"
    return "[]" if isinstance(found, list) else None


def _described(shape: str | None) -> str:
    if shape is None:
        return "no JSON"
    return "a JSON list" if shape == "[]" else f"a JSON object with the keys {shape}"


def _demos_defect(proposal: Prompt) -> str | None:
    text = proposal.components.get(DEMOS)
    if not text:
        return None
    try:
        proposal.deployed()
    except (ValueError, InputError) as error:
        return f"the demonstrations are broken: {error}"
    return "the demonstrations hold a placeholder" if "{{" in text else None


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"{{{{{name}}}}}" for name in sorted(names))
