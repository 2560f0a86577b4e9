"""The prompts that a call of a program is to work with: in a context variable, so that many candidates run at once in
the threads of one process, and nothing is patched.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from udfs.errors import InputError
from udfs.prompt import Prompt


@dataclass(eq=False)
class Placed:
    """Prompts by the program's names for them; ``names`` are those of the registry, each with the program's own.

    ``looked_at`` says whether the call has asked for any of them so far.
    """

    prompts: Mapping[str, Prompt]
    names: Mapping[str, str] = field(default_factory=dict)
    looked_at: bool = False


_IN_PLACE: contextvars.ContextVar[Placed | None] = contextvars.ContextVar("promptmill", default=None)


@contextlib.contextmanager
def in_place(prompts: Mapping[str, Prompt], names: Mapping[str, str] | None = None) -> Iterator[Placed]:
    """Put prompts in place for :func:`current_prompt` while the block runs, in this context alone.

    ``names`` are the prompts' names in the registry, each with its name here, for :func:`registered_prompt`.

    >>> with in_place({"greet": Prompt.parse("Hello {{name}}")}):
    ...     current_prompt("greet").messages({"name": "Ada"})
    [{'role': 'user', 'content': 'Hello Ada'}]
    """
    placed = Placed(prompts, names or {})
    token = _IN_PLACE.set(placed)
    try:
        yield placed
    finally:
        _IN_PLACE.reset(token)


def current_prompt(name: str, *, otherwise: Callable[[], Prompt] | None = None) -> Prompt:
    """Return the prompt called ``name`` that this call is to work with.

    Where no evaluation is under way, which is where the program does its daily work, it is what ``otherwise`` returns.
    A thread that the program starts itself sees the prompt only if it is given the context
    (``contextvars.copy_context().run``), as the pools of asyncio and of LangChain do.

    Raises:
        InputError: there is no such prompt, or none at all and no ``otherwise``.
    """
    placed = _IN_PLACE.get()
    if placed is None:
        if otherwise is not None:
            return otherwise()
        raise InputError(
            f"current_prompt({name!r}): no evaluation is under way in this context; give otherwise=, a function that "
            "loads the prompt, or put one in place with udfs.in_place.in_place"
        )
    if name not in placed.prompts:
        known = ", ".join(sorted(placed.prompts))
        raise InputError(f"current_prompt({name!r}): there is none of this name; there are: {known}")
    placed.looked_at = True
    return placed.prompts[name]


def registered_prompt(name: str) -> Prompt | None:
    """Return what this call is to get for the registry's prompt ``name``; ``None`` where that is not optimized."""
    placed = _IN_PLACE.get()
    if placed is None or name not in placed.names:
        return None
    placed.looked_at = True
    return placed.prompts[placed.names[name]]


def placed_here() -> Placed | None:
    """Return what this very call was given; ``None`` outside an evaluation."""
    return _IN_PLACE.get()
