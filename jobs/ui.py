"""``promptmill ui``: the MLflow pages of the configured store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.options import param_option, read_config
from jobs.terminal import run_command


@click.command("ui")
@click.option("--config", "config_path", metavar="FILE", help="Take the store from this configuration.")
@param_option
@click.option("--store", metavar="URI", help="The MLflow store.  [default: sqlite:///.promptmill/mlflow.db]")
@click.option("--port", default=5000, show_default=True, help="Where to listen, on 127.0.0.1.")
def command(config_path: str | None, store: str | None, port: int) -> int:
    """Open the MLflow UI on the store that runs are tracked in.

    Experiments shows the runs with their metrics and artifacts, Prompts the registered versions.

    \b
      promptmill ui
      promptmill ui --config conf/migration.yaml --port 5001
    """
    from engine.errors import InputError

    configured = read_config(config_path).mlflow.tracking_uri if config_path else None
    uri = store or configured or "sqlite:///.promptmill/mlflow.db"
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///"))
        if not database.exists():
            raise InputError(f"the store {uri} does not exist yet; run `promptmill optimize` first, or give --store")
    elif uri.startswith(("http://", "https://", "databricks")):
        print(f"The store is a tracking server with pages of its own: {uri}")
        return 0
    print(f"MLflow on http://127.0.0.1:{port}  (Ctrl-C ends it)", flush=True)
    server = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    server += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return subprocess.run(server, check=False).returncode


if __name__ == "__main__":
    run_command(command)
