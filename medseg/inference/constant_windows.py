"""Windows that hold one value: the same input has the same answer."""

from torch import Tensor

from medseg.inference.streaming import Predict


class ConstantWindows:
    """A network that computes a constant window once and repeats the answer.

    Air around a body that was clipped to one value, or a margin of zeros. Nothing is
    assumed but that the network answers equal inputs equally, so that results do not
    change.

    Attributes:
        num_windows: Windows so far.
        num_repeated: Those of them that were not computed.
    """

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._answers: dict[tuple[float, ...], Tensor] = {}
        self.num_windows = 0
        self.num_repeated = 0

    def __call__(self, batch: Tensor) -> Tensor:
        """Logits of a batch of windows, in memory that may be shared."""
        self.num_windows += len(batch)
        if len(batch) > 1:
            return self._predict(batch)
        flat = batch[0].flatten(1)
        corner = flat[:, 0]
        if not bool((flat == corner[:, None]).all()):
            return self._predict(batch)
        key = (*batch.shape[2:], *corner.tolist())
        if key in self._answers:
            self.num_repeated += 1
        else:
            self._answers = {key: self._predict(batch)}
        return self._answers[key]
