"""Padding at the borders of an image, and cutting it off again."""

from collections.abc import Sequence

from torch import Tensor, nn


def spatial_size(x: Tensor) -> tuple[int, ...]:
    """Voxels along each spatial axis, as plain numbers also while x is traced.

    A trace otherwise records the arithmetic of sizes, step by step.
    """
    return tuple(int(n) for n in x.shape[2:])


def repeat_border(x: Tensor, after: Sequence[int]) -> Tensor:
    """`x` with the last voxel of each spatial axis repeated."""
    if not any(after):
        return x
    widths = [width for count in reversed(after) for width in (0, count)]
    return nn.functional.pad(x, widths, mode="replicate")


def mirror_border(x: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """`x` continued by its mirror image about the border voxels.

    Margins may exceed the image, which is then mirrored again and again; an axis of
    one voxel is repeated.
    """
    missing = [list(pair) for pair in zip(before, after, strict=True)]
    while any(count for pair in missing for count in pair):
        widths = [
            [min(count, n - 1) for count in pair]
            for n, pair in zip(spatial_size(x), missing, strict=True)
        ]
        if not any(width for pair in widths for width in pair):
            flat = [count for pair in reversed(missing) for count in pair]
            return nn.functional.pad(x, flat, mode="replicate")
        flat = [width for pair in reversed(widths) for width in pair]
        x = nn.functional.pad(x, flat, mode="reflect")
        missing = [
            [count - width for count, width in zip(pair, done, strict=True)]
            for pair, done in zip(missing, widths, strict=True)
        ]
    return x


def keep_start(logits: Tensor, size: Sequence[int], padded: Sequence[int]) -> Tensor:
    """Logits, possibly coarser than the input, without what stands for padding.

    Args:
        logits: Shape (N, L, *coarse).
        size: Spatial size of the image.
        padded: Spatial size that the logits stand for.
    """
    for axis, (wanted, whole) in enumerate(zip(size, padded, strict=True), start=2):
        have = int(logits.shape[axis])
        keep = -(-wanted * have // whole)
        if keep != have:
            logits = logits.narrow(axis, 0, keep)
    return logits
