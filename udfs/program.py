"""A program of the user's as the target: a Python function, scored as an endpoint is, each call with its own candidate.

The function gets a row's inputs by name and calls whatever it likes. The prompts that it works with it loads from
MLflow's registry, as ever (:mod:`udfs.registry_in_place`), or takes from :func:`udfs.in_place.current_prompt`. Both
answer with the candidate that this very call is to be scored for.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import json
import logging
import textwrap
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from udfs.client import Answer
from udfs.endpoint import Endpoint
from udfs.errors import CallError, ErrorKind, InputError, PromptmillError, call_error
from udfs.in_place import in_place
from udfs.prompt import Prompt
from udfs.prompt_set import PromptSet

log = logging.getLogger(__name__)

# Unconfigured, so many calls of a program run at once in the whole cluster, each on a thread.
_THREADS = 64
# After so many calls of which none looked at a prompt, a process says so, once: no program gets by without that long.
_CALLS_WITHOUT_A_LOOK = 20


@dataclass(frozen=True)
class PromptRegistry:
    """Where the driver's MLflow stores are, and the names of a program's prompts in the registry, each with its own."""

    # They may hold a password.
    tracking_uri: str = field(repr=False)
    registry_uri: str = field(repr=False)
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Program(Endpoint):
    """A Python function as a target: ``function(**inputs)`` returns a text, or anything that JSON can hold.

    ``prompt_name`` is what the function calls its prompt where there is one only. ``version`` stands for all that the
    function does beside its prompts: answers are kept under it, so give another one when that changes. Left out, it is
    taken from the function's own source, which says nothing about what it calls. ``limits.max_concurrency`` is how many
    calls run at once in the whole cluster, each on a thread of its own; ``limits.timeout_s`` bounds one call, whose
    thread can't be ended, however, and keeps its place until it ends by itself.

    ``registry`` lets the function load its prompts by ``mlflow.genai.load_prompt``; ``engine`` fills it in.

    It travels to the workers by cloudpickle: lambdas and closures do, a module of your own must be importable there.
    What it raises leaves the row unscored, as an outage does; a :class:`udfs.errors.PromptFailure` is the prompt's own
    failure and scores zero.
    """

    provider: str = "python"
    function: Callable[..., Any] | None = None
    version: str = ""
    prompt_name: str = "prompt"
    registry: PromptRegistry | None = None

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"program {self.name}: {self.function!r} is no function; give one")
        if inspect.iscoroutinefunction(self.function):
            raise InputError(f"program {self.name}: an async function can't be run here; give a plain one")
        if self.limits.max_concurrency is None:
            object.__setattr__(self, "limits", dataclasses.replace(self.limits, max_concurrency=_THREADS))
        if not self.version:
            object.__setattr__(self, "version", _source_version(self.name, self.function))

    @functools.cached_property
    def endpoint_id(self) -> str:
        """Hash of name and version.

        >>> ids = [Program("agent", function=one, version="1").endpoint_id for one in (len, max)]
        >>> ids[0] == ids[1]
        True
        """
        identity = {"model": self.name, "provider": self.provider, "version": self.version}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]

    def answer(self, prompt: Prompt, inputs: Mapping[str, Any]) -> Answer:
        """Call the function with ``prompt`` in place; return its output as text.

        Raises:
            CallError: it raised, or returned what JSON can't hold.
        """
        if self.function is None:
            raise AssertionError("made without a function")
        started = time.perf_counter()
        parts = prompt.prompts if isinstance(prompt, PromptSet) else {self.prompt_name: prompt}
        names = self.registry.names if self.registry else {}
        try:
            with in_place(parts, names) as placed:
                output = self.function(**inputs)
        except CallError:
            raise
        except PromptmillError as error:
            raise call_error(ErrorKind.PROGRAM, f"program {self.name}: {error}") from error
        except Exception as error:
            # A user's function may raise anything; that is no verdict on the prompt, so the row stays unscored.
            raise call_error(ErrorKind.PROGRAM, f"program {self.name}: {type(error).__name__}: {error}") from error
        _note_look(self, placed.looked_at)
        latency_ms = (time.perf_counter() - started) * 1000.0
        return Answer(_text(self.name, output), 0, 0, latency_ms, attempts=1, refused=0)


class ProgramThreads:
    """The threads on which a task runs its program; used from one event loop."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._registry: PromptRegistry | None = None
        self._pool: ThreadPoolExecutor | None = None
        self.in_flight = 0
        self.answered_at = 0.0

    async def ask(self, program: Program, prompt: Prompt, inputs: Mapping[str, Any]) -> Answer:
        """Return the program's answer.

        Raises:
            CallError: it failed, or took longer than ``limits.timeout_s``.
        """
        if self._pool is None:
            self._put_in_place(program.registry)
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="promptmill-program")
        context = contextvars.copy_context()
        call = functools.partial(context.run, program.answer, prompt, inputs)
        self.in_flight += 1
        try:
            async with asyncio.timeout(program.limits.timeout_s):
                answer = await asyncio.get_running_loop().run_in_executor(self._pool, call)
        except TimeoutError as error:
            message = f"program {program.name}: no answer within {program.limits.timeout_s:g} s"
            raise call_error(ErrorKind.TIMEOUT, message) from error
        finally:
            self.in_flight -= 1
        self.answered_at = time.time()
        return answer

    def close(self) -> None:
        """Let the threads go; what waits for one is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._registry is not None:
            from udfs.registry_in_place import take_away

            take_away(self._registry)
            self._registry = None

    def _put_in_place(self, registry: PromptRegistry | None) -> None:
        """Have MLflow answer with candidates; a worker without MLflow has no program that could ask it."""
        if registry is None or importlib.util.find_spec("mlflow") is None:
            return
        try:
            from udfs.registry_in_place import put_in_place
        except ImportError as error:
            # Stores of others are a part of MLflow that is not promised to stay; current_prompt needs nothing of it.
            log.warning("%s: in this MLflow load_prompt can't answer with candidates; use current_prompt", error)
            return
        put_in_place(registry)
        self._registry = registry


# Programs by identity: calls so far without a look at a prompt; none any more once one has looked.
_UNSEEING: dict[str, int | None] = {}


def _note_look(program: Program, looked: bool) -> None:
    """Warn of a program that works without its prompts: all candidates would come out alike, and no error would say."""
    unseeing = _UNSEEING.get(program.endpoint_id, 0)
    if unseeing is None:
        return
    _UNSEEING[program.endpoint_id] = None if looked else unseeing + 1
    if not looked and unseeing + 1 == _CALLS_WITHOUT_A_LOOK:
        log.warning(
            "program %s has answered %d calls without asking for a prompt that is being optimized, so all candidates "
            "score alike; load prompts inside the function, not when its module is imported, and through MLflow's "
            "default registry or current_prompt",
            program.name,
            _CALLS_WITHOUT_A_LOOK,
        )


def _text(name: str, output: Any) -> str:
    """A program's output as scorers and judges read it: a text as it is, all else as JSON."""
    if isinstance(output, str):
        return output
    if hasattr(output, "model_dump"):
        output = output.model_dump(mode="json")
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        output = dataclasses.asdict(output)
    try:
        return json.dumps(output, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise call_error(
            ErrorKind.PROGRAM, f"program {name}: its output can't be written as JSON: {error}; return a text"
        ) from error


def _source_version(name: str, function: Callable[..., Any]) -> str:
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise InputError(
            f"program {name}: the source of {function!r} can't be read, so that it has no version; give version=, and "
            "another one whenever the program changes"
        ) from error
    return hashlib.sha256(source.encode()).hexdigest()[:16]
