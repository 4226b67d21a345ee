"""A user's metric and schedule."""

import numpy as np


def volume_ratio(
    prediction: np.ndarray, reference: np.ndarray, *, spacing: tuple[float, ...]
) -> float:
    """Predicted over true volume."""
    del spacing
    return float(prediction.sum() / max(reference.sum(), 1))


def triangle(done: float, *, peak: float = 0.3) -> float:
    """Up to the peak, then down."""
    return done / peak if done < peak else (1 - done) / (1 - peak)
