"""From a fingerprint to a plan that says why."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from medseg.labels import LabelScheme
from medseg.networks.settings import UNetSettings
from medseg.plan import ChannelPlan, Plan
from medseg.preparation.fingerprint import Fingerprint, IntensityFacts
from medseg.preparation.topology import Topology, choose_topology

Compute: TypeAlias = Literal["cpu", "gpu"]
"""What the plan is to be trained on."""

ANISOTROPIC = 3.0
"""From this ratio of spacings on, a data set counts as anisotropic (as nnU-Net)."""
MOSTLY_ZERO = 0.25
"""From this share of exact zeros on, the background was set to zero."""
WORTH_CROPPING = 0.75
"""Crop when less than this share of the voxels is left (as nnU-Net)."""
CPU_STEP_VOXELS = 720_000
"""Voxels of a batch that keep a training step near a second on a few cores."""


@dataclass(frozen=True)
class _Device:
    """What a device can do in a training step."""

    most_patch_voxels: float
    most_batch_voxels: float
    first_channels: int
    most_channels: int


def make_plan(
    fingerprint: Fingerprint,
    scheme: LabelScheme,
    *,
    spatial_dims: Literal[2, 3] | None = None,
    compute: Compute = "cpu",
    memory_bytes: int | None = None,
) -> Plan:
    """What to do with a data set, with a reason for each number.

    Args:
        fingerprint: What was measured.
        scheme: Structures to segment.
        spatial_dims: 2 or 3; by default 2 for scans of one slice, else 3.
        compute: What training will run on; a CPU needs a cheap network.
        memory_bytes: Memory for training; by default 8 GB.
    """
    reasons: dict[str, str] = {}
    dims = spatial_dims or _dims(fingerprint, reasons)
    reorient = not fingerprint.pictures
    crop = _crop(fingerprint, reasons)
    spacing = _spacing(fingerprint, dims, reasons)
    shape = _shape(fingerprint, spacing, crop=crop)
    device = _device(compute, dims, memory_bytes or 8 * 2**30)
    topology = choose_topology(
        shape[:dims],
        np.asarray(_own_spacing(fingerprint, spacing))[:dims],
        most_voxels=device.most_patch_voxels,
        strided_stem=compute == "cpu",
    )
    _explain_patch(topology, shape[:dims], device, reasons)
    reasons["reorient"] = (
        "pictures have no anatomical axes"
        if fingerprint.pictures
        else "all scans lie alike for the network, whatever their orientation in files"
    )
    return Plan(
        name=fingerprint.name,
        spatial_dims=dims,
        reorient=reorient,
        target_spacing=spacing,
        crop_nonzero=crop,
        channels=tuple(
            _channel(channel, fingerprint, reasons) for channel in fingerprint.channels
        ),
        labels=scheme,
        patch_size=topology.patch_size,
        batch_size=_batch_size(fingerprint, topology, device, shape, reasons),
        network=_network(topology, device, compute, reasons),
        reasons=reasons,
    )


def _dims(fingerprint: Fingerprint, reasons: dict[str, str]) -> Literal[2, 3]:
    if (fingerprint.shapes[:, 2] == 1).all():
        reasons["spatial_dims"] = f"all {fingerprint.num_cases} cases have one slice"
        return 2
    slices = np.median(fingerprint.shapes[:, 2])
    reasons["spatial_dims"] = (
        f"the median of {fingerprint.num_cases} cases has {slices:g} slices"
    )
    return 3


def _crop(fingerprint: Fingerprint, reasons: dict[str, str]) -> bool:
    shares = fingerprint.cropped_shapes.prod(axis=1) / fingerprint.shapes.prod(axis=1)
    share, lost = (
        float(np.median(shares)),
        sum(case.foreground_cropped for case in fingerprint.cases),
    )
    text = f"without the all-zero margin {share:.0%} of the voxels are left"
    if share < WORTH_CROPPING and lost:
        text += f", yet {lost} labelled voxels would go with it"
    reasons["crop_nonzero"] = text
    return share < WORTH_CROPPING and not lost


def _spacing(
    fingerprint: Fingerprint, dims: int, reasons: dict[str, str]
) -> tuple[float, float, float]:
    spacings = fingerprint.spacings
    target = np.median(spacings, axis=0)
    text = (
        f"the median of {fingerprint.num_cases} cases is "
        f"{' x '.join(f'{value:.4g}' for value in target)} mm"
    )
    worst = int(np.argmax(target))
    others = np.delete(target, worst)
    fewer = np.median(fingerprint.shapes[:, worst]) * ANISOTROPIC < np.median(
        np.delete(fingerprint.shapes, worst, axis=1)
    )
    if dims == 3 and target[worst] > ANISOTROPIC * others.max() and fewer:
        target[worst] = max(np.percentile(spacings[:, worst], 10), others.max())
        text += (
            f"; axis {'ijk'[worst]} is over {ANISOTROPIC:g} times coarser, so it gets "
            f"its 10th percentile, {target[worst]:.4g} mm"
        )
    if dims == 2:
        target[2] = 0
        text += "; 0 along k: slices stay as they are"
    reasons["target_spacing"] = text
    i, j, k = (round(float(value), 6) for value in target)
    return (i, j, k)


def _own_spacing(
    fingerprint: Fingerprint, spacing: tuple[float, float, float]
) -> list[float]:
    """The target, with the median where each scan keeps its own."""
    median = np.median(fingerprint.spacings, axis=0)
    return [s or float(m) for s, m in zip(spacing, median, strict=True)]


def _shape(
    fingerprint: Fingerprint, spacing: tuple[float, float, float], *, crop: bool
) -> np.ndarray:
    """Median voxels along each axis at the target spacing."""
    shapes = fingerprint.cropped_shapes if crop else fingerprint.shapes
    target = np.asarray(_own_spacing(fingerprint, spacing))
    scaled = np.maximum(np.rint(shapes * fingerprint.spacings / target), 1)
    return np.asarray(np.median(scaled, axis=0))


def _channel(
    channel: IntensityFacts, fingerprint: Fingerprint, reasons: dict[str, str]
) -> ChannelPlan:
    if channel.modality == "ct":
        clip = (channel.percentile_00_5, channel.percentile_99_5)
        _add(
            reasons,
            "channels",
            f"{channel.name}: CT, since {channel.modality_reason}"
            f"; clipped to the 0.5th and 99.5th percentile inside the structures, "
            f"{clip[0]:.4g} to {clip[1]:.4g}",
        )
        return ChannelPlan(
            name=channel.name,
            normalization="ct",
            clip=clip,
            mean=channel.mean,
            std=max(channel.std, 1e-6),
        )
    if fingerprint.pictures:
        _add(
            reasons,
            "channels",
            f"{channel.name}: the range of a picture is "
            "arbitrary, so each picture's 1st and 99th percentile become 0 and 1",
        )
        return ChannelPlan(name=channel.name, normalization="percentile")
    nonzero = channel.zero_fraction >= MOSTLY_ZERO
    _add(
        reasons,
        "channels",
        f"{channel.name}: z-score of each scan, as "
        f"{channel.modality_reason}; {channel.zero_fraction:.0%} of a scan is exactly "
        f"zero, so statistics are taken over {'non-zero' if nonzero else 'all'} voxels",
    )
    return ChannelPlan(name=channel.name, normalization="zscore", nonzero_only=nonzero)


def _device(compute: Compute, dims: int, memory_bytes: int) -> _Device:
    """Budgets: GPU as nnU-Net's 8 GB plans, scaled with memory; CPU for speed."""
    if compute == "cpu":
        patch = 80**3 if dims == 3 else 256**2
        return _Device(patch, CPU_STEP_VOXELS, 32, 320)
    scale = memory_bytes / (8 * 2**30)
    if dims == 3:
        return _Device(128**3 * scale, 2 * 128**3 * scale, 32, 320)
    return _Device(512**2 * scale, 12 * 512**2 * scale, 32, 512)


