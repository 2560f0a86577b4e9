"""What arrived: every request as it came, so that tests can show what was sent and what was not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request: `headers` have their names in lower case, `query` is the query string."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    raw: bytes

    @classmethod
    async def of(cls, request):
        headers = {name.lower(): value for name, value in request.headers.items()}
        return cls(request.method, request.path, request.query_string, headers, await request.read())

    @property
    def body(self) -> Any:
        """The body as JSON."""
        return json.loads(self.raw)

    def __str__(self):
        return f"{self.method} {self.path}"
