"""What to change about a network, from what was found out about it."""

from math import ceil

from medseg.networks.analysis.inspection import Inspection

WORTH_SAYING = 0.1
"""Share of the logits' spread, or of the voxels, from which on there is advice."""


def advise(found: Inspection) -> list[str]:
    """What to change, most important first; empty where all is well.

    Patterns and shifts count for learnt weights only: fresh ones always have them.
    """
    advice = [coverage.advice for coverage in found.coverages if coverage.advice]
    advice += _size_advice(found) + _field_advice(found)
    if found.trained:
        advice += _pattern_advice(found) + _shift_advice(found)
    return advice


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


def _pattern_advice(found: Inspection) -> list[str]:
    """None where the constant image is unlike anything that the network knows."""
    if found.pattern < WORTH_SAYING or any(c.variance for c in found.coverages):
        return []
    if found.is_pattern_beyond:
        return []
    change = (
        "upsampling interpolate leaves no such pattern"
        if getattr(found.settings, "upsampling", "interpolate") != "interpolate"
        else "more overlap of tiles evens it out"
    )
    return [
        "logits of a constant image repeat with the strides, by "
        f"{found.pattern:.2g} of their spread over noise: {change}"
    ]


def _shift_advice(found: Inspection) -> list[str]:
    step = found.shifts[0].real or found.shifts[0].theory
    if step is None or step.agreement >= 1 - WORTH_SAYING:
        return []
    pooled = getattr(found.settings, "downsampling", "avgpool") == "avgpool"
    changes = [*([] if pooled else ["downsampling avgpool"]), "more overlap of tiles"]
    return [
        f"a shift by one voxel changes {1 - step.agreement:.0%} of the classes on "
        f"noise (logits by {step.change:.2f} of their spread): use "
        f"{', '.join(changes)}, or average over flips"
    ]
