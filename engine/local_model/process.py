"""A local model in a process of its own, for as long as a ``with`` block."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.local_model.errors import LocalModelError, ServerNotReady
from engine.local_model.models import find_model
from engine.local_model.server import LOAD_TIMEOUT_S
from engine.local_model.weights import resolve

logger = logging.getLogger(__name__)

READY_FORMAT = 1
_CHECK_S = 0.1
_HEALTH_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 5.0
_LOG_TAIL_LINES = 20
# One start in thirty hung for no cause that we found; the next one always came up.
_STARTS = 2

Launch = Callable[[Path], list[str]]
"""Given the ready file's path, the command that serves and writes it."""


class LocalModelProcess:
    """Serve a model of the catalogue while the block runs.

    The weights are fetched first, in this process and with progress shown, so that ``start_timeout_s`` is for loading
    alone. A start that hangs is ended and tried once more; one that ends by itself is not, because it said why.
    Leaving the block ends the server; so does the end of this process, however it came.

    ::

        with LocalModelProcess("qwen2.5-coder-0.5b") as served:
            requests.post(f"{served.base_url}/chat/completions", …)
    """

    def __init__(
        self,
        name: str,
        *,
        weights: Path | None = None,
        parallel: int = 4,
        context_tokens: int = 4096,
        threads: int | None = None,
        start_timeout_s: float = LOAD_TIMEOUT_S,
        launch: Launch | None = None,
    ) -> None:
        self._name = name
        self._weights = weights
        self._options = ["--parallel", str(parallel), "--context-tokens", str(context_tokens)]
        if threads is not None:
            self._options += ["--threads", str(threads)]
        self._start_timeout_s = start_timeout_s
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._base_url: str | None = None

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT/v1``; only inside the block."""
        if self._base_url is None:
            raise ServerNotReady(f"{self._name} is not being served; enter the with block first")
        return self._base_url

    @property
    def pid(self) -> int:
        """The server's process id; only inside the block."""
        if self._process is None:
            raise ServerNotReady(f"{self._name} is not being served; enter the with block first")
        return self._process.pid

    def __enter__(self) -> Self:
        launch = self._launch or self._own_launch()
        self._folder = tempfile.TemporaryDirectory(prefix="promptmill-model-", ignore_cleanup_errors=True)
        try:
            self._base_url = self._started(launch, Path(self._folder.name))
        except BaseException:  # Ctrl-C while it loads must not leave it behind either
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _own_launch(self) -> Launch:
        model = find_model(self._name)
        resolve(model, path=self._weights)
        given = [] if self._weights is None else ["--weights", str(self._weights.resolve())]

        def launch(ready_file: Path) -> list[str]:
            # -P: a folder named engine in the working directory must not take the place of ours
            command = [sys.executable, "-P", "-m", "engine.local_model", "--model", model.name, "--port", "0", *given]
            command += ["--ready-file", str(ready_file), *self._options]
            return [*command, "--stop-with-parent", str(os.getpid())]

        return launch

    def _started(self, launch: Launch, folder: Path) -> str:
        for start in range(1, _STARTS + 1):
            base_url = self._start(launch, folder, start)
            if base_url is not None:
                return base_url
        raise ServerNotReady(
            f"{self._name} did not answer within {self._start_timeout_s:g} s, {_STARTS} times{self._log_tail()}"
        )

    def _start(self, launch: Launch, folder: Path, start: int) -> str | None:
        """Start the server; return its base URL, or None when it hung and has been ended."""
        ready_file = folder / f"ready-{start}.json"
        with self._log_file().open("wb") as log:
            # A session of its own: Ctrl-C reaches this process alone, which still needs answers to end in good order.
            self._process = subprocess.Popen(
                launch(ready_file),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if (status := self._process.poll()) is not None:
                raise ServerNotReady(f"the server of {self._name} ended with status {status}{self._log_tail()}")
            base_url = _read_ready(ready_file)
            if base_url is not None and _is_healthy(base_url):
                return base_url
            time.sleep(_CHECK_S)
        logger.warning("the server of %s was not ready within %g s", self._name, self._start_timeout_s)
        self._stop_process()
        return None

    def _stop(self) -> None:
        self._stop_process()
        self._base_url = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _stop_process(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _log_file(self) -> Path:
        if self._folder is None:
            raise LocalModelError(f"{self._name} is not being served")
        return Path(self._folder.name) / "server.log"

    def _log_tail(self) -> str:
        lines = self._log_file().read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return ". It said:\n  " + "\n  ".join(lines) if lines else ", and said nothing"


def write_ready(path: Path, base_url: str) -> None:
    """Tell the process that waits for ``path`` where the server is; readers never see half a file."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(json.dumps({"format": READY_FORMAT, "base_url": base_url}), encoding="utf-8")
    draft.replace(path)


def _read_ready(path: Path) -> str | None:
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return str(told["base_url"])


def _is_healthy(base_url: str) -> bool:
    """Ask llama.cpp's health page, which stands beside ``/v1``."""
    url = base_url.removesuffix("/v1") + "/health"
    # no proxy: the address is this machine's
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_HEALTH_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _environment() -> dict[str, str]:
    """Return this process's environment with this checkout importable, wherever the process was started."""
    root = str(Path(__file__).resolve().parents[2])
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": root if not others else f"{root}{os.pathsep}{others}"}
