"""Guards: what a proposal must be before a call is spent on it. A guard rejects and says why; it never repairs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from engine.rows import Row
from udfs.errors import InputError
from udfs.prompt import DEMOS, Prompt

# English text has about four characters a token.
CHARACTERS_PER_TOKEN = 4
# A run of so many words that also stands in a training row is copied, not coincidence.
_COPIED_WORDS = 8
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Guards:
    """Checks proposals against the seed prompt and the training rows.

    ``copies_allowed`` is for proposers whose craft is to show training rows (demonstrations).
    """

    seed: Prompt
    max_prompt_tokens: int
    copied: frozenset[tuple[str, ...]]

    @classmethod
    def of(cls, seed: Prompt, train: Sequence[Row], *, max_prompt_tokens: int) -> Guards:
        """Make guards for a search; what stands in the seed itself is no copy."""
        own = set(_shingles([seed.text()]))
        texts = (text for row in train for text in _texts(row))
        return cls(seed, max_prompt_tokens, frozenset(set(_shingles(texts)) - own))

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
            lambda: None if copies_allowed else self._copy_objection(proposal),
        )
        return next((found for check in checks if (found := check()) is not None), None)

    def _shape_objection(self, proposal: Prompt) -> str | None:
        text = proposal.text()
        if not text.strip():
            return "the prompt is empty"
        if proposal.components.keys() != self.seed.components.keys():
            return "the prompt's messages differ from the seed's"
        return "a code fence is open: the prompt was cut off in the middle" if text.count("```") % 2 else None

    def _variables_objection(self, proposal: Prompt) -> str | None:
        if lost := self.seed.variables - proposal.variables:
            return f"the variable {_named(lost)} is lost"
        if added := proposal.variables - self.seed.variables:
            return f"the variable {_named(added)} is new: no row has a value for it"
        return None

    def _length_objection(self, proposal: Prompt) -> str | None:
        tokens = len(proposal.text()) // CHARACTERS_PER_TOKEN
        if tokens <= self.max_prompt_tokens:
            return None
        return f"the prompt has about {tokens} tokens, above max_prompt_tokens {self.max_prompt_tokens}"

    def _copy_objection(self, proposal: Prompt) -> str | None:
        copied = next((s for s in _shingles([proposal.text()]) if s in self.copied), None)
        return f"it copies a training row: {' '.join(copied)!r}" if copied else None


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


def _texts(row: Row) -> Iterable[str]:
    for text in (row.inputs, row.expectations):
        if text:
            yield from (str(value) for value in json.loads(text).values())


def _shingles(texts: Iterable[str]) -> Iterable[tuple[str, ...]]:
    """All runs of :data:`_COPIED_WORDS` words, casefolded."""
    for text in texts:
        words = [word.casefold() for word in _WORD.findall(text)]
        for start in range(len(words) - _COPIED_WORDS + 1):
            yield tuple(words[start : start + _COPIED_WORDS])
