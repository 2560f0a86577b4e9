"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from engine.config import AppConfig, PromptOptimizationModel

_PARAMS = "promptmill.params"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _keep_params(context: click.Context, option: click.Parameter, written: tuple[str, ...]) -> None:
    del option
    for one in written:
        name, equals, value = one.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{one!r} is no NAME=VALUE", param_hint="--param")
        context.meta.setdefault(_PARAMS, {})[name] = value


param_option = click.option(
    "--param",
    multiple=True,
    metavar="NAME=VALUE",
    expose_value=False,
    callback=_keep_params,
    help="What ${var.NAME} stands for in the configuration; may be repeated.",
)


def config_option(command: _Command) -> _Command:
    """Add ``--config``, and ``--param`` for what it leaves open; :func:`read_config` reads it."""
    config = click.option(
        "--config",
        "config_path",
        required=True,
        metavar="FILE",
        help="The configuration; conf/migration.yaml is one to copy.",
    )
    return config(param_option(command))


def given_params() -> dict[str, str]:
    """Return what ``--param`` gave to the command that runs."""
    context = click.get_current_context(silent=True)
    return dict(context.meta.get(_PARAMS, {})) if context else {}


def read_config(path: str) -> AppConfig:
    """Read a command's configuration, with the parameters that were given to it.

    Raises:
        ConfigError: it can't be read, or is no configuration.
    """
    from engine.config import AppConfig

    return AppConfig.from_file(path, given_params())


run_dir_option = click.option(
    "--run-dir",
    metavar="DIR",
    help="Where the run keeps its state. Given again, it goes on with that run and pays for nothing twice.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else.")
replay_option = click.option(
    "--replay",
    is_flag=True,
    help="Answer from the ledger alone: no endpoint is called, no key is needed. Fails where the ledger lacks "
    "something, and names it.",
)
retry_failed_option = click.option(
    "--retry-failed",
    is_flag=True,
    help="Also call again what was refused for good, by a content filter or the context length; all other answers "
    "come from the ledger. (Rows that an outage left unscored are called again without it.)",
)
require_option = click.option(
    "--require",
    type=click.Choice(["promote"]),
    help="For CI. Exit with 0 only if a prompt is promoted: 3 when the old one is kept, 4 when more data is needed to "
    "tell, 1 when the run failed, 2 on bad input. Without this option a verdict of any kind ends with 0.",
)
junit_option = click.option(
    "--junit",
    metavar="FILE",
    help="Also write the verdict as JUnit XML, a test case for each question: coverage, difference, every slice.",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print calls, tokens and cost; call nothing, pay nothing."
)
only_option = click.option(
    "--only", metavar="NAME", multiple=True, help="Only this optimization, or those that 'a_*' fits; may be repeated."
)
exclude_option = click.option(
    "--exclude",
    metavar="NAME",
    multiple=True,
    help="Not this optimization, nor those that 'a_*' fits; may be repeated.",
)
parallel_option = click.option(
    "--parallel",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of several optimizations run at most so many at once (8). All of them share each endpoint's limits.",
)
resume_option = click.option(
    "--resume",
    is_flag=True,
    help="Go on with the newest run of these optimizations below storage.root, or with that in --run-dir, which must "
    "be there. Of several, those with a verdict stay as they are; failed ones are tried again.",
)


def required_status(status: str) -> int:
    """Return the exit status of ``--require promote`` for a verdict."""
    return {"promoted": 0, "kept": 3, "need_more_data": 4}.get(status, 1)


def chosen(app: AppConfig, only: Sequence[str], exclude: Sequence[str] = ()) -> dict[str, PromptOptimizationModel]:
    """Return the optimizations that ``--only`` names, all without it, but for those that ``--exclude`` names; by key.

    Names may be patterns, such as ``legacy_*``.

    Raises:
        InputError: there is none, or none that a name fits.
    """
    from engine.errors import InputError

    every = app.optimizations.prompt_optimizations
    if not every:
        raise InputError("the configuration has no optimizations.prompt_optimizations; nothing to do")
    named = {
        option: [_fitting(every, name, option) for name in names]
        for option, names in (("--only", only), ("--exclude", exclude))
    }
    kept = set().union(*named["--only"]) if only else set(every)
    found = kept.difference(*named["--exclude"])
    if not found:
        raise InputError("--exclude leaves no optimization to run; leave one of its patterns out")
    return {key: settings for key, settings in every.items() if key in found}


def _fitting(every: Mapping[str, Any], name: str, option: str) -> set[str]:
    from engine.errors import InputError

    found = {key for key in every if key == name or fnmatchcase(key, name)}
    if not found:
        few = ", ".join(list(every)[:_SHOWN]) + (f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else "")
        raise InputError(f"{option} {name}: the configuration has no such optimization; it has {few}")
    return found


# So many names a message lists.
_SHOWN = 12


def one(app: AppConfig, only: str | None) -> PromptOptimizationModel:
    """Return the one optimization that is meant.

    Raises:
        InputError: it is not clear which.
    """
    from engine.errors import InputError

    found = list(chosen(app, [only] if only else []).values())
    if len(found) > 1:
        names = ", ".join(app.optimizations.prompt_optimizations)
        raise InputError(f"the configuration has several optimizations; say which with --only: {names}")
    return found[0]
