"""Smooth random fields as sums of plane waves, evaluated wherever they are needed."""

from dataclasses import dataclass

import numpy as np

_NUM_WAVES = 8


@dataclass(frozen=True)
class Waves:
    """A smooth random field with mean 0 and variance 1 over all positions."""

    vectors: np.ndarray
    """Wave vectors in radians per mm, shape (n, 3)."""
    phases: np.ndarray
    """Phases in radians, shape (n,)."""

    @classmethod
    def draw(cls, generator: np.random.Generator, *, wavelength_mm: float) -> "Waves":
        """Waves in random directions, none shorter than a wavelength."""
        directions = generator.normal(size=(_NUM_WAVES, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = wavelength_mm * generator.uniform(1, 2, size=(_NUM_WAVES, 1))
        phases = generator.uniform(0, 2 * np.pi, size=_NUM_WAVES)
        return cls(2 * np.pi * directions / lengths, phases)

    def at(self, positions: np.ndarray) -> np.ndarray:
        """The field at world positions in mm, shape (3, ...), as float32."""
        flat = positions.reshape(3, -1)
        total = np.zeros(flat.shape[1], dtype=np.float32)
        for vector, phase in zip(self.vectors, self.phases, strict=True):
            angle = vector.astype(np.float32) @ flat + np.float32(phase)
            total += np.cos(angle, out=angle)
        total *= np.float32(np.sqrt(2 / len(self.phases)))
        return total.reshape(positions.shape[1:])
