"""``python -m engine.local_model``: serve one model of the catalogue; what :class:`LocalModelProcess` starts."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from engine.local_model.errors import LocalModelError
from engine.local_model.models import MODELS, find_model
from engine.local_model.process import write_ready
from engine.local_model.server import serve, stop_with_parent
from engine.local_model.weights import resolve

logger = logging.getLogger("engine.local_model")


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; 0 then, 2 when the model can't be served."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if asked.stop_with_parent is not None:
        stop_with_parent(asked.stop_with_parent)
    try:
        path = resolve(find_model(asked.model), path=asked.weights)
        serve(
            path,
            name=asked.model,
            port=asked.port,
            parallel=asked.parallel,
            context_tokens=asked.context_tokens,
            threads=asked.threads,
            on_ready=None if asked.ready_file is None else lambda url: write_ready(asked.ready_file, url),
        )
    except LocalModelError as error:
        logger.error("%s", error)  # noqa: TRY400 - the user can mend it; a traceback would bury how
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine.local_model", description="Serve a small model over HTTP.")
    parser.add_argument("--model", required=True, metavar="NAME", help=", ".join(model.name for model in MODELS))
    parser.add_argument("--weights", type=Path, metavar="PATH", help="the model's file; fetched when not given")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--parallel", type=int, default=4, help="requests at once")
    parser.add_argument("--context-tokens", type=int, default=4096, help="of each request, prompt and answer together")
    parser.add_argument("--threads", type=int, help="one fewer than there are cores")
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help="written once requests are answered")
    parser.add_argument("--stop-with-parent", type=int, metavar="PID", help="end when this parent is gone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
