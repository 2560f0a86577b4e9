"""A served model is there inside the block and nowhere after it. A fake server stands in for llama.cpp."""

import json
import os
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

import pytest

from engine.local_model import LocalModelProcess, RuntimeMissing, ServerNotReady, serve
from engine.local_model.__main__ import main
from engine.local_model.process import write_ready

ROOT = Path(__file__).resolve().parents[3]

FAKE_SERVER = textwrap.dedent("""
    import http.server, sys, time
    from pathlib import Path
    from engine.local_model.process import write_ready
    from engine.local_model.server import stop_with_parent

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

    ready, parent, hang_marker = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    stop_with_parent(parent)
    print("loading", flush=True)
    if hang_marker and not Path(hang_marker[0]).exists():
        Path(hang_marker[0]).touch()
        time.sleep(600)
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    write_ready(ready, f"http://127.0.0.1:{server.server_address[1]}/v1")
    server.serve_forever()
""")


def fake(*arguments):
    return lambda ready: [sys.executable, "-c", FAKE_SERVER, str(ready), str(os.getpid()), *arguments]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_the_server_answers_inside_the_block_and_is_gone_after_it():
    with LocalModelProcess("small", launch=fake()) as served:
        pid = served.pid
        health = served.base_url.removesuffix("/v1") + "/health"
        with urllib.request.urlopen(health, timeout=5) as answer:  # noqa: S310 - our own server
            assert answer.status == 200
    assert not is_alive(pid)
    with pytest.raises(ServerNotReady, match="enter the with block"):
        _ = served.base_url


def test_a_start_that_hangs_is_tried_once_more(tmp_path, caplog):
    with LocalModelProcess("small", launch=fake(str(tmp_path / "hung")), start_timeout_s=5.0) as served:
        assert served.base_url.startswith("http://127.0.0.1:")
    assert caplog.text.count("was not ready within 5 s") == 1


def test_two_starts_that_hang_are_an_error_with_the_end_of_the_log():
    hanging = "import time; print('loading', flush=True); time.sleep(600)"
    served = LocalModelProcess("small", launch=lambda _: [sys.executable, "-c", hanging], start_timeout_s=0.7)
    with pytest.raises(ServerNotReady, match=r"(?s)within 0\.7 s, 2 times. It said:\n  loading"), served:
        pass


def test_a_server_that_ends_by_itself_is_not_started_again(tmp_path):
    dying = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); raise SystemExit('no memory')"
    served = LocalModelProcess("small", launch=lambda _: [sys.executable, "-c", dying])
    with pytest.raises(ServerNotReady, match=r"(?s)ended with status 1. It said:\n  no memory"), served:
        pass
    assert (tmp_path / "starts").read_text() == "x"


def test_the_server_ends_when_its_parent_is_killed(tmp_path):
    """A run that is killed outright leaves nothing behind."""
    holder = textwrap.dedent(f"""
        import os, sys, time
        from engine.local_model import LocalModelProcess
        FAKE = {FAKE_SERVER!r}
        launch = lambda ready: [sys.executable, "-c", FAKE, str(ready), str(os.getpid())]
        with LocalModelProcess("small", launch=launch) as served:
            print(served.pid, flush=True)
            time.sleep(600)
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment["TMPDIR"] = str(tmp_path)  # a killed process can't remove its folder
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    assert wait_until(lambda: not is_alive(pid))


def test_the_ready_file_appears_whole_and_says_its_format(tmp_path):
    write_ready(tmp_path / "ready.json", "http://127.0.0.1:1/v1")
    assert json.loads((tmp_path / "ready.json").read_text()) == {"format": 1, "base_url": "http://127.0.0.1:1/v1"}
    assert [path.name for path in tmp_path.iterdir()] == ["ready.json"]


def test_without_the_runtime_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(RuntimeMissing, match=r"pip install 'promptmill\[local\]'"):
        serve(tmp_path / "any.gguf", name="any")


def test_the_command_prints_an_error_that_can_be_mended_without_a_traceback(tmp_path, caplog):
    assert main(["--model", "smollm2-135m", "--weights", str(tmp_path / "absent.gguf")]) == 2
    assert "is no file" in caplog.text
