# Databricks notebook source
# MAGIC %md
# MAGIC # 3. Evaluate prompts that somebody wrote
# MAGIC Scores the prompts in the widget `prompts` (files or `prompts:/name/version`, parted by commas) over the whole
# MAGIC data set, then asks the gate: is one better than the current prompt, with confidence? Nothing is registered.
# MAGIC
# MAGIC In a Git folder, once a session: `%pip install ../..`, then `dbutils.library.restartPython()`.

# COMMAND ----------

import sys
from pathlib import Path

checkout = next((str(place) for place in (Path.cwd(), *Path.cwd().parents) if (place / "jobs/inline.py").is_file()), "")
sys.path[:0] = [checkout] if checkout and checkout not in sys.path else []

from engine.challenge import judged, prepare
from engine.comparison import compare
from engine.config import AppConfig
from engine.given_prompts import GivenPrompts
from engine.notebook import parameters
from jobs import inline
from jobs.options import one
from jobs.terminal import shown_progress

given = parameters(config="conf/migration.yaml", only="", prompts="new.txt", current="", run_dir="")

# COMMAND ----------

app = AppConfig.from_file(given.config)
settings = one(app, given.only)
places = [place.strip() for place in given.prompts.split(",") if place.strip()]
named = GivenPrompts.load(settings, places, current=given.current or None)
for prompt in named.named.values():
    inline.changed(named.current.text(), prompt.text())

# COMMAND ----------

# MAGIC %md
# MAGIC ## Scores

# COMMAND ----------

with shown_progress() as progress:
    folder = f"{given.run_dir}/evaluate" if given.run_dir else None
    inline.compared(compare(app, settings, places, run_dir=folder, progress=progress))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Verdict
# MAGIC What was answered above is not paid for again.

# COMMAND ----------

with shown_progress() as progress:
    folder = f"{given.run_dir}/gate" if given.run_dir else None
    verdict = judged(prepare(app, settings, places, current=given.current or None, run_dir=folder, progress=progress))
inline.challenged(verdict, settings)
