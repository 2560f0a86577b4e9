"""An OAuth server and an endpoint that takes nothing but its live tokens, over real HTTP on one port."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import threading
import time
from pathlib import Path
from urllib.parse import unquote_plus

from aiohttp import web

from engine.scripted_endpoint import Call
from udfs.endpoint import Endpoint
from udfs.keys import OAuthClient, Secret

CLIENT_ID = "mill"
# With characters that form encoding changes.
CLIENT_SECRET = "canary/secret+0123 456789%"  # noqa: S105 - nobody's
TOKEN_MARK = "canary-token-"  # noqa: S105 - how its tokens begin


class TokenWorld:
    """Serves while the ``with`` block runs.

    ``life_s`` is how long a token lives (``None``: it says nothing, and they live for ever); ``troubles`` are responses
    that the token server gives before it serves again; ``echo`` makes refusals repeat the whole header; ``watch`` looks
    up whether this very process asks for a token, which takes a while. ``answer`` writes the model's answers.
    """

    def __init__(self, life_s=30.0, *, troubles=(), echo=False, delay_s=0.0, watch=False, answer=None):
        self.life_s, self.troubles, self.echo, self.delay_s = life_s, list(troubles), echo, delay_s
        self.watch, self.answer = watch, answer or (lambda call: call.prompt)
        self.answer_delay_s = 0.0
        self.issued = {}  # token -> when it ends
        self.forms = []  # what it was asked, one a request for a token
        self.from_here = []  # whether this process asked, one a request
        self.refused = 0
        self.answered = []  # the prompts
        self.closed = False  # refuses whatever it is shown
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

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
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self._place = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    @property
    def token_url(self):
        return f"{self._place}/token"

    @property
    def base_url(self):
        return f"{self._place}/v1"

    @property
    def client(self):
        return OAuthClient(self.token_url, CLIENT_ID, Secret(CLIENT_SECRET), "all-apis")

    def endpoint(self, **settings):
        return Endpoint(**({"name": "m", "base_url": self.base_url, "api_key": self.client} | settings))

    def revoke_all(self):
        self.issued = dict.fromkeys(self.issued, 0.0)

    async def _token(self, request):
        form = dict(await request.post())
        self.forms.append(form)
        if self.watch:
            self.from_here.append(_from_this_process(request))
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.troubles:
            return self.troubles.pop(0)()
        pair = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
        given = tuple(unquote_plus(part) for part in pair.split(":"))
        if given != (CLIENT_ID, CLIENT_SECRET) or form.get("grant_type") != "client_credentials":
            said = {"error": "invalid_client", "error_description": f"no such client: {given}, {pair}"}
            return web.json_response(said, status=401)
        token = f"{TOKEN_MARK}{next(self._numbers):06d}"
        self.issued[token] = time.monotonic() + (float("inf") if self.life_s is None else self.life_s)
        life = {} if self.life_s is None else {"expires_in": self.life_s}
        return web.json_response({"access_token": token, "token_type": "Bearer"} | life)

    def _refusal(self, request):
        header = request.headers.get("Authorization", "")
        if not self.closed and self.issued.get(header.removeprefix("Bearer "), 0.0) > time.monotonic():
            return None
        self.refused += 1
        said = f"{'x' * 270} bad header {header}" if self.echo else "expired"
        return web.json_response({"error": {"message": said, "code": 401}}, status=401)

    async def _models(self, request):
        return self._refusal(request) or web.json_response({"data": [{"id": "m"}]})

    async def _chat(self, request):
        if refusal := self._refusal(request):
            return refusal
        await asyncio.sleep(self.answer_delay_s)
        call = Call(len(self.answered) + 1, await request.json())
        self.answered.append(call.prompt)
        message = {"role": "assistant", "content": self.answer(call)}
        return web.json_response({"choices": [{"message": message}], "usage": {"prompt_tokens": 1}})


def trouble(status=503, headers=None, **body):
    """Return what makes one failing response of the token server."""
    return lambda: web.json_response(body, status=status, headers=headers)


def _from_this_process(request):
    """Tell whether this process holds the other end of the connection: Linux says whose sockets are whose."""
    port = request.transport.get_extra_info("peername")[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port:
            return f"socket:[{fields[9]}]" in _own_files()
    return None


def _own_files():
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(entry.readlink()))
    return found
