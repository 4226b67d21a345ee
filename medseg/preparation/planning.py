"""From a fingerprint to a plan that says why."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from medseg.fingerprint import Fingerprint
from medseg.instances.targets import Target
from medseg.labels import LabelScheme
from medseg.networks.settings import UNetSettings
from medseg.plan import Plan
from medseg.preparation.intensity_plan import plan_channels
from medseg.preparation.preprocessing import axes_with_last
from medseg.preparation.topology import Topology, choose_topology
from medseg.types import Spacing


def known_spacing(
    fingerprint: Fingerprint, spacing: tuple[float, float, float]
) -> np.ndarray:
    """The target, with the median where each scan keeps its own."""
    median = np.median(fingerprint.spacings, axis=0)
    return np.where(np.asarray(spacing) > 0, spacing, median)


def median_shape(
    fingerprint: Fingerprint, spacing: tuple[float, float, float], *, crop: bool
) -> np.ndarray:
    """Median voxels along each axis at the target spacing."""
    shapes = fingerprint.cropped_shapes if crop else fingerprint.shapes
    target = known_spacing(fingerprint, spacing)
    scaled = np.maximum(np.rint(shapes * fingerprint.spacings / target), 1)
    return np.asarray(np.median(scaled, axis=0))


Compute: TypeAlias = Literal["cpu", "gpu"]
"""What a plan is to be trained on."""

GPU_BYTES_PER_VOXEL = 2000
"""A U-Net of 32 channels at full resolution with AMP: nnU-Net's 128³ patches by two
take 7.7 GB (Isensee et al., arXiv:2404.09556, table 2)."""
CPU_BYTES_PER_VOXEL = 900
"""A U-Net of mostly half resolution, in float32."""
CPU_BATCH_VOXELS = 530_000
"""Two patches of 64³: a step of such a network then takes well under a second on two
cores, and in minutes many small steps reach a higher Dice than few large ones."""
CPU_PATCH = {2: 256**2, 3: 80**3}
"""Largest patch on a CPU."""
GPU_PATCH = {2: 1024**2, 3: 160**3}
"""Largest patch on a GPU, near nnU-Net's presets for 24 GB; chosen, not measured."""
MOST_OF_DATA_SET = 0.05
"""Share of the data set's voxels that one batch may show (as nnU-Net)."""


@dataclass(frozen=True)
class Budget:
    """What fits into a training step."""

    patch_voxels: float
    """Voxels that a patch may have."""
    batch_voxels: float
    """Voxels that a batch may have."""
    reason: str
    """Why."""


def find_budget(compute: Compute, spatial_dims: int, memory_bytes: int) -> Budget:
    """What fits, given the memory for training."""
    gigabytes = memory_bytes / 2**30
    if compute == "cpu":
        fits = memory_bytes / CPU_BYTES_PER_VOXEL
        batch = min(fits, CPU_BATCH_VOXELS)
        patch = min(CPU_PATCH[spatial_dims], batch / 2)
        why = f"a CPU with {gigabytes:.0f} GB for training: fast steps count"
    else:
        batch = memory_bytes / GPU_BYTES_PER_VOXEL
        patch = min(GPU_PATCH[spatial_dims], batch / 2)
        why = f"a GPU with {gigabytes:.0f} GB for training"
    return Budget(patch, batch, f"{why}; {batch:.2g} voxels fit into a step")


def choose_batch_size(
    budget: Budget, patch_voxels: float, data_set_voxels: float
) -> tuple[int, str]:
    """Patches per step, at least two, and why."""
    fits = int(budget.batch_voxels / patch_voxels)
    share = int(MOST_OF_DATA_SET * data_set_voxels / patch_voxels)
    return max(2, min(fits, share)), (
        f"{budget.reason}, {fits} patches of {patch_voxels:.0f}; "
        f"{share} are {MOST_OF_DATA_SET:.0%} of the data set; the smaller of both, "
        "at least 2"
    )


ANISOTROPIC = 3.0
"""From this ratio of spacings on, a data set counts as anisotropic (as nnU-Net)."""
WORTH_CROPPING = 0.75
"""Crop when less than this share of the voxels is left (as nnU-Net)."""
DEFAULT_MEMORY_BYTES = 8 * 2**30
"""What a plan is made for when nobody says."""
FIRST_CHANNELS = 32
"""Feature channels of the first stage; each further stage has twice as many."""
MOST_CHANNELS = {2: 512, 3: 320}
"""Feature channels of no stage exceed this (as nnU-Net)."""


