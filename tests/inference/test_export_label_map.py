"""Logits come back on the scan's own grid, whatever preparing did to it."""

import numpy as np
import pytest
import torch
from whole_volume import export_label_map

from medseg.geometry import affine_from_spacing
from medseg.inference import label_writer
from medseg.inference.export import start_label_map
from medseg.inference.label_writer import class_scores, decide, region_membership
from medseg.inference.streaming import LogitSlab
from medseg.labels import LabelScheme
from medseg.networks.settings import UNetSettings
from medseg.placement import Placement
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
    back = export(one_hot(indices), prepared.placement)
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


def export(logits: torch.Tensor, placement: Placement, rows: int = 3) -> LabelMap:
    """Hands logits on a few rows at a time, as streaming does."""
    label_map, writer = start_label_map(placement, SCHEME)
    for new in range(0, logits.shape[1], rows):
        first, stop = max(new - 1, 0), min(new + rows, logits.shape[1])
        part = LogitSlab(0, first, new, stop, logits[:, first:stop], None)
        writer.put(part, writer.whole)
    return label_map


@pytest.mark.parametrize("rows", [1, 4, 99])
@pytest.mark.parametrize("slab_values", [1, 500, 10**6])
@pytest.mark.parametrize("sparse_share", [0.0, 1.0])
def test_rows_of_any_number_give_the_labels_of_all_logits_at_once(
    rows: int, slab_values: int, sparse_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    affine = affine_from_spacing((1.0, 1.0, 1.0))
    image = np.random.default_rng(0).normal(size=(1, 13, 9, 8)).astype(np.float32)
    placement = preprocess(Volume(image, affine), plan((1.3, 0.8, 1.0))).placement
    logits = torch.randn(3, *placement.prepared.shape)
    monkeypatch.setattr(label_writer, "SLAB_VALUES", slab_values)
    monkeypatch.setattr(label_writer, "SPARSE_SHARE", sparse_share)
    whole = export_label_map(logits, placement, SCHEME)
    assert np.array_equal(export(logits, placement, rows).voxels, whole.voxels)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.3, 0.8, 1.0)])
@pytest.mark.parametrize("sparse_share", [0.0, 1.0])
def test_classes_that_cannot_win_are_left_out_and_nothing_else_changes(
    spacing: tuple[float, ...], sparse_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = LabelScheme(names={f"organ {n}": 5 * n for n in range(1, 12)})
    affine = affine_from_spacing((1.0, 1.0, 1.0))
    image = np.random.default_rng(0).normal(size=(1, 13, 9, 8)).astype(np.float32)
    placement = preprocess(Volume(image, affine), plan(spacing)).placement
    logits = torch.randn(12, *placement.prepared.shape)
    logits[[1, 3, 4, 5, 8, 9, 11]] -= 50
    rows = LogitSlab(0, 0, 0, logits.shape[1], logits, None)
    assert label_writer.possible_classes(rows, scheme).tolist() == [0, 2, 6, 7, 10]
    monkeypatch.setattr(label_writer, "SPARSE_SHARE", sparse_share)
    label_map, writer = start_label_map(placement, scheme)
    writer.put(rows, writer.whole)
    whole = export_label_map(logits, placement, scheme)
    assert np.array_equal(label_map.voxels, whole.voxels)
    assert set(np.unique(label_map.voxels)) == {0, 10, 30, 35, 50}


def test_regions_decide_for_the_structure_that_explains_them() -> None:
    scheme = LabelScheme(
        names={"oedema": 1, "core": 2},
        regions={"whole": ("oedema", "core"), "inner": ("core",)},
    )
    assert region_membership(scheme).tolist() == [[0, 0], [1, 0], [1, 1]]
    logits = torch.tensor([[-2.0, 3.0, 3.0], [-2.0, -1.0, 2.0]]).reshape(2, 3, 1, 1)
    assert decide(logits, scheme).ravel().tolist() == [0, 1, 2]
    assert class_scores(logits, scheme).shape == (3, 3, 1, 1)
