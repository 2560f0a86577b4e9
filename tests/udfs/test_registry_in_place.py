"""Programs that load prompts by MLflow's own call get the candidate of each call, from a real SQLite registry."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import mlflow
import pytest
from mlflow.environment_variables import MLFLOW_REGISTRY_URI
from program_runs import run

from udfs.in_place import in_place
from udfs.program import Program, PromptRegistry
from udfs.prompt import Prompt
from udfs.prompt_set import PromptSet

ANSWER = "the registry's {{word}}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Give a registry with a prompt to optimize and one to leave alone, and what the process had before."""
    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.genai.register_prompt("answer", ANSWER, model_config={"model_name": "small", "temperature": 0.5})
    mlflow.genai.set_prompt_alias("answer", "champion", 1)
    mlflow.genai.register_prompt("other", "another's")
    yield uri
    mlflow.set_tracking_uri(before)


@pytest.fixture
def registry(store):
    return PromptRegistry(store, store, {"answer": "answer"})


def candidates(*texts):
    return [PromptSet.of({"answer": Prompt.parse(text)}) for text in texts]


WAYS = {
    "alias": lambda: mlflow.genai.load_prompt("prompts:/answer@champion"),
    "version": lambda: mlflow.genai.load_prompt("prompts:/answer/1"),
    "latest": lambda: mlflow.genai.load_prompt("prompts:/answer@latest"),
    "name": lambda: mlflow.genai.load_prompt("answer"),
    "a client": lambda: mlflow.MlflowClient().load_prompt("answer", version=1),
    "a client's version": lambda: mlflow.MlflowClient().get_prompt_version("answer", "1"),
    "cached": lambda: mlflow.genai.load_prompt("prompts:/answer@champion", cache_ttl_seconds=300),
    "cached version": lambda: mlflow.genai.load_prompt("answer", version=1, cache_ttl_seconds=300),
}


@pytest.mark.parametrize("way", WAYS)
def test_two_candidates_at_once_each_see_their_own_text_and_the_registrys_comes_back(tmp_path, registry, way):
    """Whatever way an unchanged agent loads it, between two loads of which the other candidate has loaded, too."""
    load, barrier = WAYS[way], threading.Barrier(2, timeout=20)
    assert load().template == ANSWER  # now it is in MLflow's caches

    def agent(word):
        seen = []
        for _ in range(3):
            barrier.wait()
            prompt = load()
            barrier.wait()
            seen += [prompt.format(word=word), prompt.template, mlflow.genai.load_prompt("prompts:/other/1").template]
        return seen

    program = Program("agent", function=agent, version=way, registry=registry)
    one, two = run(tmp_path, program, candidates("one {{word}}", "two {{word}}"), ["w"], travels=False)
    assert json.loads(one.output) == ["one w", "one {{word}}", "another's"] * 3
    assert json.loads(two.output) == ["two w", "two {{word}}", "another's"] * 3
    assert load().template == ANSWER


def test_a_missing_version_and_alias_are_answered_with_the_candidate(tmp_path, registry):
    """A prompt that is optimized need not be registered at all, nor under the alias that the agent asks for."""

    def agent(word):
        return mlflow.genai.load_prompt("prompts:/new@soon").format(word=word) + str(
            mlflow.genai.load_prompt("prompts:/answer@soon").version
        )

    names = {"new": "answer", "answer": "answer"}
    program = Program("agent", function=agent, version="m", registry=replace(registry, names=names))
    assert run(tmp_path, program, candidates("one {{word}}"), ["w"])[0].output == "one w0"


def test_the_rest_of_a_version_comes_from_the_registry(tmp_path, registry):
    """An agent that takes its model and its version number from the prompt goes on doing so."""

    def agent(word):
        prompt = mlflow.genai.load_prompt("prompts:/answer@champion")
        return {"model": prompt.model_config["model_name"], "uri": prompt.uri, "variables": sorted(prompt.variables)}

    program = Program("agent", function=agent, version="r", registry=registry)
    (found,) = run(tmp_path, program, candidates("one {{word}} {{more}}"), ["w"])
    assert found.output == '{"model": "small", "uri": "prompts:/answer/1", "variables": ["more", "word"]}'