def make_plan(
    fingerprint: Fingerprint,
    scheme: LabelScheme,
    *,
    spatial_dims: Literal[2, 3] | None = None,
    compute: Compute = "cpu",
    memory_bytes: int | None = None,
    instance_target: Target | Literal["none"] | None = None,
    target_spacing: Spacing | None = None,
) -> Plan:
    """What to do with a data set, with a reason for each number.

    Args:
        fingerprint: What was measured.
        scheme: Structures to segment.
        spatial_dims: 2 or 3; by default 2 for scans of one slice, else 3.
        compute: What training will run on; a CPU needs a cheap network.
        memory_bytes: Memory for training; by default 8 GB.
        instance_target: What is learned of single objects; by default rim and inside
            where labels number objects.
        target_spacing: Voxel size in mm; by default near the median of the cases.
    """
    dims, why_dims = _choose_dims(fingerprint, spatial_dims)
    slice_axis, why_slices = _choose_slice_axis(fingerprint, dims)
    fingerprint = fingerprint.permuted(axes_with_last("ijk".index(slice_axis)))
    crop, why_crop = _choose_crop(fingerprint)
    spacing, why_spacing = _choose_spacing(fingerprint, dims)
    if target_spacing is not None:
        spacing, why_spacing = target_spacing, f"asked for; {why_spacing}"
    target, why_target = _choose_target(scheme, instance_target)
    channels, why_channels = plan_channels(fingerprint, cells=scheme.instances)
    shape = median_shape(fingerprint, spacing, crop=crop)
    budget = find_budget(compute, dims, memory_bytes or DEFAULT_MEMORY_BYTES)
    topology = choose_topology(
        shape[:dims],
        known_spacing(fingerprint, spacing)[:dims],
        most_voxels=budget.patch_voxels,
        strided_stem=compute == "cpu",
    )
    batch_size, why_batch = choose_batch_size(
        budget,
        float(np.prod(topology.patch_size)),
        fingerprint.num_cases * float(np.prod(shape)),
    )
    return Plan(
        name=fingerprint.name,
        spatial_dims=dims,
        reorient=not fingerprint.pictures,
        slice_axis=slice_axis,
        target_spacing=spacing,
        crop_nonzero=crop,
        channels=channels,
        labels=scheme,
        instance_target=target,
        patch_size=topology.patch_size,
        batch_size=batch_size,
        network=_network(topology, dims, compute),
        reasons={
            "spatial_dims": why_dims,
            "reorient": _explain_reorient(fingerprint),
            "slice_axis": why_slices,
            "target_spacing": why_spacing,
            "crop_nonzero": why_crop,
            "channels": why_channels,
            "instance_target": why_target,
            "patch_size": _explain_patch(shape[:dims], budget.patch_voxels),
            "batch_size": why_batch,
            "network": _explain_network(topology, compute),
        },
    )


def _choose_dims(
    fingerprint: Fingerprint, asked: Literal[2, 3] | None
) -> tuple[Literal[2, 3], str]:
    fewest = fingerprint.shapes.min(axis=1)
    if asked is not None:
        return asked, f"asked for; the median case has {np.median(fewest):g} slices"
    if (fewest == 1).all():
        return 2, f"all {fingerprint.num_cases} cases have one slice"
    return 3, (
        f"the median of {fingerprint.num_cases} cases has {np.median(fewest):g} slices"
    )


def _choose_slice_axis(
    fingerprint: Fingerprint, dims: int
) -> tuple[Literal["i", "j", "k"], str]:
    """In 2D, the axis of the fewest and thickest slices, as nnU-Net transposes to."""
    names: tuple[Literal["i", "j", "k"], ...] = ("i", "j", "k")
    if dims == 3 or fingerprint.pictures:
        return "k", "the usual order of axes"
    spacing = np.median(fingerprint.spacings, axis=0)
    single = (fingerprint.shapes == 1).all(axis=0)
    alike = 1e-3 * min(1.0, float(spacing.max()))
    score = spacing + 1e6 * single + alike * np.arange(3)  # k where all are alike
    axis = names[int(np.argmax(score))]
    thick = f"{spacing['ijk'.index(axis)]:.4g} mm in the median case"
    return axis, f"slices are thickest along {axis} ({thick}), or only one is there"


