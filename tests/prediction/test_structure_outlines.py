"""A picture with structures gets its outlines in their colours; a scan gets none."""

from pathlib import Path

import numpy as np
from PIL import Image
from predict_phantoms import Predict
from skimage.segmentation import find_boundaries
from workflow_models import make_model

from medseg.io import read_label_map, write_volume
from medseg.plan import Plan
from medseg.structure_colors import rgb_of
from medseg.volume import Volume


def test_structures_of_a_picture_are_outlined_in_their_colours(
    small_plan: Plan, call: Predict, tmp_path: Path
) -> None:
    flat = {"spatial_dims": 2, "patch_size": (16, 16)}
    plan = small_plan.model_copy(update=flat)
    model = make_model(tmp_path / "model", plan, bias=0.5)
    pixels = np.random.default_rng(0).integers(0, 255, (24, 28)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    scan = Volume(pixels[None, :, :, None], np.eye(4))
    write_volume(tmp_path / "in" / "b.nii.gz", scan)
    picture, volume = call(model, tmp_path / "in", tmp_path / "out")
    assert picture.outputs == ("a.png", "outlines/a.png")
    assert volume.outputs == ("b.nii.gz",)
    labels = read_label_map(tmp_path / "out" / "a.png").voxels[..., 0]
    drawn = np.asarray(Image.open(tmp_path / "out" / "outlines" / "a.png"))
    drawn = drawn.transpose(1, 0, 2)
    edges = find_boundaries(labels, mode="inner")
    assert edges.any()
    for value in np.unique(labels[edges]):
        (colour,) = np.unique(drawn[edges & (labels == value)], axis=0)
        assert tuple(colour) == rgb_of(int(value))
    grey = drawn[~edges]
    assert (grey == grey[:, :1]).all()
    again = call(model, tmp_path / "in", tmp_path / "out")
    assert {line.status for line in again} == {"unchanged"}
