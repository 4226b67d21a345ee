"""Test-time flips."""

import itertools

from torch import Tensor

from medseg.inference.streaming import Predict


def flipped_average(predict: Predict, *, spatial_dims: int) -> Predict:
    """A network that averages its logits over all mirror images of its input."""
    axes = [
        combination
        for count in range(spatial_dims + 1)
        for combination in itertools.combinations(range(2, 2 + spatial_dims), count)
    ]

    def averaged(image: Tensor) -> Tensor:
        total = predict(image).float()
        for flip in axes[1:]:
            total = total + predict(image.flip(flip)).float().flip(flip)
        return total / len(axes)

    return averaged