def _batch_size(
    fingerprint: Fingerprint,
    topology: Topology,
    device: _Device,
    shape: np.ndarray,
    reasons: dict[str, str],
) -> int:
    voxels = float(np.prod(topology.patch_size))
    fits = int(device.most_batch_voxels / voxels)
    total = fingerprint.num_cases * float(np.prod(shape))
    share = int(0.05 * total / voxels)
    size = max(2, min(fits, share))
    reasons["batch_size"] = (
        f"{fits} patches of {voxels:.0f} voxels fit, {share} are 5 % of the data set; "
        f"at least 2"
    )
    return size


def _network(
    topology: Topology, device: _Device, compute: Compute, reasons: dict[str, str]
) -> UNetSettings:
    count = len(topology.strides)
    channels = tuple(
        min(device.first_channels * 2**stage, device.most_channels)
        for stage in range(count)
    )
    how = (
        "the first convolution already halves, since a CPU pays for every voxel"
        if compute == "cpu"
        else "full resolution throughout, as a GPU can afford it"
    )
    reasons["network"] = f"{count} stages until an axis has under {2 * 4} voxels; {how}"
    return UNetSettings(
        channels=channels,
        strides=topology.strides,
        kernel_sizes=topology.kernel_sizes,
        decoder_convs=1 if compute == "cpu" else 2,
        deep_supervision=compute == "gpu" and count > 2,
    )


def _explain_patch(
    topology: Topology,
    shape: np.ndarray,
    device: _Device,
    reasons: dict[str, str],
) -> None:
    median = " x ".join(f"{size:g}" for size in shape)
    text = f"the median case has {median} voxels at the target spacing"
    if np.prod(shape) > device.most_patch_voxels:
        text += f"; a patch may have {device.most_patch_voxels:.0f}"
    reasons["patch_size"] = text + "; rounded to what the network divides by"


def _add(reasons: dict[str, str], key: str, text: str) -> None:
    reasons[key] = f"{reasons[key]}; {text}" if key in reasons else text
