"""How many voxels a training step can take on a device."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

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
