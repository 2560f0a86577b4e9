"""Two prompts of one program, named by a configuration, on real Spark and a real registry; the agent is unchanged."""

import json
from pathlib import Path

import mlflow
import planted_world as world
import pytest

from engine import challenge
from engine.config import AppConfig
from engine.errors import ConfigError, InputError
from engine.given_prompts import GivenPrompts
from engine.migration import prepare
from engine.scripted_endpoint import ScriptedEndpoint

AGENT = """
import json
import urllib.request

import mlflow


def ask(prompt, **values):
    body = json.dumps({{"model": "m", "messages": [{{"role": "user", "content": prompt.format(**values)}}]}}).encode()
    request = urllib.request.Request("{url}/chat/completions", body, {{"Content-Type": "application/json"}})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)["choices"][0]["message"]["content"]


def answer(word):
    thought = ask(mlflow.genai.load_prompt("prompts:/main.app.think@champion"), word=word)
    return ask(mlflow.genai.load_prompt("prompts:/shout@latest"), word=thought)
"""
THINK, THINK_BETTER = "Think of {{word}}", "Think hard of {{word}}"


def target(call):
    """Thinking gives the word itself; shouting is the planted world's, which the second prompt decides about."""
    return call.prompt.rsplit(" ", 1)[-1] if call.prompt.startswith("Think") else world.target(call)


def reflection(call):
    edits = {"Think of": THINK_BETTER, "Say this": world.GOOD}
    asked = call.messages[-1]["content"]
    return json.dumps({"diagnosis": "", "new_prompt": next((new for old, new in edits.items() if old in asked), "{}")})


def config(folder, model, other, *, prompt="[think, *shout]", predict_fn="parts_agent:answer"):
    text = world.config_text(folder, target_url=model.base_url, reflection_url=other.base_url, rows=60).replace(
        "      prompt: *shout\n", f"      prompt: {prompt}\n      predict_fn: {predict_fn}\n", 1
    )
    think = f'  think: {{name: think, schema: {{catalog_name: main, schema_name: app}}, default_template: "{THINK}"}}'
    path = folder / "config.yaml"
    path.write_text(text.replace("agents:\n", f"{think}\nagents:\n", 1))
    return AppConfig.from_file(path)


def judge_written_parts(app, settings, spark, folder):
    """Judge a program with both parts new; its answers are in the ledger where the search has asked for them."""
    for name, text in (("think", THINK_BETTER), ("shout", world.GOOD)):
        (folder / f"{name}.txt").write_text(text)
    think, shout = (f"{name}={folder}/{name}.txt" for name in ("think", "shout"))
    prepared = challenge.prepare(app, settings, [think, shout], spark=spark, run_dir=str(folder / "gate"))
    assert challenge.foreseen(prepared).calls_high == 2 * 60
    return challenge.judged(prepared)


