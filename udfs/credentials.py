"""What a client shows to its endpoint, call for call: one object a process and descriptor, renewed where it is used.

The seam is :class:`Credentials`. :class:`FixedKey` never changes, :class:`RereadKey` follows a file,
:class:`LentKey` holds as long as the driver's login does, and :class:`udfs.oauth.OAuthCredentials` gets tokens that
expire. Executors renew on their own what can be renewed there; the driver is not asked.
"""

from __future__ import annotations

import asyncio
import socket
import time
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from udfs.endpoint import Endpoint
from udfs.errors import ErrorKind, InputError, call_error
from udfs.keys import ApiKey, KeyFile, LentToken, OAuthClient, Secret
from udfs.pacer import Clock

# How often a key file is looked at; a rotated key is written some time before the old one ends.
_LOOK_EVERY_S = 1.0
# Keys and tokens have at most a few kilobytes; whatever else stands at the path by mistake may be anything.
_MOST_CHARACTERS = 65_536


class Credentials(Protocol):
    """Shared by all calls of a process that use one descriptor; used from one event loop only."""

    async def header(self) -> str:
        """Return the Authorization header's value for a call that is sent now, "" for none; at once while it is fresh.

        Raises:
            CallError: there is none. The kind is ``CREDENTIALS`` where they were refused, a retryable one where
                asking again later may help. The message never holds a secret.
        """
        ...

    async def refused(self, header: str) -> str | None:
        """Return another header worth sending at once, now that ``header`` was answered 401 or 403; ``None``: none is.

        Raises:
            CallError: as :meth:`header`.
        """
        ...


class FixedKey:
    """A key that stays as it is, or none at all."""

    def __init__(self, header: str) -> None:
        self._header = header

    async def header(self) -> str:
        """Return the same header each time."""
        return self._header

    async def refused(self, header: str) -> str | None:  # noqa: ARG002 - there is only one
        """Return nothing: there is no other."""
        return None


class RereadKey:
    """A key in a file: read again when the file changes, and after a refusal.

    A file that can't be read while it is replaced leaves the last key in use.
    """

    def __init__(self, file: KeyFile, *, clock: Clock = time.monotonic) -> None:
        self._path = Path(file.path)
        self._clock = clock
        self._header = ""
        self._look_at = clock()
        self._seen: tuple[int, int, int] | None = None

    async def header(self) -> str:
        """Return the key as it was in the file a second ago at most."""
        if self._clock() >= self._look_at or not self._header:
            self._look_at = self._clock() + _LOOK_EVERY_S
            # In a thread: a mounted volume may answer late, and every call of the process runs on this loop.
            await asyncio.to_thread(self._look)
        return self._header

    async def refused(self, header: str) -> str | None:
        """Read the file again, whatever its times say."""
        if self._header == header:
            self._seen = None
            await asyncio.to_thread(self._look)
        return self._header if self._header != header else None

    def _look(self) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return
            with self._path.open(encoding="utf-8") as file:
                header = bearer(file.read(_MOST_CHARACTERS))
        except (OSError, ValueError) as error:
            # A decoding error would show what it could not decode.
            self._keep_or_raise(error.strerror if isinstance(error, OSError) else "it is not UTF-8")
            return
        except InputError as error:
            self._keep_or_raise(str(error))
            return
        if header:
            self._header, self._seen = header, seen
        else:
            self._keep_or_raise("it is empty")

    def _keep_or_raise(self, reason: str | None) -> None:
        if not self._header:
            raise call_error(
                ErrorKind.CREDENTIALS,
                f"the key file {self._path} can't be used on {socket.gethostname()}: {reason}; it must hold the key, "
                "on the driver and on every worker",
            )


class LentKey:
    """A token of the driver's login: good until it ends, and not renewable here. ``clock`` is Unix time."""

    def __init__(self, lent: LentToken, *, clock: Clock = time.time) -> None:
        self._lent = lent
        self._header = bearer(lent.token.value)
        self._clock = clock

    async def header(self) -> str:
        """Return the token, while it lives."""
        if self._lent.ends_at is not None and self._clock() >= self._lent.ends_at:
            ended = datetime.fromtimestamp(self._lent.ends_at, UTC)
            raise call_error(
                ErrorKind.CREDENTIALS,
                f"the token of {self._lent.origin} ended at {ended:%H:%M} UTC, and only the driver can get another; "
                "start the same command again, which goes on where this one was. For long jobs log in as a service "
                "principal (DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET): its tokens are renewed by the tasks",
            )
        return self._header

    async def refused(self, header: str) -> str | None:  # noqa: ARG002 - there is only one
        """Return nothing: there is no other here."""
        return None


def bearer(key: str) -> str:
    """Return the header of a bearer key (RFC 6750, section 2.1), "" for an empty one.

    >>> bearer(" sk-1 ")
    'Bearer sk-1'

    Raises:
        InputError: no header may hold this key.
    """
    key = key.strip()  # keys read from files end in a newline
    if not (key.isprintable() and key.isascii()):
        raise InputError("the key holds a control character or one that is not ASCII; give the key alone")
    return f"Bearer {key}" if key else ""


def masked(text: str, header: str) -> str:
    """Return ``text`` without the secret of ``header``: some gateways repeat the request in their error.

    >>> masked("bad key sk-1", "Bearer sk-1")
    'bad key ***'
    """
    secret = header.rpartition(" ")[2]
    return text.replace(secret, "***") if secret else text


def credentials_of(endpoint: Endpoint) -> Credentials:
    """Return what this process holds for the endpoint's descriptor, made on first use, kept for the tasks to come.

    Call it on the event loop that the calls run on: a token that one task fetched serves the process's next.

    Raises:
        InputError: the key can't be used; the message names the endpoint.
    """
    key = endpoint.api_key.resolve() if endpoint.api_key else Secret("")
    if isinstance(key, Secret):
        try:
            return FixedKey(bearer(key.value))
        except InputError as error:
            raise InputError(f"endpoint {endpoint.name!r}: {error}") from None
    held = _held.setdefault(asyncio.get_running_loop(), {})
    if key not in held:
        held[key] = _made(key)
    return held[key]


def _made(key: KeyFile | LentToken | OAuthClient) -> Credentials:
    if isinstance(key, KeyFile):
        return RereadKey(key)
    return LentKey(key) if isinstance(key, LentToken) else _oauth(key)


def _oauth(client: OAuthClient) -> Credentials:
    from udfs.oauth import OAuthCredentials  # which imports this module

    return OAuthCredentials(client)


# By loop, so that a forked worker and a test start with none.
_held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[ApiKey, Credentials]] = weakref.WeakKeyDictionary()
