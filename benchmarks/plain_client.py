"""The cheapest client that the standard library has: a connection a thread, kept open."""

from __future__ import annotations

import http.client
import json
import threading
from urllib.parse import urlsplit


class PlainClient:
    """Asks one endpoint; may be shared by threads."""

    def __init__(self, base_url: str) -> None:
        self._parts = urlsplit(base_url)
        self._place = threading.local()

    def ask(self, model: str, *messages: tuple[str, str]) -> str:
        """Return the answer to messages of (role, content).

        Raises:
            RuntimeError: the endpoint answered with another status than 200.
        """
        body = {"model": model, "messages": [{"role": role, "content": text} for role, text in messages]}
        if not hasattr(self._place, "connection"):
            self._place.connection = http.client.HTTPConnection(self._parts.hostname or "", self._parts.port)
        headers = {"Content-Type": "application/json"}
        self._place.connection.request("POST", f"{self._parts.path}/chat/completions", json.dumps(body), headers)
        response = self._place.connection.getresponse()
        raw = response.read()
        if response.status != 200:
            raise RuntimeError(f"HTTP {response.status}: {raw[:300]!r}")
        return str(json.loads(raw)["choices"][0]["message"]["content"])
