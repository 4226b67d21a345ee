"""Published recipes by name, fitted to a data set."""

from typing import Any, Literal

import numpy as np

from medseg.fingerprint import Fingerprint
from medseg.networks.presets import RESENC_MEMORY_GB, residual_unet
from medseg.plan import Plan
from medseg.preparation.planning import (
    choose_batch_size,
    find_budget,
    known_spacing,
    median_shape,
)
from medseg.preparation.preprocessing import axes_with_last
from medseg.preparation.topology import choose_topology

Preset = Literal["resenc_m", "resenc_l", "resenc_xl"]
"""nnU-Net's residual-encoder U-Nets for GPUs of 8, 24 and 40 GB."""


def apply_preset(plan: Plan, fingerprint: Fingerprint, preset: Preset) -> Plan:
    """The plan with a preset's network, patch and batch; all else stays.

    The architecture is nnU-Net's; patch and batch are planned for the preset's GPU
    memory by the rules of any other plan, and need not equal nnU-Net's to the voxel.

    Args:
        plan: Of the prepared data.
        fingerprint: What was measured of the same data.
        preset: Which one.

    References:
        Isensee et al., arXiv:2404.09556, table 2.
    """
    dims = plan.spatial_dims
    seen = fingerprint.permuted(axes_with_last("ijk".index(plan.slice_axis)))
    shape = median_shape(seen, plan.target_spacing, crop=plan.crop_nonzero)
    gigabytes = RESENC_MEMORY_GB[preset.removeprefix("resenc_").upper()]
    budget = find_budget("gpu", dims, gigabytes * 2**30)
    topology = choose_topology(
        shape[:dims],
        known_spacing(seen, plan.target_spacing)[:dims],
        most_voxels=budget.patch_voxels,
        strided_stem=False,
    )
    batch_size, why_batch = choose_batch_size(
        budget,
        float(np.prod(topology.patch_size)),
        seen.num_cases * float(np.prod(shape)),
    )
    network = residual_unet(
        topology.strides, kernel_sizes=topology.kernel_sizes, spatial_dims=dims
    )
    why = f"preset {preset}"
    changes: dict[str, Any] = {
        "patch_size": topology.patch_size,
        "batch_size": batch_size,
        "network": network,
        "reasons": {
            **plan.reasons,
            "patch_size": f"{why}: what fits a GPU of {gigabytes} GB",
            "batch_size": f"{why}: {why_batch}",
            "network": f"{why}: nnU-Net's residual-encoder U-Net",
        },
    }
    return plan.replaced(**changes)
