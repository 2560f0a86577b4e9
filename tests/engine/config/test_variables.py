"""dao-ai's typed variables: what they stand for, where they stay what they are, and that no secret is read."""

import pytest

from engine.config import AppConfig, parse_yaml
from engine.errors import ConfigError
from udfs.errors import InputError
from udfs.keys import FirstSecret, Secret, SecretFromEnv, SecretScope


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("SET", "from-env")
    monkeypatch.setenv("UNRESOLVED", "{{secrets/scope/key}}")
    monkeypatch.delenv("UNSET", raising=False)


def read(text):
    return AppConfig.from_source(parse_yaml(text, path="c.yaml"))


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("{env: SET}", "from-env"),
        ("{env: SET, default_value: x}", "from-env"),
        ("{env: UNSET, default_value: x}", "x"),
        ("{env: UNRESOLVED, default_value: x}", "x"),
        ("{value: plain}", "plain"),
        ("{options: [{env: UNSET}, {env: SET}]}", "from-env"),
        ("{options: [{env: UNSET}, literal, {env: SET}]}", "literal"),
        ("{options: [{env: UNSET}], default_value: x}", "x"),
        ("{options: [{scope: s, secret: k}, {env: SET}]}", "from-env"),
        ("{scope: s, secret: k, default_value: x}", "x"),
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        "storage: {{root: {0}}}",
        "x: &x {0}\nvariables: {{y: &y {0}}}\nstorage: {{root: *y}}",
        "mlflow: {{experiment: {0}}}",
        "schemas: {{s: {{catalog_name: {0}, schema_name: t}}}}",
        "resources: {{models: {{m: {{name: {0}}}}}}}",
        "prompts: {{p: {{name: {0}}}}}",
    ],
)
def test_a_variable_is_what_it_stands_for_wherever_a_value_may_stand(written, value, place):
    """The first of its options that has a value; a secret among them is passed over, as reading reads none."""
    assert f"'{value}'" in repr(read(place.format(written)))


def test_numbers_may_be_variables_too(monkeypatch):
    """What the environment has is text, which fits where a number is due."""
    monkeypatch.setenv("TOKENS", "12")
    text = "resources: {llms: {m: {name: a, max_tokens: {env: TOKENS}, limits: {timeout_s: {value: 3}}}}}"
    model = read(text).resources.llms["m"]
    assert (model.max_tokens, model.limits.timeout_s) == (12, 3.0)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("prompts:\n  p: {name: {env: UNSET}}", ["c.yaml:2: prompts.p.name is None", "UNSET not set"]),
        ("prompts:\n  p: {name: {scope: s, secret: k}}", ["c.yaml:2: prompts.p.name is a secret", "{env: NAME}"]),
        ("prompts:\n  p: {name: {options: x}}", ["c.yaml:2: prompts.p.name: options is not a list"]),
        ("prompts:\n  p: {name: {value: [x]}}", ["c.yaml:2: prompts.p.name: value is a list"]),
    ],
)
def test_a_variable_that_has_no_value_is_told(text, parts):
    """With its place, and what is not set."""
    with pytest.raises(ConfigError) as raised:
        read(text)
    for part in parts:
        assert part in str(raised.value)


def test_a_users_own_data_is_no_variable():
    """Rows, tags, extra parameters and scorers' options hold what they hold."""
    agent = (
        "{name: a, model: {name: m, extra: {value: 1}}, prompt: {name: p, default_template: '{x}', tags: {env: dev}}}"
    )
    rows = "{data: [{inputs: {x: {value: 3}}, expectations: {expected_response: {env: SET}}}]}"
    text = (
        f"optimizations: {{prompt_optimizations: {{o: {{agent: {agent}, dataset: {rows}, scorers: [exact_match]}}}}}}"
    )
    found = read(text).optimizations.prompt_optimizations["o"]
    assert found.dataset.data == [
        {"inputs": {"x": {"value": 3}}, "expectations": {"expected_response": {"env": "SET"}}}
    ]
    assert (found.agent.model.extra, found.prompt.tags) == ({"value": 1}, {"env": "dev"})


def test_an_agents_memory_and_tools_are_not_looked_into():
    """They are not read, so their secrets are nobody's concern."""
    text = "agents: {a: {name: a, model: {name: m}, memory: {host: {scope: s, secret: k}}, tools: [{env: UNSET}]}}"
    assert read(text).agents["a"].name == "a"


KEYS = [
    ("{scope: s, secret: k}", SecretScope("s", "k")),
    ("{options: [{env: SET}, {scope: s, secret: k}]}", FirstSecret((SecretFromEnv("SET"), SecretScope("s", "k")))),
    ("{env: SET, default_value: null}", SecretFromEnv("SET")),
]


@pytest.mark.parametrize(("written", "descriptor"), KEYS)
def test_where_a_credential_stands_a_variable_becomes_a_descriptor(written, descriptor):
    """It is resolved when a run is prepared."""
    model = read(f"resources: {{llms: {{m: {{name: a, api_key: {written}}}}}}}").resources.llms["m"]
    assert model.endpoint().api_key == descriptor


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{scope: s}", "gives one of scope and secret; give both"),
        ("{env: A, scope: s, secret: k}", "names env and scope; give one of"),
        ("{options: [sk-secret]}", "a literal key stands here"),
        ("{options: []}", "names no place"),
        ("{env: A, default_value: sk-secret}", "a literal key stands here"),
    ],
)
def test_a_place_that_can_not_be_is_told(written, said):
    """And a key that was pasted is not repeated."""
    with pytest.raises(ConfigError, match=said) as raised:
        read(f"resources: {{llms: {{m: {{name: a, api_key: {written}}}}}}}")
    assert "sk-secret" not in str(raised.value)


def test_the_first_place_that_has_a_secret_gives_it():
    """In their order; where none has it, each says why."""
    both = FirstSecret((SecretFromEnv("UNSET"), SecretFromEnv("SET")))
    assert both.resolve() == Secret("from-env")
    assert both.origin == "the key in UNSET or the key in SET"
    with pytest.raises(InputError, match=r"UNSET is not set.*; or .*GONE is not set"):
        FirstSecret((SecretFromEnv("UNSET"), SecretFromEnv("GONE"))).resolve({})
