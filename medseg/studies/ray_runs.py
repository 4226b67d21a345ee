"""The runs of a study side by side, on one machine or a cluster, through Ray."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.errors import MedsegError, SettingsError
from medseg.extras import how_to_install
from medseg.progress import Progress, Silent
from medseg.studies.data import prepare_study
from medseg.studies.study import StudyRun
from medseg.studies.study_run import is_finished, train_run


def train_on_ray(
    runs: Sequence[StudyRun],
    out: Path,
    *,
    address: str,
    device: str,
    progress: Progress,
) -> dict[str, str]:
    """Trains what has not finished, each run with cores, and a GPU, of its own.

    All machines must see the study's folder and the data under the same paths. The
    data is prepared first, by one of them. Ray's usage statistics are turned off.

    Args:
        runs: Of the study.
        out: The study's folder.
        address: ``local`` starts Ray on this machine alone; ``auto`` joins the cluster
            that this machine belongs to; else a cluster's address.
        device: ``cpu`` takes no GPU, ``auto`` one for each run where there are any.
        progress: Shows progress.

    Returns:
        Reason of each run that failed; the others go on.

    Raises:
        SettingsError: Ray is not installed, or there is no such cluster.
    """
    left = [run for run in runs if not is_finished(run, out)]
    device = "cpu" if device == "cpu" else "auto"  # of the one that a run is given
    ray = _start_ray(address)
    try:
        share = _share(ray, len(left), device)
        progress.say(f"{len(left)} runs through Ray, each with {share}")
        prepare = ray.remote(**share)(_prepare)
        failures = {}
        reason = _result(ray, prepare.remote(left, out.resolve(), device))
        if reason:
            raise SettingsError(f"--ray {address}: data: {reason}")
        remote = ray.remote(max_retries=1, **share)(_train)
        waiting = {remote.remote(run, out.resolve(), device): run for run in left}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            run = waiting.pop(done)
            failure = _result(ray, done)
            if failure:
                failures[run.name] = failure
                progress.warn(f"{run.name}: failed: {failure}")
            else:
                progress.say(f"{run.name}: finished, {len(waiting)} to go")
        return failures
    finally:
        ray.shutdown()


def _prepare(runs: Sequence[StudyRun], out: Path, device: str) -> str:
    """On a worker: prepares what the runs train on; why it failed, or nothing."""
    try:
        prepare_study(runs, out, device=device, progress=Silent())
    except MedsegError as error:
        return str(error)
    return ""


def _train(run: StudyRun, out: Path, device: str) -> str:
    """On a worker: why the run failed, or nothing."""
    try:
        train_run(run, out, device=device, progress=Silent())
    except MedsegError as error:
        return str(error)
    return ""


def _result(ray: Any, reference: Any) -> str:
    try:
        return str(ray.get(reference))
    except ray.exceptions.RayError as error:  # such as a machine that went away
        return " ".join(str(error).split())[:300]


def _start_ray(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise SettingsError(
            f"--ray: Ray is not installed: {how_to_install('ray')}"
        ) from None
    try:
        local: dict[str, Any] = {}
        if address == "local":
            local["include_dashboard"] = False
        ray.init(address=address, log_to_driver=False, **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SettingsError(f"--ray {address}: {error}") from error
    return ray


def _share(ray: Any, num_runs: int, device: str) -> dict[str, float]:
    """Cores and GPUs of each run, so that no run takes from another."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(node.get("GPU", 0) for node in nodes) if device != "cpu" else 0
    cores = max(min(node.get("CPU", 1) for node in nodes), 1)
    if gpus:
        most = max(max(node.get("GPU", 0) for node in nodes), 1)
        return {"num_gpus": 1, "num_cpus": max(cores // most, 1)}
    per_node = -(-num_runs // len(nodes))
    return {"num_cpus": max(cores // max(per_node, 1), 1)}
