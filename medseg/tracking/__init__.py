"""MLflow behind a small RunLogger; MLflow itself is imported when a run opens."""

from medseg.tracking.address import default_tracking_uri, resolve_tracking_uri
from medseg.tracking.fetch import fetch_artifacts, find_tracking_uri
from medseg.tracking.params import flatten_params
from medseg.tracking.repair import replace_broken
from medseg.tracking.run import MlflowRun, open_mlflow_run, replay_queue
from medseg.tracking.ui import open_ui, show_ui

__all__ = [
    "MlflowRun",
    "default_tracking_uri",
    "fetch_artifacts",
    "find_tracking_uri",
    "flatten_params",
    "open_mlflow_run",
    "open_ui",
    "replace_broken",
    "replay_queue",
    "resolve_tracking_uri",
    "show_ui",
]
