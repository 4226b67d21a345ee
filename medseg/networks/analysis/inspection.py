"""Everything worth knowing about a network before training it, in one value."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from medseg.networks.analysis.checkerboard import Coverage, coverages, find_pattern
from medseg.networks.analysis.costs import Costs, Precision, predict_costs
from medseg.networks.analysis.effective_field import (
    effective_field,
    measured_field,
    radii_holding,
    share_beyond,
)
from medseg.networks.analysis.fixed_statistics import BY_IMAGE, with_fixed_statistics
from medseg.networks.analysis.layers import Layer, list_layers
from medseg.networks.analysis.receptive_field import ReceptiveField, receptive_field
from medseg.networks.analysis.shift import (
    ShiftFinding,
    far_from_borders,
    usual_shifts,
)
from medseg.networks.network import SegmentationNetwork
from medseg.networks.plugin_network import PluginCore
from medseg.networks.settings import NetworkSettings

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
        theoretical: Receptive field by arithmetic, or by the gradient of a network by
            path; None for SwinUNETR and others that neither can follow.
        field: Effective receptive field, of the patch's size; sums to 1.
        radii: Voxels that hold 50, 90 and 99 % of it.
        beyond: Share of it beyond the theoretical one, where statistics of
            normalizations bring the whole patch in.
        held_radii: As `radii`, with these statistics held.
        coverages: Of every transposed convolution.
        pattern: Strength of periodic patterns on a constant image.
        is_pattern_beyond: Whether that image is to the network what no image is.
        shifts: Consistency under a shift of one voxel and of one stride.
        output_margin: Voxels that unpadded convolutions lose per side.
        output_size: What unpadded convolutions leave of a patch; None where the patch
            is no size that they take as it is.
        trained: Whether its weights were learnt; patterns and shifts of fresh ones
            say little about what they will become.
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
    beyond: float
    held_radii: tuple[float, ...]
    coverages: tuple[Coverage, ...]
    pattern: float
    shifts: tuple[ShiftFinding, ...]
    output_margin: tuple[int, ...]
    output_size: tuple[int, ...] | None
    trained: bool = False
    is_pattern_beyond: bool = False


def inspect_network(
    network: SegmentationNetwork,
    settings: NetworkSettings,
    *,
    patch_size: Sequence[int],
    batch_size: int,
    precision: Precision = "float32",
    trained: bool = False,
    seed: int = 0,
) -> Inspection:
    """Sizes, costs, receptive fields and artefacts of a network.

    Args:
        network: Trained or fresh, on the CPU or a GPU.
        settings: It was built from.
        patch_size: Spatial size that it is trained on.
        batch_size: Patches at once.
        precision: What autocast computes convolutions in.
        trained: Whether its weights were learnt, so that findings about them count.
        seed: Of the noise that fields and shifts are measured with.
    """
    size = tuple(patch_size)
    costs = predict_costs(network, size, batch_size=batch_size, precision=precision)
    per_sample = 3 * costs.flops_per_voxel * prod(size)
    samples = int(np.clip(MOST_FLOPS // per_sample, 1, 8))
    field = effective_field(network, size, num_samples=samples, seed=seed)
    if isinstance(network.core, PluginCore):
        theoretical = measured_field(network)
    else:
        theoretical = receptive_field(network)
    radius = theoretical.radius if theoretical else (None,) * len(size)
    held = field
    if any(isinstance(module, BY_IMAGE) for module in network.modules()):
        fixed = with_fixed_statistics(network, _noise(network, size, seed=seed))
        held = effective_field(fixed, size, num_samples=samples, seed=seed)
    pattern = find_pattern(
        network,
        size=far_from_borders(network, radius, costs.flops_per_voxel),
        seed=seed,
    )
    return Inspection(
        settings=settings,
        patch_size=size,
        batch_size=batch_size,
        precision=precision,
        layers=tuple(list_layers(network, size)),
        costs=costs,
        theoretical=theoretical,
        field=field,
        radii=radii_holding(field),
        beyond=share_beyond(field, radius),
        held_radii=radii_holding(held),
        coverages=tuple(coverages(network)),
        pattern=pattern.strength,
        is_pattern_beyond=pattern.is_beyond,
        shifts=usual_shifts(
            network,
            size,
            radius=radius,
            flops_per_voxel=costs.flops_per_voxel,
            seed=seed,
        ),
        trained=trained,
        output_margin=network.output_margin,
        output_size=network.core.output_of(size),
    )


def _noise(
    network: SegmentationNetwork, size: tuple[int, ...], *, seed: int
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((1, network.in_channels, *size), generator=generator)
    return noise.to(next(network.parameters()).device)
