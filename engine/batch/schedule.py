"""Threads for a batch: at most so many optimizations at once, and an end that loses nothing on Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from engine.interruption import Interrupted

log = logging.getLogger(__name__)

# Threads of optimizations are called so, with the optimization's key behind it: log lines say whose they are.
THREAD_NAME = "optimize "
# Stages end within 10 s of being stopped, see engine.stopping; what follows them is quick.
_ENDING_S = 12.0
_LOOK_EVERY_S = 0.2


def run_all(
    keys: Iterable[str],
    work: Callable[[str], None],
    *,
    parallel: int,
    interrupt: Callable[[], None],
    ending_s: float = _ENDING_S,
) -> None:
    """Run ``work`` for each key in order, at most ``parallel`` at once, each on a thread; return when all are done.

    ``work`` deals with failures itself; a KeyboardInterrupt or Interrupted that it lets out ends its thread. When this
    thread is interrupted no work is begun any more, ``interrupt`` is called, and threads get ``ending_s`` to end.

    Raises:
        KeyboardInterrupt: this thread was interrupted (or terminated, by SIGTERM).
    """
    waiting = deque(keys)
    begun, stopped = threading.Event(), threading.Event()

    def run() -> None:
        begun.wait()
        while not stopped.is_set():
            try:
                key = waiting.popleft()
            except IndexError:
                return
            threading.current_thread().name = f"{THREAD_NAME}{key}"
            try:
                work(key)
            except (KeyboardInterrupt, Interrupted):
                return

    # Daemons: after a second Ctrl-C the process does not wait for them.
    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(parallel, len(waiting)))]
    with _plain_ctrl_c():
        try:
            for thread in threads:
                thread.start()
            begun.set()
            for thread in threads:
                while thread.is_alive():
                    thread.join(_LOOK_EVERY_S)  # a join without an end would not hear Ctrl-C on every system
        except KeyboardInterrupt:
            stopped.set()
            begun.set()
            interrupt()
            _wait(threads, ending_s)
            raise


@contextlib.contextmanager
def _plain_ctrl_c() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt and do nothing else: pyspark's own handler first cancels every job."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _wait(threads: Sequence[threading.Thread], ending_s: float) -> None:
    until = time.monotonic() + ending_s
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0.0, until - time.monotonic()))
    if late := sum(thread.is_alive() for thread in threads):
        log.warning("%d optimizations have not ended in time and are cut off", late)
