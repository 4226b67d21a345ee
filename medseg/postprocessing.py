"""What is done to a label map after it was predicted: few, stated, checked rules."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field, model_validator

from medseg.labels import LabelScheme
from medseg.settings import Settings
from medseg.types import LabelArray, MaskArray, Spacing

Box = tuple[slice, ...]


class CleaningRule(Settings):
    """What is done to one structure or region."""

    structure: str
    """Name of a structure, or of a region (the union of several)."""
    keep_largest: bool = False
    """Keep only the largest connected component."""
    min_volume_mm3: float = Field(default=0.0, ge=0)
    """Take away connected components smaller than this."""
    fill_holes: bool = False
    """Give background that the structure encloses to the structure."""
    reason: str = ""
    """Why the rule was taken; for readers only."""

    @model_validator(mode="after")
    def _does_something(self) -> "CleaningRule":
        if not (self.keep_largest or self.min_volume_mm3 or self.fill_holes):
            raise ValueError(f"{self.structure}: the rule does nothing")
        return self

    def describe(self) -> str:
        """The rule in words, such as ``"liver: largest component, holes filled"``."""
        parts = []
        if self.keep_largest:
            parts.append("largest component")
        if self.min_volume_mm3:
            parts.append(f"components of {self.min_volume_mm3:g} mm³ and more")
        if self.fill_holes:
            parts.append("holes filled")
        return f"{self.structure}: {', '.join(parts)}"


def clean(
    indices: LabelArray,
    rules: Sequence[CleaningRule],
    scheme: LabelScheme,
    *,
    spacing: Spacing,
) -> tuple[LabelArray, list[str]]:
    """A label map after its rules, and what they changed, in words.

    Voxels that are taken away become background. A hole is background that cannot
    reach the border of the image without crossing the structure; other structures
    are never overwritten. A region's hole becomes the structure that touches it most.

    Args:
        indices: Label indices; a copy is changed.
        rules: In the order in which they are applied.
        scheme: Names of the indices.
        spacing: Voxel size in mm.
    """
    cleaned = indices.copy()
    voxel_mm3 = float(np.prod(spacing))
    remarks = []
    for rule in rules:
        members = member_indices(rule.structure, scheme)
        mask = np.isin(cleaned, members) if len(members) > 1 else cleaned == members[0]
        box = _bounding_box(mask)
        if box is None:
            continue
        taken = _remove_small(cleaned[box], mask[box], rule, voxel_mm3)
        given = 0
        if rule.fill_holes:
            given = _fill(cleaned[box], members)
        remarks += _remarks(rule, taken, given, voxel_mm3)
    return cleaned, remarks


def rules_in_words(rules: Sequence[CleaningRule]) -> str:
    """What was chosen on held-out cases, and what that means for their scores."""
    if not rules:
        return "post-processing: no rule raised Dice beyond chance on held-out cases"
    lines = [f"{rule.describe()} ({rule.reason})" for rule in rules]
    return (
        "post-processing for predict, chosen on these held-out cases, whose scores are "
        "given WITHOUT it: " + "; ".join(lines)
    )


def joint_rules(
    rules: Sequence[Sequence[CleaningRule]],
) -> tuple[CleaningRule, ...]:
    """What several models have in common: done only where all of them do it.

    Args:
        rules: The rules of each model.
    """
    by_model = [{rule.structure: rule for rule in own} for own in rules]
    joint = []
    for structure in by_model[0]:
        same = [own[structure] for own in by_model if structure in own]
        keep_largest = all(rule.keep_largest for rule in same)
        fill_holes = all(rule.fill_holes for rule in same)
        min_volume = min(rule.min_volume_mm3 for rule in same)
        if len(same) == len(by_model) and (keep_largest or fill_holes or min_volume):
            joint.append(
                CleaningRule(
                    structure=structure,
                    keep_largest=keep_largest,
                    min_volume_mm3=min_volume,
                    fill_holes=fill_holes,
                    reason=f"a rule of all {len(by_model)} models",
                )
            )
    return tuple(joint)


def member_indices(structure: str, scheme: LabelScheme) -> list[int]:
    """Indices of a structure, or of the structures of a region.

    Raises:
        KeyError: The scheme knows neither a structure nor a region of that name.
    """
    names = scheme.regions.get(structure, (structure,))
    known = {name: index for index, name in enumerate(scheme.structures, start=1)}
    return [known[name] for name in names]


def label_components(mask: MaskArray) -> tuple[np.ndarray, np.ndarray]:
    """Connected components and their sizes in voxels; corners connect.

    Returns:
        Numbers from 1 (0 outside), and the size of each number, 0 included.
    """
    import cc3d

    numbers = cc3d.connected_components(np.asfortranarray(mask), connectivity=26)
    return numbers, np.bincount(numbers.ravel(order="K"))


def find_holes(mask: MaskArray) -> tuple[np.ndarray, int]:
    """Parts of the outside that cannot reach the border; only faces connect.

    An axis of a single voxel has no border: in a flat image, holes are holes in 2D.

    Returns:
        Numbers from 1 of the holes (0 elsewhere), and how many there are.
    """
    import cc3d

    pads = [(1, 1) if size > 1 else (0, 0) for size in mask.shape]
    outside = np.pad(~mask, pads, constant_values=True)
    numbers = cc3d.connected_components(np.asfortranarray(outside), connectivity=6)
    inner = tuple(
        slice(before, size - after)
        for (before, after), size in zip(pads, numbers.shape, strict=True)
    )
    open_air = numbers[tuple(0 for _ in pads)] if any(sum(p) for p in pads) else 0
    found = np.where(numbers == open_air, 0, numbers)[inner]
    values = np.unique(found)
    values = values[values > 0]
    table = np.zeros(int(numbers.max()) + 1, dtype=np.int64)
    table[values] = np.arange(1, len(values) + 1)
    return table[found], len(values)


def _remove_small(
    indices: LabelArray, mask: MaskArray, rule: CleaningRule, voxel_mm3: float
) -> tuple[int, int]:
    """Takes components away in place; how many, and their voxels."""
    if not (rule.keep_largest or rule.min_volume_mm3):
        return 0, 0
    numbers, sizes = label_components(mask)
    keep = kept_components(
        sizes, min_voxels=rule.min_volume_mm3 / voxel_mm3, largest=rule.keep_largest
    )
    keep[0] = True
    gone = ~keep[numbers]
    indices[gone] = 0
    return int((~keep).sum()), int(np.count_nonzero(gone))


def kept_components(
    sizes: np.ndarray,
    *,
    min_voxels: float,
    largest: bool,
) -> np.ndarray:
    """Which components stay, by number; the number 0 stands for no component.

    Args:
        sizes: Voxels of each number.
        min_voxels: Smaller ones go.
        largest: Only the largest stays; the first of several.
    """
    keep = sizes >= max(min_voxels, 1)
    keep[0] = False
    if largest and len(sizes) > 1:
        only = np.zeros_like(keep)
        best = 1 + int(sizes[1:].argmax())
        only[best] = keep[best]
        keep = only
    return keep


def _fill(indices: LabelArray, members: Sequence[int]) -> int:
    """Fills holes in place; how many voxels."""
    mask = np.isin(indices, members)
    holes, count = find_holes(mask)
    holes = np.where(indices == 0, holes, 0)
    if count == 0 or not holes.any():
        return 0
    if len(members) == 1:
        indices[holes > 0] = members[0]
    else:
        winners = _neighbours(indices, holes, members, count)
        indices[holes > 0] = winners[holes[holes > 0]]
    return int(np.count_nonzero(holes))


def _neighbours(
    indices: LabelArray, holes: np.ndarray, members: Sequence[int], count: int
) -> np.ndarray:
    """For each hole, the member whose voxels share most faces with it."""
    votes = np.zeros((count + 1, max(members) + 1), dtype=np.int64)
    for axis in range(indices.ndim):
        low = tuple(
            slice(0, -1) if a == axis else slice(None) for a in range(indices.ndim)
        )
        high = tuple(
            slice(1, None) if a == axis else slice(None) for a in range(indices.ndim)
        )
        for one, other in ((low, high), (high, low)):
            touching = (holes[one] > 0) & np.isin(indices[other], members)
            np.add.at(votes, (holes[one][touching], indices[other][touching]), 1)
    return np.asarray(votes.argmax(axis=1))


def _remarks(
    rule: CleaningRule, taken: tuple[int, int], given: int, voxel_mm3: float
) -> list[str]:
    remarks = []
    if taken[0]:
        remarks.append(
            f"post-processing of {rule.structure}: {taken[0]} components "
            f"({taken[1] * voxel_mm3 / 1000:.3g} ml) taken away"
        )
    if given:
        remarks.append(
            f"post-processing of {rule.structure}: holes of "
            f"{given * voxel_mm3 / 1000:.3g} ml filled"
        )
    return remarks


def _bounding_box(mask: MaskArray) -> Box | None:
    """The smallest box around a mask; None for an empty one."""
    slices = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        found = np.flatnonzero(mask.any(axis=others))
        if not len(found):
            return None
        slices.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(slices)
