"""What executors are handed of an endpoint: its place and key, and for Databricks what the workspace tells of it."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime

from engine.serving.description import Description, Undescribed, describe
from engine.serving.login import log_in, renewed_key, workspace_of
from engine.serving.secret_scopes import with_scope_secrets
from udfs.endpoint import Endpoint, Limits
from udfs.errors import InputError
from udfs.keys import LentToken, WorkspaceLogin
from udfs.program import Program
from udfs.protocols import CHAT, protocol_of

log = logging.getLogger(__name__)

# An endpoint that scales to zero may need so long: the image of a large model on a GPU takes ten minutes and more.
WARM_UP_S = 900.0
# The stages of a run, its judges and its reflection model name the same few endpoints.
_REMEMBERED_S = 300.0


def ready(endpoint: Endpoint) -> Endpoint:
    """Return ``endpoint`` as tasks need it: with its key, and for Databricks with host, task and known limits.

    The workspace is asked once a run, and not at all where the configuration says the task. Limits that the
    configuration gives stay; those of AI Gateway take the place of the others. ``endpoint_id`` stays as it is.

    Raises:
        InputError: a key, a secret or a login is not there, the endpoint is not there, or its task can't be scored.
    """
    if isinstance(endpoint, Program):
        return endpoint.with_secret()
    found = located(endpoint)
    if found.provider == "databricks" and not found.task:
        found = _described(found)
    protocol_of(found)  # a task that can't be scored is refused here, before the first call
    return found


def located(endpoint: Endpoint) -> Endpoint:
    """Return ``endpoint`` with its place and its key, without asking what it is.

    Raises:
        InputError: as :func:`ready`, but for what the endpoint is.
    """
    key = endpoint.api_key
    if endpoint.provider == "databricks" and isinstance(key, WorkspaceLogin):
        login = log_in(endpoint.base_url)
        if isinstance(login.key, LentToken):
            _tell_lifetime(login.key)
        return replace(endpoint, base_url=login.host, api_key=login.key)
    # Secrets of scopes are in the workspace that the login is for; an endpoint elsewhere has no say in that.
    place = endpoint.base_url if endpoint.provider == "databricks" else ""
    found = replace(endpoint, api_key=with_scope_secrets(key, place)).with_secret()
    if found.provider == "databricks" and not found.base_url:
        found = replace(found, base_url=workspace_of())
    return found


def renewed(endpoint: Endpoint) -> Endpoint:
    """Return ``endpoint`` with a token that holds, where only the driver can renew it; else the very same.

    >>> endpoint = Endpoint("m")
    >>> renewed(endpoint) is endpoint
    True
    """
    key = endpoint.api_key
    if not isinstance(key, LentToken):
        return endpoint
    fresh = renewed_key(key)
    return endpoint if fresh == key else replace(endpoint, api_key=fresh)


def _described(endpoint: Endpoint) -> Endpoint:
    told = _remembered(endpoint)
    if isinstance(told, Undescribed):
        if told.is_final:
            raise InputError(f"endpoint {endpoint.name!r}: {told.reason}; check its name and the login")
        log.warning(
            "endpoint %r is taken for a chat model: %s. Say its task to have no doubt", endpoint.name, told.reason
        )
        return replace(endpoint, task=CHAT)
    if told.is_asleep:
        log.warning("endpoint %r has scaled to zero: its first answers may take minutes", endpoint.name)
    return replace(endpoint, task=told.task, limits=_limits(endpoint.limits, told))


def _limits(given: Limits, told: Description) -> Limits:
    warm_up_s = given.warm_up_s
    if warm_up_s is None and told.scales_to_zero:
        warm_up_s = WARM_UP_S
    return replace(
        given,
        requests_per_minute=given.requests_per_minute or told.requests_per_minute,
        tokens_per_minute=given.tokens_per_minute or told.tokens_per_minute,
        warm_up_s=warm_up_s,
    )


def _remembered(endpoint: Endpoint) -> Description | Undescribed:
    key = (endpoint.base_url, endpoint.name)
    at, known = _told.get(key, (0.0, None))
    if known is not None and time.monotonic() - at <= _REMEMBERED_S:
        return known
    told = describe(endpoint)
    if isinstance(told, Description):
        _told[key] = (time.monotonic(), told)
    return told


def _tell_lifetime(key: LentToken) -> None:
    if key.ends_at is None:
        log.info("tasks get a token of %s, whose lifetime is not known and which they can't renew", key.origin)
        return
    ends = datetime.fromtimestamp(key.ends_at, UTC)
    log.warning(
        "tasks get a token of %s that ends at %s UTC and is renewed between stages only; for stages that last longer "
        "log in as a service principal",
        key.origin,
        f"{ends:%H:%M}",
    )


_told: dict[tuple[str, str], tuple[float, Description]] = {}
