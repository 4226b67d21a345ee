"""Very small pictures of touching cells whose truth is known, in two stains."""

from pathlib import Path

import numpy as np

from medseg.files import write_text
from medseg.io import write_label_map, write_volume
from medseg.types import AnyPath, ImageArray, LabelArray
from medseg.volume import LabelMap, Volume

STAINS = ("fluorescence", "purple_stain")
"""Bright on dark and grey; dark on light and coloured."""


def make_tiny_cells(
    folder: AnyPath,
    *,
    num_pictures: int = 12,
    size: int = 96,
    num_cells: int = 14,
    seed: int = 0,
) -> Path:
    """Writes pictures, numbered cells and a manifest, and returns the manifest.

    Cells are discs, some of which touch; every third picture is stained, and the last
    of each stain are test cases. Column ``modality`` names the stain.

    Args:
        folder: Made if it is not there.
        num_pictures: Number of pictures.
        size: Pixels along both sides.
        num_cells: Cells of each picture, at most.
        seed: Another seed gives other pictures.
    """
    folder = Path(folder)
    lines = ["case_id,patient_id,image,label,modality,split"]
    for number in range(num_pictures):
        generator = np.random.default_rng([seed, number])
        stain = STAINS[number % 3 == 0]
        labels = touching_discs(size, num_cells, generator=generator)
        picture = stained(labels, stain, generator=generator)
        name = f"cells_{number:02d}"
        image, label = f"images/{name}.png", f"labels/{name}.png"
        write_volume(folder / image, Volume(picture[..., None], np.eye(4)))
        write_label_map(folder / label, LabelMap(labels[..., None], np.eye(4)))
        split = "test" if number >= num_pictures - 3 else "train"
        lines.append(f"{name},dish_{number},{image},{label},{stain},{split}")
    write_text(folder / "cells.csv", "\n".join(lines) + "\n")
    write_text(
        folder / "cells.yaml",
        "name: Tiny cells\nlabels: {cell: 1}\ninstances: true\n"
        "channels: [red, green, blue]\n",
    )
    return folder / "cells.csv"


def touching_discs(
    size: int, most: int, *, generator: np.random.Generator
) -> LabelArray:
    """Numbered discs at random places, uint16; a later one lies below earlier ones."""
    labels: LabelArray = np.zeros((size, size), dtype=np.uint16)
    position = np.indices((size, size)).transpose(1, 2, 0)
    for number in range(1, most + 1):
        center = generator.uniform(0, size, size=2)
        inside = np.linalg.norm(position - center, axis=-1) < generator.uniform(5, 10)
        free = inside & (labels == 0)
        if free.sum() > 0.6 * inside.sum():
            labels[free] = number
    return labels


def stained(
    labels: LabelArray, stain: str, *, generator: np.random.Generator
) -> ImageArray:
    """A picture of numbered cells, uint8, shape (C, I, J)."""
    levels = generator.uniform(90, 220, size=int(labels.max(initial=0)) + 1)
    levels[0] = 12
    bright = levels[labels] + generator.normal(scale=6, size=labels.shape)
    if stain == "fluorescence":
        return _bytes(bright[None])
    shares = np.array([0.6, 0.9, 0.4]).reshape(-1, 1, 1)
    return _bytes(235 - shares * bright)


def _bytes(values: np.ndarray) -> ImageArray:
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)