def _choose_target(
    scheme: LabelScheme, asked: Target | Literal["none"] | None
) -> tuple[Target | Literal["none"], str]:
    if asked is not None:
        return asked, "asked for"
    if scheme.instances:
        return "border", "labels number objects; rims keep neighbours apart"
    return "none", "labels are structures, not numbered objects"


def _explain_reorient(fingerprint: Fingerprint) -> str:
    if fingerprint.pictures:
        return "pictures have no anatomical axes"
    found = sorted({case.orientation for case in fingerprint.cases})
    return f"files lie {', '.join(found)}; the network sees all of them as RAS"


def _choose_crop(fingerprint: Fingerprint) -> tuple[bool, str]:
    shares = fingerprint.cropped_shapes.prod(axis=1) / fingerprint.shapes.prod(axis=1)
    share = float(np.median(shares))
    lost = sum(case.foreground_cropped for case in fingerprint.cases)
    text = f"without the all-zero margin {share:.0%} of the voxels are left"
    if share < WORTH_CROPPING and lost:
        text += f", yet {lost} labelled voxels would go with it"
    return share < WORTH_CROPPING and not lost, text


def _choose_spacing(
    fingerprint: Fingerprint, dims: int
) -> tuple[tuple[float, float, float], str]:
    """The median; the 10th percentile along a much coarser axis, as in nnU-Net."""
    target = np.median(fingerprint.spacings, axis=0)
    why = (
        f"the median of {fingerprint.num_cases} cases is "
        f"{' x '.join(f'{value:.4g}' for value in target)} mm"
    )
    if dims == 2:
        return (_rounded(target[0]), _rounded(target[1]), 0.0), (
            f"{why}; 0 along k leaves the distance of slices as it is"
        )
    worst = int(np.argmax(target))
    if _is_anisotropic(fingerprint, target, worst):
        finest = float(np.delete(target, worst).max())
        low = float(np.percentile(fingerprint.spacings[:, worst], 10))
        target[worst] = max(low, finest)
        why += (
            f"; {'ijk'[worst]} is over {ANISOTROPIC:g} times coarser than the others "
            f"and gets its 10th percentile, {target[worst]:.4g} mm"
        )
    return (_rounded(target[0]), _rounded(target[1]), _rounded(target[2])), why


def _is_anisotropic(fingerprint: Fingerprint, target: np.ndarray, worst: int) -> bool:
    """Coarser and fewer voxels along one axis, both by a factor."""
    counts = np.median(fingerprint.shapes, axis=0)
    coarser = target[worst] > ANISOTROPIC * np.delete(target, worst).max()
    fewer = counts[worst] * ANISOTROPIC < np.delete(counts, worst).min()
    return bool(coarser and fewer)


def _explain_patch(shape: np.ndarray, most: float) -> str:
    median = " x ".join(f"{size:g}" for size in shape)
    text = f"the median case has {median} voxels at the target spacing"
    if np.prod(shape) > most:
        text += f", a patch at most {most:.0f}: the largest cube in mm"
    return f"{text}; rounded up to what the network divides by"


def _network(topology: Topology, dims: int, compute: Compute) -> UNetSettings:
    count = len(topology.strides)
    return UNetSettings(
        channels=tuple(
            min(FIRST_CHANNELS * 2**stage, MOST_CHANNELS[dims])
            for stage in range(count)
        ),
        strides=topology.strides,
        kernel_sizes=topology.kernel_sizes,
        decoder_convs=2,
        deep_supervision=compute == "gpu" and count > 2,
        refinement="branch" if compute == "cpu" else "none",
        refinement_channels=16,
    )


def _explain_network(topology: Topology, compute: Compute) -> str:
    steps = f"{len(topology.strides)} stages, down to under 8 voxels along each axis"
    if compute == "cpu":
        return (
            f"{steps}; the first halves already, as a CPU pays for every voxel, and a "
            "thin branch brings details back at full resolution"
        )
    return f"{steps}, the first at full resolution"


def _rounded(value: float) -> float:
    """A voxel size without the noise of its last digits; microscopes' are small."""
    return round(float(value), 6) if value >= 0.01 else float(f"{value:.6g}")
