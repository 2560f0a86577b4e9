"""The verdict without a search: several prompts, another current one, holdout rows alone; over real HTTP."""

import planted_world as world
import pytest

from engine.challenge import challenge
from engine.config import AppConfig
from engine.errors import ConfigError, CoverageError
from engine.scripted_endpoint import Reply, ScriptedEndpoint


@pytest.fixture
def ask(spark, tmp_path):
    places = {}
    for name, text in {
        "good": world.GOOD,
        "useless": world.USELESS,
        "lossy": world.HARMFUL,
        "seed": world.SEED,
    }.items():
        places[name] = str(tmp_path / f"{name}.txt")
        (tmp_path / f"{name}.txt").write_text(text)
    with ScriptedEndpoint(world.target) as target:

        def asked(*names, current=None, script=world.target, rows=60, gate="alpha: 0.05", budget="", **options):
            target._script = script
            path = tmp_path / "config.yaml"
            extra = f"gate: {{{gate}}}\n      budget: {{{budget}}}"
            path.write_text(
                world.config_text(
                    tmp_path, target_url=target.base_url, reflection_url="http://127.0.0.1:1", rows=rows, extra=extra
                )
            )
            app = AppConfig.from_file(path)
            settings = app.optimizations.prompt_optimizations["migrate_shout"]
            return challenge(
                app, settings, [places[name] for name in names], current=places.get(current), spark=spark, **options
            )

        yield asked, target


def test_several_prompts_are_judged_together(ask, tmp_path):
    """Each has its verdict, an interval at a share of alpha, and the current prompt's answers are asked for once."""
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


def test_each_prompt_is_asked_only_until_its_answer_is_known(ask, spark, tmp_path):
    """A clear gain is promoted after the first round; the prompt that changes nothing goes on, then is out as well."""
    asked, target = ask
    found = asked("good", "useless", rows=400, gate="worthwhile_gain: 0.05", run_dir=str(tmp_path / "run"))
    good, useless = found.prompts
    assert (good.status, useless.status) == ("promoted", "kept")
    assert good.judge_noise == {"sd": 0.0, "widened": False}
    assert 90 < good.rows < 160 < useless.rows < 400
    assert (len(good.looks), found.looks, found.planned_rows) == (1, len(useless.looks), 400)
    assert found.asked_rows == useless.rows == useless.looks[-1].rows
    assert "is ruled out" in useless.reason or "no gain above" in useless.reason
    assert len(target.calls) == 2 * useless.rows + good.rows == 1200 - found.pairs_not_asked
    assert spark.read.parquet(found.table).count() == len(target.calls)
    whole = asked("good", rows=400, all_rows=True, run_dir=str(tmp_path / "whole"))
    assert (whole.looks, whole.prompts[0].rows, whole.prompts[0].won, whole.pairs_not_asked) == (1, 400, 400, 0)


def test_no_worse_than_the_recorded_answers(ask, tmp_path):
    """gate.question holds here, too: against the recorded answers, and both."""
    asked, _ = ask
    found = asked("good", gate="question: both, non_inferiority_margin: 0.2", run_dir=str(tmp_path / "run"))
    (one,) = found.prompts
    assert (found.question, one.status, one.no_worse["source_score"]) == ("both", "promoted", 1.0)
    found = asked("useless", gate="question: no_worse", run_dir=str(tmp_path / "other"))
    assert found.prompts[0].status == "kept"
    assert found.prompts[0].no_worse["difference"] == -1.0


def test_the_current_prompt_itself_costs_nothing(ask, tmp_path):
    """It is kept without a call."""
    asked, target = ask
    found = asked("seed", run_dir=str(tmp_path / "run"))
    assert (found.status, found.prompts[0].reason) == ("kept", "it is the current prompt, word for word")
    assert (len(target.calls), found.table, found.looks) == (0, None, 0)


@pytest.mark.parametrize(
    ("budget", "name", "calls", "status", "told"),
    [
        ("max_metric_calls: 80", "useless", 80, "need_more_data", "the budget ended after 40 rows"),
        ("max_metric_calls: 80", "good", 80, "promoted", "better by"),
        ("max_tokens: 1", "useless", 0, "need_more_data", "the budget covers none"),
    ],
)
def test_what_the_budget_does_not_cover_is_not_asked(ask, tmp_path, budget, name, calls, status, told):
    """That is no failure: the verdict says where the budget ended, unless the answer was known until then."""
    asked, target = ask
    found = asked(name, budget=budget, run_dir=str(tmp_path / "run"))
    assert (found.status, len(target.calls)) == (status, calls)
    assert told in found.prompts[0].reason


def test_a_budget_of_tokens_ends_within_a_round(ask, tmp_path):
    """Some rows are covered, more than the tokens pay for are not."""
    asked, target = ask
    found = asked("useless", budget="max_tokens: 1200", run_dir=str(tmp_path / "run"))
    assert 0 < len(target.calls) < 120
    assert found.tokens["prompt"] + found.tokens["completion"] <= 1200
    assert (found.status, found.pairs_not_asked) == ("need_more_data", 120 - len(target.calls))
    assert found.calls["made"] == len(target.calls)
    assert found.prompts[0].rows <= found.asked_rows <= 60


def test_a_budget_without_a_row_is_told(ask, tmp_path):
    """Before the first call."""
    asked, target = ask
    with pytest.raises(ConfigError, match="does not cover one row with 2 prompts"):
        asked("good", budget="max_metric_calls: 1", run_dir=str(tmp_path / "run"))
    assert not target.calls
