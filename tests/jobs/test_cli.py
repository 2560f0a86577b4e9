"""The command as a person starts it: in a process of its own, with its exit status and its messages."""

import json

import planted_world as world
import pytest
from command_line import run

from engine.scripted_endpoint import ScriptedEndpoint


@pytest.mark.parametrize(
    "command",
    [
        "optimize",
        "gate",
        "evaluate",
        "judge-check",
        "collect",
        "report",
        "ui",
        "ledger",
        "config",
        "doctor",
        "serve-model",
        "quickstart",
    ],
)
def test_every_command_explains_itself(command, tmp_path):
    """--help names the command's purpose and options."""
    done = run(command, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    assert "\\b" not in done.stdout, "click's mark for verbatim paragraphs shows"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("max_steps: 2", "max_step: 2"), ["config.yaml:", "max_step", "did you mean 'max_steps'"]),
        (("num_candidates: 3", "num_candidates: none"), ["config.yaml:", "num_candidates", "'none'"]),
        (("agent: *shouter", "agent: shoutr"), ["agent", "'shoutr'", "did you mean 'shouter'"]),
        (("proposer: [gepa]", "proposer: [gpea]"), ["gpea", "did you mean 'gepa'"]),
        (("{{word}}", "{{wrod}}"), ["wrod", "inputs"]),
    ],
)
def test_bad_input_is_told_with_its_place_and_nothing_is_called(change, told, tmp_path):
    """A mistake ends with status 2, names place, value and mend, shows no traceback, and costs no call."""
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(world.reflection) as reflection:
        text = world.config_text(tmp_path, target_url=target.base_url, reflection_url=reflection.base_url)
        assert change[0] in text
        (tmp_path / "config.yaml").write_text(text.replace(*change))
        done = run("optimize", "--config", "config.yaml", cwd=tmp_path)
        assert not target.calls
        assert not reflection.calls
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for part in told:
        assert part in done.stderr


def test_a_program_is_looked_for_in_the_folder_of_the_command(tmp_path):
    """Its module is imported there; what it raises meanwhile is told without a traceback, and nothing is called."""
    (tmp_path / "my_agent.py").write_text("raise OSError('the disk of my agent is full')")
    text = world.config_text(tmp_path, target_url="http://127.0.0.1:1", reflection_url="http://127.0.0.1:1")
    (tmp_path / "config.yaml").write_text(text.replace("      agent:", "      predict_fn: my_agent:run\n      agent:"))
    done = run("optimize", "--config", "config.yaml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "OSError: the disk of my agent is full" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_files_are_told(tmp_path):
    """A configuration or a run that is not there is named."""
    done = run("optimize", "--config", "nowhere.yaml", cwd=tmp_path)
    assert (done.returncode, "nowhere.yaml" in done.stderr, "Traceback" in done.stderr) == (2, True, False)
    done = run("report", "nowhere", cwd=tmp_path)
    assert (done.returncode, "nowhere" in done.stderr, "Traceback" in done.stderr) == (2, True, False)
    assert run("optimize", cwd=tmp_path).returncode == 2


def test_dry_run_calls_nothing_and_a_run_directory_is_paid_for_once(tmp_path):
    """--dry-run tells the price without a call; the second run in the same --run-dir makes no call, either."""
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(world.reflection) as reflection:
        text = world.config_text(tmp_path, target_url=target.base_url, reflection_url=reflection.base_url, rows=60)
        (tmp_path / "config.yaml").write_text(text)
        words = ("optimize", "--config", "config.yaml", "--run-dir", "run", "--json")
        dry = run(*words, "--dry-run", cwd=tmp_path)
        assert dry.returncode == 0, dry.stderr
        assert json.loads(dry.stdout)["cost_at_most"] > 0
        assert not target.calls
        first = json.loads(run(*words, cwd=tmp_path).stdout)
        calls = len(target.calls)
        again = run(*words, "--require", "promote", cwd=tmp_path)
        assert len(target.calls) == calls > 0
    assert again.returncode == 0, again.stderr
    second = json.loads(again.stdout)
    same = ("status", "prompt", "seed", "best", "holdout", "steps", "candidates", "ended", "tokens")
    assert {key: second[key] for key in same} == {key: first[key] for key in same}
    assert second["calls"]["made"] == first["calls"]["made"] == second["calls"]["resumed"]


def test_evaluate_scores_prompts_side_by_side(tmp_path):
    """Two prompts are scored over the whole data set, each by its own score."""
    (tmp_path / "good.txt").write_text(world.GOOD)
    (tmp_path / "seed.txt").write_text(world.SEED)
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(world.reflection) as reflection:
        text = world.config_text(tmp_path, target_url=target.base_url, reflection_url=reflection.base_url, rows=40)
        (tmp_path / "config.yaml").write_text(text)
        done = run(
            "evaluate",
            "--config",
            "config.yaml",
            "--prompt",
            "good.txt",
            "--prompt",
            "seed.txt",
            "--json",
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(p["place"], p["score"], p["scored"]) for p in found["prompts"]] == [
        ("good.txt", 1.0, 40),
        ("seed.txt", 0.0, 40),
    ]
    assert len(target.answered) == found["calls"]["made"] == 80
