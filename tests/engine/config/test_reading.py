"""Every error says where, what and how to mend it; secrets are not repeated; and nothing but ConfigError comes out."""

import pytest

from engine.config import AppConfig, parse_yaml
from engine.errors import ConfigError
from udfs.keys import KeyFile, OAuthClient, SecretFromEnv, WorkspaceLogin

BASE = """\
resources:
  llms:
    target: &target
      name: small
      provider: openai
      base_url: http://127.0.0.1:8000/v1
      api_key: {env: SMALL_MODEL_KEY}
      temperature: 0
      max_tokens: 64
      limits: {max_concurrency: 64, requests_per_minute: 6000, timeout_s: 60}
      price: {prompt_per_million: 0.15, completion_per_million: 0.60, currency: USD}
    source: &source {name: big, provider: openai, base_url: http://127.0.0.1:8001/v1}
prompts:
  classify: &classify
    name: classify
    default_template: |
      Classify: {{text}}
agents:
  classifier: &classifier {name: classifier, model: *target, prompt: *classify, tools: [1, {any: thing}]}
optimizations:
  prompt_optimizations:
    migrate:
      name: migrate
      prompt: *classify
      agent: *classifier
      dataset: {data: [{inputs: {text: good}, expectations: {expected_response: yes}}]}
      reflection_model: *source
      scorer_model: *source
      num_candidates: 4
      max_steps: 2
      temperature: 0.3
      scorers: [exact_match, {judge: equivalence, weight: 2.0}]
      proposer: [gepa, demos]
      split: {train: 0.4, val: 0.2, holdout: 0.4, max_train: 2000, max_val: 300}
      slices: [language]
      budget: {max_metric_calls: 5000, max_cost: 5.0}
      gate: {min_improvement: 0.0, alpha: 0.05}
storage: {root: .promptmill}
mlflow: {tracking_uri: "sqlite:///x.db", experiment: migrations}
tools: {whatever: [this, is]}
"""

FIRST_GENERATION = """\
schemas:
  retail: &retail
    catalog_name: {options: [{env: SURELY_NOT_SET_ANYWHERE}, {value: main}]}
    schema_name: retail
    permissions: []
resources:
  llms:
    judge_model: &judge_model
      name: databricks-claude
      temperature: 0.1
      max_tokens: 8192
      fallbacks: [databricks-llama]
  vector_stores: {products: {schema: *retail}}
retrievers: {r: {}}
prompts:
  product_prompt: &product_prompt
    schema: *retail
    name: product_prompt
    description: answers about products
    default_template: "Answer {{question}}"
    tags: {team: a, size: 3}
agents:
  product: &product
    name: product
    description: finds products
    model: *judge_model
    tools: []
    prompt: *product_prompt
    handoff_prompt: |
      whatever
optimizations:
  training_datasets: {d: {name: d}}
  prompt_optimizations:
    optimize_product:
      name: optimize_product
      prompt: *product_prompt
      agent: product
      dataset_name: main.retail.product_rows
      reflection_model: judge_model
      scorer_model: databricks-claude
      num_candidates: 5
      max_steps: 3
      temperature: 0.0
app: {name: x, orchestration: {supervisor: {}}}
"""


def read(text):
    return AppConfig.from_source(parse_yaml(text, path="c.yaml"))


def changed(old, new):
    assert BASE.count(old) == 1, old
    return BASE.replace(old, new)


def line_of(text, marker):
    return text[: text.index(marker)].count("\n") + 1


def test_the_design_s_example_is_read():
    """Anchors, flat search settings, limits and price arrive where they belong."""
    config = read(BASE)
    migrate = config.optimizations.prompt_optimizations["migrate"]
    endpoint = migrate.agent.model.endpoint()
    assert (endpoint.name, endpoint.provider, endpoint.base_url) == ("small", "openai", "http://127.0.0.1:8000/v1")
    assert endpoint.api_key == SecretFromEnv("SMALL_MODEL_KEY")
    assert (endpoint.sampling.temperature, endpoint.sampling.max_tokens) == (0.0, 64)
    assert (endpoint.limits.max_concurrency, endpoint.limits.timeout_s) == (64, 60.0)
    assert endpoint.price.completion_per_million == 0.6
    assert (migrate.search.num_candidates, migrate.search.max_steps, migrate.search.temperature) == (4, 2, 0.3)
    assert migrate.search.proposer == ("gepa", "demos")
    assert migrate.prompt.default_template == "Classify: {{text}}\n"
    assert migrate.budget.max_cost == 5.0
    assert config.storage.root == ".promptmill"