def test_two_prompts_of_an_unchanged_agent_are_optimized_and_promoted_together(spark, tmp_path, monkeypatch):
    """The agent knows load_prompt alone, and workers get its module; both prompts get the alias and a diff."""
    monkeypatch.syspath_prepend(tmp_path)
    with ScriptedEndpoint(target) as model, ScriptedEndpoint(reflection) as other:
        (tmp_path / "parts_agent.py").write_text(AGENT.format(url=model.base_url))
        app = config(tmp_path, model, other)
        settings = app.optimizations.prompt_optimizations["migrate_shout"]
        estimate = prepare(app, settings, spark=spark, run_dir=str(tmp_path / "dry")).estimate()
        assert (len(model.calls), estimate.calls_high > 0) == (0, True)
        result = settings.optimize(spark=spark, run_dir=str(tmp_path / "run"))
        assert len(model.answered) == 2 * result.record.result["metric_calls"]
        gated = judge_written_parts(app, settings, spark, tmp_path)
    found = json.loads(Path(result.run_dir, "result.json").read_text())
    assert found["status"] == "promoted", result.record.verdict
    assert "prompt" not in found
    texts = {one["name"]: one["text"] for one in found["prompts"]}
    assert texts == result.prompt.template
    assert texts["shout"] == world.GOOD
    assert texts["main.app.think"] in {THINK, THINK_BETTER}
    for one, part in zip(found["prompts"], result.prompt.parts, strict=True):
        champion = mlflow.genai.load_prompt(f"prompts:/{one['name']}@champion", cache_ttl_seconds=0)
        assert (champion.template, champion.uri) == (one["text"], one["uri"]) == (part.template, part.uri)
    linked = json.loads(mlflow.get_run(found["mlflow_run_id"]).data.tags["mlflow.linkedPrompts"])
    assert {one["name"] for one in linked} == set(texts)
    report = Path(result.run_dir, "report.html").read_text()
    assert "<h3>main.app.think</h3>" in report
    assert "<h3>shout</h3>" in report
    assert [(one.place, one.status) for one in gated.prompts] == [
        (f"think={tmp_path}/think.txt shout={tmp_path}/shout.txt", "promoted")
    ]
    assert gated.current == "think, shout"


@pytest.mark.parametrize(
    ("predict_fn", "said"),
    [
        ("nowhere_at_all:answer", "can't be imported: ModuleNotFoundError"),
        ("json:nothing", "has no attribute 'nothing'; mend the name after the colon"),
        ("json:__name__", "name a function"),
    ],
)
def test_a_function_that_can_t_be_had_is_named_when_a_run_is_prepared(tmp_path, predict_fn, said):
    """Reading the configuration imports nothing."""
    with ScriptedEndpoint(target) as model:
        app = config(tmp_path, model, model, predict_fn=predict_fn)
    with pytest.raises(ConfigError, match=said):
        prepare(app, app.optimizations.prompt_optimizations["migrate_shout"])


def test_several_prompts_need_a_program(tmp_path):
    """An endpoint would not know which of them to answer with."""
    with ScriptedEndpoint(target) as model:
        app = config(tmp_path, model, model, predict_fn="null")
    with pytest.raises(ConfigError, match="predict_fn: package"):
        prepare(app, app.optimizations.prompt_optimizations["migrate_shout"])


@pytest.mark.parametrize(
    ("prompt", "predict_fn", "said"),
    [
        ("[think, think]", "a:b", "names two prompts 'think'"),
        ("[]", "a:b", "at least 1"),
        ("[think, thnk]", "a:b", "prompt.1 is 'thnk', which nothing in the file is called; did you mean 'think'?"),
        ("[think, {nme: x}]", "a:b", "did you mean 'name'?"),
        ("shout", "a.b", "predict_fn is 'a.b'"),
    ],
)
def test_what_is_wrong_with_prompts_and_program_is_told_with_file_and_line(tmp_path, prompt, predict_fn, said):
    """When the configuration is read."""
    with ScriptedEndpoint(target) as model, pytest.raises(ConfigError) as error:
        config(tmp_path, model, model, prompt=prompt, predict_fn=predict_fn)
    assert said in str(error.value)
    assert "config.yaml:" in str(error.value)


def test_parts_are_named_and_the_current_ones_once(tmp_path):
    """What names no part of the program, or one twice, is told with the mend."""
    with ScriptedEndpoint(target) as model:
        app = config(tmp_path, model, model, predict_fn="json:dumps")
    settings = app.optimizations.prompt_optimizations["migrate_shout"]
    for places, current, said in (
        (["new.txt"], None, "names none of the program's prompts (think, shout); write one as part=FILE_OR_URI"),
        (["thnk=new.txt"], None, "names none"),
        (["think=nowhere.txt"], None, "nowhere.txt can't be read"),
        ([], ["think=a.txt", "think=b.txt"], "given twice"),
    ):
        with pytest.raises(InputError) as error:
            GivenPrompts.load(settings, places, current=current, of_program=True)
        assert said in str(error.value)
