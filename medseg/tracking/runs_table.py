"""Where MLflow's pages show the runs, and with which columns and charts.

MLflow 3 opens an experiment on pages for language models, with the runs hidden, unless
the address says ``workflowType=machine_learning``; its tables of runs show no metric
unless asked to. A view is kept as a tag of the experiment, which the address names.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from medseg.tracking.offline_queue import read_state

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

VIEW = "medseg"
"""Name of the view in addresses."""

METRICS = ("dice", "nsd", "hd95", "n")
TAGS = ("loss", "network", "sampler", "fold", "seed")
PARAMS = (
    "plan.network.name",
    "training.loss.name",
    "training.sampling.strategy",
    "fold",
    "training.seed",
)
"""Axes of the parallel coordinates; MLflow takes parameters there, not tags."""

_SECTION = "medseg-scores"

DEFAULT = "0"
"""Id of the experiment ``Default`` that MLflow makes in each new store."""


def experiment_tags() -> dict[str, str]:
    """Tags by which MLflow's pages show an experiment as one of trained models."""
    return {
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(_view()),
    }


def _view() -> dict[str, Any]:
    """Best first, which also shows nested runs as rows of their own."""
    columns = [f"metrics.`{name}`" for name in METRICS]
    columns += [f"tags.`{name}`" for name in TAGS]
    charts: list[dict[str, Any]] = [
        {
            "type": "PARALLEL",
            "uuid": "medseg-parallel",
            "selectedParams": list(PARAMS),
            "selectedMetrics": list(METRICS[:3]),
            "showAllRuns": True,
        }
    ]
    charts += [
        {
            "type": "BAR",
            "uuid": f"medseg-{name}",
            "metricKey": name,
            "displayName": name,
        }
        for name in METRICS[:3]
    ]
    common = {
        "metricSectionId": _SECTION,
        "runsCountToCompare": 20,
        "deleted": False,
        "isGenerated": False,
    }
    section = {"uuid": _SECTION, "name": "Scores of held-out cases", "display": True}
    return {
        "orderByKey": "metrics.`dice`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "isAccordionReordered": True,
        "compareRunCharts": [{**chart, **common} for chart in charts],
        "compareRunSections": [
            {**section, "isReordered": False, "deleted": False, "isGenerated": False}
        ],
    }


def table_address(client: "MlflowClient", place: str | Path, *, is_ours: bool) -> str:
    """The address of the table of runs, below that of the pages.

    Args:
        client: Of the store.
        place: What the user wants to see: the experiment of a run's folder, else of
            the latest run.
        is_ours: Whether the store belongs to a folder of runs; there, experiments of
            earlier versions get the view, and an empty ``Default`` goes.
    """
    experiments = list(client.search_experiments())
    if is_ours:
        experiments = [e for e in experiments if not _hidden_where_empty(client, e)]
        for experiment in experiments:
            _set_missing(client, experiment)
    chosen = _experiment_of(client, experiments, place)
    if chosen is None:
        return "#/experiments?workflowType=machine_learning"
    query = {"workflowType": "machine_learning", "viewStateShareKey": VIEW}
    if f"mlflow.sharedViewState.{VIEW}" not in chosen.tags and not is_ours:
        query.pop("viewStateShareKey")
    return f"#/experiments/{chosen.experiment_id}/runs?{urlencode(query)}"


def _experiment_of(
    client: "MlflowClient", experiments: "list[Experiment]", place: str | Path
) -> "Experiment | None":
    state = None if "://" in str(place) else read_state(Path(place))
    for experiment in experiments:
        if state is not None and experiment.name == state.experiment:
            return experiment
    ids = [experiment.experiment_id for experiment in experiments]
    latest = client.search_runs(
        ids, order_by=["attributes.start_time DESC"], max_results=1
    )
    if not latest:
        return experiments[0] if experiments else None
    last = latest[0].info.experiment_id
    return next(e for e in experiments if e.experiment_id == last)


def _hidden_where_empty(client: "MlflowClient", experiment: "Experiment") -> bool:
    """Whether it is MLflow's own ``Default`` without a run, which is hidden now."""
    if (experiment.experiment_id, experiment.name) != (DEFAULT, "Default"):
        return False
    if client.search_runs([DEFAULT], max_results=1):
        return False
    client.delete_experiment(DEFAULT)  # MLflow only marks it
    return True


def _set_missing(client: "MlflowClient", experiment: "Experiment") -> None:
    for name, value in experiment_tags().items():
        if experiment.tags.get(name) != value:
            client.set_experiment_tag(experiment.experiment_id, name, value)
