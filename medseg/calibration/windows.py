"""Which windows give the reference's label map for less work: measured once.

The reference blends training patches that overlap by half. Candidates, cheapest first:

    exact tiles      for networks without statistics over the window, where their halo
                     leaves enough: the logits of the whole volume
    less overlap     of training patches; the first one tried covers at least the
                     effective receptive field's half-width again

A candidate is taken when its labels and the reference's, over parts of real scans that
hold structures and a seam along each axis, have a mean Dice of at least 1 − ε. Other
sizes of window are tried for exact tiles only: instance normalization takes its
statistics from the window, so that another size is another network.

The choice is made at the end of training, on held-out cases, and kept in model.yaml: a
label map depends on the model and the scan, not on what was predicted before.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from medseg.device import is_out_of_memory
from medseg.inference.exact_tiling import computed_voxels, exact_axes
from medseg.inference.predictor import Predictor
from medseg.inference.window_spec import REFERENCE_OVERLAP, AxisLayout, WindowSpec
from medseg.model import CalibratedWindows, TriedWindows
from medseg.networks.analysis.effective_field import (
    effective_field,
    half_widths_holding,
)
from medseg.networks.network import SegmentationNetwork
from medseg.types import ImageArray, LabelArray

EPSILON = 0.002
"""Largest mean of 1 − Dice between the labels of chosen and reference windows."""

OVERLAPS = (0.125, 0.25, 0.375)
"""Shares that are tried, below the reference's 0.5."""

FIELD_SHARE = 0.9
"""Of the effective receptive field's mass, along each axis."""

EXACT_GROWTH = (2.0, 1.5, 1.0)
"""Sizes of exact tiles that are considered, in training patches."""

MOST_SCANS = 3
"""Scans with structures that are looked at."""


def calibrate_windows(
    predictor: Predictor, images: Iterable[ImageArray], *, epsilon: float = EPSILON
) -> CalibratedWindows | None:
    """The cheapest windows whose label maps agree with the reference's.

    Args:
        predictor: Whose windows are wanted; its own are not used.
        images: Prepared scans, each of shape (C, I, J, K); the first with structures
            are looked at.
        epsilon: Largest mean of 1 − Dice, over structures and scans.

    Returns:
        None where no scan shows a structure to the network.
    """
    layout = AxisLayout(predictor.plan.spatial_dims)
    reference = replace(predictor, windows=None).reference_windows
    scans = _with_structures(predictor, images, reference)
    if not scans:
        return None
    exact, reason = _exact_windows(predictor, layout, scans[0][0], reference)
    tried: list[TriedWindows] = []
    for windows in [*exact, *_less_overlap(predictor, *scans[0], reference)]:
        difference = float(
            np.mean(
                [
                    _difference(predictor, *scan, windows, reference, layout)
                    for scan in scans
                ]
            )
        )
        tried.append(_tried(windows, difference))
        if difference < epsilon:
            chosen = tried[-1]
            break
    else:
        chosen = _tried(reference, 0.0)
    return CalibratedWindows(
        **chosen.model_dump(),
        flips=bool(predictor.settings.flips),
        epsilon=epsilon,
        num_scans=len(scans),
        tried=tuple(tried),
        reason=reason,
    )


def windows_for(
    predictor: Predictor, calibrated: CalibratedWindows | None
) -> WindowSpec | None:
    """The calibrated windows for a predictor; None where they do not apply to it.

    Windows were measured with or without test-time flips and hold for that alone; exact
    tiles need an engine that does not pad windows itself.
    """
    if calibrated is None or calibrated.flips != bool(predictor.settings.flips):
        return None
    layout = AxisLayout(predictor.plan.spatial_dims)
    divisor = layout.window(predictor.divisor)
    if not calibrated.exact:
        return WindowSpec(calibrated.size, calibrated.overlap, divisor=divisor)
    axes = exact_axes(predictor.network)
    if isinstance(axes, str):
        return None
    if predictor.forward is not None and any(axis.margin for axis in axes):
        return None
    return WindowSpec(calibrated.size, calibrated.overlap, layout.axes(axes), divisor)


def joint_windows(
    calibrated: Sequence[CalibratedWindows | None],
) -> CalibratedWindows | None:
    """Windows for networks that predict together: the largest overlap of all.

    None (the reference) where one has none, or where their kinds or sizes differ.
    """
    known = [one for one in calibrated if one is not None]
    kinds = {(one.size, one.exact, one.flips) for one in known}
    if len(known) < len(calibrated) or len(kinds) != 1:
        return None
    return max(known, key=lambda one: one.overlap)


def _tried(windows: WindowSpec, difference: float) -> TriedWindows:
    return TriedWindows(
        size=windows.size,
        overlap=windows.overlap,
        exact=windows.exact is not None,
        difference=difference,
    )


def _with_structures(
    predictor: Predictor, images: Iterable[ImageArray], reference: WindowSpec
) -> list[tuple[ImageArray, tuple[int, ...]]]:
    """Scans in which the network finds structures, and where these are."""
    found: list[tuple[ImageArray, tuple[int, ...]]] = []
    for image in images:
        centre = _where_structures_are(predictor, image, reference)
        if centre is not None:
            found.append((image, centre))
        if len(found) == MOST_SCANS:
            break
    return found


