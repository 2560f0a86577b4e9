"""Every shape of dao-ai's optimization section is read as what it meant, and what was understood is told."""

import config_shapes as shapes
import pytest
from config_shapes import BASE, CHATS, text_of

from engine.config import AppConfig, parse_yaml
from engine.errors import ConfigError
from udfs.keys import SecretFromEnv, WorkspaceLogin


def read(text, **params):
    return AppConfig.from_source(parse_yaml(text, path="c.yaml", params=params))


def entry(text, key="opt0"):
    return read(text).optimizations.prompt_optimizations[key]


def told(text, kind="note"):
    return [str(remark) for remark in read(text).reading.remarks if remark.kind == kind]


@pytest.mark.parametrize(("generation", "body"), shapes.ALL)
def test_each_generation_is_known_by_its_shape(generation, body):
    """In either style of YAML, whatever the order of its keys."""
    for flow in (False, True):
        text = text_of(generation, body, body[::-1], flow=flow)
        assert set(read(text).reading.generations.values()) == {generation}


@pytest.mark.parametrize(("generation", "body"), shapes.ALL)
def test_each_generation_has_the_agents_model_prompt_and_data(generation, body):
    """Whatever else differs, these arrive; models that nothing is said of are the agent's, as in dao-ai."""
    found = entry(text_of(generation, body))
    assert found.agent.model.name == "databricks-small"
    assert found.prompt.full_name == "main.retail.answer"
    assert found.prompt.default_template == "You serve {user_id}.\nAnswer kindly.\n"
    assert found.dataset.name in {"rows", "main.retail.rows", "main.retail.chats"}
    assert (found.dataset.data is not None) == ("*chats" in " ".join(body))
    reflects = {"*big": "databricks-big", "databricks:/databricks-big": "databricks-big", "openai:/gpt-x": "gpt-x"}
    said = next((line.split(": ", 1)[1] for line in body if line.startswith("reflection_model")), None)
    assert found.reflection_model.name == reflects.get(said, "databricks-small")


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize(
    ("generation", "body", "candidates", "calls"),
    [
        ("A0", shapes.A0, 5, None),
        ("A", shapes.A_FULL, 7, None),
        ("A'", shapes.A2_FULL, 7, None),
        ("B", shapes.B_FULL, 5, 50),
        ("C", shapes.C_FULL, 5, 5),
    ],
)
def test_num_candidates_is_what_it_was(generation, body, candidates, calls, flow):
    """Proposals a step up to A', a budget of metric calls in B and C, and the latter is told."""
    text = text_of(generation, body, flow=flow)
    found = entry(text)
    assert (found.search.num_candidates, found.budget.max_metric_calls) == (candidates, calls)
    assert any("it is read as budget.max_metric_calls" in note for note in told(text)) == (calls is not None)


@pytest.mark.parametrize(
    ("generation", "body", "scorers", "judge"),
    [
        ("A0", shapes.A0, ({"judge": "correctness"},), "databricks-small"),
        ("A", shapes.A_FULL, ({"judge": "correctness"},), "databricks-big"),
        ("B", shapes.B, ({"judge": "correctness"},), "databricks-small"),
        ("B", shapes.B_FULL, ({"judge": "correctness", "against": "expected_facts"},), "databricks-big"),
        ("C", shapes.C_FULL, ("expected_facts",), None),
    ],
)
def test_scorers_come_next_to_what_the_generation_scored_by(generation, body, scorers, judge):
    """MLflow's Correctness up to B, facts or words in C; told either way."""
    text = text_of(generation, body)
    found = entry(text)
    assert found.scorers == scorers
    assert (found.scorer_model and found.scorer_model.name) == judge
    assert any("scored by" in note for note in told(text))


def test_c_with_responses_is_scored_by_their_words():
    """Its inline rows have facts or a response."""
    text = text_of("C", shapes.C_FULL).replace("expected_facts: [the blue one, it is light]", "expected_response: blue")
    assert entry(text).scorers == ("token_f1",)


@pytest.mark.parametrize(
    "own", ["scorers: [exact_match]", "gate: {alpha: 0.1}", "proposer: demos", "split: {train: 0.4, val: 0.2}"]
)
@pytest.mark.parametrize("body", [shapes.A, shapes.B_FULL, shapes.C_FULL])
def test_a_key_of_promptmills_own_decides(body, own):
    """Then every key means what promptmill's documentation says, and nothing is changed."""
    config = read(text_of("B", [*body, own]).replace("  # calls", ""))
    assert config.reading.generations == {"opt0": "promptmill"}
    found = config.optimizations.prompt_optimizations["opt0"]
    assert found.budget.max_metric_calls is None
    assert found.scorers == ("exact_match",)


