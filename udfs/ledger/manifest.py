"""What a compaction leaves: a manifest that names the merged segments, and those that they supersede."""

from __future__ import annotations

import json
import posixpath
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from udfs.errors import LedgerError

FORMAT_VERSION = 1
_NAME = re.compile(r"compacted-[0-9a-f]{16}\.json")


@dataclass(frozen=True)
class Manifest:
    """``<folder>/<compaction_id>.json``; it appears last and whole, so that a compaction happens at once or not at all.

    ``segments`` are the merged segments and ``supersedes`` those whose entries are in them, all by their names below
    the ledger's folder; ``made_at`` is in seconds since 1970. Superseded segments stay on storage: who listed them
    before may read them still.
    """

    compaction_id: str
    segments: tuple[str, ...]
    supersedes: tuple[str, ...]
    made_at: float

    @property
    def name(self) -> str:
        """The manifest's file name.

        >>> Manifest("compacted-0123456789abcdef", (), (), 0.0).name
        'compacted-0123456789abcdef.json'
        """
        return f"{self.compaction_id}.json"

    def to_json(self) -> str:
        """Return what stands in the file."""
        values = {
            "format": FORMAT_VERSION,
            "made_at": self.made_at,
            "segments": list(self.segments),
            "supersedes": list(self.supersedes),
        }
        return json.dumps(values, indent=1)

    @classmethod
    def from_json(cls, name: str, text: str) -> Manifest:
        """Read what :meth:`to_json` wrote into the file ``name``.

        Raises:
            LedgerError: a later promptmill wrote it.
            ValueError: it is damaged.
        """
        found: Any = json.loads(text)
        if not isinstance(found, Mapping):
            raise ValueError("it is no JSON object")  # noqa: TRY004 - damaged text, as json.loads calls it
        check_format(found.get("format"), f"the ledger's manifest {name}")
        lists = [found.get(key) for key in ("segments", "supersedes")]
        if not all(isinstance(value, list) and all(isinstance(v, str) for v in value) for value in lists):
            raise ValueError("it lacks the lists segments and supersedes")
        return cls(
            posixpath.splitext(name)[0], tuple(lists[0] or ()), tuple(lists[1] or ()), float(found.get("made_at") or 0)
        )


def new_compaction_id() -> str:
    """Return a name that no other compaction has."""
    return f"compacted-{uuid.uuid4().hex[:16]}"


def is_manifest(name: str) -> bool:
    """Tell a manifest by its name.

    >>> is_manifest("compacted-0123456789abcdef.json"), is_manifest("notes.json")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


def check_format(found: object, what: str) -> None:
    """Refuse what a later promptmill wrote: passing over it would pay for its answers again.

    Raises:
        LedgerError: the format is a later one; the message says the mend.
        ValueError: it is no format at all.
    """
    if not isinstance(found, int):
        raise ValueError(f"its format is {found!r}")  # noqa: TRY004 - damaged text, as json.loads calls it
    if found > FORMAT_VERSION:
        raise LedgerError(
            f"{what} has format {found}, this promptmill reads up to {FORMAT_VERSION}; use the promptmill that wrote "
            "it, or give another storage.root"
        )
