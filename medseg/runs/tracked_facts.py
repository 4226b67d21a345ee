"""What runs are told apart by in a tracking store: tags, data sets, headline scores."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.evaluation.summary import OVERALL
from medseg.files import hash_text
from medseg.plan import Plan
from medseg.plugins import names_in, portable_name
from medseg.runs.config import RunConfig, code_commit
from medseg.runs.setup import RunSetup
from medseg.scoring.result import Evaluation
from medseg.store import Store
from medseg.tracking.params import Scalar, flatten_params
from medseg.training.logger import TrackedDataset, TrackedModel

HEADLINE = {"dice": "dice", "nsd": "nsd", "hd95_mm": "hd95"}
"""Short names of the few scores that a table of runs shows, by column."""


def tags_of(config: RunConfig, plan: Plan) -> dict[str, str]:
    """What a table of runs is sorted and filtered by; plug-ins without folders."""
    training = config.training
    sampling = training.sampling.strategy
    tags = {
        "loss": portable_name(training.loss.name),
        "network": portable_name(plan.network.name),
        "sampler": portable_name(sampling),
        "fold": "none" if config.fold is None else str(config.fold),
        "seed": str(training.seed),
        "mlflow.source.name": "medseg",
        "mlflow.source.type": "LOCAL",
    }
    if commit := code_commit():
        tags["mlflow.source.git.commit"] = commit
    return tags


def params_of(config: RunConfig, plan: Plan) -> dict[str, Scalar]:
    """Every setting of a run, its plan as it was carried out."""
    planned = plan.model_dump(mode="json")
    return flatten_params({**shared_config(config), "plan": planned})


def shared_config(config: RunConfig) -> dict[str, Any]:
    """The configuration as others may see it: paths have lost their folders.

    A folder of this machine means nothing elsewhere, and may name somebody.
    """
    text = config.model_dump_json()
    for _, name in names_in(config):
        text = text.replace(json.dumps(name), json.dumps(portable_name(name)))
    values: dict[str, Any] = json.loads(text)
    for name in ("data", "root"):
        values[name] = values[name] and Path(values[name]).name
    init = values["training"].get("init")
    if init and Path(init["model"]).is_absolute():
        init["model"] = Path(init["model"]).name
    if not str(values["tracking"]["uri"]).startswith("http"):
        values["tracking"]["uri"] = None
    return values


def describe_run(config: RunConfig, plan: Plan, *, num_cases: int) -> str:
    """One line that says what a run is, for MLflow's column of descriptions."""
    tags = tags_of(config, plan)
    held_out = "all cases" if config.fold is None else f"fold {config.fold} held out"
    return (
        f"{tags['network']} with {tags['loss']} on {plan.name} ({num_cases} cases, "
        f"{held_out}), {plan.spatial_dims}D, sampler {tags['sampler']}, seed "
        f"{tags['seed']}"
    )


def training_cases(run: RunSetup) -> TrackedDataset:
    """The cases that a run trains on."""
    return _dataset(run.store, run.train_ids, "training")


def held_out_cases(run: RunSetup) -> TrackedDataset:
    """The cases that a run is scored on."""
    return _dataset(run.store, run.held_out, "validation")


def _dataset(store: Store, case_ids: Sequence[str], role: str) -> TrackedDataset:
    patients = store.patients
    return TrackedDataset(
        name=store.plan.name,
        digest=hash_text("\n".join([store.manifest_hash, *sorted(case_ids)]))[:16],
        role="training" if role == "training" else "validation",
        num_cases=len(case_ids),
        num_patients=len({patients[case_id] for case_id in case_ids}),
        manifest=store.manifest_hash,
    )


def tracked_model(run: RunSetup, *, steps: int) -> TrackedModel:
    """What a tracking store is told of a run's model."""
    tags = tags_of(run.config, run.plan)
    chosen = ("network", "loss", "sampler", "fold", "seed")
    return TrackedModel(
        channels=run.plan.channel_names,
        labels=dict(run.plan.labels.names),
        step=steps,
        params={name: tags[name] for name in chosen} | {"steps": str(steps)},
    )


def headline_scores(evaluation: Evaluation) -> dict[str, float]:
    """A few scores of the held-out cases: over structures, where there are several.

    Returns:
        ``dice``, ``nsd``, ``hd95`` (mm) as far as they have a value, and ``n``, the
        number of cases that were scored.
    """
    scores = {"n": float(evaluation.num_scored)}
    summary = evaluation.summary
    if not len(summary):
        return scores
    scored = list(summary["structure"].unique())
    wanted = [OVERALL, *evaluation.scheme.regions]  # the only region stands for all
    chosen = next((name for name in wanted if name in scored), scored[0])
    for row in summary[summary["structure"] == chosen].to_dict(orient="records"):
        if row["metric"] in HEADLINE and row["mean"] == row["mean"]:
            scores[HEADLINE[row["metric"]]] = float(row["mean"])
    return scores