def test_a_first_generation_file_of_dao_ai_is_read_as_it_is(monkeypatch):
    """Agent and models by name, dataset_name, variables, aliases of ``schema``; sections not ours pass unread."""
    monkeypatch.delenv("SURELY_NOT_SET_ANYWHERE", raising=False)
    monkeypatch.setenv("DATABRICKS_HOST", "https://workspace")
    found = read(FIRST_GENERATION).optimizations.prompt_optimizations["optimize_product"]
    assert found.agent.name == "product"
    assert found.agent.model.name == found.reflection_model.name == found.scorer_model.name == "databricks-claude"
    assert found.dataset.name == "main.retail.product_rows"
    assert found.prompt.full_name == "main.retail.product_prompt"
    assert (found.search.num_candidates, found.search.max_steps, found.search.temperature) == (5, 3, 0.0)
    endpoint = found.agent.model.endpoint()
    assert (endpoint.provider, endpoint.base_url, endpoint.api_key) == ("databricks", "", WorkspaceLogin())


def test_reading_reads_no_secret_and_no_variable_of_a_key(monkeypatch):
    """A configuration is data: the key's variable need not be set."""
    monkeypatch.delenv("SMALL_MODEL_KEY", raising=False)
    assert "SMALL_MODEL_KEY" in repr(read(BASE))


@pytest.mark.parametrize(
    ("text", "marker", "parts"),
    [
        (changed("max_tokens: 64", "max_tokens: -1"), "max_tokens: -1", ["max_tokens", "-1", "greater than"]),
        (changed("max_tokens: 64", "max_tokens: many"), "max_tokens: many", ["max_tokens", "'many'", "integer"]),
        (changed("max_tokens: 64", "max_token: 64"), "max_token:", ["max_token", "did you mean 'max_tokens'"]),
        (changed("provider: openai\n", "provider: opnai\n"), "provider: opnai", ["provider", "'opnai'", "openai"]),
        (changed("num_candidates: 4", "num_candidate: 4"), "num_candidate:", ["did you mean 'num_candidates'"]),
        (changed("num_candidates: 4", "num_candidates: 0"), "num_candidates: 0", ["num_candidates", "is 0"]),
        (changed("{train: 0.4, val", "{train: 0.9, val"), "split:", ["split", "add up to 1.5", "add up to 1"]),
        (changed("alpha: 0.05", "alpha: 2"), "gate:", ["gate.alpha", "is 2"]),
        (changed("budget: {max_metric", "budget: {max_metrics"), "budget:", ["did you mean 'max_metric_calls'"]),
        (changed("agent: *classifier", "agent: clasifier"), "agent: clas", ["did you mean 'classifier'"]),
        (changed("reflection_model: *source", "reflection_model: huge"), "reflection_model: huge", ["'huge'", "known"]),
        (changed("      dataset: {data", "      x: {data"), "migrate:\n", ["dataset is missing", "give one of name"]),
        (changed("dataset: {data", "dataset: {path: x, data"), "dataset:", ["path and data", "give one of"]),
        (changed("dataset: {data", "dataset_name: d\n      dataset: {data"), "migrate:\n", ["both dataset_name and"]),
        (changed("storage: {root: .promptmill}", "storage: 5"), "storage: 5", ["storage", "is 5"]),
        (changed("{max_concurrency: 64,", "{max_concurrency: 0,"), "limits:", ["limits.max_concurrency", "is 0"]),
        (changed("requests_per_minute: 6000", "requests_per_minut: 1"), "limits:", ["did you mean 'requests_per_min"]),
        (changed("      base_url: http://127.0.0.1:8000/v1\n", ""), "target: &", ["provider openai needs base_url"]),
        (changed("temperature: 0\n", "temperature: {options: 5}\n"), "temperature: {", ["options is not a list"]),
        (changed("num_candidates: 4", "search: 7\n      num_candidates: 4"), "migrate:\n", ["search is not a mapping"]),
        (changed("name: small", "name: [small]"), "name: [small]", ["name", "valid string"]),
    ],
)  # fmt: skip
def test_each_error_names_place_key_value_and_mend(text, marker, parts):
    """``file:line: key is value: what is expected``, at the line where it stands."""
    with pytest.raises(ConfigError) as raised:
        read(text)
    message = str(raised.value)
    assert message.startswith(f"c.yaml:{line_of(text, marker)}: ")
    assert message.count("\n") <= 1  # an anchor's defect shows where it is used, too
    for part in parts:
        assert part in message


