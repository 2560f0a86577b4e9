"""What an endpoint is, as its workspace tells: task, state, limits and kind; asked on the driver, once a run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from engine.reachability import key_header
from udfs import event_loop
from udfs.credentials import masked
from udfs.endpoint import Endpoint
from udfs.errors import CallError, InputError
from udfs.protocols import CHAT, RECORDS

_TIMEOUT_S = 10.0
# A description with its guardrails and inference tables has some kilobytes.
_MOST_BYTES = 4_000_000
# Whose limits are ours, too, where they name nobody: everybody's together, and each user's.
_LIMITS_OF_ALL = frozenset({"endpoint", "user", None})


@dataclass(frozen=True)
class Description:
    """What a workspace tells of an endpoint.

    ``task`` is one of :mod:`udfs.protocols`' (a custom model has none: it is asked with records). The limits are AI
    Gateway's for everybody, ``kind`` is what is paid for, in words.
    """

    task: str
    is_ready: bool
    requests_per_minute: float | None
    tokens_per_minute: float | None
    scales_to_zero: bool
    is_asleep: bool
    kind: str

    def words(self) -> str:
        """Return all of it for a person.

        >>> Description("llm/v1/chat", True, 60.0, None, True, True, "pay-per-token").words()
        'ready, task llm/v1/chat, pay-per-token, at most 60 calls a minute, scaled to zero (the first calls wait)'
        """
        said = ["ready" if self.is_ready else "not ready", f"task {self.task}", self.kind]
        if self.requests_per_minute:
            said.append(f"at most {self.requests_per_minute:,.0f} calls a minute")
        if self.tokens_per_minute:
            said.append(f"at most {self.tokens_per_minute:,.0f} tokens a minute")
        if self.scales_to_zero:
            said.append("scaled to zero (the first calls wait)" if self.is_asleep else "scales to zero")
        return ", ".join(part for part in said if part)


@dataclass(frozen=True)
class Undescribed:
    """Why there is no description; ``is_final`` where no call can succeed either."""

    reason: str
    is_final: bool = False


def describe(endpoint: Endpoint) -> Description | Undescribed:
    """Ask the workspace about ``endpoint``, whose host and key are known.

    Raises:
        InputError: its key can't be used.
    """
    try:
        header = key_header(endpoint)
    except CallError as error:
        return Undescribed(error.message, is_final=not error.kind.is_retryable)
    url = f"{endpoint.base_url.rstrip('/')}/api/2.0/serving-endpoints/{endpoint.name}"
    try:
        status, raw = event_loop.run(_get(url, header))
    except TimeoutError:
        return Undescribed(f"{url} does not answer within {_TIMEOUT_S:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Undescribed(masked(f"{url} can't be reached: {error}", header))
    body = _object(raw)
    if status == 200 and "name" in body:
        return read(body)
    code, said = body.get("error_code"), masked(str(body.get("message", "")), header)[:300]
    reason = f"{url} answers {status}{f': {said}' if said else ''}"
    # A missing endpoint, or a token that is none; but who may query an endpoint need not be let look at it.
    is_final = (status == 404 and code == "RESOURCE_DOES_NOT_EXIST") or (status in {401, 403} and code in {401, 403})
    return Undescribed(reason, is_final)


def read(body: Mapping[str, Any]) -> Description:
    """Read the answer of ``GET /api/2.0/serving-endpoints/{name}``.

    >>> read({"name": "m", "state": {"ready": "READY"}, "config": {"served_entities": [{"foundation_model": {}}]}}).task
    'llm/v1/chat'

    Raises:
        InputError: its AI Gateway lets nothing through.
    """
    entities = [one for one in (body.get("config") or {}).get("served_entities") or [] if isinstance(one, Mapping)]
    limits = (body.get("ai_gateway") or {}).get("rate_limits") or []
    return Description(
        task=_task(body, entities),
        is_ready=(body.get("state") or {}).get("ready") == "READY",
        requests_per_minute=_least(limits, "calls", body["name"]),
        tokens_per_minute=_least(limits, "tokens", body["name"]),
        scales_to_zero=any(one.get("scale_to_zero_enabled") for one in entities),
        is_asleep=any(
            "scaled to zero" in str((one.get("state") or {}).get("deployment_state_message", "")).lower()
            for one in entities
        ),
        kind=next((kind for one in entities if (kind := _kind(one))), ""),
    )


def _task(body: Mapping[str, Any], entities: Sequence[Mapping[str, Any]]) -> str:
    external: Mapping[str, Any] = next((one["external_model"] for one in entities if one.get("external_model")), {})
    task = body.get("task") or external.get("task")
    if task:
        return str(task)
    return CHAT if any("foundation_model" in one for one in entities) else RECORDS


def _least(limits: Sequence[Mapping[str, Any]], what: str, name: str) -> float | None:
    """Return the tightest limit that holds for everybody; those of a named user or group may be somebody else's."""
    ours = [
        float(limit[what])
        for limit in limits
        if limit.get(what) is not None and limit.get("key") in _LIMITS_OF_ALL and not limit.get("principal")
    ]
    if ours and min(ours) <= 0:
        raise InputError(f"the AI Gateway of endpoint {name!r} allows 0 {what} a minute; have its rate limit raised")
    return min(ours, default=None)


def _kind(entity: Mapping[str, Any]) -> str:
    """Return what is paid for: the price class, as far as a description has one."""
    if external := entity.get("external_model"):
        return f"external model of {external.get('provider', 'another provider')}"
    if any(entity.get(f"{end}_provisioned_throughput") for end in ("min", "max")) or entity.get(
        "provisioned_model_units"
    ):
        return "provisioned throughput"
    if "foundation_model" in entity:
        return "pay-per-token"
    size = entity.get("workload_size")
    return f"{entity.get('workload_type') or 'CPU'} {size}" if size else ""


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


async def _get(url: str, header: str) -> tuple[int, bytes]:
    session = await event_loop.session()
    headers = {"Authorization": header} if header else {}
    async with (
        asyncio.timeout(_TIMEOUT_S),
        session.get(url, headers=headers, allow_redirects=False) as response,
    ):
        return response.status, await response.content.read(_MOST_BYTES)
