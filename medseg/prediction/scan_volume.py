"""A scan's files as one volume with the model's channels, and what was done to it."""

from dataclasses import dataclass

import numpy as np

from medseg.errors import GridMismatchError, InputError
from medseg.geometry import Grid
from medseg.io.geometry_warning import recorded_geometry
from medseg.io.sources import LoadedScan, ScanSource, straight_scan
from medseg.plan import Plan
from medseg.prediction.channel_files import is_flat_picture
from medseg.prediction.scan import Scan
from medseg.preparation.normalization import absent_value
from medseg.reading import load_source, read_grid
from medseg.resampling import resample_label_map, resample_objects, resample_volume
from medseg.volume import LabelMap, Volume

BROUGHT_BACK = "the label map is brought back onto the scan's own, sheared grid"


@dataclass(frozen=True)
class ScanVolume:
    """Network input before preparing, and remarks for the record.

    Attributes:
        volume: One channel for each of the model's, unless a file holds others.
        notes: What was repaired, resampled or decided, in words.
        is_repaired: Whether its grid is not the one of the files.
        sheared_grid: The grid of a file whose axes lean, onto which its label map is
            brought back; None for others.
    """

    volume: Volume
    notes: tuple[str, ...] = ()
    is_repaired: bool = False
    sheared_grid: Grid | None = None


def load_scan(scan: Scan, plan: Plan, *, strict: bool = False) -> ScanVolume:
    """The volume of a scan.

    Args:
        scan: As a `Collector` gives it.
        plan: What the model expects.
        strict: Whether a scan that needs repair is refused instead.

    Raises:
        InputError: It cannot be read, does not fit the model, or is empty.
    """
    notes: list[str] = []
    with recorded_geometry() as said:
        loaded = [load_source(source, strict=strict) for source in scan.sources]
    for part in loaded:
        notes += [str(correction) for correction in part.corrections]
    notes += said
    volume = _stacked(scan, loaded, notes, strict=strict)
    if scan.missing and (len(scan.sources) > 1 or not _is_whole(volume, plan)):
        volume = _filled(volume, scan, plan, notes)
    flat = is_flat_picture(scan.files[0])
    _require_content(volume, plan, name=scan.shown, flat=flat)
    is_repaired = any(c.is_repair for part in loaded for c in part.corrections)
    sheared = _sheared_grid(scan, loaded[0])
    if sheared is not None:
        notes.append(BROUGHT_BACK)
    return ScanVolume(volume, tuple(dict.fromkeys(notes)), is_repaired, sheared)


def scan_of_volume(volume: Volume, plan: Plan, *, name: str) -> ScanVolume:
    """The same for a scan that is in memory already.

    Args:
        volume: The scan; its axes may lean.
        plan: What the model expects.
        name: What messages call it.

    Raises:
        InputError: It does not fit the model, or is empty.
    """
    straight = straight_scan(volume, name=name)
    _require_content(straight.volume, plan, name=name, flat=False)
    if not straight.corrections:
        return ScanVolume(straight.volume)
    notes = [str(correction) for correction in straight.corrections]
    notes.append(BROUGHT_BACK)
    return ScanVolume(
        straight.volume, tuple(notes), is_repaired=True, sheared_grid=volume.grid
    )


def on_own_grid(label_map: LabelMap, loaded: ScanVolume, plan: Plan) -> LabelMap:
    """The label map on the grid of the scan's file, where that one leans."""
    if loaded.sheared_grid is None:
        return label_map
    if plan.instance_target != "none":  # numbered objects keep their numbers
        return resample_objects(label_map, loaded.sheared_grid)
    return resample_label_map(label_map, loaded.sheared_grid)


def _sheared_grid(scan: Scan, loaded: LoadedScan) -> Grid | None:
    """The leaning grid of a scan that is a file; None where it is straight."""
    leans = any(correction.kind == "tilt" for correction in loaded.corrections)
    if scan.series is not None or not leans:
        return None
    return read_grid(scan.sources[0].files[0], allow_shear=True)


def _is_whole(volume: Volume, plan: Plan) -> bool:
    return volume.num_channels == len(plan.channels)


def _filled(volume: Volume, scan: Scan, plan: Plan, notes: list[str]) -> Volume:
    """The volume with absent channels as the network knows them from training.

    Raises:
        InputError: The network has not learned to do without them.
    """
    missing = ", ".join(scan.missing)
    if not set(scan.missing) <= set(plan.optional_channels):
        raise InputError(
            f"{scan.shown}: no file for channel {missing}; the model wants "
            f"{', '.join(c.name for c in plan.channels)}; one that was trained with "
            "augmentation.channel_dropout would do without"
        )
    if volume.num_channels + len(scan.missing) != len(plan.channels):
        raise InputError(
            f"{scan.shown}: files for channels but {missing} hold "
            f"{volume.num_channels} channels, expected one each"
        )
    notes.append(f"channel {missing} is absent; the model was trained to do without")
    present = iter(volume.voxels)
    shape = volume.voxels.shape[1:]
    parts = [
        np.full(shape, absent_value(channel), np.float32)
        if channel.name in scan.missing
        else next(present)
        for channel in plan.channels
    ]
    return Volume(np.stack(parts), volume.affine)


def _stacked(
    scan: Scan, loaded: list[LoadedScan], notes: list[str], *, strict: bool
) -> Volume:
    """All sources' channels on the grid of the first."""
    first = loaded[0].volume
    parts = [first.voxels]
    for source, part in zip(scan.sources[1:], loaded[1:], strict=True):
        volume = part.volume.turned_to(first.grid)
        difference = first.grid.mismatch(volume.grid)
        if difference:
            volume = _moved(volume, first, scan.sources[0], source, difference, strict)
            notes.append(
                f"channels: {source.name} was resampled onto the grid of "
                f"{scan.sources[0].name} ({difference})"
            )
        parts.append(volume.voxels)
    if len(parts) == 1:
        return first
    return Volume(np.concatenate(parts), first.affine)


def _moved(
    volume: Volume,
    first: Volume,
    reference: ScanSource,
    source: ScanSource,
    difference: str,
    strict: bool,  # noqa: FBT001
) -> Volume:
    """A channel on another's grid, where both lie in one DICOM frame of reference.

    Raises:
        GridMismatchError: Nothing says that both show the same place.
    """
    what = f"{source.name} does not lie on the grid of {reference.name}: {difference}"
    frames = [
        s.series.attributes["FrameOfReferenceUID"] if s.series else ""
        for s in (reference, source)
    ]
    if strict or not frames[0] or frames[0] != frames[1]:
        raise GridMismatchError(f"{what}; register the channels first")
    return resample_volume(volume, first.grid)


def _require_content(volume: Volume, plan: Plan, *, name: str, flat: bool) -> None:
    """Refuses volumes that hold nothing, and pictures where volumes are expected."""
    low, high = volume.voxels.min(), volume.voxels.max()
    if low == high:
        raise InputError(f"{name}: every voxel is {low:g}; there is nothing to segment")
    if plan.spatial_dims == 3 and (flat or volume.voxels.shape[-1] == 1):
        raise InputError(f"{name}: a single slice, the model was trained on volumes")
