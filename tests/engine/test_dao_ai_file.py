"""A file of dao-ai's last shape with prompt optimization, run as it is: real HTTP, a real MLflow store, real Spark."""

import json

import mlflow

from engine.config import AppConfig, DatasetModel
from engine.scripted_endpoint import ScriptedEndpoint
from engine.sources import load_rows
from engine.storage import Storage

SEED = "You serve {user_id}. Be kind."
GOOD = "You serve {{user_id}}. Say the word of the last message and nothing else."


def target(call):
    told = "nothing else" in call.messages[0]["content"]
    return call.messages[-1]["content"].split()[-1] if told else "Hello!"


def reflection(call):
    return json.dumps({"diagnosis": "scripted", "new_prompt": GOOD})


def row(number):
    turns = [("system", "recorded"), ("user", "Hi"), ("assistant", "Hello!"), ("user", f"Say word{number:03d}")]
    return {
        "inputs": {
            "messages": [{"role": role, "content": content} for role, content in turns],
            "custom_inputs": {"configurable": {"user_id": f"u{number % 3}", "thread_id": f"t{number}"}},
        },
        "expectations": {"expected_facts": [f"word{number:03d}"]},
    }


def config_file(folder, target_url, reflection_url):
    rows = json.dumps([row(number) for number in range(90)])
    path = folder / "c.yaml"
    path.write_text(f"""
resources:
  llms:
    small: &small {{name: small, provider: openai, base_url: {target_url}, fallbacks: [other]}}
    big: &big {{name: big, provider: openai, base_url: {reflection_url}}}
prompts:
  kind: &kind {{name: kind, default_template: "{SEED}", auto_register: true}}
agents:
  helper: &helper {{name: helper, model: *small, prompt: *kind, tools: [search]}}
optimizations:
  training_datasets:
    chats: &chats {{name: chats, overwrite: true, data: {rows}}}
  prompt_optimizations:
    kinder: {{name: kinder, agent: *helper, dataset: *chats, reflection_model: *big, num_candidates: 400}}
storage: {{root: {folder}/store}}
mlflow: {{tracking_uri: "sqlite:///{folder}/mlflow.db", experiment: tests}}
""")
    return path


def test_a_file_of_dao_ai_is_optimized_as_it_is(spark, tmp_path):
    """The system prompt is rewritten, each call carries the conversation, and the result is a prompt by its name."""
    with ScriptedEndpoint(target) as small, ScriptedEndpoint(reflection) as big:
        config = AppConfig.from_file(config_file(tmp_path, small.base_url, big.base_url))
        assert config.reading.generations == {"kinder": "C"}
        found = config.optimizations.optimize(spark=spark, run_dir=str(tmp_path / "run"))
    assert {name: prompt.template for name, prompt in found.items()} == {"kinder": GOOD}
    assert found["kinder"].uri == f"prompts:/kind/{mlflow.genai.load_prompt('prompts:/kind@champion').version}"
    for call in small.calls:
        assert [message["role"] for message in call.messages] == ["system", "user", "assistant", "user"]
        assert call.messages[0]["content"].startswith("You serve u")
    assert len(small.calls) <= 400


def test_chats_are_rows_of_variables_and_a_conversation(spark, tmp_path):
    """Sessions' ids and the recorded system message make no difference."""
    data = [row(1), {**row(1), "inputs": {**row(1)["inputs"], "custom_inputs": {"configurable": {"user_id": "u1"}}}}]
    rows = load_rows(
        spark, DatasetModel(data=data), Storage.at(str(tmp_path), str(tmp_path / "run")), frozenset({"user_id"})
    ).collect()
    assert [(json.loads(one["inputs"])["user_id"], one["weight"]) for one in rows] == [("u1", 2)]
