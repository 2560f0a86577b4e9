"""Serving endpoints: their descriptions, and their invocations."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from engine.scripted_endpoint import Call

from .answers import prompt_of, wrapped
from .errors import ApiError, denied, missing


@dataclass(frozen=True)
class Reply:
    """What an endpoint's function may return instead of a text: headers beside it, or the whole body as it is."""

    text: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass
class ServedEndpoint:
    """One endpoint of the workspace.

    `answer` gets a `Call` (with `prompt`, all that was asked as one text) and returns what the model says: a text, for
    embeddings a list of numbers, for custom models anything, a `Reply`; or it raises an `ApiError`. It may be async.
    `task` is `None` for custom models. `cold_s`: it has scaled to zero, and is warm so long after it was first asked.
    `rate_limits` stand in its AI Gateway, nobody may query one that is `closed`, `entity` and `description` add to what
    is told of it.
    """

    name: str
    answer: Callable[[Call], Any] = lambda call: call.prompt
    task: str | None = "llm/v1/chat"
    ready: bool = True
    cold_s: float | None = None
    rate_limits: list[dict[str, Any]] | None = None
    usage_tracking: bool = False
    closed: bool = False
    entity: Mapping[str, Any] = field(default_factory=dict)
    description: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.calls = []
        self.refused = 0
        self.warm_at = None

    def as_dict(self):
        """Return what `GET /api/2.0/serving-endpoints/{name}` tells."""
        scales = self.cold_s is not None
        said = "Scaled to zero" if scales and not self.is_warm() else ""
        state = {"deployment": "DEPLOYMENT_READY", "deployment_state_message": said}
        entity = {"name": f"{self.name}-1", "entity_name": f"main.models.{self.name}", "entity_version": "1"}
        entity |= {"scale_to_zero_enabled": scales, "workload_size": "Small", "state": state} | dict(self.entity)
        gateway: dict[str, Any] = {"usage_tracking_config": {"enabled": self.usage_tracking}}
        if self.rate_limits is not None:
            gateway["rate_limits"] = self.rate_limits
        found = {
            "name": self.name,
            "id": f"id-of-{self.name}",
            "creator": "someone@example.com",
            "state": {"ready": "READY" if self.ready else "NOT_READY", "config_update": "NOT_UPDATING"},
            "config": {"served_entities": [entity], "config_version": 1},
            "ai_gateway": gateway,
            "permission_level": "CAN_QUERY",
            "route_optimized": False,
        }
        return found | ({"task": self.task} if self.task else {}) | dict(self.description)

    def is_warm(self):
        return self.cold_s is None or (self.warm_at is not None and time.monotonic() >= self.warm_at)

    async def invoked(self, body):
        if self.closed:
            raise denied(f"You do not have permission to query the endpoint '{self.name}' (CAN QUERY is needed).")
        if not self.is_warm():
            if self.warm_at is None:
                self.warm_at = time.monotonic() + self.cold_s
            self.refused += 1
            said = f"The service at /serving-endpoints/{self.name}/invocations is temporarily unavailable. "
            raise ApiError(503, "TEMPORARILY_UNAVAILABLE", said + "Please try again later. [TraceId: -]")
        prompt = prompt_of(self.task, body)
        messages = [{"role": "user", "content": prompt}]
        call = Call(len(self.calls) + 1, {"messages": messages, "model": self.name} | {"body": body})
        self.calls.append(call)
        found = self.answer(call)
        if inspect.isawaitable(found):
            found = await found
        reply = found if isinstance(found, Reply) else Reply(found)
        answer = wrapped(self.task, self.name, prompt, reply.text) if reply.body is None else reply.body
        return web.json_response(answer, headers=dict(reply.headers))


def too_many(name, retry_after_s=None):
    """Return the refusal of an endpoint whose limit is used up."""
    said = f"REQUEST_LIMIT_EXCEEDED: Exceeded workspace QPS rate limit for {name}. Please use a provisioned throughput "
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return ApiError(429, "REQUEST_LIMIT_EXCEEDED", f"{said}endpoint for a higher rate limit.", headers=headers)


class Serving:
    """The endpoints by name."""

    def __init__(self):
        self.endpoints = {}

    def add_routes(self, app):
        app.router.add_get("/api/2.0/serving-endpoints", self._list)
        app.router.add_get("/api/2.0/serving-endpoints/{name}", self._get)
        app.router.add_post("/serving-endpoints/{name}/invocations", self._invoke)

    async def _list(self, _):
        return web.json_response({"endpoints": [endpoint.as_dict() for endpoint in self.endpoints.values()]})

    async def _get(self, request):
        name = request.match_info["name"]
        if name not in self.endpoints:
            raise missing(f"Endpoint with name '{name}' does not exist.")
        return web.json_response(self.endpoints[name].as_dict())

    async def _invoke(self, request):
        name = request.match_info["name"]
        if name not in self.endpoints:
            said = "The given endpoint does not exist, please retry after checking the specified model and version "
            raise missing(f"{said}deployment exists.")
        await asyncio.sleep(0)
        return await self.endpoints[name].invoked(await request.json())
