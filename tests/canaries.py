"""Secrets that nobody has anywhere else, looked for in all that a run leaves behind."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from urllib.parse import quote_plus

import pyarrow.parquet as pq
from spark_clusters import ROOT


def forms_of(secret):
    """Return the ways in which a secret may be written down: plain, form-encoded, and in base64 at each offset."""
    plain = secret.encode()
    shifted = [base64.b64encode(b"\0" * pad + plain) for pad in range(3)]
    # Beginning and end of base64 depend on what stands beside it.
    return {plain, quote_plus(secret).encode(), *(text[4:-4] for text in shifted)}


def leaks(folder, done, secrets):
    """Return where one of ``secrets`` stands: in what was said, in a file, or inside a Parquet file."""
    said = {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    files = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    columns = {
        f"in {path}": str(pq.read_table(path).to_pydict()).encode() for path in files if path.endswith(".parquet")
    }
    assert any("/events/" in path for path in files)
    marks = {form for secret in secrets for form in forms_of(secret)}
    return [(where, mark) for where, text in (said | files | columns).items() for mark in marks if mark in text]


def command(folder, *arguments, environ, timeout=300):
    """Run ``promptmill`` with ``folder`` as home and working folder, in a process that logs all that it can."""
    # Not by PYTHONPATH, which workers inherit: as on a cluster, they have of ours what is shipped to them.
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    code = f"{path}; import logging; logging.basicConfig(level='DEBUG'); from jobs.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder / "home"), **environ},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def written(folder, text):
    """Write a configuration whose Spark logs its events, uncompressed; return its path."""
    conf = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": str(folder / "events")}
    conf |= {"spark.eventLog.compress": "false", "spark.log.level": "INFO", "spark.driver.memory": "1g"}
    (folder / "events").mkdir(exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(f"{text}spark: {{master: 'local[2]', conf: {json.dumps(conf)}}}\n")
    return str(config)
