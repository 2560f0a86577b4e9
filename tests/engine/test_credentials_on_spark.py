"""Credentials of a Spark job: executors renew them without the driver, and nothing written or said holds one."""

import json
import time
from collections import Counter
from dataclasses import replace

import planted_world as world
from canaries import command, leaks, written
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


SECRETS = (TOKEN_MARK, CLIENT_SECRET)


def run(tokens, folder):
    """Run ``promptmill optimize`` on a world whose endpoints take an OAuth client's tokens."""
    text = world.config_text(folder, target_url=tokens.base_url, reflection_url=tokens.base_url, rows=60)
    client = f"token_url: '{tokens.token_url}', client_id: {CLIENT_ID}, client_secret: {{env: MILL_SECRET}}"
    text = text.replace("provider: openai,", f"provider: openai, api_key: {{oauth: {{{client}}}}},")
    config = written(folder, text)
    arguments = ("optimize", "--config", config, "--run-dir", str(folder / "run"))
    return command(folder, *arguments, environ={"MILL_SECRET": CLIENT_SECRET})


def test_nothing_that_a_run_leaves_holds_a_secret(tmp_path):
    """Ledger, run directory, MLflow, Spark's event log and every log line, after a promotion with short tokens."""

    def answer(call):
        return world.reflection(call) if call.body["model"] == "big" else world.target(call)

    with TokenWorld(1.5, echo=True, answer=answer) as tokens:
        done = run(tokens, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "promoted"
    assert len(tokens.forms) > 2
    assert list((tmp_path / "store").rglob("*.parquet"))
    assert leaks(tmp_path, done, SECRETS) == []


def test_nothing_that_a_failed_run_leaves_holds_a_secret(tmp_path):
    """The endpoint repeats the header that it refuses, and the run ends with that error; the token is masked in it."""
    with TokenWorld(1.5, echo=True, answer=world.target) as tokens:
        tokens.closed = True
        done = run(tokens, tmp_path)
    assert done.returncode == 1, done.stderr[-2000:]
    assert "bad header Bearer ***" in done.stderr
    assert tokens.forms
    assert leaks(tmp_path, done, SECRETS) == []
