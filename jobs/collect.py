"""``promptmill collect``: record what the source model answers. Also: ``spark-submit jobs/collect.py --config …``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

if __package__ in {None, ""}:  # run as a script: the checkout's root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from jobs.options import config_option, json_option, one, read_config, run_dir_option
from jobs.terminal import out, run_command, shown_progress


@click.command("collect")
@config_option
@click.option("--only", metavar="NAME", help="The optimization whose prompt, source model and data set name are used.")
@click.option(
    "--inputs",
    "inputs_path",
    required=True,
    metavar="PATH",
    help="Parquet, JSON lines or CSV with the template's variables as columns, or a column inputs.",
)
@click.option("--model", metavar="NAME", help="One of resources.llms.  [default: source_model, else reflection_model]")
@run_dir_option
@click.option("--dry-run", is_flag=True, help="Print rows, tokens and cost; call nothing, pay nothing.")
@json_option
def command(
    config_path: str,
    only: str | None,
    inputs_path: str,
    model: str | None,
    run_dir: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run the source model over inputs, record MLflow traces, and make the evaluation data set.

    Step 1 of a migration, for where the application has recorded no traces yet.

    \b
      promptmill collect --config conf/migration.yaml --inputs inputs.jsonl --dry-run
      promptmill collect --config conf/migration.yaml --inputs inputs.jsonl
    """
    from engine.collect import collect
    from engine.collect_estimate import estimate_collect

    app = read_config(config_path)
    settings = one(app, only)
    if dry_run:
        estimate = estimate_collect(app, settings, inputs_path, model=model)
        if as_json:
            print(json.dumps({"dry_run": True, **asdict(estimate)}, indent=2))
            return
        cost = "no price is set" if estimate.cost is None else f"at the most {estimate.cost:,.4f} {estimate.currency}"
        out().print(
            f"nothing was called; {estimate.rows:,} distinct inputs would be {estimate.calls:,} calls, about "
            f"{estimate.prompt_tokens:,} prompt tokens and at the most {estimate.completion_tokens:,} completion "
            f"tokens: {cost}"
        )
        return
    with shown_progress(quiet=as_json) as progress:
        found = collect(app, settings, inputs_path, run_dir=run_dir, progress=progress, model=model)
    if as_json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return
    console = out()
    console.print(f"data set {found.dataset_name}: {found.answered:,} of {found.rows:,} inputs answered", markup=False)
    for kind, count in sorted(found.left_out.items(), key=lambda kv: -kv[1]):
        console.print(f"  left out: {count:,} x {kind}")
    if found.cut_off:
        console.print(f"  {found.cut_off:,} answers are as long as max_tokens allows and probably lack their end")
    tokens = found.tokens["prompt"] + found.tokens["completion"]
    cost = "" if found.cost is None else f", {found.cost['amount']:.4f} {found.cost['currency']}"
    console.print(f"  {found.calls['made']:,} calls, {tokens:,} tokens{cost}, {found.seconds:.0f} s")
    console.print(f"  traces in the experiment {found.experiment}; run directory {found.run_dir}", markup=False)


if __name__ == "__main__":
    run_command(command)
