"""``promptmill report``: write a run's report anew."""

from __future__ import annotations

import sys
from pathlib import Path

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.terminal import run_command


@click.command("report")
@click.argument("run_dir")
def command(run_dir: str) -> None:
    """Write report.html of RUN_DIR anew from its record, and print where it is.

    \b
      promptmill report .promptmill/runs/migrate_classify-20261121-101500
    """
    from engine.record import RunRecord
    from engine.report import write_report

    record = RunRecord.read(run_dir)
    path = write_report(record, Path(run_dir) / "report.html")
    print(f"{record.result['status']}: {record.verdict}")
    print(path)


if __name__ == "__main__":
    run_command(command)
