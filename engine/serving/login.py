"""Who asks: databricks-sdk's own ``Config`` finds the login, and tasks are handed the least of it that they need.

| databricks-sdk's auth type | tasks get | renewed |
|---|---|---|
| ``pat`` | the token | never: it does not expire in a run |
| ``oauth-m2m`` | client id, client secret, the workspace's token URL | on each worker |
| ``azure-client-secret`` | the same, of Entra ID, with Databricks' scope | on each worker |
| everything else: notebook (``runtime``), CLI, OIDC, … | a token with its lifetime | by the driver, between stages |
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from udfs.errors import InputError
from udfs.keys import ApiKey, LentToken, OAuthClient, Secret

if TYPE_CHECKING:
    from databricks.sdk.core import Config

# The workspace's metadata is asked for on the way; databricks-sdk itself would go on for five minutes.
_TIMEOUT_S = 15
_MEND = (
    "set DATABRICKS_HOST with DATABRICKS_TOKEN, or with DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or name a "
    "profile of ~/.databrickscfg in DATABRICKS_CONFIG_PROFILE"
)


@dataclass(frozen=True)
class Login:
    """A workspace, what calls to it carry, and databricks-sdk's name of how that was found."""

    host: str
    key: ApiKey
    auth_type: str


def log_in(host: str = "") -> Login:
    """Return the login that databricks-sdk finds, for the workspace at ``host`` or the one that it finds, too.

    Raises:
        InputError: there is none, or none that serving endpoints take.
    """
    config = config_of(host)
    try:
        key = key_of(config)
    except InputError:
        raise
    except Exception as error:  # each way of logging in has errors of its own, and some come from the network
        raise InputError(_without_secrets(f"databricks-sdk can't log in ({config.auth_type}): {error}")) from None
    if isinstance(key, LentToken):
        _lenders[key.host, key.auth] = config
    return Login(config.host.rstrip("/"), key, config.auth_type)


def workspace_of() -> str:
    """Return where the workspace is, for a key that the configuration gives: a login of its own is not asked for.

    Raises:
        InputError: nothing says where.
    """
    host = os.environ.get("DATABRICKS_HOST", "").strip().rstrip("/")
    if not host:
        return config_of().host.rstrip("/")
    return host if "://" in host else f"https://{host}"


def config_of(host: str = "") -> Config:
    """Return databricks-sdk's configuration.

    Raises:
        InputError: nothing says who asks, or where.
    """
    from databricks.sdk.core import Config

    try:
        found = Config(
            host=host or None,
            product="promptmill",
            product_version="0",
            retry_timeout_seconds=_TIMEOUT_S,
            http_timeout_seconds=_TIMEOUT_S,
        )
    except ValueError as error:
        # Not chained: what it came from may hold a server's answer to the secret.
        raise InputError(f"databricks-sdk finds no login: {_without_secrets(str(error))}; {_MEND}") from None
    if not found.host:
        raise InputError(f"databricks-sdk finds no workspace; {_MEND}")
    return found


def key_of(config: Config) -> ApiKey:
    """Return what a task needs of ``config``: see the table on top.

    Raises:
        InputError: serving endpoints take no such login.
    """
    kind = config.auth_type
    if kind == "pat":
        return Secret(config.token)
    if kind == "oauth-m2m":
        endpoints = getattr(config, "databricks_oidc_endpoints", None) or config.oidc_endpoints
        if endpoints is None:
            raise InputError(f"the workspace {config.host} names no OAuth server; check DATABRICKS_HOST")
        scopes = getattr(config, "get_scopes_as_string", lambda: "all-apis")()
        return OAuthClient(endpoints.token_endpoint, config.client_id, Secret(config.client_secret), scopes)
    if kind == "azure-client-secret":
        place = config.arm_environment.active_directory_endpoint.rstrip("/")
        url = f"{place}/{config.azure_tenant_id}/oauth2/v2.0/token"
        scope = f"{config.effective_azure_login_app_id}/.default"
        return OAuthClient(url, config.azure_client_id, Secret(config.azure_client_secret), scope)
    return _lent(config)


def renewed_key(key: LentToken) -> LentToken:
    """Return the token that holds now: databricks-sdk gets another where the old one is about to end."""
    config = _lenders.get((key.host, key.auth))
    return key if config is None else _lent(config)


def _lent(config: Config) -> LentToken:
    header = config.authenticate().get("Authorization", "")
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token:
        raise InputError(f"the login {config.auth_type!r} gives no bearer token, and serving endpoints take no other")
    return LentToken(Secret(token), config.auth_type, config.host.rstrip("/"), _ends_at(config, token))


def _ends_at(config: Config, token: str) -> float | None:
    """Return when the token ends, in Unix time: as databricks-sdk knows it, or as the token itself says."""
    try:
        expiry: datetime | None = config.oauth_token().expiry
    except (ValueError, AttributeError):
        expiry = None  # not every login is an OAuth one
    if expiry is not None:
        return expiry.timestamp()
    ends_at = _claims(token).get("exp")
    return float(ends_at) if isinstance(ends_at, int | float) else None


def _claims(token: str) -> dict[str, Any]:
    """Read what a JWT says of itself; nothing where it is none.

    >>> _claims("h.eyJleHAiOiAxMH0.s"), _claims("dapi123")
    ({'exp': 10}, {})
    """
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _without_secrets(text: str) -> str:
    """Mask what the environment holds that is secret: an error may quote what a server said to it."""
    from databricks.sdk.core import Config

    for attribute in Config.attributes():
        value = os.environ.get(attribute.env or "") if attribute.sensitive else None
        if value:
            text = text.replace(value, "***")
    return text


# Who lent a token, to be asked for the next one. The driver's alone.
_lenders: dict[tuple[str, str], Config] = {}
