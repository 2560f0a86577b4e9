"""Start a workspace by hand: ``python -m tests.workspace`` prints its address and a personal access token."""

from __future__ import annotations

import signal

from . import CLIENT_ID, CLIENT_SECRET, PAT, ServedEndpoint, Workspace


def main() -> None:
    """Serve one endpoint of each task until Ctrl-C or SIGTERM; each repeats what it is asked."""
    endpoints = [
        ServedEndpoint("chat"),
        ServedEndpoint("completions", task="llm/v1/completions"),
        ServedEndpoint("embeddings", lambda _: [0.1, 0.2, 0.3], task="llm/v1/embeddings"),
        ServedEndpoint("responses-agent", task="agent/v1/responses"),
        ServedEndpoint("chat-agent", task="agent/v2/chat"),
        ServedEndpoint("custom", task=None),
        ServedEndpoint("cold", cold_s=20.0),
    ]
    with Workspace(*endpoints) as workspace:
        workspace.secrets.values["scope", "key"] = PAT
        print(f"DATABRICKS_HOST={workspace.host}")  # noqa: T201
        print(f"DATABRICKS_TOKEN={PAT}")  # noqa: T201
        print(f"or DATABRICKS_CLIENT_ID={CLIENT_ID} DATABRICKS_CLIENT_SECRET='{CLIENT_SECRET}'")  # noqa: T201
        print(f"endpoints: {', '.join(endpoint.name for endpoint in endpoints)}; secret: scope/key", flush=True)  # noqa: T201
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
