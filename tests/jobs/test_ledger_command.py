"""``promptmill ledger`` as a person starts it, and runs that use the ledger alone."""

import json

import planted_world as world
from click.testing import CliRunner
from command_line import run

from engine.scripted_endpoint import ScriptedEndpoint
from jobs.ledger import command
from udfs.ledger.listing import forget_checks


def ledger(*words):
    forget_checks()
    done = CliRunner().invoke(command, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_run_is_replayed_without_its_endpoints_and_the_ledger_says_what_that_saved(tmp_path):
    """evaluate, its replay with the endpoint gone and no key set, what show says, and a replay of what is not there."""
    with ScriptedEndpoint(world.target) as target:
        text = world.config_text(tmp_path, target_url=target.base_url, reflection_url="http://127.0.0.1:1/v1", rows=20)
        text = text.replace("temperature: 0.0,", "temperature: 0.0, api_key: {env: TEST_TARGET_KEY},")
        (tmp_path / "config.yaml").write_text(text)
        (tmp_path / "keyed.yaml").write_text(text.replace("TEST_TARGET_KEY", "PATH"))  # any variable that is set
        first = json.loads(run("evaluate", "--config", "keyed.yaml", "--json", cwd=tmp_path).stdout)
        assert len(target.calls) == 20
    again = run("evaluate", "--config", "config.yaml", "--replay", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    second = json.loads(again.stdout)
    assert second["prompts"] == first["prompts"]
    assert (second["calls"]["made"], second["calls"]["reused"]) == (0, 20)

    shown = json.loads(ledger("show", "--root", tmp_path / "store", "--json"))
    assert [(line["model"], line["answers"]) for line in shown["endpoints"]] == [("small", 20)]
    assert shown["saved"]["calls"] == 20
    assert shown["saved"]["cost"]["USD"] > 0
    words = ledger("show", "--config", tmp_path / "config.yaml")
    assert "small" in words
    assert "20 calls" in words

    (tmp_path / "other.txt").write_text("Something else in UPPER CASE: {{word}}")
    lacking = run("evaluate", "--config", "config.yaml", "--prompt", "other.txt", "--replay", cwd=tmp_path)
    assert lacking.returncode == 1
    assert "20 of 20 pairs are not in" in lacking.stderr
    assert "Traceback" not in lacking.stderr


def test_bad_words_are_told(tmp_path):
    """Options that contradict each other, or lack what they need, end with status 2 and say so."""
    (tmp_path / "config.yaml").write_text(
        world.config_text(tmp_path, target_url="http://x/v1", reflection_url="http://x")
    )
    for words, told in [
        (("optimize", "--replay", "--retry-failed", "--run-dir", "r"), "give one of them"),
        (("optimize", "--retry-failed"), "say which with --run-dir"),
        (("ledger", "show", "--root", "x"), "give one of them"),
    ]:
        done = run(*words, "--config", "config.yaml", cwd=tmp_path)
        assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_compact_merges_and_says_so(tmp_path, spark):
    """The small segments become one; the old ones stay for a day; a second time there is nothing to do."""
    from ledger_entries import entry, keep

    from udfs.ledger import LedgerLocation

    for number in range(3):
        keep(LedgerLocation(str(tmp_path)), [entry(number)], writer=f"w{number}")
    first = ledger("compact", "--root", tmp_path)
    assert "merged 3 segments" in first
    assert "into 1" in first
    assert "stay for a day" in first
    assert "nothing to merge" in ledger("compact", "--root", tmp_path)
    found = json.loads(ledger("show", "--root", tmp_path, "--json"))
    assert (found["segments"], found["superseded"], found["endpoints"][0]["answers"]) == (1, 3, 3)
    assert "3 merged ones" in ledger("show", "--root", tmp_path)
    assert "holds nothing yet" in ledger("show", "--root", tmp_path / "empty")
