"""An OpenAI-compatible server of one model file, in this process: llama.cpp's, through xllamacpp."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from engine.local_model.errors import ModelRefused, RuntimeMissing

logger = logging.getLogger(__name__)

# Loading took 0.4 to 5 s here (1.1 GB included); one start in thirty never came back.
LOAD_TIMEOUT_S = 60.0
_PARENT_CHECK_S = 0.5
_PROMPT_CACHE_MIB = 512
# What a process that lost its parent gets to stop in good order.
_ORPHAN_GRACE_S = 5.0


def default_threads() -> int:
    """Return one thread fewer than this process has cores, at least 1.

    llama.cpp's threads wait by spinning: with as many as there are cores, a busy client (Spark, say) slows generation
    down to a tenth (measured: 5-16 tokens a second for 139).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def serve(
    model_path: Path,
    *,
    name: str,
    host: str = "127.0.0.1",
    port: int = 0,
    parallel: int = 4,
    context_tokens: int = 4096,
    threads: int | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the model until SIGINT or SIGTERM; call from the main thread.

    ``name`` is what ``/v1/models`` says. ``port`` 0 takes a free one. ``parallel`` requests run at once, each with
    ``context_tokens`` of its own for prompt and answer together. ``on_ready`` gets the base URL
    (``http://127.0.0.1:PORT/v1``) once requests are answered. More requests than slots wait their turn. Each slot reads
    a prompt's shared beginning for itself: on few cores and with long prompts (demonstrations), one slot is fastest
    (measured on 2 cores with 20 demonstrations and 50 rows a candidate: 2.2 requests a second with one slot, 1.2 with
    four).

    Raises :class:`RuntimeMissing` without xllamacpp, :class:`ModelRefused` when the file can't be loaded or the port
    is taken. A load that takes longer than ``LOAD_TIMEOUT_S`` ends the process.
    """
    runtime = _runtime()
    stop = threading.Event()
    with _stopping_on_signals(stop):
        settings = runtime.CommonParams()
        settings.model.path = str(model_path)
        settings.model_alias = {name}
        settings.hostnames = [host]
        settings.port = port
        settings.n_parallel = parallel
        settings.n_ctx = parallel * context_tokens  # llama.cpp divides the total evenly
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads or default_threads()
        # What prompts leave behind outside the slots; llama.cpp's own bound is 8 GiB, and it was seen to fill it.
        settings.cache_ram_mib = _PROMPT_CACHE_MIB
        settings.ui = False
        settings.verbosity = 1
        server = _loaded(runtime, settings, model_path)
        base_url = f"{server.listening_address}/v1"
        logger.info("%s is served at %s", name, base_url)
        if on_ready is not None:
            on_ready(base_url)
        stop.wait()
        del server  # its destructor closes the port and frees the model


def _runtime() -> Any:
    try:
        import xllamacpp
    except ImportError as error:
        raise RuntimeMissing(
            f"serving a model on this machine needs xllamacpp ({error}); run: pip install 'promptmill[local]'"
        ) from error
    return xllamacpp


def _loaded(runtime: Any, settings: Any, model_path: Path) -> Any:
    """Return the running server. A load that hangs holds the interpreter's lock, so only a C-level timer can end it."""
    faulthandler.dump_traceback_later(LOAD_TIMEOUT_S, exit=True)
    try:
        return runtime.Server(settings)
    except RuntimeError as error:
        raise ModelRefused(
            f"llama.cpp can't serve {model_path} on {settings.hostnames[0]}:{settings.port}: {error} "
            "The lines above are its own; a taken port or too little memory is the usual cause."
        ) from error
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _stopping_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on SIGINT and SIGTERM; give the signals back to their owner afterwards."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_with_parent(parent_pid: int) -> None:
    """End this process soon after ``parent_pid`` is no longer its parent, so that a killed run leaves no server."""

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(_PARENT_CHECK_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_ORPHAN_GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, name="stop-with-parent", daemon=True).start()