def test_inline_rows_that_are_no_chats_are_promptmills_own():
    """dao-ai refuses them, so a file with them is none of its."""
    body = ["agent: *helper", "dataset: {data: [{inputs: {user_id: a}}]}", "num_candidates: 9"]
    found = entry(text_of("C", body))
    assert (found.search.num_candidates, found.budget.max_metric_calls) == (9, None)


def test_generation_d_loads_and_says_that_there_is_nothing_to_optimize():
    """Without prompt optimization, with cache thresholds, required templates and agents without a model."""
    text = BASE.replace("    schema: *retail\n", "").replace("default_template", "template")
    text += "  genie: {name: genie, model: {genie_room: {name: sales}}}\n"
    text += f"optimizations:\n{CHATS}  cache_threshold_optimizations: {{genie: {{n_trials: 5}}}}\n"
    config = read(text)
    assert config.optimizations.prompt_optimizations == {}
    notes = " ".join(told(text))
    for part in (
        "names nothing to optimize",
        "cache_threshold_optimizations is ignored",
        "genie answers with no model",
    ):
        assert part in notes
    assert config.optimizations.optimize() == {}


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("prompt: answer", ("main.retail.answer", None, None)),
        ("prompt: prompts:/main.retail.other@champion", ("main.retail.other", "champion", None)),
        ("prompt: prompts:/other/3", ("other", None, 3)),
        ("prompt: prompts:/other@latest", ("other", None, None)),
        ("prompt: {name: other, alias: best}", ("other", "best", None)),
        ('prompt: "Say {word}"', ("helper_prompt", None, None)),
        ("agent: *inline", ("inline_prompt", None, None)),
        ("prompt: null", ("main.retail.answer", None, None)),
    ],
)
def test_a_prompt_is_named_or_written_or_the_agents(line, prompt):
    """By name, URI, anchor, as its own text; or the agent's where nothing is said, also one inline there."""
    body = [line, *([] if line.startswith("agent") else ["agent: *helper"]), "dataset_name: rows"]
    found = entry(text_of("A", body)).prompt
    assert (found.full_name, found.alias, found.version) == prompt
    if found.name.endswith("_prompt"):
        assert "{" in found.default_template


@pytest.mark.parametrize(
    ("written", "name", "provider", "key"),
    [
        ("big", "databricks-big", "databricks", WorkspaceLogin()),
        ("databricks-big", "databricks-big", "databricks", WorkspaceLogin()),
        ("endpoints:/mine", "mine", "databricks", WorkspaceLogin()),
        ("databricks:/databricks-small", "databricks-small", "databricks", WorkspaceLogin()),
        ("databricks-claude", "databricks-claude", "databricks", WorkspaceLogin()),
        ("openai:/gpt-x", "gpt-x", "openai", SecretFromEnv("OPENAI_API_KEY")),
        ("{name: mine, temperature: 1}", "mine", "databricks", WorkspaceLogin()),
    ],
)
def test_models_are_objects_or_strings(written, name, provider, key):
    """Names of the file, and MLflow's provider:/name; a described model keeps its settings."""
    found = entry(text_of("A", [*shapes.A, f"reflection_model: {written}"])).reflection_model
    assert (found.name, found.provider, found.endpoint().api_key) == (name, provider, key)
    if name == "databricks-small":
        assert found.max_tokens == 256


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("reflection_model: bigg", ["'bigg'", "did you mean 'big'"]),
        ("reflection_model: nothing", ["known are: small, big", "endpoints:/NAME"]),
        ("reflection_model: azure:/gpt", ["azure:/", "no known provider"]),
        ("prompt: anser", ["'anser'", "did you mean 'answer'"]),
    ],
)
def test_a_name_that_means_nothing_is_told(line, parts):
    """With its line and the nearest that does."""
    text = text_of("A", [one for one in shapes.A if not one.startswith(line.split(":", maxsplit=1)[0])] + [line])
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert str(raised.value).startswith(f"c.yaml:{text[: text.index(line)].count(chr(10)) + 1}: ")
    for part in parts:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("written", "source"),
    [
        ("dataset: chats", ("main.retail.chats", 1)),
        ("dataset: main.retail.chats", ("main.retail.chats", 1)),
        ("dataset: elsewhere", ("elsewhere", None)),
        ("dataset: {name: rows, schema: retail, data: []}", ("main.retail.rows", None)),
        ("dataset: {name: rows, data: null, overwrite: false}", ("rows", None)),
    ],
)
def test_data_sets_are_named_or_inline(written, source):
    """A key or name of training_datasets, else MLflow's; rows that are none are in MLflow."""
    found = entry(text_of("B", ["agent: *helper", written])).dataset
    assert (found.name, found.data and len(found.data)) == source


