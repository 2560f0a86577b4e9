"""What the reader tells of a file that is no error: how something was understood, and what was read and ignored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Remark:
    """``note``: how something was understood. ``warning``: what may not be meant so, or is lost."""

    kind: Literal["note", "warning"]
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


class Remarks:
    """Remarks in order, each told once: an anchor's is found wherever the anchor is used.

    >>> told = Remarks()
    >>> told.note("c.yaml:3", "is ignored"); told.note("c.yaml:3", "is ignored"); len(list(told))
    1
    """

    def __init__(self, remarks: Iterable[Remark] = ()) -> None:
        self._remarks = dict.fromkeys(remarks)

    def note(self, where: str, text: str) -> None:
        """Tell how something was understood."""
        self._remarks.setdefault(Remark("note", where, text))

    def warn(self, where: str, text: str) -> None:
        """Tell what may not be meant so, or is lost."""
        self._remarks.setdefault(Remark("warning", where, text))

    def __iter__(self) -> Iterator[Remark]:
        return iter(self._remarks)
