"""The network's answer about objects, as decoding needs it: two bytes a voxel."""

from dataclasses import dataclass

import numpy as np

FULL = 255
"""Probability 1 in a map of bytes."""


@dataclass(frozen=True)
class ObjectMaps:
    """What is kept of the network's answer, a byte each: 255 stands for 1.

    Attributes:
        foreground: Probability of any object, uint8.
        depth: Expected level over the number of levels, uint8.
    """

    foreground: np.ndarray
    depth: np.ndarray

    @classmethod
    def of_probabilities(cls, probabilities: np.ndarray) -> "ObjectMaps":
        """From the softmax, shape (levels + 1, ...), float."""
        levels = np.arange(len(probabilities), dtype=np.float32) / (
            len(probabilities) - 1
        )
        depth = np.tensordot(levels, probabilities, axes=1)
        return cls(_to_bytes(1 - probabilities[0]), _to_bytes(depth))


def _to_bytes(shares: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(np.clip(shares, 0, 1) * FULL), dtype=np.uint8)
