"""One case of a prepared store: read by the patch, indexed by class and lesion."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import StoreError
from medseg.files import atomic_folder
from medseg.placement import Placement
from medseg.store.arrays import (
    MAPPED,
    WHOLE,
    Box,
    Compression,
    write_array,
)
from medseg.store.voxel_index import VoxelIndex, count_blocks
from medseg.types import ImageArray, LabelArray, Shape

LARGEST_HALF = 6e4
"""Intensities above this are kept as float32; float16 ends at 65504."""


class StoredCase:
    """Arrays of one prepared case, memory-mapped on first use; can be pickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept: dict[str, np.ndarray] = {}

    def __reduce__(self) -> tuple[type["StoredCase"], tuple[Path]]:
        """A worker opens the files anew."""
        return (StoredCase, (self.folder,))

    @cached_property
    def case_id(self) -> str:
        """Name of the case."""
        return self.folder.name

    @property
    def key(self) -> str:
        """Hash of the files and settings the case was prepared from."""
        return str(self._facts["key"])

    @cached_property
    def shape(self) -> Shape:
        """Voxels along (i, j, k)."""
        i, j, k = self._facts["shape"]
        return (int(i), int(j), int(k))

    @cached_property
    def num_channels(self) -> int:
        """Channels of the image."""
        return int(self._facts["num_channels"])

    @property
    def num_voxels(self) -> tuple[int, ...]:
        """Voxels of each class, background first."""
        return self.index.num_voxels

    @cached_property
    def unannotated(self) -> tuple[int, ...]:
        """Classes that the case does not annotate; `label` has background there."""
        return tuple(int(index) for index in self._facts.get("unannotated", ()))

    @cached_property
    def placement(self) -> Placement:
        """How the case lies in the scan it was made from."""
        return Placement.from_json(self._facts["placement"])

    @cached_property
    def index(self) -> VoxelIndex:
        """Where classes and lesions lie."""
        return VoxelIndex(
            num_voxels=tuple(self._facts["num_voxels"]),
            num_kept=tuple(self._facts["num_kept"]),
            positions=self._map("positions"),
            lesions=np.array(self._map("lesions")),
        )

    @property
    def blocks(self) -> np.ndarray:
        """Structure voxels in each block of 8 x 8 x 1 voxels, uint8."""
        return np.asarray(self._map("blocks"))

    @property
    def image(self) -> Any:
        """The image as stored, float16 or float32; indexing it reads that part."""
        return self._kept["image"] if self._kept else self._map("image")

    @property
    def label(self) -> Any:
        """The label indices as stored, uint8; indexing it reads that part."""
        return self._kept["label"] if self._kept else self._map("label")

    @cached_property
    def is_painted(self) -> bool:
        """Whether single objects are kept beside their levels."""
        return bool(self._facts.get("painted", False))

    @property
    def painted(self) -> Any:
        """Single objects as `medseg.instances.object_colouring` has them, uint8."""
        return self._kept["painted"] if self._kept else self._map("painted")

    @property
    def target(self) -> Any:
        """What patches are cut from: single objects where they are kept, or labels."""
        return self.painted if self.is_painted else self.label

    def keep_in_memory(self) -> None:
        """Reads the voxels once and for all; for slow or shared disks."""
        names = ["image", "label", *(["painted"] if self.is_painted else [])]
        self._kept = {name: np.array(self._map(name)[:]) for name in names}

    def read_image(self, box: Box = WHOLE) -> ImageArray:
        """Intensities inside a box, float32, shape (C, ...)."""
        return np.asarray(self.image[(slice(None), *box)]).astype(np.float32)

    def read_label(self, box: Box = WHOLE) -> LabelArray:
        """Label indices inside a box, uint8; 255 is ignored."""
        return np.array(self.label[box])

    def voxels(self, index: int) -> np.ndarray:
        """Sampled positions of a class, shape (n, 3); none of background."""
        return self.index.of_class(index)

    def lesions(self, index: int) -> np.ndarray:
        """Connected components of a class, largest first, as `LESION` records."""
        return self.index.lesions_of(index)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        try:
            text = (self.folder / "case.json").read_text(encoding="utf-8")
            facts: dict[str, Any] = json.loads(text)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{self.folder}: not a prepared case; run `medseg prepare` again"
            ) from error
        return facts

    def _map(self, name: str) -> Any:
        try:
            return MAPPED.get(self.folder, name)
        except (OSError, ValueError, RuntimeError) as error:
            raise StoreError(
                f"{self.folder}: {name} cannot be read ({error}); delete the folder "
                "and run `medseg prepare` again"
            ) from error


def write_case(
    folder: Path,
    *,
    key: str,
    image: ImageArray,
    label: LabelArray,
    index: VoxelIndex,
    placement: Placement,
    compression: Compression = "none",
    painted: LabelArray | None = None,
    unannotated: Sequence[int] = (),
) -> None:
    """Writes one prepared case whole, or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    facts = {
        "key": key,
        "shape": list(label.shape),
        "num_channels": len(image),
        "num_voxels": index.num_voxels,
        "num_kept": index.num_kept,
        "placement": placement.to_json(),
        "painted": painted is not None,
        "unannotated": list(unannotated),
    }
    with atomic_folder(folder) as part:
        write_array(part, "image", to_stored(image), compression)
        write_array(part, "label", label, compression)
        if painted is not None:
            write_array(part, "painted", painted, compression)
        write_array(part, "positions", index.positions, "none")
        write_array(part, "lesions", index.lesions, "none")
        write_array(part, "blocks", count_blocks(label), "none")
        (part / "case.json").write_text(json.dumps(facts), encoding="utf-8")


def to_stored(image: ImageArray) -> ImageArray:
    """Half precision where it holds the intensities, else float32.

    Rounding is at most 1/2048 of a value, far below the noise of a scan that was
    normalised to a deviation of 1.
    """
    if image.size and float(np.abs(image).max()) > LARGEST_HALF:
        return image.astype(np.float32)
    return image.astype(np.float16)
