"""A program of the user's as the target: a Python function, scored as an endpoint is, each call with its own candidate.

The function gets a row's inputs by name and calls whatever it likes. The prompts that it works with it takes from
:func:`current_prompt`, which answers with the candidate that this very call is to be scored for: the candidate lies in
a context variable, so that many candidates run at once in the threads of one process, and nothing is patched.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
import hashlib
import inspect
import json
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from udfs.client import Answer
from udfs.endpoint import Endpoint
from udfs.errors import CallError, ErrorKind, InputError, PromptmillError, call_error
from udfs.prompt import Prompt
from udfs.prompt_set import PromptSet

# Unconfigured, so many calls of a program run at once in the whole cluster, each on a thread.
_THREADS = 64
_IN_PLACE: contextvars.ContextVar[Mapping[str, Prompt] | None] = contextvars.ContextVar("promptmill", default=None)


@dataclass(frozen=True)
class Program(Endpoint):
    """A Python function as a target: ``function(**inputs)`` returns a text, or anything that JSON can hold.

    ``prompt_name`` is what the function calls its prompt where there is one only. ``version`` stands for all that the
    function does beside its prompts: answers are kept under it, so give another one when that changes. Left out, it is
    taken from the function's own source, which says nothing about what it calls. ``limits.max_concurrency`` is how many
    calls run at once in the whole cluster, each on a thread of its own; ``limits.timeout_s`` bounds one call, whose
    thread can't be ended, however, and keeps its place until it ends by itself.

    It travels to the workers by cloudpickle: lambdas and closures do, a module of your own must be importable there.
    What it raises leaves the row unscored, as an outage does; a :class:`udfs.errors.PromptFailure` is the prompt's own
    failure and scores zero.
    """

    provider: str = "python"
    function: Callable[..., Any] | None = None
    version: str = ""
    prompt_name: str = "prompt"

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
        try:
            with in_place(parts):
                output = self.function(**inputs)
        except CallError:
            raise
        except PromptmillError as error:
            raise call_error(ErrorKind.PROGRAM, f"program {self.name}: {error}") from error
        except Exception as error:
            # A user's function may raise anything; that is no verdict on the prompt, so the row stays unscored.
            raise call_error(ErrorKind.PROGRAM, f"program {self.name}: {type(error).__name__}: {error}") from error
        latency_ms = (time.perf_counter() - started) * 1000.0
        return Answer(_text(self.name, output), 0, 0, latency_ms, attempts=1, refused=0)


class ProgramThreads:
    """The threads on which a task runs its program; used from one event loop."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self.in_flight = 0
        self.answered_at = 0.0

    async def ask(self, program: Program, prompt: Prompt, inputs: Mapping[str, Any]) -> Answer:
        """Return the program's answer.

        Raises:
            CallError: it failed, or took longer than ``limits.timeout_s``.
        """
        if self._pool is None:
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


@contextlib.contextmanager
def in_place(prompts: Mapping[str, Prompt]) -> Iterator[None]:
    """Put prompts in place for :func:`current_prompt` while the block runs, in this context alone.

    >>> with in_place({"greet": Prompt.parse("Hello {{name}}")}):
    ...     current_prompt("greet").messages({"name": "Ada"})
    [{'role': 'user', 'content': 'Hello Ada'}]
    """
    token = _IN_PLACE.set(prompts)
    try:
        yield
    finally:
        _IN_PLACE.reset(token)


def current_prompt(name: str, *, otherwise: Callable[[], Prompt] | None = None) -> Prompt:
    """Return the prompt called ``name`` that this call is to work with.

    Where no evaluation is under way, which is where the program does its daily work, it is what ``otherwise`` returns.
    A thread that the program starts itself sees the prompt only if it is given the context
    (``contextvars.copy_context().run``), as the pools of asyncio and of LangChain do.

    Raises:
        InputError: there is no such prompt, or none at all and no ``otherwise``.
    """
    prompts = _IN_PLACE.get()
    if prompts is None:
        if otherwise is not None:
            return otherwise()
        raise InputError(
            f"current_prompt({name!r}): no evaluation is under way in this context; give otherwise=, a function that "
            "loads the prompt, or put one in place with udfs.program.in_place"
        )
    if name not in prompts:
        known = ", ".join(sorted(prompts))
        raise InputError(f"current_prompt({name!r}): there is none of this name; there are: {known}")
    return prompts[name]


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
