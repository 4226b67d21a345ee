"""Imported nnU-Net folders predict what nnU-Net's predictor would, step by step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunet_folders import Example, predict_slowly

from medseg.geometry import affine_from_spacing
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.volume import Volume

SHAPE, SPACING = (18, 21, 13), (1.1, 0.9, 1.6)


def scan(
    *,
    channels: int = 1,
    spacing: tuple[float, float, float] = SPACING,
    shape: tuple[int, int, int] = SHAPE,
    low: float = 1.0,
) -> Volume:
    """Blobs above a bias field, with a margin of zeros, in float32."""
    random = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    parts = []
    for channel in range(channels):
        body = 60 * np.exp(-((grid - 0.2 * channel) ** 2).sum(0) * 2)
        parts.append(body + 10 * grid[channel % 3] + 8 * random.normal(size=shape))
    voxels = np.stack(parts).astype(np.float32)
    voxels += low - voxels.min()
    voxels[:, :2] = 0
    voxels[:, :, -3:] = 0
    voxels[:, :, :, :1] = 0
    return Volume(voxels, affine_from_spacing(spacing, (5.0, -3.0, 2.0)))


def compare(folder: Path, example: Example, volume: Volume, **options: Any) -> None:
    """The two label maps agree but for ties within float16's rounding."""
    model = SegmentationModel.load(example.write(folder))
    found = model.segment(volume)
    data = volume.voxels.transpose(0, 3, 2, 1)
    wanted = predict_slowly(example, data, volume.grid.spacing[::-1], **options)
    wanted = wanted.transpose(2, 1, 0)
    assert found.voxels.shape == volume.grid.shape
    np.testing.assert_array_equal(found.affine, volume.affine)
    assert len(np.unique(wanted)) > 1
    foreground = max(np.count_nonzero(wanted), 1)
    differing = np.count_nonzero(found.voxels != wanted)
    assert differing <= max(0.005 * foreground, 2), (differing, foreground)


def test_volume(tmp_path: Path) -> None:
    compare(tmp_path, Example(), scan())


def test_the_scan_stays_as_it_was(tmp_path: Path) -> None:
    voxels = np.asfortranarray(scan().voxels[0])[None]  # as NIfTI files are read
    volume = Volume(voxels, scan().affine)
    model = SegmentationModel.load(Example(mirror=None).write(tmp_path))
    before = volume.voxels.copy()
    first = model.segment(volume).voxels
    np.testing.assert_array_equal(volume.voxels, before)
    np.testing.assert_array_equal(model.segment(volume).voxels, first)


def test_two_folds(tmp_path: Path) -> None:
    compare(tmp_path, Example(folds=("0", "3")), scan())


def test_without_mirroring(tmp_path: Path) -> None:
    compare(tmp_path, Example(mirror=None), scan())


def test_flips_along_some_axes(tmp_path: Path) -> None:
    compare(tmp_path, Example(mirror=(0, 2)), scan())


@pytest.mark.parametrize("forward", [[1, 0, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0]])
def test_transposed_axes(tmp_path: Path, forward: list[int]) -> None:
    backward = [int(n) for n in np.argsort(forward)]
    plans = {"transpose_forward": forward, "transpose_backward": backward}
    example = Example(plans=plans, spacing=(0.8, 1.3, 1.0), patch=(8, 10, 12))
    example.strides = [[1, 1, 1], [2, 1, 2], [1, 2, 1]]
    compare(tmp_path, example, scan())


def test_thick_slices_are_resampled_apart(tmp_path: Path) -> None:
    volume = scan(spacing=(1.0, 1.0, 4.0), shape=(18, 20, 9))
    compare(tmp_path, Example(spacing=(3.0, 0.8, 0.9), patch=(4, 16, 12)), volume)


def test_slices(tmp_path: Path) -> None:
    example = Example(
        spacing=(0.8, 1.0), patch=(12, 16), configuration="2d", mirror=(0, 1)
    )
    compare(tmp_path, example, scan())


def test_several_channels_inside_the_mask(tmp_path: Path) -> None:
    def normalize(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        inside = image[mask]
        return np.where(mask, (image - inside.mean()) / inside.std(), image)

    volume = scan(channels=2)
    volume.voxels[:, 8:11, 4:7, 3:5] = 0  # a hole, which belongs to the inside
    volume.voxels[:, 3:6, :5, 2:6] = 0  # a notch, which does not
    changes = {"use_mask_for_norm": [True, True]}
    example = Example(channels=("T1", "T2"), changes=changes)
    compare(tmp_path, example, volume, normalize=normalize)


def test_ct(tmp_path: Path) -> None:
    def normalize(image: np.ndarray, _: np.ndarray) -> np.ndarray:
        return (np.clip(image, -20, 95) - 40) / 25

    example = Example(changes={"normalization_schemes": ["CTNormalization"]})
    compare(tmp_path, example, scan(low=-30.0), normalize=normalize)


def test_rescaled_to_one(tmp_path: Path) -> None:
    def normalize(image: np.ndarray, _: np.ndarray) -> np.ndarray:
        return (image - image.min()) / (image.max() - image.min())

    example = Example(changes={"normalization_schemes": ["RescaleTo01Normalization"]})
    compare(tmp_path, example, scan(), normalize=normalize)


def test_regions_are_painted_in_order(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": [3]}
    order = [1, 2, 3]
    example = Example(
        labels=labels, num_outputs=3, dataset={"regions_class_order": order}
    )
    compare(tmp_path, example, scan(), order=order)


def test_ignore_label_is_no_output(tmp_path: Path) -> None:
    labels = {"background": 0, "organ": [1], "ignore": 2}
    compare(tmp_path, Example(labels=labels, seed=4), scan())


def test_scan_smaller_than_the_window(tmp_path: Path) -> None:
    compare(tmp_path, Example(patch=(16, 24, 24)), scan())


def test_cascade_sees_the_stage_before(tmp_path: Path) -> None:
    first = Example(configuration="3d_lowres", spacing=(2.0, 1.8, 1.8))
    folder = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_cascade_fullres"
    first.write(folder.with_name("nnUNetTrainer__nnUNetPlans__3d_lowres"))
    volume = scan()
    sides = volume.grid.spacing[::-1]
    data = volume.voxels.transpose(0, 3, 2, 1)
    previous = predict_slowly(first, data, sides)
    second = Example(
        configuration="3d_cascade_fullres",
        extra_inputs=2,
        changes={"previous_stage": "3d_lowres"},
    )
    compare(folder, second, volume, previous=(previous, (1, 2)))


def test_reorienting_readers_turn_the_scan(tmp_path: Path) -> None:
    volume = scan()
    plain = SegmentationModel.load(Example().write(tmp_path / "plain"))
    reader = {"image_reader_writer": "NibabelIOWithReorient"}
    turning = SegmentationModel.load(Example(plans=reader).write(tmp_path / "turning"))
    expected = plain.segment(volume).voxels
    np.testing.assert_array_equal(turning.segment(volume).voxels, expected)
    # the same scan, stored from left to right and with k before i
    affine = volume.affine.copy()
    affine[:, 0] *= -1
    affine[:3, 3] += volume.affine[:3, 0] * (SHAPE[0] - 1)
    stored = Volume(
        volume.voxels[:, ::-1].transpose(0, 3, 1, 2).copy(),
        affine[:, [2, 0, 1, 3]],
    )
    found = turning.segment(stored).voxels
    np.testing.assert_array_equal(found.transpose(1, 2, 0)[::-1], expected)
    assert (plain.segment(stored).voxels.transpose(1, 2, 0)[::-1] != expected).any()