def _difference(
    predictor: Predictor,
    image: ImageArray,
    centre: tuple[int, ...],
    windows: WindowSpec,
    reference: WindowSpec,
    layout: AxisLayout,
) -> float:
    part = _part(image, centre, windows, reference, layout)
    return mean_difference(
        _labels(predictor, part, windows),
        _labels(predictor, part, reference),
        num_classes=predictor.plan.targets.num_classes,
    )


def mean_difference(one: LabelArray, other: LabelArray, *, num_classes: int) -> float:
    """Mean of 1 − Dice over the structures that either label map holds."""
    values = []
    for index in range(1, num_classes):
        a, b = one == index, other == index
        size = int(a.sum()) + int(b.sum())
        if size:
            values.append(1 - 2 * int((a & b).sum()) / size)
    return float(np.mean(values)) if values else 0.0


def _labels(predictor: Predictor, part: ImageArray, windows: WindowSpec) -> LabelArray:
    fixed = replace(predictor, windows=windows)
    return fixed.predict_prepared(part)


def _where_structures_are(
    predictor: Predictor, image: ImageArray, reference: WindowSpec
) -> tuple[int, ...] | None:
    """The voxel of a structure next to the middle of all, by windows side by side."""
    labels = _labels(predictor, image, replace(reference, overlap=0.0))
    found = np.argwhere(labels > 0)
    if not len(found):
        return None
    nearest = np.abs(found - found.mean(axis=0)).sum(axis=1).argmin()
    return tuple(int(n) for n in found[nearest])


def _exact_windows(
    predictor: Predictor, layout: AxisLayout, image: ImageArray, reference: WindowSpec
) -> tuple[list[WindowSpec], str]:
    """Exact tiles that cost less than the least overlap, at most one; or why not."""
    axes = exact_axes(predictor.network)
    if isinstance(axes, str):
        return [], axes
    if predictor.forward is not None and any(axis.margin for axis in axes):
        return [], "the engine pads windows itself"
    if predictor.settings.flips:
        return [], "flipped tiles do not lie on the network's strides"
    shape = layout.shape(image.shape[1:])
    least = replace(reference, overlap=OVERLAPS[-1]).tiling(shape, axis=0)
    options = []
    for growth in EXACT_GROWTH:
        size = tuple(
            1 if n == 1 else max(round(n * growth) // step * step, step)
            for n, step in zip(reference.size, reference.divisor, strict=True)
        )
        windows = WindowSpec(size, OVERLAPS[-1], layout.axes(axes), reference.divisor)
        tiling = windows.tiling(shape, axis=0)
        if tiling.is_exact:
            options.append((computed_voxels(tiling), windows))
    if not options:
        return [], "the theoretical receptive field leaves nothing of a tile"
    cost, windows = min(options, key=lambda option: option[0])
    if cost > computed_voxels(least):
        return [], "halos of the theoretical receptive field cost more than overlap"
    return [windows], ""


def _less_overlap(
    predictor: Predictor,
    image: ImageArray,
    centre: tuple[int, ...],
    reference: WindowSpec,
) -> Iterator[WindowSpec]:
    least = _field_share(predictor, image, centre)
    for overlap in OVERLAPS:
        if overlap >= min(least, OVERLAPS[-1]):
            yield replace(reference, overlap=overlap)


def _field_share(
    predictor: Predictor, image: ImageArray, centre: tuple[int, ...]
) -> float:
    """Half-width of the effective receptive field, as a share of the window."""
    network = predictor.network
    if not isinstance(network, SegmentationNetwork):
        return 0.0
    dims = predictor.plan.spatial_dims
    size = predictor.plan.patch_size
    box = [slice(0, None) for _ in range(3)]
    for axis in range(dims):
        box[axis] = around(centre[axis], size[axis], image.shape[axis + 1])
    if dims == 2:
        box[2] = slice(centre[2], centre[2] + 1)
    patch = np.array(image[(slice(None), *box)], dtype=np.float32)
    patch = patch[..., 0] if dims == 2 else patch
    try:
        with torch.inference_mode(mode=False), torch.enable_grad():
            images = torch.from_numpy(patch).unsqueeze(0)
            field = effective_field(network, patch.shape[1:], images=images)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return OVERLAPS[-1]
    widths = half_widths_holding(field, FIELD_SHARE)
    return max(width / n for width, n in zip(widths, size, strict=True))


def _part(
    image: ImageArray,
    centre: tuple[int, ...],
    windows: WindowSpec,
    reference: WindowSpec,
    layout: AxisLayout,
) -> ImageArray:
    """The part about a voxel that holds two windows, and so a seam, along each axis.

    Exact tiles have no seams; two reference windows are taken for them. Of slices,
    eight.
    """
    overlap = REFERENCE_OVERLAP if windows.exact is not None else windows.overlap
    sizes = [int(n + n * (1 - overlap)) for n in reference.size]
    if layout.spatial_dims == 2:
        sizes = [8, *sizes[1:]]
    box = [slice(0, None)] * 3
    for size, axis in zip(sizes, layout.order, strict=True):
        box[axis] = around(centre[axis], size, image.shape[axis + 1])
    return np.ascontiguousarray(image[(slice(None), *box)])


def around(centre: int, size: int, whole: int) -> slice:
    """A range of a size about a voxel, shifted to lie within an axis."""
    start = max(0, min(centre - size // 2, whole - size))
    return slice(start, min(start + size, whole))
