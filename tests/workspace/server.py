"""The workspace as a server: its parts on one port, who may ask, and what was asked."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager

from aiohttp import web

from .errors import ApiError
from .identity import PAT, Identity
from .prompts import Prompts
from .recording import Request
from .secret_scopes import SecretScopes
from .serving import ServedEndpoint, Serving

_OPEN = ("/oidc/", "/.well-known/")


class Workspace:
    """Serves while the ``with`` block runs.

    Its parts are `identity`, `serving`, `secrets` and `prompts`; `requests` is all that arrived, in order. `hook` may
    answer any request itself (it gets a `Request` and returns a `web.Response`, raises an `ApiError`, or returns
    `None`): a way to script outages.
    """

    def __init__(self, *endpoints, life_s=3600.0, hook=None):
        self.identity = Identity(life_s=life_s)
        self.serving = Serving()
        self.secrets = SecretScopes()
        self.prompts = Prompts()
        self.hook = hook
        self.requests = []
        for endpoint in endpoints:
            self.add(endpoint)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-workspace", daemon=True)

    def add(self, endpoint: ServedEndpoint):
        """Serve one more endpoint."""
        self.serving.endpoints[endpoint.name] = endpoint
        return endpoint

    def __enter__(self):
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _start(self):
        app = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[self._middleware()])
        for part in (self.identity, self.serving, self.secrets, self.prompts):
            part.add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self.host = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def _middleware(self):
        @web.middleware
        async def middle(request, handler):
            recorded = await Request.of(request)
            self.requests.append(recorded)
            try:
                if self.hook is not None and (answer := self.hook(recorded)) is not None:
                    return answer
                if not (request.path.startswith(_OPEN) or f"/{self.identity.tenant}/" in request.path):
                    self.identity.check(request)
                return await handler(request)
            except ApiError as error:
                return error.response()
            except web.HTTPNotFound:
                said = f"No API found for '{request.method} {request.path}'"
                return ApiError(404, "ENDPOINT_NOT_FOUND", said).response()

        return middle

    def paths(self):
        """Return each request's method and path, in order."""
        return [str(request) for request in self.requests]

    @contextmanager
    def environment(self, **variables):
        """Let this process's environment name the workspace (a PAT, unless ``variables`` say otherwise)."""
        given = {"DATABRICKS_HOST": self.host} | (variables or {"DATABRICKS_TOKEN": PAT})
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield self
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
