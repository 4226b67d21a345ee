"""Which models a path means, and what they must agree on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from predict_phantoms import Predict
from workflow_models import make_model

from medseg.errors import MissingFileError, ModelError
from medseg.inference.settings import InferenceSettings
from medseg.io import read_label_map
from medseg.model import load_model
from medseg.plan import Plan
from medseg.prediction.ensemble import find_models, load_ensemble
from medseg.progress import Silent

CPU = torch.device("cpu")
PLAIN = InferenceSettings(engine="torch", precision="float32", overlap=0.5)


def test_commas_and_folders_name_several(
    model: Path, bright_model: Path, tmp_path: Path
) -> None:
    assert find_models(model) == (model,)
    assert find_models(Path(f"{model},{bright_model}")) == (model, bright_model)
    for name, folder in (("fold1", model), ("fold0", bright_model)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").symlink_to(folder)
    (tmp_path / "notes").mkdir()
    names = [folder.parent.name for folder in find_models(tmp_path)]
    assert names == ["fold0", "fold1"]


def test_no_model_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"expected model\.yaml"):
        find_models(tmp_path)


def test_logits_are_the_mean_of_the_models(model: Path, bright_model: Path) -> None:
    members = load_ensemble(Path(f"{model},{bright_model}"))
    forward, words = members.forward(PLAIN, device=CPU, progress=Silent())
    window = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        both = [load_model(f).network(window) for f in (model, bright_model)]
    torch.testing.assert_close(forward(window), (both[0] + both[1]) / 2)
    assert words == "torch float32, mean logits of 2 models"


def test_the_identity_covers_all_members_in_any_order(
    model: Path, bright_model: Path
) -> None:
    one = load_ensemble(Path(f"{model},{bright_model}")).combined.identity
    two = load_ensemble(Path(f"{bright_model},{model}")).combined.identity
    assert one == two
    assert one not in {
        load_ensemble(f).combined.identity for f in (model, bright_model)
    }


def test_models_of_other_data_are_refused(
    model: Path, small_plan: Plan, tmp_path: Path
) -> None:
    values = small_plan.model_dump() | {"target_spacing": (2.0, 2.0, 2.0)}
    other = make_model(tmp_path / "other", Plan.model_validate(values))
    with pytest.raises(ModelError, match=r"target_spacing is .* an ensemble needs"):
        load_ensemble(Path(f"{model},{other}"))


def test_another_network_may_join(
    model: Path, small_plan: Plan, tmp_path: Path
) -> None:
    network = {"name": "unet", "channels": [4, 8, 8], "strides": [1, 2, 2]}
    values = small_plan.model_dump() | {"network": network, "patch_size": (24, 16, 8)}
    deep = make_model(tmp_path / "deep", Plan.model_validate(values))
    members = load_ensemble(Path(f"{model},{deep}"))
    assert members.combined.plan.patch_size == (24, 16, 16)
    assert members.combined.plan.network == members.models[1].plan.network
    forward, _ = members.forward(PLAIN, device=CPU, progress=Silent())
    assert forward(torch.zeros(1, 1, 24, 16, 16)).shape == (
        1,
        small_plan.num_outputs,
        24,
        16,
        16,
    )


def test_a_call_with_two_models_is_one_prediction(
    model: Path, bright_model: Path, tiny_study: Path, call: Predict, tmp_path: Path
) -> None:
    scans = sorted((tiny_study / "imagesTr").glob("*.nii.gz"))[0]
    pair = Path(f"{model},{bright_model}")
    (line,) = call(pair, scans, tmp_path / "out", settings=PLAIN)
    assert line.status == "done"
    assert line.engine == "torch float32, mean logits of 2 models"
    assert line.model == load_ensemble(pair).combined.identity
    (again,) = call(pair, scans, tmp_path / "out", settings=PLAIN)
    assert again.status == "unchanged"


def test_flips_are_averaged_as_for_the_scores(
    small_plan: Plan, tiny_study: Path, call: Predict, tmp_path: Path
) -> None:
    scan = sorted((tiny_study / "imagesTr").glob("*.nii.gz"))[0]
    mirrored = make_model(tmp_path / "mirrored", small_plan, flips=True)
    plain = make_model(tmp_path / "plain", small_plan)
    found = {}
    for name, model, flips in (
        ("own", mirrored, None),
        ("asked", plain, True),
        ("forbidden", mirrored, False),
        ("neither", plain, None),
    ):
        settings = PLAIN.model_copy(update={"flips": flips})
        (line,) = call(model, scan, tmp_path / name, settings=settings)
        assert ("test-time flips averaged" in line.engine) == (name in ("own", "asked"))
        found[name] = read_label_map(tmp_path / name / line.outputs[0]).voxels
    np.testing.assert_array_equal(found["own"], found["asked"])
    np.testing.assert_array_equal(found["forbidden"], found["neither"])
    assert not np.array_equal(found["own"], found["neither"])


def test_a_model_that_saw_no_mirror_images_averages_none(
    small_plan: Plan, tiny_study: Path, call: Predict, tmp_path: Path
) -> None:
    scan = sorted((tiny_study / "imagesTr").glob("*.nii.gz"))[0]
    plan = small_plan.model_copy(update={"mirror_axes": ()})
    model = make_model(tmp_path / "model", plan)
    settings = PLAIN.model_copy(update={"flips": True})
    (line,) = call(model, scan, tmp_path / "out", settings=settings)
    assert "mirror" not in line.engine


def test_an_ensemble_averages_mirror_images_where_all_its_models_do(
    small_plan: Plan, model: Path, tmp_path: Path
) -> None:
    one = make_model(tmp_path / "one", small_plan, flips=True)
    other = make_model(tmp_path / "other", small_plan, bias=0.1, flips=True)
    assert load_ensemble(Path(f"{one},{other}")).combined.flips
    assert not load_ensemble(Path(f"{one},{model}")).combined.flips
