"""Secrets of a workspace's secret scopes, read on the driver and never written anywhere."""

from __future__ import annotations

from dataclasses import replace

from engine.serving.login import config_of
from udfs.errors import InputError
from udfs.keys import ApiKey, FirstSecret, OAuthClient, Secret, SecretFromEnv, SecretPlace, SecretScope


def with_scope_secrets(key: ApiKey | None, host: str = "") -> ApiKey | None:
    """Return ``key`` with the secrets that it names in scopes read, in the workspace that databricks-sdk finds.

    Raises:
        InputError: a secret is not there, or may not be read.
    """
    if isinstance(key, FirstSecret | SecretScope):
        return _found(key, host)
    if isinstance(key, OAuthClient):
        client_id = key.client_id if isinstance(key.client_id, str) else _found(key.client_id, host).value
        secret = key.client_secret
        return replace(
            key, client_id=client_id, client_secret=secret if isinstance(secret, Secret) else _found(secret, host)
        )
    return key


def _found(place: SecretPlace, host: str) -> Secret:
    if isinstance(place, FirstSecret):
        return place.resolve(read=lambda one: _found(one, host))
    return place.resolve() if isinstance(place, SecretFromEnv) else _read(place, host)


def _read(named: SecretScope, host: str) -> Secret:
    from databricks.sdk import WorkspaceClient

    client = WorkspaceClient(config=config_of(host))
    try:
        # On a cluster these are the notebook's own dbutils, elsewhere databricks-sdk's.
        value = client.dbutils.secrets.get(named.scope, named.key)
    except Exception as error:  # databricks-sdk's, or whatever a cluster's dbutils raise
        said = str(error).partition(". Config: ")[0]  # databricks-sdk appends all that it was configured with
        raise InputError(
            f"{named.origin} can't be read: {said}; mend api_key, or have READ on the scope granted to who runs this"
        ) from None
    if not value:
        raise InputError(f"{named.origin} is empty; put the key there")
    return Secret(value)
