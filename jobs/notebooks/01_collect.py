# Databricks notebook source
# MAGIC %md
# MAGIC # 1. Collect what the current model answers
# MAGIC Runs the source model over inputs, records MLflow traces and makes the evaluation data set that a migration
# MAGIC learns from. Not needed where the application records traces already.
# MAGIC
# MAGIC In a Git folder, once a session: `%pip install ../..`, then `dbutils.library.restartPython()`.

# COMMAND ----------

import sys
from pathlib import Path

checkout = next((str(place) for place in (Path.cwd(), *Path.cwd().parents) if (place / "jobs/inline.py").is_file()), "")
sys.path[:0] = [checkout] if checkout and checkout not in sys.path else []

from engine.collect import collect
from engine.collect_estimate import estimate_collect
from engine.config import AppConfig
from engine.notebook import parameters
from jobs import inline
from jobs.options import one
from jobs.terminal import shown_progress

given = parameters(config="conf/migration.yaml", only="", inputs="inputs.jsonl", model="", run_dir="")

# COMMAND ----------

app = AppConfig.from_file(given.config)
settings = one(app, given.only)
estimate = estimate_collect(app, settings, given.inputs, model=given.model or None)
inline.facts(
    "What it will take, at the most",
    {
        "distinct inputs": f"{estimate.rows:,}",
        "calls": f"{estimate.calls:,}",
        "cost": "no price is set" if estimate.cost is None else f"{estimate.cost:,.4f} {estimate.currency}",
    },
)

# COMMAND ----------

with shown_progress() as progress:
    found = collect(
        app, settings, given.inputs, run_dir=given.run_dir or None, progress=progress, model=given.model or None
    )

# COMMAND ----------

inline.facts(
    f"The data set {found.dataset_name}",
    {
        "inputs answered": f"{found.answered:,} of {found.rows:,}",
        "left out": ", ".join(f"{count:,} x {kind}" for kind, count in found.left_out.items()) or "none",
        "calls": f"{found.calls['made']:,}",
        "cost": "no price is set" if found.cost is None else f"{found.cost['amount']:.4f} {found.cost['currency']}",
        "traces in the experiment": found.experiment,
    },
)

# COMMAND ----------

# MAGIC %md
# MAGIC Next: [02_optimize]($./02_optimize), with `dataset: {name: …}` in the configuration.
