"""What training has seen: voxels, patches and lesions of each structure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.sampling.strategies import bin_names, size_bin
from medseg.sampling.strategy import Draw
from medseg.store import StoredCase

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class _CaseCount:
    """What was sampled of one case."""

    patches: int
    voxels: np.ndarray
    """Voxels shown of each class, background first."""
    with_class: np.ndarray
    """Patches that held the class."""
    lesions: np.ndarray
    """Patches that held each component, in the order of the case's table."""


class SamplingStats:
    """Counts every patch that is shown; before augmentation changes it.

    Args:
        cases: The sequence that the sampler was given.
        structures: Name of each structure, index 1 first.
        size_bins: Voxels from which a component belongs to the next bin.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        *,
        structures: Sequence[str],
        size_bins: Sequence[int],
    ) -> None:
        self.structures = tuple(structures)
        self.size_bins = tuple(size_bins)
        self._cases = cases
        classes = len(self.structures) + 1
        self._counts = [
            _CaseCount(
                patches=0,
                voxels=np.zeros(classes, dtype=np.int64),
                with_class=np.zeros(classes, dtype=np.int64),
                lesions=np.zeros(len(case.index.lesions), dtype=np.int64),
            )
            for case in cases
        ]

    @property
    def num_patches(self) -> int:
        """Patches shown so far."""
        return sum(count.patches for count in self._counts)

    def add(self, draws: Sequence[Draw], labels: np.ndarray) -> None:
        """Counts a batch.

        Args:
            draws: Where its patches came from.
            labels: Label indices of its patches, shape (N, ...).
        """
        for draw, label in zip(draws, labels, strict=True):
            count = self._counts[draw.case_index]
            classes = len(self.structures) + 1
            voxels = voxels_of_classes(label, classes)
            count.patches += 1
            count.voxels += voxels
            count.with_class += voxels > 0
            count.lesions += lesions_inside(self._cases[draw.case_index], draw)

    def table(self) -> "pd.DataFrame":
        """One row per structure and size bin: what there is and what was seen.

        Columns ``structure, size_bin, lesions, lesions_shown, shows_per_lesion``; the
        row with the size bin ``all`` also has ``cases, cases_shown, patches,
        patches_share, voxels_shown, voxels_share``.
        """
        import pandas as pd

        rows = []
        for index, name in enumerate(self.structures, start=1):
            rows.append(self._row_of_class(index, name))
            shown = self._lesion_shows(index)
            for number, bin_name in enumerate(bin_names(self.size_bins)):
                if len(shown[number]):
                    rows.append(_row_of_lesions(name, bin_name, shown[number]))
        return pd.DataFrame(rows)

    def metrics(self) -> dict[str, float]:
        """Numbers for a tracker: share of patches, of voxels, and of lesions shown."""
        found: dict[str, float] = {"sampling/patches": float(self.num_patches)}
        for index, name in enumerate(self.structures, start=1):
            row = self._row_of_class(index, name)
            found[f"sampling/{name}/patches_share"] = float(row["patches_share"])
            found[f"sampling/{name}/voxels_share"] = float(row["voxels_share"])
            if row["lesions"]:
                share = row["lesions_shown"] / row["lesions"]
                found[f"sampling/{name}/lesions_shown_share"] = float(share)
        return found

    def state_dict(self) -> dict[str, Any]:
        """The counts, as plain values."""
        return {
            case.case_id: {
                "patches": count.patches,
                "voxels": count.voxels.tolist(),
                "with_class": count.with_class.tolist(),
                "lesions": count.lesions.tolist(),
            }
            for case, count in zip(self._cases, self._counts, strict=True)
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on counting from where `state_dict` was taken."""
        for case, count in zip(self._cases, self._counts, strict=True):
            values = state[case.case_id]
            count.patches = int(values["patches"])
            count.voxels[:] = values["voxels"]
            count.with_class[:] = values["with_class"]
            count.lesions[:] = values["lesions"]

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Adds counts of the same cases from the `state_dict` of other statistics."""
        for case, count in zip(self._cases, self._counts, strict=True):
            values = state[case.case_id]
            count.patches += int(values["patches"])
            count.voxels += values["voxels"]
            count.with_class += values["with_class"]
            count.lesions += values["lesions"]

    def _row_of_class(self, index: int, name: str) -> dict[str, Any]:
        patches = sum(int(count.with_class[index]) for count in self._counts)
        voxels = sum(int(count.voxels[index]) for count in self._counts)
        every = sum(int(count.voxels.sum()) for count in self._counts)
        shows = np.concatenate(self._lesion_shows(index))
        return {
            **_row_of_lesions(name, "all", shows),
            "cases": sum(case.num_voxels[index] > 0 for case in self._cases),
            "cases_shown": sum(bool(count.with_class[index]) for count in self._counts),
            "patches": patches,
            "patches_share": patches / max(self.num_patches, 1),
            "voxels_shown": voxels,
            "voxels_share": voxels / max(every, 1),
        }

    def _lesion_shows(self, index: int) -> list[np.ndarray]:
        """How often each component of a class was seen, by size bin."""
        sizes, shows = [], []
        for case, count in zip(self._cases, self._counts, strict=True):
            of_class = case.index.lesions["label"] == index
            sizes.append(case.index.lesions["voxels"][of_class])
            shows.append(count.lesions[of_class])
        bins = size_bin(np.concatenate(sizes), self.size_bins)
        every = np.concatenate(shows)
        return [every[bins == number] for number in range(len(self.size_bins) + 1)]


MOST_COMPARED = 8
"""Classes up to which a comparison each is faster than one histogram."""


def voxels_of_classes(label: np.ndarray, num_classes: int) -> np.ndarray:
    """How many voxels of a patch are of each class; other values are left out."""
    if num_classes <= MOST_COMPARED:
        others = [np.count_nonzero(label == k) for k in range(1, num_classes)]
        return np.array([label.size - np.count_nonzero(label), *others])
    import torch

    flat = torch.from_numpy(np.ascontiguousarray(label)).flatten()
    return torch.bincount(flat, minlength=num_classes)[:num_classes].numpy()


def lesions_inside(case: StoredCase, draw: Draw) -> np.ndarray:
    """Whether each component of a case has a kept voxel inside a patch.

    All voxels of components up to 64 are kept, and an even sample of larger ones.
    """
    lesions = case.index.lesions
    low, high = np.asarray(draw.corner), np.add(draw.corner, draw.size)
    start, stop = lesions["start"], lesions["stop"]
    inside: np.ndarray = np.all((start >= low) & (stop <= high), axis=1)
    cut = np.all((start < high) & (stop > low), axis=1) & ~inside
    for row in np.flatnonzero(cut):
        voxels = case.index.of_lesion(lesions[row])
        inside[row] = ((voxels >= low) & (voxels < high)).all(axis=1).any()
    return inside


def _row_of_lesions(name: str, bin_name: str, shows: np.ndarray) -> dict[str, Any]:
    return {
        "structure": name,
        "size_bin": bin_name,
        "lesions": len(shows),
        "lesions_shown": int((shows > 0).sum()),
        "shows_per_lesion": float(shows.mean()) if len(shows) else 0.0,
    }