@pytest.mark.parametrize("value", ["0", "-5", "many", "1.5", "true", "[1]"])
def test_a_budget_that_is_none_is_refused(value):
    """dao-ai takes 0 and -5; neither can be meant."""
    with pytest.raises(ConfigError, match=r"c.yaml:\d+: num_candidates is .* give a whole number"):
        read(text_of("C", [*shapes.C, f"num_candidates: {value}"]))


def test_without_num_candidates_b_and_c_warn_that_nothing_bounds_the_run():
    """dao-ai spends 50 calls then, which tells next to nothing."""
    for generation, body in (("B", shapes.B), ("C", shapes.C)):
        text = text_of(generation, body)
        assert any("nothing bounds this run" in warning for warning in told(text, "warning"))
        assert not entry(text).budget.is_set


def test_entries_of_one_name_go_by_their_keys():
    """dao-ai takes them; here the name is the run's folder."""
    config = read(text_of("A", shapes.A, shapes.A))
    assert [one.name for one in config.optimizations.prompt_optimizations.values()] == ["opt0", "opt1"]
    assert read(text_of("A", shapes.A[1:])).optimizations.prompt_optimizations["opt0"].name == "opt0"


def test_what_is_read_and_ignored_is_told():
    """Once, at its own line, however often its anchor is used."""
    notes = told(text_of("B", shapes.B_FULL, shapes.B) + "app: {}\nretrievers: {}\n")
    for part in (
        "c.yaml:5: resources.llms.small.fallbacks is ignored",
        "c.yaml:2: schemas.retail.permissions is ignored",
        "agents.helper answers with its model and prompt alone; tools is not run",
        "overwrite is ignored",
        "not read: app, retrievers",
    ):
        assert sum(part in note for note in notes) == 1, part


def test_a_thousand_optimizations_that_share_everything_are_read_in_seconds():
    """Anchors are read once, and their defects told once."""
    text = text_of("C", *[shapes.C_FULL[1:]] * 1000)
    assert len(read(text).optimizations.prompt_optimizations) == 1000


CREDENTIALS = [
    ("pat: {env: PAT}", "SecretFromEnv(env='PAT')"),
    ("pat: {scope: s, secret: k}", "SecretScope(scope='s', key='k')"),
    (
        "pat: {options: [{env: PAT}, {scope: s, secret: k}]}",
        "FirstSecret(options=(SecretFromEnv(env='PAT'), SecretScope(scope='s', key='k')))",
    ),
    (
        "workspace_host: https://w, client_id: me, client_secret: {scope: s, secret: k}",
        (
            "OAuthClient(token_url='https://w/oidc/v1/token', client_id='me', "
            "client_secret=SecretScope(scope='s', key='k'), scope='all-apis')"
        ),
    ),
    (
        "workspace_host: https://w, service_principal: {client_id: {scope: s, secret: i}, client_secret: {env: S}}",
        (
            "OAuthClient(token_url='https://w/oidc/v1/token', client_id=SecretScope(scope='s', key='i'), "
            "client_secret=SecretFromEnv(env='S'), scope='all-apis')"
        ),
    ),
]


@pytest.mark.parametrize(("written", "descriptor"), CREDENTIALS)
def test_dao_ais_credentials_become_descriptors(written, descriptor):
    """Nothing is read: each says where its credential is found."""
    text = text_of("A", shapes.A).replace("name: databricks-big", f"{{name: databricks-big, {written}}}")
    text = text.replace("big: &big\n      {", "big: &big {")
    model = read(text).resources.llms["big"]
    assert repr(model.endpoint().api_key) == descriptor
    if "workspace_host" in written:
        assert model.base_url == "https://w"


@pytest.mark.parametrize(
    "written", ["pat: sk-secret", "pat: {value: sk-secret}", "pat: {env: A, default_value: sk-secret}"]
)
def test_a_literal_credential_of_dao_ai_is_refused_and_not_repeated(written):
    """It must not end up in a log."""
    text = text_of("A", shapes.A).replace("max_tokens: 256", written)
    with pytest.raises(ConfigError, match="a literal key stands here") as raised:
        read(text)
    assert "sk-secret" not in str(raised.value)
