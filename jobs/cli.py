"""The command ``promptmill``."""

from __future__ import annotations

import importlib
import sys

import click

from jobs.terminal import run_command

# Each command's module is imported when it is asked for: `promptmill --help` then starts no Spark and no MLflow.
_COMMANDS = (
    "quickstart",
    "optimize",
    "gate",
    "evaluate",
    "judge-check",
    "collect",
    "report",
    "ui",
    "ledger",
    "config",
    "doctor",
    "serve-model",
)


class _Lazy(click.Group):
    """A group whose commands live in ``jobs.<name>``, each as ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order that a newcomer needs them."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"jobs.{cmd_name.replace('-', '_')}").command
        return found


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="promptmill")
def promptmill() -> None:
    """Move prompts to another model: score candidates over recorded inputs on Spark, and evolve them.

    \b
    A migration in three commands:
      promptmill collect  --config FILE --inputs PATH   record what the old model answers
      promptmill optimize --config FILE --dry-run       what it would cost
      promptmill optimize --config FILE                 search, prove on the holdout, register

    To see it work without an account anywhere: promptmill quickstart
    """


def main() -> None:
    """Run the command; the console script's entry point."""
    run_command(promptmill)


def job() -> None:
    """Run the command where SystemExit counts as a failure, whatever its status: a Databricks wheel task.

    Raises:
        JobFailed: the command ended with another status than 0; what was wrong is in the log.
    """
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise JobFailed(
                f"promptmill {' '.join(sys.argv[1:2])} ended with status {ended.code}; see the log"
            ) from None


class JobFailed(Exception):  # noqa: N818 - a scheduler shows the name to a person
    """A job did not end well."""