def test_chat_prompts_come_as_messages(tmp_path, registry):
    """Roles and all."""

    def agent(word):
        return mlflow.genai.load_prompt("prompts:/answer@champion").format(word=word)

    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{word}}"}]
    program = Program("agent", function=agent, version="c", registry=registry)
    (found,) = run(tmp_path, program, candidates(chat), ["w"])
    assert found.output == '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "w"}]'


def test_a_loaded_prompt_keeps_its_text_in_threads_of_the_agents_own(tmp_path, registry):
    """A pool that knows nothing of the context formats what was loaded in it."""

    def agent(word):
        prompt = mlflow.genai.load_prompt("prompts:/answer@champion")
        with ThreadPoolExecutor(2) as pool:
            return "|".join(pool.map(lambda number: prompt.format(word=number), ["1", "2"]))

    program = Program("agent", function=agent, version="t", registry=registry)
    (found,) = run(tmp_path, program, candidates("one {{word}}"), ["w"])
    assert found.output == "one 1|one 2"


def test_nothing_is_written_to_a_prompt_that_is_optimized_and_the_process_is_as_before(tmp_path, registry, monkeypatch):
    """Loading links prompts to the experiment and the active run, for which a candidate is no version."""
    monkeypatch.setenv("MLFLOW_ALIAS_PROMPT_CACHE_TTL_SECONDS", "7")
    uri = mlflow.get_registry_uri()
    seen = []

    def agent(word):
        seen.append((mlflow.get_registry_uri(), MLFLOW_REGISTRY_URI.get_raw()))
        return mlflow.genai.load_prompt("prompts:/answer@champion").format(word=word)

    tags = mlflow.MlflowClient().get_prompt("answer").tags
    program = Program("agent", function=agent, version="n", registry=registry)
    with mlflow.start_run() as active:
        run(tmp_path, program, candidates("one {{word}}"), ["w"], travels=False)
    assert "mlflow.linkedPrompts" not in mlflow.get_run(active.info.run_id).data.tags
    assert mlflow.MlflowClient().get_prompt("answer").tags == tags
    assert seen[0][0].startswith("promptmill:")
    assert seen[0][1] is None
    assert mlflow.get_registry_uri() == uri
    assert mlflow.environment_variables.MLFLOW_ALIAS_PROMPT_CACHE_TTL_SECONDS.get() == 7


def test_other_prompts_are_asked_for_once(tmp_path, registry):
    """Not once a row: the registry is a server that thousands of calls would overrun."""
    from mlflow.tracking._model_registry import utils

    asked = []
    real = utils._get_store(registry.registry_uri)
    before = real.get_prompt_version
    real.get_prompt_version = lambda name, version: asked.append(name) or before(name, version)

    def agent(word):
        return mlflow.genai.load_prompt("prompts:/other/1").template + mlflow.genai.load_prompt("answer").template

    try:
        program = Program("agent", function=agent, version="o", registry=registry)
        run(tmp_path, program, candidates("one"), [str(number) for number in range(20)])
    finally:
        del real.get_prompt_version
    assert asked.count("other") == 1


def test_a_program_that_never_asks_is_told_about_once(tmp_path, registry, caplog):
    """All its candidates would score alike, and nothing else would say why."""
    text = mlflow.genai.load_prompt("prompts:/answer@champion").template
    program = Program("agent", function=lambda word: text, version="blind", registry=registry)
    run(tmp_path, program, candidates("one"), [str(number) for number in range(50)])
    assert caplog.text.count("without asking for a prompt") == 1


def test_outside_an_evaluation_the_registry_answers(registry):
    """A context alone, without a program that runs, changes nothing."""
    with in_place({"answer": Prompt.parse("placed")}, {"answer": "answer"}):
        assert mlflow.genai.load_prompt("prompts:/answer@champion").template == ANSWER


def test_a_registry_uri_with_a_password_is_not_shown():
    """Reprs end up in logs."""
    registry = PromptRegistry("postgresql://me:secret@host/db", "postgresql://me:secret@host/db")
    assert "secret" not in repr(registry)
