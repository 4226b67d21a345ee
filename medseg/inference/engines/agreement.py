"""Does an engine compute the network? Compared with torch in float32, once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.inference.engines.engine import Engine, Precision


@dataclass(frozen=True)
class Tolerance:
    """How far logits may be from torch's in float32 on the golden image.

    Attributes:
        difference: Largest difference of a logit, as a share of the logits' range.
        changed: Share of voxels whose label may be another.
    """

    difference: float
    changed: float


TOLERANCES: dict[Precision, Tolerance] = {
    "float32": Tolerance(difference=1e-3, changed=5e-4),
    "float16": Tolerance(difference=2e-2, changed=1e-3),
    "bfloat16": Tolerance(difference=2e-2, changed=1e-3),
}
"""float32 differs by the order of sums only (1e-5 is usual); the short formats keep
11 and 8 bits. A label changes where two classes are nearly equal: in 0.03 % of the
voxels for a trained network, in 0.6 % for one that is not trained, which is refused."""


@dataclass(frozen=True)
class Agreement:
    """How far an engine's logits are from the reference.

    Attributes:
        difference: Largest difference, as a share of the reference's range.
        changed: Share of voxels whose label is another.
        doubt: Why the engine is not to be used; empty if it agrees.
    """

    difference: float
    changed: float
    doubt: str = ""


def agreement(
    engine: Engine, image: Tensor, expected: Tensor, *, overlapping: bool
) -> Agreement:
    """Runs an engine on the golden image and compares.

    Args:
        engine: What to check.
        image: The golden image, on the engine's device.
        expected: Logits in float32, on the CPU.
        overlapping: Whether logits are of regions, each decided by its own sign.
    """
    found = engine(image).cpu()
    tolerance = _tolerance(engine.variant.precision, image.device)
    if found.shape != expected.shape or not bool(torch.isfinite(found).all()):
        return Agreement(float("inf"), 1.0, "its logits are not finite numbers")
    spread = float(expected.max() - expected.min()) or 1.0
    difference = float((found - expected).abs().max()) / spread
    other = _labels(found, overlapping) != _labels(expected, overlapping)
    changed = float(other.any(dim=1).float().mean())
    doubt = ""
    if difference > tolerance.difference or changed > tolerance.changed:
        doubt = (
            f"logits differ by up to {difference:.2%} of their range and labels in "
            f"{changed:.2%} of voxels, allowed are {tolerance.difference:.2%} and "
            f"{tolerance.changed:.2%}"
        )
    return Agreement(difference, changed, doubt)


def _tolerance(precision: Precision, device: torch.device) -> Tolerance:
    """On GPUs, torch multiplies float32 with 10 bits (TF32), as many as float16 has."""
    is_tf32 = precision == "float32" and device.type == "cuda"
    return TOLERANCES["float16" if is_tf32 else precision]


def _labels(logits: Tensor, overlapping: bool) -> Tensor:  # noqa: FBT001 - private
    return logits > 0 if overlapping else logits.argmax(dim=1, keepdim=True)
