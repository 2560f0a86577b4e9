"""A small hub and small part packages for the tests of :mod:`engine.local_model`."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

from engine.local_model.models import HubFile, LocalModel, PackagePart

CONTENT = bytes(range(256)) * 4096  # 1 MiB


def small_model(content: bytes = CONTENT) -> LocalModel:
    """A model whose file is ``content``, carried by the two packages that ``write_wheels`` makes."""
    return LocalModel(
        name="small",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        hub=HubFile("Someone/Small-GGUF", "0123abc", "Small.gguf"),
        parts=(
            PackagePart("small-part1==1.0", "small_part1/data/part01.bin"),
            PackagePart("small-part2==1.0", "small_part2/data/part02.bin"),
        ),
        licence="none",
        credit="the tests",
    )


def write_wheels(folder: Path, content: bytes = CONTENT) -> None:
    """Write two wheels that pip accepts, with half of the content each, and code that must never run."""
    half = len(content) // 2
    for number, piece in ((1, content[:half]), (2, content[half:])):
        name = f"small_part{number}"
        about = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "raise SystemExit('this code must never run')")
            wheel.writestr(f"{name}/data/part{number:02d}.bin", piece)
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: small-part{number}\nVersion: 1.0\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")


class HubStandIn:
    """What the stand-in answers (``body``, cut after ``cut_after`` bytes) and the paths it was asked for."""

    def __init__(self, body: bytes, cut_after: int | None = None) -> None:
        self.body = body
        self.cut_after = cut_after
        self.asked: list[str] = []
        self.url = ""


@contextlib.contextmanager
def hub(body: bytes = CONTENT, cut_after: int | None = None) -> Iterator[HubStandIn]:
    """Serve ``body`` at every path, behind one redirect as the real hub does; break off after ``cut_after`` bytes."""
    stand_in = HubStandIn(body, cut_after)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            stand_in.asked.append(self.path)
            if not self.path.startswith("/cdn"):
                self.send_response(302)
                self.send_header("Location", f"{stand_in.url}/cdn{self.path}")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(stand_in.body)))
            self.end_headers()
            self.wfile.write(stand_in.body[: stand_in.cut_after])

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
