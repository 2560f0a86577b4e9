"""``promptmill serve-model``: a real local model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import sys
from pathlib import Path

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.terminal import download_progress, run_command


@click.command("serve-model")
@click.option("--model", default="qwen2.5-coder-0.5b", show_default=True, help="Which model; --list shows them.")
@click.option("--weights", metavar="FILE", help="A GGUF file that you have; its checksum must be the official one.")
@click.option("--port", default=8000, show_default=True, help="Where to listen, on 127.0.0.1; 0 takes a free port.")
@click.option("--parallel", default=4, show_default=True, help="How many requests are answered at once.")
@click.option("--list", "list_models", is_flag=True, help="List the models, and end.")
def command(model: str, weights: str | None, port: int, parallel: int, list_models: bool) -> None:
    """Serve a local model on 127.0.0.1, OpenAI-compatible, until Ctrl-C.

    The weights are fetched once, into a cache outside the project, and checked against the official checksum before
    they are loaded. Needs the extra `local`: pip install 'promptmill[local]'.

    \b
      promptmill serve-model
      promptmill serve-model --model qwen2.5-coder-1.5b --port 8001
    """
    from engine.local_model import MODELS, find_model, resolve, serve

    if list_models:
        for known in MODELS:
            print(f"{known.name:22} {known.size_bytes / 1e6:6.0f} MB  {known.licence}  {known.file_name}")
        return
    chosen = find_model(model)
    with download_progress() as progress:
        path = resolve(chosen, path=Path(weights) if weights else None, progress=progress)
    serve(
        path,
        name=chosen.name,
        port=port,
        parallel=parallel,
        on_ready=lambda url: print(f"{chosen.name} answers on {url}  (Ctrl-C ends it)", flush=True),
    )


if __name__ == "__main__":
    run_command(command)
