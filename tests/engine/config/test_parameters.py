"""Parameters: where a value comes from, what it can't do to a document, and what is told of references."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import AppConfig, parse_yaml, read_yaml
from engine.errors import ConfigError

DECLARED = "parameters:\n  catalog: {description: the catalog, default: main}\n  tokens: {default: 64}\n  open: {}\n"
USE = "storage: {{root: {}}}\n"


def root(text, **params):
    return AppConfig.from_source(parse_yaml(text, path="c.yaml", params=params)).storage.root


def refused(text, **params):
    with pytest.raises(ConfigError) as raised:
        parse_yaml(text, path="c.yaml", params=params)
    return str(raised.value)


@pytest.mark.parametrize("reference", ["${var.catalog}", "${param.catalog}"])
def test_a_value_is_what_is_given_then_the_environment_then_the_default(reference, monkeypatch):
    """Both names mean the same; only a variable with promptmill's prefix counts."""
    text = DECLARED + USE.format(reference)
    monkeypatch.setenv("CATALOG", "not this")
    assert root(text) == "main"
    monkeypatch.setenv("PROMPTMILL_CATALOG", "from environment")
    assert root(text) == "from environment"
    assert root(text, catalog="given") == "given"


def test_dao_ais_bare_environment_variable_is_warned_of_and_not_shown(monkeypatch):
    """dao-ai would take CATALOG; the value may be a secret."""
    monkeypatch.setenv("CATALOG", "hunter2")
    source = parse_yaml(DECLARED + USE.format("${var.catalog}"), path="c.yaml")
    assert [remark.kind for remark in source.remarks] == ["warning"]
    assert "CATALOG, which dao-ai would take" in str(source.remarks[0])
    assert "hunter2" not in str(source.remarks)


def test_a_fallback_beside_the_reference_comes_last():
    """Also where nothing is declared at all; it may hold colons and slashes."""
    assert root("storage: {root: '${var.place:-/Volumes/a:b}'}") == "/Volumes/a:b"
    assert root("storage: {root: '${var.place:-/a}/c'}", place="/b") == "/b/c"
    assert root(DECLARED + USE.format("'${var.catalog:-other}'")) == "main"


@pytest.mark.parametrize(
    ("text", "params", "parts"),
    [
        (DECLARED + USE.format("${var.open}"), {}, ["c.yaml:5:17: ${var.open} has no value", "--param open=VALUE"]),
        (USE.format("${var.x}"), {}, ["c.yaml:1:17: ${var.x} has no value"]),
        (DECLARED + USE.format("${var.catalogg}"), {}, ["c.yaml:5:17", "does not declare", "did you mean 'catalog'?"]),
        (
            DECLARED + USE.format("'${var.zz:-fallback}'"),
            {},
            ["does not declare", "declared are: catalog, open, tokens"],
        ),
        (DECLARED, {"catlog": "x"}, ["the parameter 'catlog' is given", "did you mean 'catalog'?"]),
        ("storage: {root: x}", {"catalog": "x"}, ["neither declares nor uses it"]),
        (DECLARED, {"catalog": ["x"]}, ["the parameter 'catalog' is list", "give a text"]),
        ("parameters: [a]\n", {}, ["c.yaml:1:13: parameters is not a mapping"]),
        ("parameters: {a: {default: [1]}}\n", {}, ["c.yaml:1:27", "a list or a mapping"]),
        ("parameters: {a: {defualt: 1}}\n", {}, ["c.yaml:1:18", "'defualt'", "description and default"]),
    ],
)
def test_what_can_not_be_put_in_is_told_with_its_place(text, params, parts):
    """Line, column, the nearest name and the mend."""
    message = refused(text, **params)
    for part in parts:
        assert part in message


def test_references_in_comments_and_in_sections_that_are_not_read_do_not_count():
    """Neither needs a value."""
    text = "# ${var.nothing}\nstorage:  # ${var.nothing}\n  root: x\ntools: {a: '${var.nothing}'}\n"
    text += "resources: {tables: {t: '${var.nothing}'}}\n"
    assert root(text) == "x"


def test_a_whole_unquoted_reference_keeps_the_type_of_its_default():
    """A number is one; in quotes, in a text, or from the command line it is text, which fits where a number is due."""
    model = "resources: {{llms: {{m: {{name: {name}, max_tokens: {tokens}}}}}}}\n"

    def tokens(text, **params):
        source = parse_yaml(DECLARED + text, path="c.yaml", params=params)
        written = source.values["resources"]["llms"]["m"]["max_tokens"]
        return written, AppConfig.from_source(source).resources.llms["m"].max_tokens

    bare = "max_tokens: ${var.tokens}"
    block = f"resources:\n  llms:\n    m:\n      name: a\n      {bare}\n"
    assert tokens(block) == (64, 64)
    assert tokens(block, tokens="12") == ("12", 12)
    assert tokens(block, tokens=12) == (12, 12)
    assert tokens(model.format(name="a", tokens="'${var.tokens}'")) == ("64", 64)
    with pytest.raises(ConfigError, match="is 64 to YAML, and a text is wanted; put it in quotes"):
        tokens("resources:\n  llms:\n    m:\n      name: ${var.tokens}\n      max_tokens: 1\n")


def test_a_doubled_dollar_keeps_the_reference_as_text():
    """For prompts that speak of them."""
    text = "prompts: {p: {name: p, default_template: 'Write $${var.x} in {{lang}}'}}\n"
    prompt = AppConfig.from_source(parse_yaml(text)).prompts["p"]
    assert prompt.default_template == "Write ${var.x} in {{lang}}"


def test_what_looks_like_a_reference_and_is_none_stays_and_is_warned_of():
    """A bare name of dao-ai's first examples, and what only a workspace knows."""
    text = DECLARED + "mlflow: {experiment: '/Users/${workspace.current_user.userName}/${catalog}/${other}'}\n"
    source = parse_yaml(text, path="c.yaml")
    assert source.values["mlflow"]["experiment"].endswith("/${catalog}/${other}")
    told = [str(remark) for remark in source.remarks]
    assert len(told) == 2
    assert "asks no workspace" in told[0]
    assert "write ${var.catalog}" in told[1]


@settings(deadline=None)
@given(st.text(), st.sampled_from(["${var.v}", "'${var.v}'", '"a ${var.v} b"', "${var.v}/x"]))
def test_a_value_never_changes_the_documents_structure(value, written):
    """Colons, newlines, quotes, anchors and documents' ends are text like any other."""
    text = f"parameters: {{v: {{}}}}\nstorage:\n  root: {written}\nmlflow: {{experiment: e}}\n"
    values = parse_yaml(text, params={"v": value}).values
    assert values.keys() == {"parameters", "storage", "mlflow"}
    assert values["storage"] == {"root": written.strip("'\"").replace("${var.v}", value)}


def test_from_file_takes_parameters_as_dao_ai_does(tmp_path):
    """``AppConfig.from_file(path, params={…})``; a byte order mark and Windows' line ends don't matter."""
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbf" + USE.format("${var.place}").replace("\n", "\r\n").encode())
    assert AppConfig.from_file(tmp_path / "c.yaml", params={"place": "there"}).storage.root == "there"
    assert read_yaml(tmp_path / "c.yaml", {"place": "there"}).values == {"storage": {"root": "there"}}
