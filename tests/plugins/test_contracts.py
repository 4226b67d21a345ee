"""The checks that authors can run: users' plug-ins pass, broken ones are told why."""

import sys
from pathlib import Path
from typing import Any

import monai.losses
import monai.transforms
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medseg import plugins
from medseg.errors import PluginError
from medseg.store import Store
from medseg.testing import (
    check_layout,
    check_loss,
    check_metric,
    check_network,
    check_reader,
    check_sampler,
    check_schedule,
    check_tracker,
    check_transform,
)

HERE = Path(__file__).parent


def own(file: str, name: str) -> Any:
    """An object of a user's file, imported as the user's tests would."""
    sys.path.insert(0, str(HERE))
    try:
        return getattr(__import__(file), name)
    finally:
        sys.path.remove(str(HERE))


def cases_of(store: Store) -> list[Any]:
    return [store.case(case_id) for case_id in store.case_ids]


@pytest.mark.parametrize("dims", [2, 3])
def test_a_users_network(dims: int) -> None:
    named = f"{HERE}/own_network.py:HalfNet"
    found = check_network(named, args={"width": 3}, spatial_dims=dims)
    assert found.multiple_of == (2,) * dims
    assert check_network(own("own_network", "HalfNet"), spatial_dims=dims)
    ready = own("own_network", "HalfNet")(dims, 2, 3)
    assert check_network(ready, spatial_dims=dims).only_size is None


def test_a_users_loss() -> None:
    assert "class indices" in check_loss(f"{HERE}/own_loss.py:BrierLoss")
    assert check_loss(own("own_loss", "BrierLoss"))
    assert "softmax=True" in check_loss(monai.losses.DiceFocalLoss)
    assert "sigmoid=True" in check_loss(monai.losses.DiceLoss, regions=((1, 2), (2,)))


def test_a_users_sampler(tiny_store: Store) -> None:
    cases = cases_of(tiny_store)
    check_sampler(f"{HERE}/own_sampler.py:Smallest", cases, args={"least": 2})
    check_sampler(own("own_sampler", "Smallest"), cases)
    check_sampler("foreground", cases)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_users_transforms(dims: int) -> None:
    keys = ["image", "label"]
    check_transform(f"{HERE}/own_transform.py:shade", args={"most": 0.1})
    check_transform(own("own_transform", "shade"), spatial_dims=dims)
    rolled = f"{HERE}/own_transform.py:RandRolld"
    check_transform(rolled, args={"keys": keys}, spatial_dims=dims)
    check_transform("monai.transforms:RandGaussianNoise", args={"prob": 1.0})
    affine = {"keys": keys, "prob": 1.0, "rotate_range": 0.5}
    check_transform(
        "monai.transforms:RandAffined",
        args={**affine, "mode": ["bilinear", "nearest"]},
        spatial_dims=dims,
    )
    chain = monai.transforms.Compose(
        [
            monai.transforms.RandFlipd(keys, prob=0.5, spatial_axis=0),
            monai.transforms.RandScaleIntensityd("image", factors=0.2, prob=0.5),
        ]
    )
    check_transform(chain, spatial_dims=dims)
    with pytest.raises(PluginError, match="mixed label values"):
        check_transform("monai.transforms:RandAffined", args=affine)


def test_a_users_reader_and_layout(tmp_path: Path) -> None:
    study = npy_study(tmp_path / "study", num_cases=2)
    scan = study / "patient_0" / "scan.npy"
    volume = check_reader(f"{HERE}/own_reader.py:NumpyReader", scan)
    assert volume.affine[0, 0] == 2
    np.testing.assert_array_equal(volume.voxels[0], np.load(scan))
    plugins._used.clear()
    assert check_reader(own("own_reader", "NumpyReader")(), scan)
    dataset = check_layout(f"{HERE}/own_layout.py:PatientFolders", study)
    assert dataset.scheme.names == {"ball": 1}
    plugins._used["layouts"] = []
    assert check_layout(own("own_layout", "PatientFolders"), study)


def test_a_users_metric_schedule_and_tracker(tmp_path: Path) -> None:
    assert check_metric(f"{HERE}/own_metric.py:volume_ratio") == 1
    check_schedule(f"{HERE}/own_metric.py:triangle", args={"peak": 0.5})
    check_tracker(f"{HERE}/own_tracker.py:TextTracker", tmp_path)
    assert "finish FINISHED" in (tmp_path / "told.txt").read_text()


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        # a cube of 6 shifted by 1: 5/6 of each overlap
        ("DiceMetric", {}, 5 / 6),
        ("MeanIoU", {}, 5 / 7),
        ("HausdorffDistanceMetric", {}, 1.0),
        ("SurfaceDiceMetric", {"class_thresholds": [1.0]}, 1.0),
        ("ConfusionMatrixMetric", {"metric_name": "sensitivity"}, 5 / 6),
    ],
)
def test_monais_metrics(name: str, args: dict[str, Any], expected: float) -> None:
    found = check_metric(f"monai.metrics:{name}", args=args)
    assert found == pytest.approx(expected, abs=1e-6)


class Noisy(nn.Module):
    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x)
        return found + torch.rand_like(found)


class Unused(Noisy):
    def __init__(self, out_channels: int) -> None:
        super().__init__(out_channels)
        self.left = nn.Conv3d(2, 2, 1)


def rising(logits: Tensor, target: Tensor) -> Tensor:
    return -nn.functional.cross_entropy(logits, target)


def shaky(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return images + torch.rand(()), labels


def cut(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return images[..., 1:], labels[..., 1:]


class Classifier(Noisy):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x)
        return found.mean(dim=(2, 3, 4))


@pytest.mark.parametrize(
    ("check", "broken", "said"),
    [
        (check_network, Noisy, "two calls in eval mode differ"),
        (check_network, Unused, "no gradient reaches"),
        (check_network, nn.Identity, r"expected logits .N, 3, \*spatial."),
        (check_network, lambda out_channels: 3, "expected a torch.nn.Module"),
        (check_network, Classifier, "takes neither patches"),
        (check_loss, rising, "a loss falls where logits are right"),
        (check_loss, nn.GaussianNLLLoss, "cannot use logits"),
        (check_transform, shaky, "the same seed changes images otherwise"),
        (check_transform, cut, "expected images"),
        (check_transform, monai.transforms.RandFlip, "moves voxels"),
        (check_schedule, lambda done: -done, "expected a factor of 0 or more"),
        (check_metric, lambda p, r, spacing: float("nan"), "nearly right it says nan"),
    ],
)
def test_what_breaks_a_contract_is_told_why(check: Any, broken: Any, said: str) -> None:
    with pytest.raises((AssertionError, PluginError), match=said):
        check(broken)


def npy_study(folder: Path, *, num_cases: int) -> Path:
    """Balls in numpy's files, as `own_reader` and `own_layout` know them."""
    for number in range(num_cases):
        patient = folder / f"patient_{number}"
        patient.mkdir(parents=True)
        rng = np.random.default_rng(number)
        away = np.linalg.norm(np.indices((16, 16, 16)) - 7.5, axis=0)
        truth = (away < 3.5 + number / 2).astype(np.uint8)
        noise = rng.normal(scale=10, size=truth.shape)
        np.save(patient / "scan.npy", (100 * truth + noise).astype(np.float32))
        np.save(patient / "truth.npy", truth)
    (folder / "STUDY").write_text("ball\n")
    return folder
