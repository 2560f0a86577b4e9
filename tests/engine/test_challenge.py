"""The verdict without a search: several prompts, another current one, holdout rows alone; over real HTTP."""

import planted_world as world
import pytest

from engine.challenge import challenge
from engine.config import AppConfig
from engine.errors import CoverageError
from engine.scripted_endpoint import Reply, ScriptedEndpoint


@pytest.fixture
def ask(spark, tmp_path):
    places = {}
    for name, text in {"good": world.GOOD, "useless": world.USELESS, "lossy": world.HARMFUL}.items():
        places[name] = str(tmp_path / f"{name}.txt")
        (tmp_path / f"{name}.txt").write_text(text)
    with ScriptedEndpoint(world.target) as target:

        def asked(*names, current=None, script=world.target, **options):
            target._script = script
            path = tmp_path / "config.yaml"
            extra = "gate: {alpha: 0.05}"
            path.write_text(
                world.config_text(
                    tmp_path, target_url=target.base_url, reflection_url="http://127.0.0.1:1", rows=60, extra=extra
                )
            )
            app = AppConfig.from_file(path)
            settings = app.optimizations.prompt_optimizations["migrate_shout"]
            return challenge(
                app, settings, [places[name] for name in names], current=places.get(current), spark=spark, **options
            )

        yield asked, target


def test_several_prompts_are_judged_together_and_each_more_strictly(ask, tmp_path):
    """Each has its verdict at a share of alpha, and the current prompt's answers are asked for once."""
    asked, target = ask
    found = asked("good", "useless", run_dir=str(tmp_path / "run"))
    assert [(one.status, one.alpha) for one in found.prompts] == [("promoted", 0.025), ("kept", 0.025)]
    assert found.status == "promoted"
    assert len(target.calls) == found.calls["made"] == 180
    again = asked("good", run_dir=str(tmp_path / "other"))
    assert (again.calls["made"], again.prompts[0].won, again.prompts[0].alpha) == (0, 60, 0.05)


def test_the_current_prompt_may_be_another_one(ask, tmp_path):
    """Against the best one, the configured prompt's like is kept out."""
    asked, _ = ask
    (one,) = asked("useless", current="good", run_dir=str(tmp_path / "run")).prompts
    assert (one.status, one.current_score, one.score, one.lost) == ("kept", 1.0, 0.0, 60)


def test_a_prompt_that_lost_a_variable_is_kept_out(ask, tmp_path):
    """And the question about variables says so."""
    asked, _ = ask

    def shouting(call):
        return world.target(call) if "word0" in call.prompt else "WHAT?"

    (one,) = asked("lossy", script=shouting, run_dir=str(tmp_path / "run")).prompts
    assert one.status == "kept"
    assert "word" in one.reason
    assert {q.name: q.outcome for q in one.questions}["variables"] == "kept"


def test_holdout_rows_alone(ask, tmp_path):
    """For a prompt that a search has found: 24 of the 60 rows are those that it did not see."""
    asked, target = ask
    found = asked("good", holdout_only=True, run_dir=str(tmp_path / "run"))
    assert (found.rows, found.prompts[0].rows, len(target.calls)) == (24, 24, 48)


def test_an_outage_is_no_verdict(ask, tmp_path):
    """Where too many rows can't be scored there is an error instead."""
    asked, _ = ask
    with pytest.raises(CoverageError, match="could not be scored"):
        asked(
            "good",
            script=lambda call: Reply(status=400) if "UPPER" in call.prompt else world.target(call),
            run_dir=str(tmp_path / "run"),
        )
