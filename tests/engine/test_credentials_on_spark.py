"""Credentials of a Spark job: executors renew them without the driver, and nothing written or said holds one."""

import base64
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import planted_world as world
import pyarrow.parquet as pq
import pytest
from spark_clusters import ROOT
from token_world import CLIENT_ID, CLIENT_SECRET, TOKEN_MARK, TokenWorld

from engine.evaluate import Evaluation
from engine.rows import rows_from_records
from engine.storage import Storage
from udfs.endpoint import Limits
from udfs.keys import KeyFile, SecretFromEnv
from udfs.prompt import Prompt
from udfs.scorers import build_mix

GOOD = Prompt.parse(world.GOOD)


def answers(call):
    if call.body["model"] == "judge":
        return json.dumps({"rationale": "scripted", "verdict": "same"})
    return world.target(call)


def test_executors_renew_without_the_driver(spark, tmp_path, monkeypatch):
    """A job of three token lives scores every row with one call each; this process asks for no token at all."""
    monkeypatch.setenv("MILL_SECRET", CLIENT_SECRET)
    key = tmp_path / "key"
    key.write_text("a-judge-s-key")
    with TokenWorld(2.0, answer=answers, watch=True) as tokens:
        tokens.issued["a-judge-s-key"] = float("inf")
        tokens.answer_delay_s = 0.1
        client = replace(tokens.client, client_secret=SecretFromEnv("MILL_SECRET"))
        # Two calls at once, 0.1 s each, and a verdict: 120 rows take 6 s at least, three times a token's life.
        limits = Limits(max_concurrency=2, max_attempts=1)
        target = tokens.endpoint(name="target", api_key=client, limits=limits)
        judge = tokens.endpoint(name="judge", api_key=KeyFile(str(key)), limits=limits)
        mix = build_mix(("exact_match", {"judge": "equivalence"}), judge)
        evaluation = Evaluation(spark, target, mix, Storage.at(str(tmp_path), str(tmp_path / "run")), "run")
        monkeypatch.delenv("MILL_SECRET")
        rows = rows_from_records(spark, world.records(120))
        started = time.monotonic()
        lines = evaluation.frame([GOOD], rows, name="held", total=120).collect()
        spent_s = time.monotonic() - started
    assert Counter((line["score"], line["error"], line["attempts"]) for line in lines) == {(1.0, None, 1): 120}
    assert len(tokens.answered) == 240
    assert spent_s > 6.0
    assert set(tokens.from_here) == {False}
    # One for each worker process (two at a time; Spark may start others) and life, from 1.4 s of it on.
    assert 4 <= len(tokens.from_here) <= 4 * (spent_s / 1.4 + 1)


@pytest.fixture
def command(tmp_path):
    """Give what runs ``promptmill optimize`` on a world, in a process of its own; it logs all that it can."""

    def run(tokens, *, secret=CLIENT_SECRET):
        text = world.config_text(tmp_path, target_url=tokens.base_url, reflection_url=tokens.base_url, rows=60)
        client = f"token_url: '{tokens.token_url}', client_id: {CLIENT_ID}, client_secret: {{env: MILL_SECRET}}"
        text = text.replace("provider: openai,", f"provider: openai, api_key: {{oauth: {{{client}}}}},")
        conf = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": str(tmp_path / "events")}
        conf |= {"spark.eventLog.compress": "false", "spark.log.level": "INFO", "spark.driver.memory": "1g"}
        (tmp_path / "events").mkdir()
        config = tmp_path / "config.yaml"
        config.write_text(f"{text}spark: {{master: 'local[2]', conf: {json.dumps(conf)}}}\n")
        code = "import logging; logging.basicConfig(level='DEBUG'); from jobs.cli import main; main()"
        arguments = ("optimize", "--config", str(config), "--run-dir", str(tmp_path / "run"))
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home"), "MILL_SECRET": secret},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def leaks(folder, done):
    """Return where one of the secrets stands: in what was said, in a file, or inside a Parquet file."""
    pair = base64.b64encode(f"{CLIENT_ID}:".encode()).rstrip(b"=")[:-1]
    marks = (TOKEN_MARK.encode(), CLIENT_SECRET.encode(), b"canary%2Fsecret", b"Basic " + pair)
    said = {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    files = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    columns = {
        f"in {path}": str(pq.read_table(path).to_pydict()).encode() for path in files if path.endswith(".parquet")
    }
    assert any("/events/" in path for path in files)
    return [(where, mark) for where, text in (said | files | columns).items() for mark in marks if mark in text]


def test_nothing_that_a_run_leaves_holds_a_secret(tmp_path, command):
    """Ledger, run directory, MLflow, Spark's event log and every log line, after a promotion with short tokens."""

    def answer(call):
        return world.reflection(call) if call.body["model"] == "big" else world.target(call)

    with TokenWorld(1.5, echo=True, answer=answer) as tokens:
        done = command(tokens)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "promoted"
    assert len(tokens.forms) > 2
    assert list((tmp_path / "store").rglob("*.parquet"))
    assert leaks(tmp_path, done) == []


def test_nothing_that_a_failed_run_leaves_holds_a_secret(tmp_path, command):
    """The endpoint repeats the header that it refuses, and the run ends with that error; the token is masked in it."""
    with TokenWorld(1.5, echo=True, answer=world.target) as tokens:
        tokens.closed = True
        done = command(tokens)
    assert done.returncode == 1, done.stderr[-2000:]
    assert "bad header Bearer ***" in done.stderr
    assert tokens.forms
    assert leaks(tmp_path, done) == []
