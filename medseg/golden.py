"""A synthetic image that every machine can generate, and a network's logits on it.

The image is computed from a formula: smooth waves, bodies with sharp borders and
corners of air, in the range that normalised intensities take. No patient's voxels are
kept, and still each layer works on values as it does in use. The logits at some of the
voxels, computed in float32 when the model was saved, lie in the model folder: whether
another machine, library or number format computes the same network is then a matter
of running it once.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

GOLDEN = "golden.safetensors"
FORMULA = "1"
"""Raised when the formula gives another image: older records are then not compared."""

LARGEST = {2: 192, 3: 48}
"""Voxels along an axis; enough for every layer, and a moment's work."""

NUM_POSITIONS = 2048
"""Voxels whose logits are kept."""


def golden_size(patch_size: Sequence[int]) -> tuple[int, ...]:
    """Size of the golden image of a network that was trained on patches."""
    largest = LARGEST[len(patch_size)]
    return tuple(min(size, largest) for size in patch_size)


def golden_image(
    ranges: Sequence[tuple[float, float]], size: Sequence[int], *, count: int = 1
) -> Tensor:
    """The image, equal on every machine up to rounding.

    Args:
        ranges: Lowest and highest usual intensity of each channel.
        size: Voxels along each axis.
        count: Images; each differs a little from the others.

    Returns:
        Float32, shape (count, C, *size).
    """
    axes = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) / n for n in size), indexing="ij"
    )
    images = [
        torch.stack(
            [
                low + (high - low) * _pattern(axes, 0.7 * channel + 0.3 * index)
                for channel, (low, high) in enumerate(ranges)
            ]
        )
        for index in range(count)
    ]
    return torch.stack(images).float()


def _pattern(axes: Sequence[Tensor], phase: float) -> Tensor:
    """Values in [0, 1]: a body in air, waves in it, an organ and a lesion."""
    waves = sum(
        torch.sin((5 + 4 * number) * axis + phase + number)
        + 0.5 * torch.sin((37 + 6 * number) * axis - phase)
        for number, axis in enumerate(axes)
    )
    assert isinstance(waves, Tensor)  # there is at least one axis
    tissue = 0.5 + 0.1 * waves
    for centre, radius, value in ((0.55, 0.22, 0.35), (0.42, 0.09, 0.45)):
        inside = sum((axis - centre) ** 2 for axis in axes) < radius**2
        tissue = torch.where(torch.as_tensor(inside), tissue * 0.4 + value, tissue)
    body = sum((axis - 0.5) ** 2 for axis in axes) < 0.46**2
    return torch.where(torch.as_tensor(body), tissue.clamp(0, 1), torch.zeros(()))


@torch.no_grad()
def golden_logits(network: nn.Module, image: Tensor) -> Tensor:
    """Logits in float32 on the CPU, shape (N, L, *spatial); the network stays."""
    reference = copy.deepcopy(network).cpu().float().eval()
    logits: Tensor = reference(image)
    return logits


def write_golden(path: Path, logits: Tensor) -> None:
    """Keeps the logits of evenly spread voxels of a golden image (1, L, *size)."""
    metadata = {"formula": FORMULA, "size": ",".join(map(str, logits.shape[2:]))}
    save_file({"logits": _chosen(logits)}, path, metadata=metadata)


def read_golden(path: Path, *, size: Sequence[int]) -> Tensor | None:
    """What `write_golden` kept, shape (L, positions).

    Returns:
        None where there is no file, or where it belongs to another image.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            about = stored.metadata() or {}
            kept: Tensor = stored.get_tensor("logits")
    except (OSError, SafetensorError):
        return None
    same = about.get("size") == ",".join(map(str, size))
    return kept if same and about.get("formula") == FORMULA else None


def kept_voxels(logits: Tensor) -> Tensor:
    """The voxels that `write_golden` keeps of logits (1, L, *size)."""
    return _chosen(logits)


def _chosen(logits: Tensor) -> Tensor:
    flat = logits[0].flatten(1)
    count = min(NUM_POSITIONS, flat.shape[1])
    positions = torch.linspace(0, flat.shape[1] - 1, count, dtype=torch.float64)
    return flat[:, positions.long()].contiguous()
