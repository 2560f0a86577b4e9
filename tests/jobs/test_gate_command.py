"""The gate and the judges' check as CI starts them: exit statuses, JSON and JUnit."""

import json
import re
import xml.etree.ElementTree as ET

import judge_world as judges
import planted_world as world
import pytest
from command_line import run

from engine.scripted_endpoint import Reply, ScriptedEndpoint

# A prompt that helps one word in eight: on a few rows that may be chance.
SOME = "Answer SOMETIMES: {{word}}"


def target(call):
    """Upper case where it is told to; of every eighth word where it is told SOMETIMES; nothing at all where BROKEN."""
    if "BROKEN" in call.prompt:
        return Reply(status=400)
    number = int(re.findall(r"word(\d{3,})", call.prompt)[-1])
    if "SOMETIMES" in call.prompt and number % 8 == 0:
        return f"WORD{number:03d}"
    return world.target(call)


@pytest.fixture
def folder(tmp_path):
    prompts = {"good": world.GOOD, "same": world.USELESS, "some": SOME, "broken": "BROKEN {{word}}", "odd": "{{wrod}}"}
    for name, text in prompts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    with ScriptedEndpoint(target) as end, ScriptedEndpoint(world.useless_reflection) as reflection:
        text = world.config_text(tmp_path, target_url=end.base_url, reflection_url=reflection.base_url, rows=24)
        (tmp_path / "config.yaml").write_text(text)
        yield tmp_path, end


def gated(folder, *words):
    return run("gate", "--config", "config.yaml", "--require", "promote", "--junit", "out/v.xml", *words, cwd=folder)


def failures(folder):
    root = ET.parse(folder / "out" / "v.xml").getroot()  # noqa: S314 - our own file
    return {case.get("name"): problem.get("type") for case in root.iter("testcase") for problem in case}


@pytest.mark.parametrize(
    ("prompt", "status", "failed"),
    [
        ("good", 0, {}),
        ("same", 3, {"difference": "kept"}),
        ("some", 4, {"difference": "need_more_data"}),
        ("broken", 1, {"verdict": "failed"}),
    ],
)
def test_the_gates_exit_status_says_the_verdict(folder, prompt, status, failed):
    """0 promote, 3 keep, 4 need more data, 1 failed; the JUnit file names the question that failed."""
    path, _ = folder
    done = gated(path, "--prompt", f"{prompt}.txt", "--json", "--run-dir", "run")
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert failures(path) == failed
    if status != 1:
        found = json.loads(done.stdout)
        assert found == json.loads((path / "run" / "gate.json").read_text())
        assert found["prompts"][0]["rows"] == found["rows"] == 24
        assert found["prompts"][0]["current_score"] == 0.0


def test_bad_input_ends_with_2_before_the_first_call(folder):
    """A prompt with an unknown variable is named, and costs nothing."""
    path, end = folder
    done = gated(path, "--prompt", "odd.txt")
    assert (done.returncode, "wrod" in done.stderr, "Traceback" in done.stderr) == (2, True, False)
    assert gated(path).returncode == 2
    assert not end.calls


def test_optimize_in_ci(folder):
    """A search that finds nothing better ends with 3 under --require, and its JUnit file says why."""
    path, _ = folder
    words = ("--require", "promote", "--junit", "out/v.xml")
    done = run("optimize", "--config", "config.yaml", *words, cwd=path)
    assert done.returncode == 3, done.stderr
    assert failures(path) == {"difference": "kept"}


def test_judges_are_checked_by_a_command(tmp_path):
    """A table for people, a file for machines, and a warning that nobody can miss."""
    with ScriptedEndpoint(judges.half_right) as end, ScriptedEndpoint(judges.noisy(0.5)) as judge:
        (tmp_path / "config.yaml").write_text(judges.config_text(tmp_path, end, judge, rows=24))
        words = ("judge-check", "--config", "config.yaml", "--run-dir", "run", "--rows", "20")
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(judge.calls) == 60
    assert "not a judge, so nothing to measure: exact_match" in done.stdout
    assert "WARNING equivalence: asked twice, it agrees with itself on" in done.stdout
    found = json.loads((tmp_path / "run" / "judge_check.json").read_text())
    assert found["judges"][0]["repeat"]["agreement"]["of"] == 20
    assert found["warnings"]
