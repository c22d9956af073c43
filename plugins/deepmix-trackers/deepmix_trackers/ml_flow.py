"""The tracker `mlflow`: runs on an MLflow server, or in its local store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from deepmix.contracts import Tracker

from .figures import epoch_numbers, final_numbers, options, require_client

RUN_FILE = "mlflow-run.txt"
"""In the run folder, the number that MLflow has given to the run; a resumed run goes on under it."""

LONGEST_VALUE = 500
"""Characters of a parameter that every MLflow server takes."""


@dataclass(frozen=True)
class MlflowOptions:
    """Options of the tracker."""

    uri: str | None = field(
        default=None, metadata={"help": "address of the server or database; auto: MLFLOW_TRACKING_URI, or MLflow's own"}
    )
    experiment: str = field(default="deepmix", metadata={"help": "name of the experiment; created where missing"})
    report: bool = field(default=True, metadata={"help": "whether to upload the report and metrics.json"})


@final
class MlflowTracker(Tracker):
    """MLflow: the options as parameters, each epoch's figures and the final metrics, and the report as an artifact."""

    Options = MlflowOptions

    def __init__(self, options: MlflowOptions) -> None:
        require_client("mlflow", "mlflow", "mlflow-skinny")
        self.options = options

    def run_started(self, config: Mapping[str, Any], folder: Path | None) -> None:
        """Create a run on the server, or go on with the one that the run folder names."""
        from mlflow import MlflowClient

        self._client: Any = MlflowClient(self.options.uri)
        run_file = None if folder is None else folder / RUN_FILE
        if run_file is not None and run_file.is_file():
            self._run_id = run_file.read_text("utf-8").strip()
            self._client.update_run(self._run_id, status="RUNNING")
            return
        experiment = self._client.get_experiment_by_name(self.options.experiment)
        number = experiment.experiment_id if experiment else self._client.create_experiment(self.options.experiment)
        name = None if folder is None else folder.resolve().name
        self._run_id = self._client.create_run(number, run_name=name).info.run_id
        for key, value in options(config).items():
            self._client.log_param(self._run_id, key, str(value)[:LONGEST_VALUE])
        if run_file is not None:
            run_file.write_text(self._run_id + "\n", "utf-8")

    def epoch(self, stage: str, record: Mapping[str, Any]) -> None:
        """Log the figures of an epoch, named 'train.elbo' and so on."""
        for name, value in epoch_numbers(record).items():
            self._client.log_metric(self._run_id, f"{stage}.{name}", value, step=int(record["epoch"]))

    def finished(self, metrics: Mapping[str, Any], folder: Path | None) -> None:
        """Log the final metrics and files, and end the run."""
        for name, value in final_numbers(metrics).items():
            self._client.log_metric(self._run_id, f"final.{name}", value)
        for file in ("metrics.json", "report.html") if folder is not None and self.options.report else ():
            if (path := Path(str(folder), file)).is_file():
                self._client.log_artifact(self._run_id, str(path))
        self._client.set_terminated(self._run_id, "FINISHED")

    def stopped(self, reason: str) -> None:
        """Note the reason and end the run as failed."""
        self._client.set_tag(self._run_id, "stopped", reason)
        self._client.set_terminated(self._run_id, "FAILED")
