# Databricks notebook source
# MAGIC %md
# MAGIC # 2. Optimize prompts for the new model
# MAGIC Searches on train and val rows, judges the best prompt on holdout rows that the search never saw, and registers
# MAGIC it. The widget `only` names optimizations, parted by commas; empty means all. `run_dir` given again goes on with
# MAGIC that run and pays for nothing twice.
# MAGIC
# MAGIC In a Git folder, once a session: `%pip install ../..`, then `dbutils.library.restartPython()`.

# COMMAND ----------

import sys
from pathlib import Path

checkout = next((str(place) for place in (Path.cwd(), *Path.cwd().parents) if (place / "jobs/inline.py").is_file()), "")
sys.path[:0] = [checkout] if checkout and checkout not in sys.path else []

from engine.config import AppConfig
from engine.errors import EvaluationError, PromptmillError
from engine.migration import prepare, run
from engine.notebook import parameters
from engine.record import RunRecord
from jobs import inline
from jobs.estimates import show_estimate
from jobs.options import chosen
from jobs.terminal import shown_progress

given = parameters(config="conf/migration.yaml", only="", run_dir="")

# COMMAND ----------

app = AppConfig.from_file(given.config)
todo = chosen(app, [name.strip() for name in given.only.split(",") if name.strip()]).values()
folders = {one.name: f"{given.run_dir}/{one.name}" if given.run_dir else None for one in todo}

# COMMAND ----------

# MAGIC %md
# MAGIC ## What it will take
# MAGIC Nothing is called yet.

# COMMAND ----------

migrations = {}
for settings in todo:
    with shown_progress() as progress:
        migrations[settings.name] = prepare(app, settings, run_dir=folders[settings.name], progress=progress)
    migration = migrations[settings.name]
    show_estimate(settings.name, migration.estimate(), capped=settings.budget.is_set, doubts=migration.doubts)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Search and verdict

# COMMAND ----------

records, prompts, failures = [], {}, []
for name, migration in migrations.items():
    try:
        with shown_progress() as migration.progress:
            prompts[name] = run(migration).prompt
    except PromptmillError as error:  # the others go on
        failures.append(f"{name}: {error}")
    records.append(RunRecord.read(migration.state.run_dir))
    inline.outcome(records[-1])

# COMMAND ----------

inline.overview(records)

# COMMAND ----------

# MAGIC %md
# MAGIC ## What changed, and why to believe it

# COMMAND ----------

for record in records:
    inline.changes(record)

# COMMAND ----------

# MAGIC %md
# MAGIC ## How the search went

# COMMAND ----------

for record in records:
    inline.search(record)

# COMMAND ----------

# `prompts` maps each optimization to the prompt to use from now on, with its URI.
if failures:
    raise EvaluationError("; ".join(failures))
prompts
