"""``promptmill config``: what a configuration means here, for people, editors and those who move to today's shape."""

import json
import os
import subprocess
import sys
from pathlib import Path

import config_shapes as shapes
import pytest
import yaml
from click.testing import CliRunner
from config_shapes import text_of

from engine.config import AppConfig
from engine.errors import ConfigError
from jobs.cli import promptmill

OLD = text_of("C", shapes.C_FULL)
SECRET = "sk-do-not-show"  # noqa: S105 - nobody's


def run(*words):
    done = CliRunner().invoke(promptmill, ["config", *map(str, words)], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output


@pytest.fixture
def file(tmp_path):
    def write(text, name="c.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        return tmp_path / name

    return write


def test_check_prints_what_is_meant_and_what_there_is_to_know(file):
    """YAML of today's shape, with the generation, notes and warnings as comments; rows are counted, not shown."""
    shown = run("check", file(OLD))
    assert "# opt0: read as dao-ai 0.1.0 to 0.1.112 (C)" in shown
    assert "read as budget.max_metric_calls 5" in shown
    assert "Which drill" not in shown
    found = yaml.safe_load(shown)["optimizations"]["prompt_optimizations"]["opt0"]
    assert found["budget"] == {"max_metric_calls": 5}
    assert found["prompt"]["schema"] == {"catalog_name": "main", "schema_name": "retail"}
    assert found["dataset"]["data"] == "1 records"


def test_check_says_it_as_json_too(file):
    """For tools: generations, remarks with their places, and the whole."""
    found = json.loads(run("check", file(OLD), "--json"))
    assert found["generations"] == {"opt0": "C"}
    assert {"kind", "where", "text"} == set(found["remarks"][0])


def test_check_masks_what_may_be_a_secret(file):
    """Wherever somebody put one: in an address, an extra parameter, Spark's settings; places of secrets are shown."""
    text = f"""\
resources:
  llms:
    m:
      name: m
      api_key: {{options: [{{env: THE_KEY}}, {{scope: s, secret: k}}]}}
      extra: {{auth_token: {SECRET}, nested: [{{password: {SECRET}}}]}}
spark: {{conf: {{fs.azure.account.key.x.net: {SECRET}}}}}
mlflow: {{tracking_uri: "postgresql://me:{SECRET}@host/db"}}
"""
    shown = run("check", file(text))
    assert SECRET not in shown
    assert shown.count("***") == 4
    for part in ("THE_KEY", "scope: s", "secret: k", "@host/db"):
        assert part in shown


def test_check_of_a_mistake_ends_with_2(file, tmp_path):
    """Every mistake has its line, and there is no traceback."""
    file(OLD.replace("max_tokens: 256", "max_token: 256"))
    command = "import sys; from jobs.cli import main; sys.argv = ['promptmill', 'config', 'check', 'c.yaml']; main()"

    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "c.yaml:5: resources.llms.small.max_token is not a known key; did you mean 'max_tokens'?" in done.stderr


def test_parameters_are_given_on_the_command_line(file):
    """``--param`` may be repeated; what is no NAME=VALUE is refused, and so is one that the file does not know."""
    path = file("parameters: {a: {}, b: {default: x}}\nstorage: {root: '${var.a}/${var.b}'}\n")
    assert "root: /v/a=b/x" in run("check", path, "--param", "a=/v/a=b")
    assert "root: one/two" in run("check", path, "--param", "a=one", "--param", "b=two")
    with pytest.raises(Exception, match="is no NAME=VALUE"):
        run("check", path, "--param", "a")
    with pytest.raises(ConfigError, match="did you mean 'a'"):
        run("check", path, "--param", "aa=1")


def test_schema_is_json():
    """What an editor reads."""
    assert json.loads(run("schema"))["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_migrate_prints_and_touches_nothing(file):
    """Without more, the file stays as it is."""
    path = file(OLD)
    shown = run("migrate", path)
    assert path.read_text() == OLD
    assert "max_metric_calls: 5" in shown
    assert AppConfig.from_file(file(shown, "new.yaml")).model_dump() == AppConfig.from_file(path).model_dump()


def test_migrate_writes_where_it_is_told(file, tmp_path):
    """Elsewhere, or in place, with a copy of the old one only where it is asked for; line ends stay."""
    windows = OLD.replace("\n", "\r\n")
    path = file(windows)
    run("migrate", path, "-o", tmp_path / "new.yaml")
    assert path.read_bytes() == windows.encode()
    run("migrate", path, "--in-place")
    assert not (tmp_path / "c.yaml.bak").exists()
    assert path.read_bytes() == (tmp_path / "new.yaml").read_bytes()
    file(windows)
    run("migrate", path, "--in-place", "--backup")
    assert (tmp_path / "c.yaml.bak").read_bytes() == windows.encode()
    with pytest.raises(Exception, match="give one of them"):
        run("migrate", path, "--in-place", "-o", "x")
    with pytest.raises(Exception, match="give both"):
        run("migrate", path, "--backup")
    with pytest.raises(Exception, match="can't be written"):
        run("migrate", path, "-o", tmp_path / "no" / "folder.yaml")
