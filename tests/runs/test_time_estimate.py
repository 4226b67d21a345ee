"""How long a run will take is said before its first step, of measured parts."""

from dataclasses import replace
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from small_cells import cell_settings

from medseg.console import Console
from medseg.progress import Silent
from medseg.runs import time_estimate
from medseg.runs.config import RunConfig
from medseg.runs.setup import RunSetup, set_up_run
from medseg.runs.time_estimate import TimeEstimate, estimate_time
from medseg.runs.train import train
from medseg.settings import parse_settings
from medseg.store import Store
from medseg.testing import make_tiny_cells
from medseg.training.process_group import join_processes

CPU = torch.device("cpu")
NOON = datetime(2026, 1, 1, 12)


def set_up(values: dict[str, Any], out: Path) -> RunSetup:
    config = parse_settings(RunConfig, values, source="test")
    with join_processes(CPU) as processes:
        return set_up_run(
            config, out, device=CPU, processes=processes, progress=Silent()
        )


def tiny(store: Store, **more: Any) -> dict[str, Any]:
    network = {"name": "unet", "channels": [4, 8], "strides": [1, 2]}
    plan = {"patch_size": [16, 16, 16], "batch_size": 1, "network": network}
    return {"data": store.folder, "plan": plan, **more}


def test_flips_cost_as_often_as_there_are_corners(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_estimate, "_seconds_of", lambda work: work() or 1.0)
    plain = estimate_time(set_up(tiny(tiny_store), tmp_path / "a"))
    values = tiny(tiny_store, inference={"flips": True})
    run = set_up(values, tmp_path / "b")
    flipped = estimate_time(run)
    assert plain is not None
    assert flipped is not None
    assert run.plan.mirror_axes is not None
    times = 2 ** len(run.plan.mirror_axes)
    assert flipped.parts["segmenting"] == times * plain.parts["segmenting"]
    # 24 x 28 x 20 voxels by windows of 16 that overlap by half: 2 x 3 x 2 in each of
    # the two held-out cases, a second for each
    assert plain.parts["segmenting"] == 2 * 12
    assert plain.parts["scoring"] == 2
    assert "choosing how objects are found" not in plain.parts


def test_cells_are_found_anew_for_every_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = cell_settings(make_tiny_cells(tmp_path / "cells"), steps=10)
    run = set_up(values, tmp_path / "run")
    monkeypatch.setattr(time_estimate, "_seconds_of", lambda work: work() or 1.0)
    estimate = estimate_time(run)
    assert estimate is not None
    each = 7 + 5 + 5 + 3 + estimate.parts["segmenting"] / len(run.held_out)
    found = estimate.parts["choosing how objects are found"]
    assert found == pytest.approx(len(run.held_out) * each)


def test_nothing_held_out_takes_no_time(tiny_store: Store, tmp_path: Path) -> None:
    run = set_up(tiny(tiny_store, fold=None), tmp_path)
    assert estimate_time(run) is None


def test_a_case_that_cannot_be_read_is_no_reason_to_stop(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = set_up(tiny(tiny_store), tmp_path)
    lost = dict.fromkeys(run.held_out, tmp_path / "lost.nii.gz")
    monkeypatch.setattr(Store, "label", lambda _, case_id: lost[case_id])
    assert estimate_time(replace(run, held_out=run.held_out)) is not None


def test_scoring_that_outlasts_the_training_is_said() -> None:
    estimate = TimeEstimate({"scoring": 900.0, "pictures": 0.2}, 60)
    text = estimate.describe(180.0, now=NOON)
    assert text == (
        "training 3 min 0 s, after training about 15 min 0 s for 60 held-out cases "
        "(scoring 15 min 0 s); done at about 12:18; that is longer than the training: "
        "a larger prepare.num_folds holds fewer cases out"
    )
    assert "longer" not in estimate.describe(3600.0, now=NOON)
    flipped = replace(estimate, num_flips=4).describe(180.0, now=NOON)
    assert flipped.endswith("segments each once instead of 4 times")
    assert estimate.describe(None, now=NOON).startswith("after training about 15 min")


def test_a_run_says_it_before_its_first_step(tiny_store: Store, tmp_path: Path) -> None:
    stream = StringIO()
    values = tiny(tiny_store, training={"steps": 4, "precision": "float32"})
    values["tracking"] = {"enabled": False}
    config = parse_settings(RunConfig, values, source="test")
    train(config, tmp_path / "run", device="cpu", progress=Console(stream=stream))
    text = stream.getvalue()
    assert -1 < text.index("time: after training about") < text.index("training for 4")