def test_all_errors_are_told_at_once():
    """Nobody mends a file one error at a time."""
    text = changed("max_tokens: 64", "max_tokens: -1").replace("alpha: 0.05", "alpha: 2")
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1, 2\nb: 3\n", "c.yaml:2:"),
        ("a: 1\na: 2\n", "c.yaml:2:1"),
        ("a: *nobody\n", "c.yaml:1:4"),
        ("a: 1\n---\nb: 2\n", "c.yaml:2:1"),
        ("a: &a [*a]\n", "c.yaml:1"),
        ("- 1\n", "c.yaml: "),
        ("", "c.yaml: "),
        ("a: !!python/object:os.system x\n", "c.yaml:1:4"),
        ('a: !!int ""\n', "c.yaml: "),
        ("a: !!bool maybe\n", "c.yaml: "),
        ("a: 2026-02-30\n", "c.yaml: "),
        ("a: \x00\n", "c.yaml: "),
        ("[" * 5000, "c.yaml:"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(text, place):
    """Syntax, duplicate keys, anchors and tags: all are ConfigErrors."""
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert str(raised.value).startswith(place)


def test_aliases_of_aliases_do_not_fill_the_memory():
    """A billion laughs are stopped."""
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    with pytest.raises(ConfigError, match="aliases"):
        read(laughs)


def test_a_file_that_is_not_there_is_named(tmp_path):
    """So is one that is no text."""
    with pytest.raises(ConfigError, match=r"none\.yaml: can't be read"):
        AppConfig.from_file(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ConfigError, match=r"binary\.yaml"):
        AppConfig.from_file(tmp_path / "binary.yaml")


SECRET = "sk-do-not-repeat-me"  # noqa: S105 - nobody's


@pytest.mark.parametrize(
    "text",
    [
        changed("api_key: {env: SMALL_MODEL_KEY}", f"api_key: {SECRET}"),
        changed("api_key: {env: SMALL_MODEL_KEY}", f"api_key: {{value: {SECRET}}}"),
        changed("api_key: {env: SMALL_MODEL_KEY}", f"api_key: {{env: [{SECRET}]}}"),
        changed("api_key: {env: SMALL_MODEL_KEY}", f"api_key: [{SECRET}]"),
        changed("api_key: {env: SMALL_MODEL_KEY}", f"api_keys: {SECRET}"),
        f"- api_key: {SECRET}",
        SECRET,
        f"resources: {{llms: {{target: {{api_key: {SECRET}}}",
    ],
)
def test_a_literal_key_is_refused_and_not_repeated(text):
    """A key that somebody pasted must not end up in a log."""
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert SECRET not in str(raised.value)


OAUTH = (
    "{token_url: 'https://id.example/token', client_id: {env: SURELY_NOT_SET_ANYWHERE, default_value: me}, "
    "client_secret: {env: HIDDEN}}"
)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("{env: NAME}", SecretFromEnv("NAME")),
        ("{file: /keys/m}", KeyFile("/keys/m")),
        (f"{{oauth: {OAUTH}}}", OAuthClient("https://id.example/token", "me", SecretFromEnv("HIDDEN"))),
    ],
)
def test_keys_are_found_in_three_kinds_of_places(written, key):
    """A variable, a file that is read again, a client of an OAuth server; nothing is read or asked yet."""
    config = read(changed("{env: SMALL_MODEL_KEY}", written))
    assert config.optimizations.prompt_optimizations["migrate"].agent.model.endpoint().api_key == key


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{envv: NAME}", "api_key.envv is not a known key; did you mean 'env'?"),
        ("{oauth: {token_uri: x}}", "api_key.oauth.token_uri is not a known key; did you mean 'token_url'?"),
        ("{oauth: {token_url: 'https://h/t', client_id: me}}", "api_key.oauth.client_secret is missing; add it"),
        (OAUTH.replace("env: HIDDEN", "file: x").join(("{oauth: ", "}")), "client_secret.file is not a known key"),
        (OAUTH.replace("{env: HIDDEN}", "sk-do-not-repeat-me").join(("{oauth: ", "}")), "write {env: NAME}"),
        (OAUTH.replace("https://", "").join(("{oauth: ", "}")), "give a URL such as https://host/oidc/v1/token"),
        (
            "{env: NAME, file: /keys/m}",
            "names env and file; give one of env, oauth, file, scope with secret, or options",
        ),
        ("{}", "names no place; give one of env, oauth, file, scope with secret, or options"),
        ("{file: ''}", "at least 1 character"),
    ],
)
def test_a_key_that_can_not_be_found_is_told(written, said):
    """The line is named, and the nearest right key; a secret that was pasted is not repeated."""
    text = changed("{env: SMALL_MODEL_KEY}", written)
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert said in str(raised.value)
    assert f"c.yaml:{line_of(text, 'api_key:')}" in str(raised.value)
    assert SECRET not in str(raised.value)


