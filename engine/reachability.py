"""Is something there, and does it take the key: one short question that costs nothing and is not repeated."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from udfs import event_loop
from udfs.credentials import credentials_of, masked
from udfs.endpoint import Endpoint
from udfs.keys import OAuthClient
from udfs.oauth import OAuthCredentials

# A list of models is some kilobytes; whatever stands at an address by mistake may be anything.
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Probe:
    """What came back: the HTTP ``status`` (``None``: nothing answered, and ``said`` is why), the models it lists."""

    status: int | None
    said: str = ""
    models: tuple[str, ...] = ()


def key_header(endpoint: Endpoint) -> str:
    """Return the header that a call to ``endpoint`` would carry; an OAuth server is asked for a token, once.

    Raises:
        InputError: a variable is not set, or its key can't be sent.
        CallError: there is no key to be had; the message says where it was looked for, and holds no secret.
    """

    async def header() -> str:
        key = endpoint.with_secret().api_key
        return await (
            OAuthCredentials(key, give_up_s=0) if isinstance(key, OAuthClient) else credentials_of(endpoint)
        ).header()

    return event_loop.run(header())


def probe(url: str, *, header: str = "", timeout_s: float) -> Probe:
    """GET ``url``, with ``header`` as its authorization; follows no redirect, retries nothing, never raises."""
    try:
        return event_loop.run(_get(url, header, timeout_s))
    except TimeoutError:
        return Probe(None, f"no answer within {timeout_s:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Probe(None, without_userinfo(masked(f"{type(error).__name__}: {error}", header)))


async def _get(url: str, header: str, timeout_s: float) -> Probe:
    session = await event_loop.session()
    headers = {"Authorization": header} if header else {}
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with session.get(url, headers=headers, timeout=timeout, allow_redirects=False) as response:
        raw = await response.content.read(_MOST_BYTES)
        return Probe(response.status, models=_models(raw))


def _models(raw: bytes) -> tuple[str, ...]:
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        return tuple(str(model["id"]) for model in json.loads(raw)["data"])
    return ()


def probe_port(address: str, *, default_port: int, timeout_s: float) -> Probe:
    """Open and close a connection to the host and port of ``address`` (``scheme://host:port/…``); never raises."""
    try:
        place = urlsplit(address)
        with socket.create_connection((place.hostname or "", place.port or default_port), timeout=timeout_s):
            return Probe(200)
    except (OSError, ValueError) as error:
        return Probe(None, str(error))


def without_userinfo(text: str) -> str:
    """Return ``text`` with the user and password of each URL in it masked.

    >>> without_userinfo("postgresql://me:hunter2@db/mlflow is down")
    'postgresql://***@db/mlflow is down'
    """
    return re.sub(r"://[^/\s@]*@", "://***@", text)
