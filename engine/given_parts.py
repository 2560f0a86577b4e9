"""Parts that somebody has written for a program of several prompts: ``part=FILE_OR_URI``."""

from __future__ import annotations

from collections.abc import Sequence

from engine import registry
from engine.errors import InputError
from udfs.prompt import Prompt
from udfs.prompt_set import PromptSet


def load_parts(places: Sequence[str], configured: PromptSet) -> dict[str, Prompt]:
    """Return the candidates that the places make of the ``configured`` prompts, each by its places.

    Places with different parts make one candidate; a part that comes again begins the next one. What a candidate does
    not name stays as it is configured.

    Raises:
        InputError: a place names no part, or can't be read.
    """
    return {" ".join(group): _with_parts(group, configured) for group in _grouped(places, configured)}


def current_parts(places: Sequence[str], configured: PromptSet) -> tuple[PromptSet, str]:
    """Return the prompts to beat and what they are called: the ``configured`` ones, with those at the places instead.

    Raises:
        InputError: see :func:`load_parts`; or a part comes twice.
    """
    groups = _grouped(places, configured)
    if len(groups) > 1:
        raise InputError(f"the current prompts are given twice: {' '.join(places)}; give each part once")
    return _with_parts(places, configured), " ".join(places) or ", ".join(configured.shapes)


def _grouped(places: Sequence[str], configured: PromptSet) -> list[list[str]]:
    """Begin a group where a part comes that the last one has.

    >>> plan = PromptSet.of({"plan": Prompt.parse("p"), "act": Prompt.parse("a")})
    >>> _grouped(["plan=1.txt", "act=1.txt", "plan=2.txt"], plan)
    [['plan=1.txt', 'act=1.txt'], ['plan=2.txt']]
    """
    groups: list[list[str]] = []
    begun: set[str] = set()
    for place in places:
        part, sign, rest = place.partition("=")
        if part not in configured.shapes or not (sign and rest):
            known = ", ".join(configured.shapes)
            raise InputError(f"{place}: names none of the program's prompts ({known}); write one as part=FILE_OR_URI")
        if not groups or part in begun:
            groups.append([])
            begun = set()
        groups[-1].append(place)
        begun.add(part)
    return groups


def _with_parts(places: Sequence[str], configured: PromptSet) -> PromptSet:
    pairs = (place.partition("=") for place in places)
    return PromptSet.of(configured.prompts | {part: registry.load_file_or_uri(where) for part, _, where in pairs})
