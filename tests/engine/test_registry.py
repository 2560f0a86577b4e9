"""Prompts that belong together are promoted together or not at all, in a real SQLite registry."""

import sqlite3

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from engine.registry import CANDIDATE, CHAMPION, register_all
from udfs.prompt import Prompt

ALIASES = (CANDIDATE, CHAMPION)
SAID = {"message": "m", "tags": {"a": "b"}}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    before = mlflow.get_tracking_uri()
    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    yield path
    mlflow.set_tracking_uri(before)


def champion(name):
    return mlflow.genai.load_prompt(f"prompts:/{name}@champion", allow_missing=True, cache_ttl_seconds=0)


def test_all_aliases_move_and_a_text_that_is_there_is_used_again(database):
    """A part that stays the same keeps its version, and is the champion all the same."""
    chat = [{"role": "system", "content": "Plan."}, {"role": "user", "content": "{{x}}"}]
    first = register_all({"m.plan": Prompt.parse(chat), "m.act": Prompt.parse("Act")}, aliases=ALIASES, **SAID)
    assert [one.uri for one in first] == ["prompts:/m.plan/1", "prompts:/m.act/1"]
    second = register_all({"m.plan": Prompt.parse(chat), "m.act": Prompt.parse("Act!")}, aliases=ALIASES, **SAID)
    assert [one.uri for one in second] == ["prompts:/m.plan/1", "prompts:/m.act/2"]
    assert (champion("m.plan").template, champion("m.act").template) == (chat, "Act!")


def test_a_part_that_the_registry_refuses_leaves_all_aliases_where_they_were(database):
    """A model has the name of the second part."""
    mlflow.MlflowClient().create_registered_model("taken")
    assert register_all({"first": Prompt.parse("1"), "taken": Prompt.parse("2")}, aliases=ALIASES, **SAID) == ()
    assert mlflow.genai.load_prompt("prompts:/first/1").template == "1"
    assert champion("first") is None


def test_an_alias_that_can_t_be_set_puts_back_those_that_were(database):
    """One part had a champion before and has it again; the other had none and has none."""
    register_all({"old": Prompt.parse("1")}, aliases=ALIASES, **SAID)
    with sqlite3.connect(database) as store:
        store.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON registered_model_aliases WHEN NEW.name = 'last' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    parts = {"old": Prompt.parse("2"), "new": Prompt.parse("n"), "last": Prompt.parse("l")}
    assert register_all(parts, aliases=ALIASES, **SAID) == ()
    assert champion("old").template == "1"
    assert champion("new") is None
    assert mlflow.genai.load_prompt("prompts:/last/1").template == "l"
    with pytest.raises(MlflowException):
        mlflow.genai.load_prompt("prompts:/last@candidate")
