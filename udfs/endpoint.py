"""What an endpoint is: plain data that travels to executors, and the identity its answers are kept under."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from udfs.errors import InputError
from udfs.keys import ApiKey

# Unconfigured, a whole cluster never has more than this many calls in flight at one endpoint, so that nobody's
# shared endpoint is knocked over by a first try.
DEFAULT_MAX_CONCURRENCY = 512


@dataclass(frozen=True)
class Limits:
    """Promises for the whole cluster, not for one task; ``None`` means unlimited.

    ``timeout_s`` bounds one attempt, ``deadline_s`` one call with all its retries, both in seconds. ``warm_up_s`` is
    how long an endpoint that has scaled to zero may answer nothing before it is taken for dead.
    """

    max_concurrency: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout_s: float = 60.0
    deadline_s: float = 300.0
    max_attempts: int = 10
    warm_up_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s", "deadline_s"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"limits.{name} is {value!r}; give a number above 0, or leave it out for no limit")
        if self.warm_up_s is not None and self.warm_up_s < 0:
            raise InputError(f"limits.warm_up_s is {self.warm_up_s!r}; give seconds, or 0 for an endpoint that is up")
        if self.max_attempts < 1:
            raise InputError(f"limits.max_attempts is {self.max_attempts!r}; give at least 1")

    def share(self, tasks: int, *, part: float = 1.0) -> Limits:
        """Return what one of ``tasks`` equal tasks may use of these limits, or of so large a ``part`` of them.

        A concurrency below the number of tasks can't be shared in whole calls: the caller must run fewer tasks
        (see ``engine.evaluate``), because every task gets at least one.

        >>> Limits(max_concurrency=64, requests_per_minute=600).share(4)
        Limits(max_concurrency=16, requests_per_minute=150.0, tokens_per_minute=None, timeout_s=60.0, \
deadline_s=300.0, max_attempts=10, warm_up_s=None)
        >>> Limits(max_concurrency=64).share(2, part=0.25).max_concurrency
        8
        """
        return Limits(
            max_concurrency=max(1, self.calls_at_once(part) // tasks),
            requests_per_minute=self.requests_per_minute * part / tasks if self.requests_per_minute else None,
            tokens_per_minute=self.tokens_per_minute * part / tasks if self.tokens_per_minute else None,
            timeout_s=self.timeout_s,
            deadline_s=self.deadline_s,
            max_attempts=self.max_attempts,
            warm_up_s=self.warm_up_s,
        )

    def calls_at_once(self, part: float = 1.0) -> int:
        """Return how many whole calls a ``part`` of the promise is; may be 0.

        >>> Limits(max_concurrency=4).calls_at_once(0.5), Limits().calls_at_once(0.125)
        (2, 64)
        """
        # A part that is a sum of shares may fall short of the whole number that it means by its last bit.
        return int((self.max_concurrency or DEFAULT_MAX_CONCURRENCY) * part + 1e-9)


def tightest(limits: Sequence[Limits]) -> Limits:
    """Return what keeps all of ``limits``: those of endpoints that stand in the same place, such as a judge's.

    Timeouts and attempts are each call's own, and are taken from the first.

    >>> tightest([Limits(), Limits(max_concurrency=8), Limits(max_concurrency=4)]).max_concurrency
    4
    """

    def least(name: str) -> Any:
        return min((value for one in limits if (value := getattr(one, name)) is not None), default=None)

    names = ("max_concurrency", "requests_per_minute", "tokens_per_minute")
    return replace(limits[0], **{name: least(name) for name in names})


@dataclass(frozen=True)
class Price:
    """What tokens cost, in ``currency`` per million."""

    prompt_per_million: float = 0.0
    completion_per_million: float = 0.0
    currency: str = "USD"

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of so many tokens.

        >>> Price(prompt_per_million=0.5, completion_per_million=2.0).cost(1_000_000, 500_000)
        1.5
        """
        return (prompt_tokens * self.prompt_per_million + completion_tokens * self.completion_per_million) / 1_000_000


@dataclass(frozen=True)
class Sampling:
    """Every parameter that changes what the model answers. ``extra`` goes into the request body as it is."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # 0 and 0.0 are one request, so they must be one identity: the answers would be paid for twice.
        for name in ("temperature", "top_p"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, float(value))

    def body(self) -> dict[str, Any]:
        """Return the request-body fields, without those that are not set.

        >>> Sampling(temperature=0.0, stop=("END",)).body()
        {'temperature': 0.0, 'stop': ['END']}
        """
        named = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop": list(self.stop) or None,
        }
        return {key: value for key, value in named.items() if value is not None} | dict(self.extra)


@dataclass(frozen=True)
class Endpoint:
    """One LLM serving endpoint as seen from a worker: plain data, picklable, holding no connection.

    ``provider`` is ``openai`` (anything OpenAI-compatible, at ``base_url``) or ``databricks`` (a serving endpoint
    called ``name`` in the workspace at ``base_url``). ``task`` says what it speaks, see :mod:`udfs.protocols`; ``None``
    is chat, until the driver has asked the workspace.
    """

    name: str
    provider: str = "openai"
    base_url: str = ""
    api_key: ApiKey | None = None
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)
    price: Price | None = None
    task: str | None = None

    @functools.cached_property
    def endpoint_id(self) -> str:
        """Hash of model, provider and every sampling parameter; where the endpoint stands is not part of it.

        Nor is its task, which the workspace knows and a configuration may leave unsaid.

        >>> a = Endpoint("m", base_url="http://127.0.0.1:1/v1").endpoint_id
        >>> a == Endpoint("m", base_url="http://127.0.0.1:2/v1").endpoint_id
        True
        >>> a == Endpoint("m", sampling=Sampling(temperature=0.5)).endpoint_id
        False
        """
        identity = {"model": self.name, "provider": self.provider, "sampling": self.sampling.body()}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it stands: endpoints of one place share one promise, whatever their sampling."""
        return (self.provider, self.base_url, self.name)

    def with_secret(self, environ: Mapping[str, str] | None = None) -> Endpoint:
        """Return this endpoint with what its key needs of the environment, for workers, which have another one.

        Raises:
            InputError: the variable is not set.
        """
        return replace(self, api_key=self.api_key.resolve(environ)) if self.api_key else self

    @functools.cached_property
    def url(self) -> str:
        """Where requests are posted."""
        base = self.base_url.rstrip("/")
        if self.provider == "databricks":
            return f"{base}/serving-endpoints/{self.name}/invocations"
        if self.task == "llm/v1/completions":
            return f"{base}/completions"
        return f"{base}/chat/completions"
