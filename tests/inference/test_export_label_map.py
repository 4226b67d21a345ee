"""Logits come back on the scan's own grid, whatever preparing did to it."""

import numpy as np
import pytest
import torch

from medseg.geometry import affine_from_spacing
from medseg.inference import export
from medseg.inference.decision import class_scores, decide, region_membership
from medseg.inference.export import export_label_map
from medseg.labels import LabelScheme
from medseg.networks.settings import UNetSettings
from medseg.plan import ChannelPlan, Plan
from medseg.preparation import preprocess
from medseg.preparation.preprocessing import preprocess_label
from medseg.volume import LabelMap, Volume

SCHEME = LabelScheme(names={"left": 3, "right": 7})


def plan(spacing: tuple[float, float, float]) -> Plan:
    return Plan(
        name="test",
        spatial_dims=3,
        target_spacing=spacing,
        channels=(ChannelPlan(name="MR"),),
        labels=SCHEME,
        patch_size=(8, 8, 8),
        batch_size=1,
        network=UNetSettings(channels=(4, 8), strides=(1, 2)),
    )


def one_hot(indices: np.ndarray) -> torch.Tensor:
    classes = torch.from_numpy(indices.astype(np.int64))
    return torch.nn.functional.one_hot(classes, 3).movedim(-1, 0).float()


def blocks(shape: tuple[int, int, int]) -> np.ndarray:
    labels = np.zeros(shape, dtype=np.uint8)
    labels[shape[0] // 4 : shape[0] // 2, 2:-2, 2:-2] = 3
    labels[shape[0] // 2 : -2, 2:-2, 2:-2] = 7
    return labels


def there_and_back(affine: np.ndarray, spacing: tuple[float, float, float]) -> float:
    labels = LabelMap(blocks((24, 20, 16)), affine)
    image = np.random.default_rng(0).normal(size=(1, 24, 20, 16)).astype(np.float32)
    prepared = preprocess(Volume(image, affine), plan(spacing))
    indices = preprocess_label(labels, prepared.placement, plan(spacing))
    back = export_label_map(one_hot(indices), prepared.placement, SCHEME)
    assert back.grid.mismatch(labels.grid) == ""
    return float((back.voxels == labels.voxels).mean())


@pytest.mark.parametrize(
    "axes", [np.diag([1, 1, 1]), np.diag([-1, -1, 1]), np.eye(3)[[2, 0, 1]]]
)
def test_orientation_is_undone_exactly(axes: np.ndarray) -> None:
    affine = affine_from_spacing((1.0, 1.0, 1.0), (5.0, -3.0, 9.0))
    affine[:3, :3] = axes
    assert there_and_back(affine, (1.0, 1.0, 1.0)) == 1.0


def test_finer_grid_and_back_is_exact_and_coarser_nearly() -> None:
    affine = affine_from_spacing((1.0, 1.0, 2.0))
    assert there_and_back(affine, (1.0, 1.0, 1.0)) == 1.0
    assert there_and_back(affine, (2.0, 2.0, 2.0)) > 0.9


def test_slabs_of_any_thickness_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    affine = affine_from_spacing((1.0, 1.0, 1.0))
    image = np.random.default_rng(0).normal(size=(1, 13, 9, 8)).astype(np.float32)
    placement = preprocess(Volume(image, affine), plan((1.3, 0.8, 1.0))).placement
    logits = torch.randn(3, *placement.prepared.shape)
    whole = export_label_map(logits, placement, SCHEME)
    monkeypatch.setattr(export, "SLAB_VOXELS", 1)
    rows = export_label_map(logits, placement, SCHEME)
    assert np.array_equal(whole.voxels, rows.voxels)


def test_regions_decide_for_the_structure_that_explains_them() -> None:
    scheme = LabelScheme(
        names={"oedema": 1, "core": 2},
        regions={"whole": ("oedema", "core"), "inner": ("core",)},
    )
    assert region_membership(scheme).tolist() == [[0, 0], [1, 0], [1, 1]]
    logits = torch.tensor([[-2.0, 3.0, 3.0], [-2.0, -1.0, 2.0]]).reshape(2, 3, 1, 1)
    assert decide(logits, scheme).ravel().tolist() == [0, 1, 2]
    assert class_scores(logits, scheme).shape == (3, 3, 1, 1)
