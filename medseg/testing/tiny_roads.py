"""Very small road scenes whose truth is known: colours, palette labels, a rim."""

from pathlib import Path

import numpy as np

from medseg.files import atomic_write, write_text
from medseg.io import write_volume
from medseg.types import ImageArray, LabelArray
from medseg.volume import Volume

LABELS = {"road": 1, "car": 2, "tree": 3}
RIM = 255
"""Marks the outlines of objects, which are neither learnt nor scored."""
_COLOURS = np.array(
    [[150, 190, 230], [95, 95, 100], [190, 40, 45], [40, 120, 50]], dtype=float
)
"""Of sky, road, car and tree."""


def make_tiny_roads(
    folder: Path,
    *,
    num_scenes: int = 8,
    size: tuple[int, int] = (96, 64),
    seed: int = 0,
) -> Path:
    """Writes pictures in colour and palette label maps, and returns the folder.

    As PASCAL VOC stores them: label maps are palette PNGs whose numbers are the
    classes, and a rim of 255, two pixels wide, runs along the outlines of objects.
    ``dataset.yaml`` names the classes and what is ignored. Every two scenes are of one
    drive, which ``patients.csv`` says.

    Args:
        folder: Made if it is not there.
        num_scenes: Number of pictures.
        size: Width and height in pixels.
        seed: Another seed gives other scenes.
    """
    for number in range(num_scenes):
        generator = np.random.default_rng([seed, number])
        labels = road_scene(size, generator=generator)
        picture = coloured(labels, generator=generator)
        name = f"scene_{number:02d}.png"
        write_volume(folder / "images" / name, Volume(picture[..., None], np.eye(4)))
        _write_palette(folder / "labels" / name, with_rim(labels))
    values = ", ".join(f"{name}: {value}" for name, value in LABELS.items())
    write_text(
        folder / "dataset.yaml",
        f"name: Tiny roads\nlabels: {{{values}}}\nignore: {RIM}\n"
        "channels: [red, green, blue]\n",
    )
    rows = [f"scene_{n:02d},drive_{n // 2}" for n in range(num_scenes)]
    write_text(folder / "patients.csv", "\n".join(["case_id,patient_id", *rows]) + "\n")
    return folder


def road_scene(
    size: tuple[int, int], *, generator: np.random.Generator, shift: float = 0.0
) -> LabelArray:
    """Labels of a road with a car and two trees, shape (I, J), uint8.

    Args:
        size: Width and height.
        generator: Draws where things stand.
        shift: Pixels that the car has moved to the right, for frames of a video.
    """
    width, height = size
    i, j = np.indices(size)
    horizon = height * generator.uniform(0.4, 0.5)
    middle = width * generator.uniform(0.4, 0.6)
    labels: LabelArray = np.zeros(size, dtype=np.uint8)
    spread = 0.15 * width + 0.8 * (j - horizon)
    labels[(j > horizon) & (np.abs(i - middle) < spread)] = LABELS["road"]
    for side in (-1, 1):
        x = middle + side * width * generator.uniform(0.25, 0.4)
        y, radius = horizon + 2, height * generator.uniform(0.1, 0.16)
        labels[(i - x) ** 2 + (j - y) ** 2 < radius**2] = LABELS["tree"]
    x, y = (
        middle + generator.uniform(-6, 6) + shift,
        height * generator.uniform(0.7, 0.8),
    )
    half = (width * 0.09, height * 0.09)
    labels[(np.abs(i - x) < half[0]) & (np.abs(j - y) < half[1])] = LABELS["car"]
    return labels


def coloured(labels: LabelArray, *, generator: np.random.Generator) -> ImageArray:
    """A noisy picture of a scene in its light, uint8, shape (3, I, J)."""
    light = generator.uniform(0.75, 1.1)
    noise = generator.normal(scale=10, size=(*labels.shape, 3))
    picture = np.clip(light * _COLOURS[labels] + noise, 0, 255).astype(np.uint8)
    return np.moveaxis(picture, -1, 0)


def with_rim(labels: LabelArray) -> LabelArray:
    """Labels with both sides of every border marked as to be ignored."""
    rim = np.zeros(labels.shape, dtype=bool)
    for axis in (0, 1):
        differs = np.diff(labels.astype(int), axis=axis) != 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        rim[tuple(before)] |= differs
        rim[tuple(after)] |= differs
    return np.where(rim, np.uint8(RIM), labels)


def _write_palette(path: Path, labels: LabelArray) -> None:
    """A PNG whose pixels are numbers of a palette, the numbers being the labels."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(labels.T))
    colours = np.full((256, 3), 224, dtype=np.uint8)
    colours[: len(_COLOURS)] = _COLOURS
    picture.putpalette(colours.tobytes())
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG")
