"""Secret scopes: `GET /api/2.0/secrets/get`, whose values come in base64."""

from __future__ import annotations

import base64

from aiohttp import web

from .errors import denied, missing


class SecretScopes:
    """`values` maps (scope, key) to a secret; nobody may read what is in a scope of `closed`."""

    def __init__(self):
        self.values = {}
        self.closed = set()

    def add_routes(self, app):
        app.router.add_get("/api/2.0/secrets/get", self._get)

    async def _get(self, request):
        scope, key = request.query.get("scope", ""), request.query.get("key", "")
        if scope in self.closed:
            raise denied(f"User does not have READ permission on scope {scope}")
        if not any(scope == known for known, _ in self.values):
            raise missing(f"Secret scope {scope} does not exist!")
        if (scope, key) not in self.values:
            raise missing(f"Secret does not exist with scope: {scope} and key: {key}")
        value = base64.b64encode(self.values[scope, key].encode()).decode()
        return web.json_response({"key": key, "value": value})
