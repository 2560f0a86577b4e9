"""``promptmill doctor``: what is found on this machine, what is missing, and the mend."""

from __future__ import annotations

import sys
from pathlib import Path

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.options import param_option, read_config
from jobs.terminal import out, run_command

_COLOURS = {"ok": "green", "warning": "yellow", "missing": "red"}


@click.command("doctor")
@click.option("--config", "config_path", metavar="FILE", help="Check this configuration's endpoints and data, too.")
@param_option
def command(config_path: str | None) -> int:
    """Say what is found and what is missing, and how to mend it; calls no model and pays nothing.

    Exits with 1 when something is missing.

    \b
      promptmill doctor
      promptmill doctor --config conf/migration.yaml
    """
    from engine.doctor import diagnose

    findings = diagnose(read_config(config_path) if config_path else None)
    console = out()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        console.print(f"[{_COLOURS[finding.status]}]{finding.status:8}[/]", end=" ")
        console.print(f"{finding.what:{width}}  {finding.detail}", markup=False)
        if finding.mend and finding.status != "ok":
            console.print(f"{'':8} {'':{width}}  mend: {finding.mend}", markup=False)
    return int(any(finding.status == "missing" for finding in findings))


if __name__ == "__main__":
    run_command(command)
