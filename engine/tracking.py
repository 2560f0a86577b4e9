"""MLflow tracking of a run. An observer: whatever it raises is logged, and the run goes on."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
import pandas as pd

from engine.errors import InputError
from engine.record import RunRecord, StepLine
from engine.registry import RegisteredPrompt, load_version
from engine.rows import Row

log = logging.getLogger(__name__)

# MLflow refuses longer parameter values.
_PARAM_CHARACTERS = 6000


def set_up(tracking_uri: str | None) -> None:
    """Point MLflow at the store; a local SQLite store's folder is made. ``None`` leaves MLflow as it is.

    Raises:
        InputError: a run of the user's is active, in another store: it would be cut off from it.
    """
    if not tracking_uri:
        return
    active = mlflow.active_run()
    if active is not None and mlflow.get_tracking_uri() != tracking_uri:
        raise InputError(
            f"the MLflow run {active.info.run_id} is active at {mlflow.get_tracking_uri()}, and the configuration says "
            f"mlflow.tracking_uri: {tracking_uri}; end the run, or leave tracking_uri out to work where the run is"
        )
    if tracking_uri.startswith("sqlite:///"):
        Path(tracking_uri.removeprefix("sqlite:///")).absolute().parent.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(tracking_uri)


def experiment_id(name: str) -> str:
    """Return the id of the experiment of this name, making it where there is none.

    In a local SQLite store its artifacts go beside the database: MLflow would put them into whatever folder the
    process was started in.
    """
    found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    uri = mlflow.get_tracking_uri()
    place = None
    if uri.startswith("sqlite:///"):
        place = (Path(uri.removeprefix("sqlite:///")).absolute().parent / "artifacts" / quote(name, safe=" ")).as_uri()
    try:
        return str(mlflow.create_experiment(name, artifact_location=place))
    except mlflow.exceptions.MlflowException:
        found = mlflow.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)  # another process or thread was faster


def parent_tags(experiment_id: str) -> dict[str, str]:
    """Return the tag that nests a run under the user's active one, where that is of the same experiment."""
    active = mlflow.active_run()
    if active is None or active.info.experiment_id != experiment_id:
        return {}
    return {"mlflow.parentRunId": active.info.run_id}


