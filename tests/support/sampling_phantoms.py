"""Cases in memory that answer as prepared ones do."""

import numpy as np

from medseg.store.arrays import WHOLE
from medseg.store.voxel_index import build_index, count_blocks


class FakeCase:
    """A prepared case without files."""

    def __init__(self, case_id: str, label: np.ndarray, *, num_classes: int) -> None:
        self.case_id, self.label, self.shape = case_id, label, label.shape
        self.image = np.arange(label.size, dtype=np.float32).reshape(1, *label.shape)
        self.index = build_index(label, num_classes, np.random.default_rng(0))
        self.num_voxels, self.num_channels = self.index.num_voxels, 1
        self.blocks = count_blocks(label)
        self.is_painted = False

    def voxels(self, index: int) -> np.ndarray:
        return self.index.of_class(index)

    def lesions(self, index: int) -> np.ndarray:
        return self.index.lesions_of(index)

    def read_label(self, box=WHOLE) -> np.ndarray:
        return self.label[box]


def box(shape, label: int) -> np.ndarray:
    """A cube of 4 voxels of one class in the middle."""
    labels = np.zeros(shape, dtype=np.uint8)
    labels[tuple(slice(n // 2 - 2, n // 2 + 2) for n in shape)] = label
    return labels


def phantom_cases() -> list[FakeCase]:
    """Two structures of very different sizes, an ignored corner, odd shapes."""
    rng = np.random.default_rng(3)
    cases = []
    for number, shape in enumerate([(20, 25, 18), (30, 17, 9), (12, 40, 33)]):
        label = np.zeros(shape, dtype=np.uint8)
        start = [int(rng.integers(0, n - 6)) for n in shape]
        label[tuple(slice(s, s + 5) for s in start)] = 1
        label[tuple(n - 2 for n in shape)] = 2
        label[0, 0, 0] = 255
        cases.append(FakeCase(f"case_{number}", label, num_classes=3))
    return cases
