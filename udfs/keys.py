"""Where an endpoint's credentials come from: descriptors that the driver makes and executors are handed.

Each is plain data with a masked ``repr``. ``resolve`` reads on the driver what only the driver has (its environment);
what they become on a worker is in :mod:`udfs.credentials`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from udfs.errors import InputError


@dataclass(frozen=True)
class Secret:
    """A credential that never shows in ``repr``, in a log or in an error.

    >>> Secret("hunter2")
    Secret('***')
    """

    value: str = field(repr=False)

    def __repr__(self) -> str:
        return "Secret('***')"

    @property
    def origin(self) -> str:
        """Where it comes from, in words for a person."""
        return "the given key"

    def resolve(self, environ: Mapping[str, str] | None = None) -> Secret:  # noqa: ARG002 - there is nothing to read
        """Return itself: it is resolved."""
        return self


@dataclass(frozen=True)
class SecretFromEnv:
    """Where a credential is found; nothing is read until :meth:`resolve`."""

    env: str

    @property
    def origin(self) -> str:
        """Where it comes from, in words for a person."""
        return f"the key in {self.env}"

    def resolve(self, environ: Mapping[str, str] | None = None) -> Secret:
        """Read the variable.

        Raises:
            InputError: the variable is not set.
        """
        value = (os.environ if environ is None else environ).get(self.env)
        if not value:
            raise InputError(f"the environment variable {self.env} is not set; set it to the key that it stands for")
        return Secret(value)


@dataclass(frozen=True)
class SecretScope:
    """A secret in a secret scope of the workspace; the driver reads it, through databricks-sdk (``engine.serving``)."""

    scope: str
    key: str

    @property
    def origin(self) -> str:
        """Where it comes from, in words for a person."""
        return f"the secret {self.key} in the scope {self.scope}"

    def resolve(self, environ: Mapping[str, str] | None = None) -> Secret:  # noqa: ARG002 - it is not in there
        """Refuse: a scope is read by the driver, not by whoever calls.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.origin} was not read; the driver reads it before a run, see engine.serving.ready")


@dataclass(frozen=True)
class FirstSecret:
    """The first of several places where a credential is found; they are tried in order."""

    options: tuple[SecretFromEnv | SecretScope | FirstSecret, ...]

    @property
    def origin(self) -> str:
        """Where it comes from, in words for a person."""
        return " or ".join(option.origin for option in self.options)

    def resolve(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        read: Callable[[SecretFromEnv | SecretScope], Secret] | None = None,
    ) -> Secret:
        """Take the first that is there; ``read`` reads one place, where it is not read from ``environ`` alone.

        Raises:
            InputError: none is; tells why of each.
        """
        refused = []
        for option in self.options:
            try:
                if isinstance(option, FirstSecret):
                    return option.resolve(environ, read=read)
                return read(option) if read else option.resolve(environ)
            except InputError as error:
                refused.append(str(error))
        raise InputError("; or ".join(refused))


SecretPlace = SecretFromEnv | SecretScope | FirstSecret


@dataclass(frozen=True)
class WorkspaceLogin:
    """Whatever databricks-sdk finds: environment, ``~/.databrickscfg``, notebook. ``engine.serving`` asks for it."""

    @property
    def origin(self) -> str:
        """Where it comes from, in words for a person."""
        return "the login that databricks-sdk finds"

    def resolve(self, environ: Mapping[str, str] | None = None) -> Secret:  # noqa: ARG002 - the driver's affair
        """Refuse: the login is the driver's, and it hands over the least that a task needs.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.origin} was not asked; the driver asks it before a run, see engine.serving.ready")


@dataclass(frozen=True)
class LentToken:
    """A token that only the driver can renew, such as a notebook's: handed to tasks with its lifetime.

    ``auth`` is databricks-sdk's name of how it was got, ``host`` the workspace, ``ends_at`` Unix time (``None``: not
    known).
    """

    token: Secret
    auth: str
    host: str
    ends_at: float | None = None

    @property
    def origin(self) -> str:
        """Where it comes from, in words for a person."""
        return f"the driver's {self.auth} login"

    def resolve(self, environ: Mapping[str, str] | None = None) -> LentToken:  # noqa: ARG002 - there is nothing to read
        """Return itself: it is resolved."""
        return self


@dataclass(frozen=True)
class OAuthClient:
    """A client of an OAuth 2.0 server that gets short-lived tokens for itself (RFC 6749, section 4.4).

    Databricks calls this M2M: a service principal's id and secret, at ``{workspace}/oidc/v1/token``, with the scope
    ``all-apis``.

    >>> OAuthClient("https://id.example/token", "me", Secret("hunter2"))
    OAuthClient(token_url='https://id.example/token', client_id='me', client_secret=Secret('***'), scope=None)
    """

    token_url: str
    client_id: str | SecretPlace
    client_secret: Secret | SecretPlace
    scope: str | None = None

    def __post_init__(self) -> None:
        place = urlsplit(self.token_url)
        if place.username or place.password:
            raise InputError("token_url holds a user or a password; give them as client_id and client_secret")
        if place.scheme not in {"http", "https"} or not place.hostname:
            raise InputError(f"token_url is {self.token_url!r}; give a URL such as https://host/oidc/v1/token")
        if not self.client_id:
            raise InputError("client_id is empty; give the id that the OAuth server knows this client by")

    @property
    def origin(self) -> str:
        """Where it comes from, in words for a person."""
        return f"a token of {self.token_url} for the client {self.client_id!r}"

    def resolve(self, environ: Mapping[str, str] | None = None) -> OAuthClient:
        """Read the client's secret, and its id where that is one; the tokens are each process's own.

        Raises:
            InputError: one of them can't be read.
        """
        client_id = self.client_id if isinstance(self.client_id, str) else self.client_id.resolve(environ).value
        return replace(self, client_id=client_id, client_secret=self.client_secret.resolve(environ))


@dataclass(frozen=True)
class KeyFile:
    """A file that holds the key, on the driver and on every worker; whoever rotates the key writes it anew."""

    path: str

    def __post_init__(self) -> None:
        if not self.path:
            raise InputError("the path of the key file is empty; give the file that holds the key")

    @property
    def origin(self) -> str:
        """Where it comes from, in words for a person."""
        return f"the key in the file {self.path}"

    def resolve(self, environ: Mapping[str, str] | None = None) -> KeyFile:  # noqa: ARG002 - the worker reads the file
        """Return itself: the key is read where it is used, because it changes while the job runs."""
        return self


ApiKey = Secret | SecretPlace | OAuthClient | KeyFile | WorkspaceLogin | LentToken