def test_variables_are_resolved(monkeypatch):
    """``env``, ``value``, ``options`` and ``default_value`` stand wherever a text may."""
    monkeypatch.setenv("PROMPTMILL_TEST_NAME", "from-env")
    for written, meant in [
        ("{env: PROMPTMILL_TEST_NAME}", "from-env"),
        ("{value: plain}", "plain"),
        ("{env: SURELY_NOT_SET_ANYWHERE, default_value: fallback}", "fallback"),
        ("{options: [{env: SURELY_NOT_SET_ANYWHERE}, {env: PROMPTMILL_TEST_NAME}]}", "from-env"),
    ]:
        config = read(changed("name: small", f"name: {written}"))
        assert config.resources.llms["target"].name == meant


def test_an_agents_own_prompt_is_used_where_the_optimization_names_none():
    """The agent answers with a prompt already."""
    found = read(changed("      prompt: *classify\n", "")).optimizations.prompt_optimizations["migrate"]
    assert found.prompt.name == "classify"


def test_a_merge_key_is_followed():
    """``<<`` brings an anchor's keys in, and its defects are still told."""
    text = changed("{name: big, provider: openai, base_url", "{<<: *target, name: big, base_url")
    source = read(text).resources.llms["source"]
    assert (source.name, source.provider, source.max_tokens) == ("big", "openai", 64)


def test_a_file_that_is_no_configurations_size_is_refused_before_it_is_read(tmp_path):
    """Rows by the million belong elsewhere, and the message says where."""
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(17_000_000)
    with pytest.raises(ConfigError, match=r"has 17 MB, and a configuration may have 16; .* dataset\.path"):
        AppConfig.from_file(tmp_path / "big.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n---\nb: 2\n", "c.yaml:2:1: a second document begins here"),
        ("a: 1\nb: [*nobody, 2]\n", "c.yaml:2:5: *nobody is an alias, and no anchor before it has this name"),
        ("a:\n\tb: 1\n", "c.yaml:2:1: a tab stands here"),
        ("prompts: {no: {name: a}}\n", "c.yaml:1: a name under prompts is False to YAML"),
        ("agents:\n  2026-01-01: {name: a}\n", "is datetime.date(2026, 1, 1) to YAML"),
        ("prompts:\n  p: {name: 5}\n", "c.yaml:2: prompts.p.name is 5 to YAML, and a text is wanted; put it in quotes"),
        ("prompts:\n  p: {name: no}\n", "c.yaml:2: prompts.p.name is False to YAML"),
        ("optimizations: {prompt_optimisations: {}}\n", "did you mean 'prompt_optimizations'?"),
        (f"a: {'[' * 300}{']' * 300}\n", "nested more than 100 levels deep"),
        ("a: &a {x: 1}\nprompts: {b: {<<: *a, name: b}}\n", "prompts.b.x is not a known key"),
        ("prompts: {b: {<<: 1, name: b}}\n", "c.yaml:1:19: not valid YAML: expected a mapping"),
    ],
)
def test_what_people_get_wrong_in_yaml_is_told_in_their_words(text, message):
    """With the place, and how to mend it."""
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert message in str(raised.value)


def test_names_that_are_numbers_are_names():
    """YAML reads 1 as a number; as a name it is '1'."""
    assert list(read("prompts: {1: {name: a}}").prompts) == ["1"]


@pytest.mark.parametrize("source", ["traces", "trace_table", "inference_table"])
def test_the_nearest_key_is_told_in_every_source(source):
    """Each has keys of its own."""
    text = changed("dataset: {data", f"dataset: {{{source}: {{name: a, mach: root}}}}\n      x: {{data")
    with pytest.raises(ConfigError, match="did you mean 'match'"):
        read(text)
