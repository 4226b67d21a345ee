"""A very small synthetic study whose truth is known, made in a moment, for tests."""

import json
from pathlib import Path

import numpy as np

from medseg.files import write_text
from medseg.geometry import affine_from_spacing
from medseg.io import write_label_map, write_volume
from medseg.types import AnyPath, ImageArray, LabelArray, Shape, Spacing
from medseg.volume import LabelMap, Volume

LABELS = {"ball": 1, "kernel": 2}


def make_tiny_study(
    folder: AnyPath,
    *,
    num_cases: int = 6,
    shape: Shape = (24, 28, 20),
    spacing: Spacing = (1.0, 1.0, 1.5),
    num_channels: int = 1,
    seed: int = 0,
) -> Path:
    """Writes a study in the Decathlon layout and returns its folder.

    Each image shows one bright ellipsoid (1 ball) with a brighter small ellipsoid
    inside (2 kernel) on a noisy dark ground, so that a network learns it in seconds.
    The first two cases show the same patient, which ``cases.csv`` says.

    Args:
        folder: Made if it is not there.
        num_cases: Number of cases.
        shape: Voxels of each case along (i, j, k).
        spacing: Voxel size in mm along (i, j, k).
        num_channels: Channels, in one 4D file where there are several.
        seed: Another seed gives another study.
    """
    folder, affine = Path(folder), affine_from_spacing(spacing)
    names = [f"tiny_{number:03d}" for number in range(num_cases)]
    for number, name in enumerate(names):
        generator = np.random.default_rng([seed, number])
        labels = ellipsoids(shape, spacing=spacing, generator=generator)
        image = shade(labels, num_channels=num_channels, generator=generator)
        file = f"{name}.nii.gz"
        write_volume(folder / "imagesTr" / file, Volume(image, affine))
        write_label_map(folder / "labelsTr" / file, LabelMap(labels, affine))
    write_text(folder / "dataset.json", _specification(names, num_channels))
    write_text(folder / "cases.csv", _patients(names))
    return folder


def make_tiny_membranes(folder: AnyPath, *, num_cases: int = 6, seed: int = 0) -> Path:
    """Writes slices of cells with dark membranes between them; returns the manifest.

    As in electron microscopy: the label map holds 255 inside of cells and 0, the
    structure, on the membranes. Two slices each count as a block of the stack.

    Args:
        folder: Made if it is not there.
        num_cases: Number of slices, 64 x 64 pixels each.
        seed: Another seed gives other cells.
    """
    folder = Path(folder)
    lines = ["case_id,patient_id,image,label"]
    for number in range(num_cases):
        generator = np.random.default_rng([seed, number])
        seeds = generator.uniform(0, 64, size=(12, 2))
        position = np.indices((64, 64)).reshape(2, -1).T
        away = np.linalg.norm(position[:, None] - seeds, axis=2)
        near = np.sort(away, axis=1)
        membrane = (near[:, 1] - near[:, 0] < 3).reshape(64, 64)
        noise = generator.normal(scale=20, size=(64, 64))
        grey = np.clip(np.where(membrane, 70, 180) + noise, 0, 255).astype(np.uint8)
        labels = np.where(membrane, 0, 255).astype(np.uint8)
        name = f"slice_{number:02d}"
        write_volume(
            folder / "images" / f"{name}.png", Volume(grey[None, :, :, None], np.eye(4))
        )
        write_label_map(
            folder / "labels" / f"{name}.png", LabelMap(labels[..., None], np.eye(4))
        )
        files = f"images/{name}.png,labels/{name}.png"
        lines.append(f"{name},block_{number // 2},{files}")
    write_text(folder / "membranes.csv", "\n".join(lines) + "\n")
    write_text(
        folder / "membranes.yaml",
        "name: Tiny membranes\nlabels: {membrane: 0}\nbackground: 255\n",
    )
    return folder / "membranes.yaml"


def ellipsoids(
    shape: Shape, *, spacing: Spacing, generator: np.random.Generator
) -> LabelArray:
    """Labels of an ellipsoid with a smaller one inside, at random places and sizes."""
    extent = np.asarray(shape) * spacing
    radii = extent * generator.uniform(0.2, 0.3, size=3)
    center = extent / 2 + generator.uniform(-0.12, 0.12, size=3) * extent
    position = np.indices(shape).reshape(3, -1).T * spacing
    distance = np.linalg.norm((position - center) / radii, axis=1).reshape(shape)
    return np.where(distance < 0.5, 2, distance < 1).astype(np.uint8)


def shade(
    labels: LabelArray, *, num_channels: int, generator: np.random.Generator
) -> ImageArray:
    """An image of the labels with noise, float32, shape (C, I, J, K)."""
    levels = np.array([100.0, 300.0, 500.0])[labels]
    gains = 1 + 0.1 * np.arange(num_channels).reshape(-1, 1, 1, 1)
    noise = generator.normal(scale=30, size=(num_channels, *labels.shape))
    return np.asarray(gains * levels + noise, dtype=np.float32)


def _specification(names: list[str], num_channels: int) -> str:
    values = {
        "name": "Tiny",
        "description": "Synthetic ellipsoids",
        "modality": {
            str(number): f"synthetic{number}" for number in range(num_channels)
        },
        "labels": {"0": "background", **{str(v): name for name, v in LABELS.items()}},
        "numTraining": len(names),
        "training": [
            {
                "image": f"./imagesTr/{name}.nii.gz",
                "label": f"./labelsTr/{name}.nii.gz",
            }
            for name in names
        ],
        "test": [],
    }
    return json.dumps(values, indent=1)


def _patients(names: list[str]) -> str:
    rows = [f"{name},patient_{max(number, 1):03d}" for number, name in enumerate(names)]
    return "\n".join(["case_id,patient_id", *rows]) + "\n"
