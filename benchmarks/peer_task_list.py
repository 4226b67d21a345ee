"""A task list of models trained by nnU-Net, composed by hand from its own answers.

    python peer_task_list.py WORK --data FOLDER          (an environment with nnunetv2)
    python task_list.py WORK > results/task_list.jsonl

Needs nothing of medseg. WORK gets three models in TotalSegmentator's layout
(``Dataset291_organs/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres`` and so on),
trained for `STEPS` steps on blocks of a thorax CT as `peer_nnunet_models.py` trains
them; a task list with a rough model that finds where to look, a common voxel size and
two models whose structures meet; a scan; and ``by_hand.nii.gz``: the rough model's
bounding box, the part in it brought to the voxel size by scipy, each model's label map
by `nnUNetPredictor`, and these painted one over the other, by numpy.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from peer_nnunet_models import (
    HALVES,
    ISOTROPIC,
    NUM_TRAINING,
    Kind,
    Source,
    make,
    predict,
    set_paths,
    without_transformers,
)

STEPS = 60
SPACING = (9.0, 9.0, 11.3)
"""Millimetres; no voxel of the scan lies halfway between two of these."""
MARGIN = 15.0
TASK_LIST = f"""\
name: thorax
spacing: [{", ".join(map(str, SPACING))}]
crop:
  model: results/Dataset298_body
  structures: [body]
  margin: {MARGIN}
models:
  - model: results/Dataset291_organs
    labels: {{left_lung: 1, right_lung: 2, liver: 5}}
  - model: results/Dataset292_middle
    labels: {{heart: 3, cord: 4}}
"""
PAINTED = {"organs": {1: 1, 2: 2, 3: 5}, "middle": {1: 3, 2: 4}}
"""Value in the merged label map of each model's values; later models over earlier."""


def relabelled(
    names: Mapping[str, tuple[int, ...]],
) -> Callable[[Path], dict[str, Any]]:
    """Blocks of the CT whose labels are some of its structures, numbered anew.

    Args:
        names: For each structure, the CT's values that it is made of.
    """

    def cases(raw: Path) -> dict[str, Any]:
        import numpy as np
        import SimpleITK as sitk  # noqa: N813

        dataset = Source.thorax()(raw)
        for file in (raw / "labels").iterdir():
            image = sitk.ReadImage(str(file))
            old = sitk.GetArrayFromImage(image)
            new = np.zeros_like(old)
            for value, parts in enumerate(names.values(), start=1):
                new[np.isin(old, parts)] = value
            other = sitk.GetImageFromArray(new)
            other.CopyInformation(image)
            sitk.WriteImage(other, str(file))
        labels = {name: value for value, name in enumerate(("background", *names))}
        return {**dataset, "labels": labels}

    return cases


ORGANS = Kind(
    relabelled({"left_lung": (1,), "right_lung": (2,), "liver": (5,)}),
    (11.0, 8.0, 8.0),
    (16, 40, 40),
    HALVES,
    ISOTROPIC,
    changes={"normalization_schemes": ["CTNormalization"]},
    plans={"dataset_name": "Dataset291_organs"},
    trainer="nnUNetTrainerNoMirroring",
    steps=STEPS,
)
KINDS = {
    "organs": ORGANS,
    "middle": replace(
        ORGANS,
        data=relabelled({"heart": (3,), "cord": (4,)}),
        plans={"dataset_name": "Dataset292_middle"},
    ),
    "body": replace(
        ORGANS,
        data=relabelled({"body": (1, 2, 3, 4, 5, 6)}),
        spacing=(14.0, 14.0, 14.0),
        patch=(16, 24, 24),
        plans={"dataset_name": "Dataset298_body"},
    ),
}


def nnunet_label_map(folder: Path, scan: Any, place: Path) -> Any:
    """nnU-Net's label map of a nibabel image, as an array."""
    import nibabel
    import numpy as np

    images, out = place / "images", place / "labels"
    images.mkdir(parents=True)
    nibabel.save(scan, images / "case_0000.nii.gz")
    predict(folder, images, out, None)
    return np.asarray(nibabel.load(out / "case.nii.gz").dataobj)


def by_hand(scan: Any, models: Mapping[str, Path], place: Path) -> Any:
    """The merged label map of a scan, from nnU-Net's own."""
    import nibabel
    import numpy as np
    from scipy import ndimage

    voxels, affine = scan.get_fdata(), scan.affine
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    rough = nnunet_label_map(models["body"], scan, place / "body")
    where, more = np.argwhere(rough == 1), np.ceil(MARGIN / sides).astype(int)
    low = np.maximum(where.min(axis=0) - more, 0)
    high = np.minimum(where.max(axis=0) + 1 + more, voxels.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = voxels[box]
    shape = np.maximum(np.rint(part.shape * sides / SPACING), 1).astype(int)
    scale = np.array(SPACING) / sides
    offset = (scale - 1) / 2  # outer faces of the first voxels coincide
    moved = ndimage.affine_transform(
        part, scale, offset, tuple(shape), order=3, mode="nearest"
    )
    grid = affine.copy()
    grid[:3, :3] = affine[:3, :3] * scale
    grid[:3, 3] = (affine @ [*(low + offset), 1.0])[:3]
    small = nibabel.Nifti1Image(moved.astype(np.float32), grid)
    merged = np.zeros(moved.shape, np.uint8)
    for name, values in PAINTED.items():
        found = nnunet_label_map(models[name], small, place / name)
        for value, becomes in values.items():
            merged[found == value] = becomes
    whole = np.zeros(voxels.shape, np.uint8)
    whole[box] = ndimage.affine_transform(
        merged, 1 / scale, -offset / scale, part.shape, order=0, mode="nearest"
    )
    print("box", [(b.start, b.stop) for b in box], "of", voxels.shape)
    print("voxels of each value", np.bincount(whole.ravel()).tolist())
    return nibabel.Nifti1Image(whole, affine)


def main() -> None:
    import shutil

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=Source.folder)
    arguments = parser.parse_args()
    Source.folder = arguments.data.resolve()
    work = arguments.work.resolve()
    set_paths(work)
    without_transformers()
    import nibabel

    made = {name: make(work, name, kind) for name, kind in KINDS.items()}
    models = {name: work / row["model"] for name, row in made.items()}
    source = work / "scans" / "organs" / "test" / f"case_{NUM_TRAINING:02d}_0000.nii.gz"
    (work / "scan").mkdir(exist_ok=True)
    shutil.copyfile(source, work / "scan" / "case.nii.gz")
    (work / "tasks.yaml").write_text(TASK_LIST)
    shutil.rmtree(work / "hand", ignore_errors=True)
    merged = by_hand(nibabel.load(source), models, work / "hand")
    nibabel.save(merged, work / "by_hand.nii.gz")
    (work / "models.json").write_text(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
