"""Everything worth knowing about a network before training it, in one value."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from medseg.networks.checkerboard import Coverage, coverages, pattern_strength
from medseg.networks.costs import Costs, Precision, predict_costs
from medseg.networks.effective_field import effective_field, radii_holding
from medseg.networks.layers import Layer, list_layers
from medseg.networks.network import SegmentationNetwork
from medseg.networks.receptive_field import ReceptiveField, receptive_field
from medseg.networks.settings import NetworkSettings
from medseg.networks.shift import ShiftConsistency, shift_consistency

MOST_FLOPS = 2e12
"""Operations spent on the effective receptive field; about a minute on two cores."""


@dataclass(frozen=True)
class Inspection:
    """What `inspect_network` found.

    Attributes:
        settings: Of the network.
        patch_size: Spatial size of a patch.
        batch_size: Patches at once.
        precision: Of convolutions.
        layers: In the order of computation.
        costs: Of one batch.
        theoretical: Receptive field by arithmetic; None for SwinUNETR.
        field: Effective receptive field, of the patch's size; sums to 1.
        radii: Voxels that hold 50, 90 and 99 % of it.
        coverages: Of every transposed convolution.
        pattern: Strength of periodic patterns on a constant image.
        shifts: Consistency under a shift of one voxel and of one stride.
        output_margin: Voxels that unpadded convolutions lose per side.
    """

    settings: NetworkSettings
    patch_size: tuple[int, ...]
    batch_size: int
    precision: Precision
    layers: tuple[Layer, ...]
    costs: Costs
    theoretical: ReceptiveField | None
    field: np.ndarray
    radii: tuple[float, ...]
    coverages: tuple[Coverage, ...]
    pattern: float
    shifts: tuple[ShiftConsistency, ...]
    output_margin: tuple[int, ...]

    @property
    def advice(self) -> list[str]:
        """What to change, most important first; empty where all is well."""
        found = [coverage.advice for coverage in self.coverages if coverage.advice]
        return found + _size_advice(self) + _field_advice(self) + _shift_advice(self)


def inspect_network(
    network: SegmentationNetwork,
    settings: NetworkSettings,
    *,
    patch_size: Sequence[int],
    batch_size: int,
    precision: Precision = "float32",
    seed: int = 0,
) -> Inspection:
    """Sizes, costs, receptive fields and artefacts of a network.

    Args:
        network: Trained or fresh, on the CPU or a GPU.
        settings: It was built from.
        patch_size: Spatial size that it is trained on.
        batch_size: Patches at once.
        precision: What autocast computes convolutions in.
        seed: Of the noise that fields and shifts are measured with.
    """
    size = tuple(patch_size)
    costs = predict_costs(network, size, batch_size=batch_size, precision=precision)
    per_sample = 3 * costs.flops_per_voxel * prod(size)
    samples = int(np.clip(MOST_FLOPS // per_sample, 1, 8))
    field = effective_field(network, size, num_samples=samples, seed=seed)
    return Inspection(
        settings=settings,
        patch_size=size,
        batch_size=batch_size,
        precision=precision,
        layers=tuple(list_layers(network, size)),
        costs=costs,
        theoretical=receptive_field(network),
        field=field,
        radii=radii_holding(field),
        coverages=tuple(coverages(network)),
        pattern=pattern_strength(network, repeats=4, seed=seed),
        shifts=_shifts(network, size, seed),
        output_margin=network.output_margin,
    )


def _shifts(
    network: SegmentationNetwork, size: tuple[int, ...], seed: int
) -> tuple[ShiftConsistency, ...]:
    """By one voxel and by one full stride along every axis that has room for it."""
    window = network.core.input_size(size)
    found = []
    for wanted in ((1,) * len(size), network.divisor):
        shift = [min(s, n // 4) for s, n in zip(wanted, window, strict=True)]
        margin = [(n - s) // 4 for n, s in zip(window, shift, strict=True)]
        found.append(
            shift_consistency(network, window, shift=shift, margin=margin, seed=seed)
        )
    return tuple(found)


def _size_advice(found: Inspection) -> list[str]:
    divisor = found.settings.divisor(len(found.patch_size))
    if any(found.output_margin):
        return [
            f"unpadded convolutions lose {found.output_margin} voxels on each side, "
            "which are mirrored: larger patches waste less"
        ]
    odd = [n % d for n, d in zip(found.patch_size, divisor, strict=True)]
    if not any(odd):
        return []
    better = tuple(
        ceil(n / d) * d for n, d in zip(found.patch_size, divisor, strict=True)
    )
    return [f"patches of {found.patch_size} are padded to {better}: use {better}"]


def _field_advice(found: Inspection) -> list[str]:
    advice = []
    fields = found.theoretical.extent if found.theoretical else ()
    for axis, (extent, n) in enumerate(zip(fields, found.patch_size, strict=False)):
        if extent is not None and extent < n / 2:
            advice.append(
                f"axis {axis}: {extent} voxels are seen of a patch of {n}: add a "
                "stage, or use smaller patches and more of them"
            )
    return advice


def _shift_advice(found: Inspection) -> list[str]:
    step = found.shifts[0]
    if step.agreement >= 0.9:
        return []
    return [
        f"a shift by one voxel changes {1 - step.agreement:.0%} of the classes "
        f"(logits by {step.change:.2f} of their deviation): augment with shifts, or "
        "average over shifted tiles"
    ]
