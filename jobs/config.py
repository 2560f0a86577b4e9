"""``promptmill config``: how a configuration is understood. Also: ``spark-submit jobs/config.py …``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.options import given_params, json_option, param_option
from jobs.terminal import run_command


@click.group("config")
def command() -> None:
    """Look at a configuration: calls nothing, starts no Spark, reads no secret.

    \b
      promptmill config check conf/migration.yaml       how it is understood, and what is wrong with it
      promptmill config schema > promptmill.json        for editors that check YAML while you write
      promptmill config migrate dao.yaml -o new.yaml    an old shape of dao-ai's as today's, comments kept
    """


@command.command("check")
@click.argument("path", metavar="FILE")
@param_option
@json_option
def check(path: str, as_json: bool) -> None:
    """Print the configuration as it is understood, and what there is to know about it.

    That is: which shape of dao-ai's each optimization has, what a key means here that meant something else there, what
    is read and ignored; then the whole with names, variables and parameters put in, secrets masked. It is YAML, with
    what is told as comments. Exits with 2 and every mistake's line where it is no configuration.
    """
    from engine.config import AppConfig, read_yaml
    from engine.config.generations import DESCRIBED
    from engine.config.resolved import resolved, resolved_yaml

    config = AppConfig.from_source(read_yaml(path, given_params()))
    reading = config.reading
    if as_json:
        told = [{"kind": one.kind, "where": one.where, "text": one.text} for one in reading.remarks]
        print(json.dumps({"generations": reading.generations, "remarks": told, "config": resolved(config)}, indent=2))
        return
    for name, generation in reading.generations.items():
        print(f"# {name}: read as {DESCRIBED[generation]}{'' if generation == 'promptmill' else f' ({generation})'}")
    for one in reading.remarks:
        print(f"# {one.kind}: {one}")
    print(resolved_yaml(config), end="")


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of configurations.

    For editors with a YAML language server: begin the file with `# yaml-language-server: $schema=promptmill.json`.
    """
    from engine.config.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@command.command("migrate")
@click.argument("path", metavar="FILE")
@click.option("-o", "--output", metavar="FILE", help="Where to write it.  [default: to standard output]")
@click.option("--in-place", is_flag=True, help="Rewrite FILE itself.")
@click.option("--backup", is_flag=True, help="With --in-place: keep the old one as FILE.bak.")
@param_option
def migrate(path: str, output: str | None, in_place: bool, backup: bool) -> None:
    """Rewrite an old shape of dao-ai's as today's, so that it says what it means here.

    Only keys that mean something else here are touched; comments, order and indentation stay. What is written means the
    same as what was read: it is read again, and nothing is written where it does not. Parameters stay open; --param is
    only needed where one has no default.
    """
    from engine.config.migrate import migrate as rewritten
    from engine.config.yaml_source import read_text
    from engine.errors import InputError

    if in_place and output:
        raise InputError("--in-place says where to write, and -o does, too; give one of them")
    if backup and not in_place:
        raise InputError("--backup keeps what --in-place writes over; give both")
    text = rewritten(read_text(path), path=path, params=given_params())
    if not in_place and not output:
        print(text, end="")
        return
    place = Path(output or path)
    if backup:
        shutil.copy2(path, f"{path}.bak")
    try:
        place.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"{place}: can't be written: {error}") from error
    click.echo(f"wrote {place}", err=True)


if __name__ == "__main__":
    run_command(command)