class Tracker:
    """One MLflow run of one migration. Names of metrics are those that MLflow's own prompt optimizer uses.

    It is never the active run of this process: a run of the user's own stays that, and has this one nested or beside.
    """

    def __init__(
        self, experiment: str, name: str, *, run_id: str | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        self.run_id = run_id
        self.experiment_id: str | None = None
        with self._guard("start the run"):
            self._client = mlflow.MlflowClient()
            self.experiment_id = experiment_id(experiment)
            if run_id is None or not self._resume(run_id):
                known = {"mlflow.source.name": "promptmill"} | parent_tags(self.experiment_id) | dict(tags or {})
                run = self._client.create_run(self.experiment_id, run_name=name, tags=known)
                self.run_id = str(run.info.run_id)

    def _resume(self, run_id: str) -> bool:
        try:
            self._client.update_run(run_id, status="RUNNING")
        except mlflow.exceptions.MlflowException:
            log.warning("the MLflow run %s is gone; a new one is begun", run_id)
            return False
        return True

    def abandon(self) -> None:
        """End the run as killed, for a run that ended in a way of its own."""
        with self._guard("end the run"):
            self._client.set_terminated(self.run_id, "KILLED")

    @contextlib.contextmanager
    def _guard(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            # Tracking is an observer; losing it must not lose the run.
            log.warning("MLflow: can't %s", what, exc_info=True)

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Log parameters: groups as ``group.name``, values cut to what MLflow takes."""
        flat: dict[str, Any] = {}
        for key, value in values.items():
            flat |= {f"{key}.{name}": v for name, v in value.items()} if isinstance(value, Mapping) else {key: value}
        with self._guard("log parameters"):
            params = [mlflow.entities.Param(k, str(v)[:_PARAM_CHARACTERS]) for k, v in flat.items()]
            self._client.log_batch(self.run_id, params=params)

    def dataset(self, rows: Sequence[Row], *, name: str, context: str) -> None:
        """Log rows held on the driver as a data-set input."""
        with self._guard("log the data set"):
            frame = pd.DataFrame(
                {
                    "inputs": [row.inputs for row in rows],
                    "expectations": [row.expectations for row in rows],
                    # As floats: MLflow warns at length of integer columns, which here never miss a value.
                    "weight": [float(row.weight) for row in rows],
                }
            )
            source = mlflow.data.from_pandas(frame, name=name)
            from mlflow.entities import DatasetInput, InputTag
            from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

            tags = [InputTag(MLFLOW_DATASET_CONTEXT, context)]
            # MLflow offers no public way to log an input to a run that is not the active one.
            self._client.log_inputs(self.run_id, [DatasetInput(source._to_mlflow_entity(), tags)])  # noqa: SLF001

    def prompts(self, registered: Sequence[RegisteredPrompt]) -> None:
        """Link all registered versions to the run; see :meth:`prompt`."""
        for one in registered:
            self.prompt(one)

    def prompt(self, registered: RegisteredPrompt | None) -> None:
        """Link a registered version to the run, so that its page lists the prompt and the prompt's page the run."""
        if registered is None:
            return
        with self._guard("link the prompt"):
            version = load_version(registered.uri)
            self._client.link_prompt_version_to_run(self.run_id, version)

    def step(self, line: StepLine) -> None:
        """Log one step's metrics."""
        values = {"total_metric_calls": float(line.metric_calls), "total_tokens": float(line.tokens)}
        if line.best_val_score is not None:
            values["eval_score"] = line.best_val_score
            if line.step == 0:
                values["initial_eval_score.val"] = line.best_val_score
        self.metrics(values, step=line.step)

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Log metrics."""
        with self._guard("log metrics"):
            from mlflow.entities import Metric
            from mlflow.utils.time import get_current_time_millis

            now = get_current_time_millis()
            self._client.log_batch(self.run_id, metrics=[Metric(k, float(v), now, step) for k, v in values.items()])

    def finish(self, record: RunRecord, run_dir: str) -> None:
        """Log what the run came to, with its artifacts, and end it."""
        result = record.result
        # What was used goes into a group of its own, so that the scores come first on the run's page.
        metrics: dict[str, float] = {"usage/seconds": float(result["seconds"])}
        self.metrics({"total_metric_calls": float(result["metric_calls"])}, step=int(result["steps"]) + 1)
        for name, side in (("initial_eval_score", "seed"), ("final_eval_score", "best")):
            score = (result.get(side) or {}).get("holdout_score")
            if score is not None:
                metrics[name] = float(score)
        holdout = result.get("holdout")
        if holdout and holdout["rows"]:
            metrics |= {
                "holdout_difference": holdout["difference"],
                "holdout_difference_low": holdout["interval"][0],
                "holdout_difference_high": holdout["interval"][1],
            }
        metrics |= {f"usage/calls_{name}": float(count) for name, count in result["calls"].items()}
        metrics |= {f"usage/tokens_{name}": float(count) for name, count in result["tokens"].items()}
        if result.get("cost"):
            metrics["usage/cost"] = float(result["cost"]["amount"])
        saved = result.get("saved") or {}
        metrics |= {f"usage/saved_{name}": float(saved[name]) for name in ("calls", "tokens") if name in saved}
        if saved.get("cost"):
            metrics["usage/saved_cost"] = float(saved["cost"]["amount"])
        self.metrics(metrics)
        with self._guard("log artifacts"):
            for file in ("result.json", "record.json", "report.html"):
                path = Path(run_dir) / file
                if path.exists():
                    self._client.log_artifact(self.run_id, str(path))
            self._client.log_dict(self.run_id, dict(record.settings), "settings.json")
            self._candidates(record)
        with self._guard("end the run"):
            self._client.set_tag(self.run_id, "promptmill.status", result["status"])
            self._client.set_tag(self.run_id, "mlflow.note.content", f"**{result['status']}**: {record.verdict}")
            self._client.set_terminated(self.run_id, "FAILED" if result["status"] == "failed" else "FINISHED")

    def _candidates(self, record: RunRecord) -> None:
        """One folder a candidate, as MLflow's own optimizer lays them out, and one table over all."""
        for number, line in enumerate(record.candidates):
            if line.status == "guarded":
                continue
            folder = f"prompt_candidates/iteration_{number}"
            self._client.log_text(self.run_id, line.text, f"{folder}/{line.label}.txt")
            scores = {"val": line.val_score, "minibatch": line.minibatch_after}
            self._client.log_text(self.run_id, json.dumps(scores), f"{folder}/scores.json")
        columns = ("label", "parents", "proposer", "step", "status", "val_score", "reason", "text")
        table = {name: [_cell(getattr(line, name)) for line in record.candidates] for name in columns}
        self._client.log_table(self.run_id, pd.DataFrame(table), "candidates.json")


def _cell(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, tuple) else value
