"""A user's loss: Brier's score of the classes."""

from torch import Tensor, nn


class BrierLoss(nn.Module):
    """Mean squared difference of probabilities and truth."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        truth = nn.functional.one_hot(target, logits.shape[1]).movedim(-1, 1)
        return self.weight * (logits.softmax(dim=1) - truth).square().mean()
