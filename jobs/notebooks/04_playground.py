# Databricks notebook source
# MAGIC %md
# MAGIC # 4. Playground
# MAGIC Try a prompt on a few rows and read what the model says, before anything is searched or judged. What is asked
# MAGIC again comes from the ledger.
# MAGIC
# MAGIC In a Git folder, once a session: `%pip install ../..`, then `dbutils.library.restartPython()`.

# COMMAND ----------

import sys
from pathlib import Path

checkout = next((str(place) for place in (Path.cwd(), *Path.cwd().parents) if (place / "jobs/inline.py").is_file()), "")
sys.path[:0] = [checkout] if checkout and checkout not in sys.path else []

from engine.config import AppConfig
from engine.migration import seed_prompt
from engine.notebook import parameters
from engine.playground import try_prompts
from engine.tracking import set_up
from jobs import inline
from jobs.options import one
from jobs.terminal import shown_progress

given = parameters(config="conf/migration.yaml", only="", prompt="", rows="5", run_dir="")

# COMMAND ----------

app = AppConfig.from_file(given.config)
settings = one(app, given.only)
set_up(app.mlflow.tracking_uri)
current = seed_prompt(settings).text()
inline.facts(f"The current prompt of {settings.name}", {settings.prompt.full_name: current})

# COMMAND ----------

# MAGIC %md
# MAGIC Write the prompt to try here or into the widget `prompt`, and run from here on again.

# COMMAND ----------

tries = [given.prompt] if given.prompt else []
for text in tries:
    inline.changed(current, text)

# COMMAND ----------

with shown_progress() as progress:
    found = try_prompts(app, settings, tries, rows=int(given.rows), run_dir=given.run_dir or None, progress=progress)
inline.tried(found)
