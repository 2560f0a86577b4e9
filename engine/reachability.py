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

# A list of models is some kilobytes; whatever stands at an address by mistake may be anything.
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Probe:
    """What came back: the HTTP ``status`` (``None``: nothing answered, and ``said`` is why), the models it lists."""

    status: int | None
    said: str = ""
    models: tuple[str, ...] = ()


def probe(url: str, *, key: str = "", timeout_s: float) -> Probe:
    """GET ``url``, with ``key`` as its bearer token; follows no redirect, retries nothing, never raises."""
    try:
        return event_loop.run(_get(url, key, timeout_s))
    except TimeoutError:
        return Probe(None, f"no answer within {timeout_s:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # A key that no header may hold stands in aiohttp's own message.
        said = f"{type(error).__name__}: {error}"
        return Probe(None, without_userinfo(said.replace(key, "***") if key else said))


async def _get(url: str, key: str, timeout_s: float) -> Probe:
    session = await event_loop.session()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
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
