"""Whether a scan holds a structure at all: the answer of a network's presence head.

The head is trained on patches, so it is asked about patches: windows of that size side
by side over the prepared scan. A scan holds a structure with the largest probability
that any of its windows gives it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from medseg.inference.predictor import Predictor
from medseg.networks.network import SegmentationNetwork
from medseg.types import ImageArray


class _LargestPresence:
    """Returns logits of windows, and notes the largest presence of each class."""

    def __init__(self, networks: Sequence[SegmentationNetwork]) -> None:
        self._networks = networks
        self.probabilities: np.ndarray = np.zeros(networks[0].out_channels)

    def __call__(self, windows: Tensor) -> Tensor:
        answers = [network(windows, with_presence=True) for network in self._networks]
        mean = torch.stack([heads.float().sigmoid() for _, heads in answers]).mean(0)
        largest = mean.amax(0).cpu().numpy()
        self.probabilities = np.maximum(self.probabilities, largest)
        logits: Tensor = answers[0][0]
        return logits


def presence_probabilities(
    predictor: Predictor,
    image: ImageArray,
    networks: Sequence[SegmentationNetwork],
    *,
    name: str = "scan",
) -> np.ndarray:
    """Probability that each structure or region occurs in a prepared scan.

    Args:
        predictor: Gives device, plan, batch size and memory limits.
        image: The prepared scan, shape (C, I, J, K).
        networks: Networks with a presence head on the predictor's device; of several,
            the probabilities of each window are averaged.
        name: Case or file, for error messages.

    Returns:
        Shape (structures,), or (regions,) where the label scheme names regions.

    Raises:
        PredictionError: The memory budget does not suffice.
    """
    asked = _LargestPresence(networks)
    settings = predictor.settings.replaced(overlap=0.0, window_size=None, flips=False)
    one_pass = replace(predictor, forward=asked, windows=None, settings=settings)
    one_pass.predict_prepared(image, name=name)
    has_background = not predictor.plan.labels.regions
    return asked.probabilities[1:] if has_background else asked.probabilities
