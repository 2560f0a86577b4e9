"""Who may ask: personal access tokens, OAuth clients with tokens that end, and the errors of those who may not."""

from __future__ import annotations

import base64
import itertools
import time
from urllib.parse import unquote_plus

from aiohttp import web

from .errors import ApiError

PAT = "dapi-canary-0123456789abcdef"
CLIENT_ID = "8f4d1b2c-canary-principal"
# With characters that form encoding changes.
CLIENT_SECRET = "dose-canary/secret+0123 %"  # noqa: S105 - nobody's
TOKEN_MARK = "canary-issued-"  # noqa: S105 - how its tokens begin

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class Identity:
    """Knows the tokens that are good now.

    `life_s` is how long an issued token lives, `clients` maps ids to secrets, `pats` are the personal access tokens.
    `federated` are tokens of an identity provider that are exchanged for the workspace's own. `revoked` refuses every
    token. `tenant` is where the Azure kind of token comes from (same server, other path).
    """

    def __init__(self, *, life_s=3600.0, tenant="canary-tenant"):
        self.life_s, self.tenant = life_s, tenant
        self.pats = {PAT}
        self.clients = {CLIENT_ID: CLIENT_SECRET}
        self.federated = set()
        self.issued = {}  # token -> when it ends
        self.revoked = False
        self._numbers = itertools.count(1)

    def issue(self, life_s=None):
        """Return a new token that is good for so long."""
        token = f"{TOKEN_MARK}{next(self._numbers):06d}"
        self.issued[token] = time.monotonic() + (self.life_s if life_s is None else life_s)
        return token

    def check(self, request):
        """Raise what the real API answers to a request without a token that is good."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise ApiError(401, 401, "Credential was not sent or was of an unsupported type for this API.")
        if self.revoked or (token not in self.pats and self.issued.get(token, 0.0) <= time.monotonic()):
            raise ApiError(403, 403, "Invalid access token. [ReqId: 7d4b4b9e-0000-0000-0000-000000000000]")

    def add_routes(self, app):
        app.router.add_get("/oidc/.well-known/oauth-authorization-server", self._discovery)
        app.router.add_get("/.well-known/databricks-config", self._config)
        app.router.add_post("/oidc/v1/token", self._token)
        app.router.add_post(f"/{self.tenant}/oauth2/token", self._token)
        app.router.add_post(f"/{self.tenant}/oauth2/v2.0/token", self._token)

    async def _config(self, request):
        return web.json_response({"oidc_endpoint": f"{_place(request)}/oidc", "workspace_id": "1234567890"})

    async def _discovery(self, request):
        place = f"{_place(request)}/oidc"
        return web.json_response(
            {
                "issuer": place,
                "authorization_endpoint": f"{place}/v1/authorize",
                "token_endpoint": f"{place}/v1/token",
                "grant_types_supported": ["client_credentials", "authorization_code", "refresh_token"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            }
        )

    async def _token(self, request):
        form = await request.post()
        client = (str(form.get("client_id", "")), str(form.get("client_secret", "")))
        basic = request.headers.get("Authorization", "").removeprefix("Basic ")
        if basic:
            # databricks-sdk sends the pair as it is, RFC 6749 wants it form-encoded: both are taken.
            pair = base64.b64decode(basic).decode().partition(":")[::2]
            client = pair if self.clients.get(pair[0]) == pair[1] else tuple(map(unquote_plus, pair))
        if form.get("grant_type") == _EXCHANGE and form.get("subject_token") in self.federated:
            return self._issued("all-apis")
        if form.get("grant_type") != "client_credentials":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        if self.clients.get(client[0]) != client[1]:
            said = {"error": "invalid_client", "error_description": "Client authentication failed"}
            return web.json_response(said, status=401)
        return self._issued(form.get("scope", "all-apis"))

    def _issued(self, scope):
        token = {"access_token": self.issue(), "token_type": "Bearer", "expires_in": int(self.life_s)}
        return web.json_response(token | {"scope": scope})


def _place(request):
    return f"http://{request.host}"
