"""Measurements of one case, on which the plan rests."""

from dataclasses import dataclass

import numpy as np

from medseg.datasets import Case
from medseg.errors import InputError, LabelError
from medseg.files import hash_text
from medseg.fingerprint import CaseFacts, ChannelFacts
from medseg.geometry import canonical_reorientation
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.placement import slices_of
from medseg.preparation.normalization import Stretch, contrasts_of, spread_of
from medseg.preparation.preprocessing import (
    nonzero_box,
    require_contrast,
    require_finite,
    require_two_axes,
    with_channels,
)
from medseg.reading import read_label_map, read_volume
from medseg.types import ImageArray, LabelArray
from medseg.volume import LabelMap, Volume

SAMPLES_PER_CASE = 10_000
"""Foreground intensities taken of each channel of a case."""


@dataclass(frozen=True)
class MeasuredCase:
    """Facts of a case, and foreground intensities to pool over the data set."""

    facts: CaseFacts
    samples: np.ndarray
    """Foreground intensities, float32, shape (C, n)."""
    component_voxels: tuple[np.ndarray, ...]
    """Size of each component of each structure, in voxels."""


def measure_case(
    case: Case, scheme: LabelScheme, channels: tuple[str, ...], *, reorient: bool
) -> MeasuredCase:
    """Facts of one case, read from its files.

    Raises:
        InputError: A file is missing, unreadable or unusable; it is named.
    """
    volume, label_map = read_case(case, scheme)
    name = f"{case.case_id}: {', '.join(path.name for path in case.images)}"
    volume = with_channels(volume, channels, name=name)
    require_two_axes(volume.grid.shape, name)
    require_contrast(volume.voxels, name)
    indices = scheme.to_indices(label_map.voxels, name=f"{case.case_id}: {case.label}")
    return measure(volume, indices, scheme.num_classes, case.case_id, reorient=reorient)


def read_case(case: Case, scheme: LabelScheme) -> tuple[Volume, LabelMap]:
    """The scan and its reference label map on its grid, in the scheme's values.

    Raises:
        InputError: A file is missing, unreadable or unusable, or the two do not lie
            on the same grid; the files are named.
    """
    if case.label is None:
        raise InputError(f"{case.case_id}: no label map is given")
    volume = read_volume(case.images if len(case.images) > 1 else case.images[0])
    require_finite(volume.voxels, f"{case.case_id}: {case.images[0]}")
    annotated = scheme.without(case.unannotated)
    label_map = read_label_map(case.label, scheme=annotated, grid=volume.grid)
    _require_absent(label_map, case, scheme)
    volume.grid.require_match(
        label_map.grid, what=f"{case.case_id}: {case.label} against {case.images[0]}"
    )
    return volume, label_map


def _require_absent(label_map: LabelMap, case: Case, scheme: LabelScheme) -> None:
    """Refuses a label map that holds what the case is said not to annotate."""
    for name in case.unannotated:
        count = int(np.count_nonzero(label_map.voxels == scheme.names[name]))
        if count:
            raise LabelError(
                f"{case.case_id}: {case.label} holds {count} voxels of {name}, which "
                "the case is said not to annotate; correct the column not_annotated"
            )


def measure(
    volume: Volume,
    indices: LabelArray,
    num_classes: int,
    case_id: str,
    *,
    reorient: bool,
) -> MeasuredCase:
    """Facts of a scan and its label indices, both on the scan's own grid."""
    voxels, spacing = volume.voxels, volume.grid.spacing
    if reorient:
        turn = canonical_reorientation(volume.affine)
        voxels, indices = turn.apply(voxels), turn.apply(indices)
        a, b, c = (spacing[axis] for axis in turn.order)
        spacing = (a, b, c)
    crop = nonzero_box(voxels)
    foreground = (indices > 0) & (indices != IGNORE_INDEX)
    counts = np.bincount(indices.ravel(), minlength=IGNORE_INDEX + 1)[:num_classes]
    components = _components(np.where(foreground, indices, 0))
    sizes = _component_sizes(components, indices, num_classes)
    picture = not reorient
    contrasts = contrasts_of(components, voxels) if picture else [None] * len(voxels)
    i, j, k = (int(size) for size in voxels.shape[1:])
    facts = CaseFacts(
        case_id=case_id,
        shape=(i, j, k),
        cropped_shape=(
            crop[0][1] - crop[0][0],
            crop[1][1] - crop[1][0],
            crop[2][1] - crop[2][0],
        ),
        spacing=spacing,
        orientation=volume.grid.orientation,
        channels=tuple(map(_channel_facts, voxels, contrasts)),
        num_voxels=tuple(int(count) for count in counts),
        num_components=tuple(len(size) for size in sizes),
        foreground_cropped=int(foreground.sum() - foreground[slices_of(crop)].sum()),
        light=picture and Stretch.measure(voxels).light,
    )
    return MeasuredCase(facts, _sample(voxels, foreground, case_id), sizes)


def _channel_facts(channel: np.ndarray, contrasts: np.ndarray | None) -> ChannelFacts:
    """Facts of one channel, given how far each structure of a picture stands out."""
    spreads, contrast = None, None
    if contrasts is not None:
        spreads = (spread_of(channel, stain=False), spread_of(channel, stain=True))
        contrast = float(np.median(contrasts)) if len(contrasts) else None
    integer = np.issubdtype(channel.dtype, np.integer)
    return ChannelFacts(
        smallest=float(channel.min()),
        largest=float(channel.max()),
        integer=bool(integer or np.array_equal(channel, np.rint(channel))),
        zero_fraction=float(np.mean(channel == 0)),
        spreads=spreads,
        contrast=contrast,
    )


def _components(indices: LabelArray) -> LabelArray:
    """Connected parts of the structures, numbered from 1."""
    import cc3d

    parts: LabelArray = cc3d.connected_components(
        np.ascontiguousarray(indices), connectivity=26
    )
    return parts


def _component_sizes(
    components: LabelArray, indices: LabelArray, num_classes: int
) -> tuple[np.ndarray, ...]:
    present = components > 0
    sizes = np.bincount(components[present])[1:]
    label = np.zeros(len(sizes), dtype=np.uint8)
    label[components[present].astype(np.int64) - 1] = indices[present]
    return tuple(sizes[label == index] for index in range(1, num_classes))


def _sample(voxels: ImageArray, foreground: np.ndarray, case_id: str) -> np.ndarray:
    """Intensities at random structure voxels; the same for the same case."""
    positions = np.flatnonzero(foreground)
    if len(positions) > SAMPLES_PER_CASE:
        rng = np.random.default_rng(int(hash_text(case_id)[:8], 16))
        positions = rng.choice(positions, SAMPLES_PER_CASE, shuffle=False)
    flat = voxels.reshape(len(voxels), -1)
    return np.asarray(flat[:, positions], dtype=np.float32)
