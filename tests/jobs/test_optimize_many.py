"""``promptmill optimize`` with several optimizations, in this process."""

import json
import re
import xml.etree.ElementTree as ET

import batch_world
import pytest
from command_line import run_here

from engine.errors import InputError
from engine.scripted_endpoint import ScriptedEndpoint
from jobs.options import chosen


def answer(call):
    word = re.findall(r"word\d{3,}", call.messages[-1]["content"])[-1]
    return word.upper() if "WORD" in call.prompt else f"Sure! {word}"


def test_only_and_exclude_take_names_and_patterns(tmp_path):
    """Both may be patterns; what fits nothing, and what leaves nothing, is told."""
    app = batch_world.app(tmp_path, "http://127.0.0.1:1/v1", count=12)
    assert list(chosen(app, ["word_0*"], ["word_00", "word_0[5-9]"])) == ["word_01", "word_02", "word_03", "word_04"]
    assert list(chosen(app, [], ["word_0*"])) == ["word_10", "word_11"]
    with pytest.raises(InputError, match="--exclude legacy"):
        chosen(app, [], ["legacy_*"])
    with pytest.raises(InputError, match="leaves no optimization"):
        chosen(app, [], ["*"])


def test_several_are_foreseen_run_and_gone_on_with(spark, tmp_path, monkeypatch, capsys):
    """--dry-run sums without a call; a run tells each end, writes JUnit, and fails for one; --resume mends that one."""

    def promptmill(*words):
        return run_here(
            "optimize", "--config", "config.yaml", *words, cwd=tmp_path, monkeypatch=monkeypatch, capsys=capsys
        )

    with ScriptedEndpoint(answer) as target:
        batch_world.app(tmp_path, target.base_url, count=3, broken=(1,))
        dry = promptmill("--dry-run", "--exclude", "word_01")
        assert dry.returncode == 0, dry.stderr
        assert "2 to run" in dry.stdout
        assert not target.calls
        words = ("--require", "promote", "--junit", "verdict.xml")
        first = promptmill(*words, "--run-dir", "run")
        assert first.returncode == 1, first.stderr
        assert "[3/3]" in first.stderr
        assert "1 of 3 optimizations failed" in first.stderr
        assert "wrod" in first.stderr
        assert "2 promoted, 1 failed" in first.stdout
        suites = ET.parse(tmp_path / "verdict.xml").getroot()  # noqa: S314 - our own file
        assert [suite.get("errors") for suite in suites] == ["0", "1", "0"]
        batch_world.app(tmp_path, target.base_url, count=3)
        second = promptmill(*words, "--run-dir", "run", "--resume", "--json")
        calls = len(target.calls)
        one = promptmill("--only", "word_01", "--run-dir", "run")
        assert (one.returncode, len(target.calls)) == (0, calls), one.stderr
        assert len(json.loads((tmp_path / "run" / "summary.json").read_text())["optimizations"]) == 3
        assert target.tally.answered_again == 0
    assert second.returncode == 0, second.stderr
    assert [found["status"] for found in json.loads(second.stdout)] == ["promoted"] * 3
    missing = promptmill("--run-dir", "nowhere", "--resume")
    assert (missing.returncode, "batch.json is missing" in missing.stderr) == (2, True)
