"""Test-time flips."""

import itertools
from collections.abc import Sequence

from torch import Tensor

from medseg.inference.streaming import Predict


def flipped_average(predict: Predict, *, axes: Sequence[int]) -> Predict:
    """A network that averages its logits over flips of its input (test-time augmentation).

    Args:
        predict: The network.
        axes: Spatial axes that are mirrored, in all combinations: those that training
            mirrored; an image that no scan resembles is answered at random.
    """
    flips = [
        combination
        for count in range(len(axes) + 1)
        for combination in itertools.combinations([2 + axis for axis in axes], count)
    ]

    def averaged(image: Tensor) -> Tensor:
        total = predict(image).float()
        for flip in flips[1:]:
            total = total + predict(image.flip(flip)).float().flip(flip)
        return total / len(flips)

    return averaged
