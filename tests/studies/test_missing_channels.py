"""Scans that lack a channel: refused by name, or read as the network knows them."""

from pathlib import Path

import numpy as np
import pytest
from predict_phantoms import Predict
from workflow_models import make_model

from medseg.errors import InputError
from medseg.geometry import affine_from_spacing
from medseg.io import read_label_map, write_volume
from medseg.plan import ChannelPlan, Plan
from medseg.prediction.channel_files import group_files
from medseg.prediction.scan import Scan
from medseg.prediction.scan_volume import load_scan
from medseg.preparation.normalization import absent_value, normalize
from medseg.runs.config import RunConfig
from medseg.runs.resolve import change_plan, settle_training
from medseg.volume import Volume

NAMES = ("t1", "flair", "t1c")


@pytest.fixture
def three(small_plan: Plan) -> Plan:
    channels = tuple(ChannelPlan(name=name) for name in NAMES)
    return small_plan.model_copy(update={"channels": channels})


def write(path: Path, *, seed: int) -> Path:
    values = np.random.default_rng(seed).normal(100, 20, (1, 20, 18, 16))
    write_volume(
        path, Volume(values.astype(np.float32), affine_from_spacing((1.0, 1.0, 1.5)))
    )
    return path


def scan(folder: Path, *names: str, missing: tuple[str, ...]) -> Scan:
    files = [write(folder / f"x_{n}.nii.gz", seed=NAMES.index(n)) for n in names]
    found = Scan.of_files("x", files)
    return Scan("x", found.sources, "x*", missing)


def test_a_model_that_learned_to_do_without_reads_zero(
    three: Plan, tmp_path: Path
) -> None:
    plan = three.model_copy(update={"optional_channels": NAMES})
    found = load_scan(scan(tmp_path, "t1", "t1c", missing=("flair",)), plan)
    assert found.volume.num_channels == 3
    image = normalize(found.volume.voxels, plan.channels)
    assert (image[1] == 0).all()
    assert image[0].std() == pytest.approx(1, abs=1e-3)
    assert image[2].std() == pytest.approx(1, abs=1e-3)
    assert found.notes == (
        "channel flair is absent; the model was trained to do without",
    )


def test_any_other_model_refuses_and_says_what_would_help(
    three: Plan, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no file for channel flair.*dropout"):
        load_scan(scan(tmp_path, "t1", "t1c", missing=("flair",)), three)


def test_files_that_hold_several_channels_are_not_guessed(
    three: Plan, tmp_path: Path
) -> None:
    plan = three.model_copy(update={"optional_channels": NAMES})
    two = np.random.default_rng(0).normal(size=(2, 20, 18, 16)).astype(np.float32)
    path = tmp_path / "x_t1.nii.gz"
    write_volume(path, Volume(two, affine_from_spacing((1.0, 1.0, 1.5))))
    lone = Scan("x", Scan.of_files("x", [path]).sources, "x*", ("flair", "t1c"))
    with pytest.raises(InputError, match="hold 2 channels, expected one each"):
        load_scan(lone, plan)


@pytest.mark.parametrize(
    "kind", ["ct", "fixed", "zscore", "minmax", "percentile", "none"]
)
def test_what_stands_for_an_absent_channel_becomes_zero(kind: str) -> None:
    values = {"name": "x", "normalization": kind, "mean": 40.0, "std": 9.0}
    plan = ChannelPlan.model_validate(values)
    voxels = np.full((1, 3, 3, 3), absent_value(plan), np.float32)
    assert (normalize(voxels, (plan,)) == 0).all()


def test_files_of_a_scan_stay_together_where_one_is_missing(three: Plan) -> None:
    sources = Scan.of_files("x", [Path("x_t1.nii.gz"), Path("x_t1c.nii.gz")]).sources
    (found,) = group_files(sources, three.channels)
    assert found.missing == ("flair",)
    assert not found.reason


def test_predict_fills_what_the_model_can_do_without(
    three: Plan, tmp_path: Path, call: Predict
) -> None:
    plan = three.model_copy(update={"optional_channels": NAMES})
    tree = tmp_path / "tree"
    for name in ("t1", "t1c"):
        write(tree / f"x_{name}.nii.gz", seed=NAMES.index(name))
    (line,) = call(make_model(tmp_path / "able", plan), tree, tmp_path / "out")
    assert line.status == "done"
    assert any("flair is absent" in note for note in line.warnings)
    assert read_label_map(tmp_path / "out" / "x.nii.gz").voxels.shape == (20, 18, 16)
    (line,) = call(make_model(tmp_path / "unable", three), tree, tmp_path / "other")
    assert line.status == "failed"
    assert "no file for channel flair" in line.reason


def test_dropout_makes_channels_optional_and_leaves_the_rest_as_suggested(
    three: Plan,
) -> None:
    training = {"augmentation": {"channel_dropout": 0.25}}
    config = RunConfig.model_validate({"training": training})
    plan = change_plan(three, config, fingerprint=None)  # type: ignore[arg-type]
    assert plan.optional_channels == NAMES
    settled = settle_training(config.training, plan).augmentation
    plain = settle_training(RunConfig().training, plan).augmentation
    assert settled is not None
    assert plain is not None
    assert settled == plain.model_copy(update={"channel_dropout": 0.25})


def test_one_named_setting_does_not_turn_mirroring_of_sides_on(three: Plan) -> None:
    names = {"left lung": 1, "right lung": 2}
    labels = three.labels.model_copy(update={"names": names})
    plan = three.model_copy(update={"labels": labels})
    training = {"augmentation": {"elastic_probability": 0.5}}
    settings = RunConfig.model_validate({"training": training}).training
    settled = settle_training(settings, plan).augmentation
    assert settled is not None
    assert settled.flip_axes == ()
    assert settled.elastic_probability == 0.5
