"""Parts of promises: what share of an endpoint's limits one evaluation may use, where several run at once.

The driver hands parts out (``engine.sharing``); they travel in the plan, change while the evaluation runs, and
reach its tasks through the status folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

# Where an endpoint stands: provider, base_url, name.
Place = tuple[str, str, str]


@dataclass(frozen=True)
class Parts:
    """The part of each place's promise, above 0 and at most 1; a place that is not named is all the evaluation's own.

    ``version`` grows with each change, so that tasks can say which one they keep.

    >>> parts = Parts({("openai", "http://127.0.0.1:1/v1", "m"): 0.25}, version=3)
    >>> Parts.from_json(parts.to_json()) == parts
    True
    >>> parts.of(("openai", "http://127.0.0.1:1/v1", "another"))
    1.0
    """

    by_place: Mapping[Place, float] = field(default_factory=dict)
    version: int = 0

    def of(self, place: Place) -> float:
        """Return the part of a place's promise."""
        return self.by_place.get(place, 1.0)

    def to_json(self) -> str:
        """Return the parts as text; see :meth:`from_json`."""
        return json.dumps({"version": self.version, "parts": [[*place, part] for place, part in self.by_place.items()]})

    @classmethod
    def from_json(cls, text: str | bytes) -> Parts:
        """Return what :meth:`to_json` wrote."""
        found = json.loads(text)
        return cls({(a, b, c): float(part) for a, b, c, part in found["parts"]}, int(found["version"]))
