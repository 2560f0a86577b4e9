"""The endpoint of the measurement: answers every request alike, after a fixed latency, faster than any client asks.

nginx with the echo module (Debian: ``nginx libnginx-mod-http-echo``) with one worker process; where that is missing,
a bare asyncio server in a process of its own, which is several times as costly: its numbers say less about the client.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ECHO_MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")

ANSWER = json.dumps(
    {
        "id": "chatcmpl-8f14e45fceea167a5a36dedd4bea2543",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "bench-model",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "positive"}, "logprobs": None,
             "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 250, "completion_tokens": 2, "total_tokens": 252},
        "system_fingerprint": "fp_bench",
    }
)  # fmt: skip

# keepalive_requests: nginx would else close each connection after 1,000 requests, and the client pay for a new one.
_CONFIG = """
load_module {module};
worker_processes 1;
worker_rlimit_nofile 16384;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            default_type application/json;
            {sleep}
            echo '{answer}';
        }}
    }}
}}
"""


@dataclass(frozen=True)
class RunningEndpoint:
    """Where the endpoint listens, what it is, and the process whose children do the work."""

    base_url: str
    kind: str
    pid: int


@contextlib.contextmanager
def endpoint(latency_s: float) -> Iterator[RunningEndpoint]:
    """Run the endpoint on a free port of 127.0.0.1 while the block runs."""
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="promptmill-bench-") as folder:
        nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if nginx and ECHO_MODULE.exists():
            config = Path(folder) / "nginx.conf"
            sleep = f"echo_sleep {latency_s:g};" if latency_s else ""
            config.write_text(
                _CONFIG.format(module=ECHO_MODULE, folder=folder, port=port, sleep=sleep, answer=ANSWER),
                encoding="utf-8",
            )
            # As root, nginx's worker would drop to an account that can't enter this folder.
            command = [nginx, "-p", folder, "-c", str(config), "-g", "user root;"]
            kind = "nginx, one worker"
        else:
            command = [sys.executable, str(Path(__file__).with_name("plain_server.py")), str(port), str(latency_s)]
            kind = "asyncio server (no nginx with echo here: the numbers are lower than the client could reach)"
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port, process)
            yield RunningEndpoint(f"http://127.0.0.1:{port}/v1", kind, process.pid)
        finally:
            process.terminate()
            process.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if process.poll() is not None:
            raise RuntimeError(f"the endpoint ended at once with exit status {process.returncode}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/chat/completions", timeout=5) as answer:
                json.loads(answer.read())
            return
        time.sleep(0.05)
    raise RuntimeError("the endpoint did not answer within 5 s")
