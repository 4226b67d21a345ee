"""Losses by path: MONAI's, torch's, or the user's own, told apart by what they take.

- ``to_onehot_y`` (MONAI): logits and labels with a channel axis; softmax and one-hot
  are turned on by the names the loss has for them (``softmax``, ``use_softmax``).
  Overlapping regions are masks already, and get ``sigmoid``.
- ``ignore_index`` and no ``to_onehot_y`` (torch): logits and class indices.
- anything else: logits (N, L, *spatial) and class indices (N, *spatial), or masks
  (N, R, *spatial) where regions overlap.

Voxels to leave out are certain and right before the loss sees them, so that they move
nothing, whatever it is; torch's are told by their index.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medseg.device import is_out_of_memory
from medseg.errors import LabelError, PluginError
from medseg.labels import IGNORE_INDEX
from medseg.losses.settings import PluginLossSettings
from medseg.losses.targets import check_labels, check_shapes
from medseg.plugins import Plugin, find

Convention = Literal["monai", "one_hot", "torch", "indices"]
CERTAIN = 1e4
"""A logit whose probability is 1, in every number format."""


class PluginLoss(nn.Module):
    """A loss from elsewhere, called with logits and class indices like our own."""

    def __init__(
        self,
        loss: Any,
        *,
        name: str,
        convention: Convention,
        num_classes: int,
        regions: Sequence[Sequence[int]] = (),
        assumed: str = "",
        wants_probabilities: bool = False,
    ) -> None:
        """Wraps a loss.

        Args:
            loss: Called with two tensors.
            name: For messages.
            convention: What it takes.
            num_classes: Classes with the background.
            regions: Classes of each overlapping region; empty for classes that
                exclude each other.
            assumed: What was set because of its signature, in words.
            wants_probabilities: It has no activation of its own.
        """
        super().__init__()
        self.loss = loss
        self.name = name
        self.convention = convention
        self.num_classes = num_classes
        self.regions = tuple(tuple(members) for members in regions)
        self.assumed = assumed
        self.wants_probabilities = wants_probabilities

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (N, L, *spatial) and class indices (N, *spatial).

        Raises:
            PluginError: It gives something else than one number.
            LabelError: Logits and target do not belong together.
        """
        channels = len(self.regions) or self.num_classes
        check_shapes(logits, target, num_channels=channels)
        check_labels(target, num_classes=self.num_classes)
        left_out = (target == IGNORE_INDEX)[:, None]
        labels = target.long()
        if self.convention == "torch":
            return self._number(logits, labels)
        labels = torch.where(left_out[:, 0], 0, labels)
        sure = _certain(logits, left_out, -1 if self.regions else 1)
        if self.wants_probabilities:
            sure = sure.sigmoid() if self.regions else sure.softmax(dim=1)
        if self.regions:
            return self._number(sure, _masks(labels, self.regions).to(logits.dtype))
        if self.convention == "monai":
            return self._number(sure, labels[:, None])
        if self.convention == "one_hot":
            masks = _masks(labels, [(n,) for n in range(self.num_classes)])
            return self._number(sure, masks.to(logits.dtype))
        return self._number(sure, labels)

    def _number(self, logits: Tensor, target: Tensor) -> Tensor:
        try:
            value = self.loss(logits, target)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            text = " ".join(str(error).split())[:300]
            raise PluginError(
                f"loss {self.name}: cannot use logits {tuple(logits.shape)} with "
                f"{target.dtype} {tuple(target.shape)}: {type(error).__name__}: {text}"
            ) from error
        if isinstance(value, Tensor) and value.numel() == 1:
            return value.reshape(())
        is_tensor = isinstance(value, Tensor)
        found = f"shape {tuple(value.shape)}" if is_tensor else type(value).__name__
        raise PluginError(
            f"loss {self.name}: expected one number, found {found}; a reduction over "
            "all voxels is needed (reduction: mean)"
        )


def build_plugin_loss(
    settings: PluginLossSettings,
    *,
    num_classes: int,
    regions: tuple[tuple[int, ...], ...] = (),
) -> PluginLoss:
    """A loss by path, with the flags that its signature has.

    Raises:
        PluginError: It cannot be found or built, or does not take logits and labels.
    """
    plugin = find(settings.name, kind="losses")
    convention = _convention(plugin)
    flags = _flags(plugin, convention, are_regions=bool(regions))
    flags = {key: value for key, value in flags.items() if key not in settings.args}
    loss = plugin.function(**{**flags, **settings.args})
    if not callable(loss):
        raise PluginError(
            f"loss {settings.name}: {type(loss).__name__} is not callable"
        )
    if convention == "torch" and regions:
        raise PluginError(
            f"loss {settings.name}: compares classes that exclude each other, and the "
            "label scheme names overlapping regions; choose a loss with a sigmoid"
        )
    takes = {
        "monai": "masks of regions" if regions else "labels with a channel axis",
        "torch": f"class indices, ignoring {IGNORE_INDEX}",
        "one_hot": "masks of regions" if regions else "masks of classes",
        "indices": "masks of regions" if regions else "class indices",
    }
    known = {*flags, *settings.args}
    is_built = plugin.takes("to_onehot_y")  # else its own settings count
    bare = is_built and not {"softmax", "use_softmax", "sigmoid"} & known
    told = [f"{key}={value}" for key, value in flags.items()]
    given = "probabilities" if bare else "logits"
    return PluginLoss(
        loss,
        name=settings.name,
        convention=convention,
        num_classes=num_classes,
        regions=regions,
        wants_probabilities=bare,
        assumed="; ".join([f"{given} and {takes[convention]}", *told]),
    )


def _convention(plugin: Plugin) -> Convention:
    if plugin.takes("to_onehot_y"):
        return "monai"
    if isinstance(plugin.item, nn.Module):  # finished: its own attributes tell
        parts = [p for p in plugin.item.modules() if hasattr(p, "to_onehot_y")]
        if parts:
            return "monai" if any(part.to_onehot_y for part in parts) else "one_hot"
        return "torch" if hasattr(plugin.item, "ignore_index") else "indices"
    return "torch" if plugin.takes("ignore_index") else "indices"


def _flags(
    plugin: Plugin, convention: Convention, *, are_regions: bool
) -> dict[str, Any]:
    """What a loss is told beside its own arguments."""
    if convention == "torch":
        return {"ignore_index": IGNORE_INDEX} if plugin.takes("ignore_index") else {}
    if convention in {"indices", "one_hot"}:
        return {}
    wanted = {
        "to_onehot_y": not are_regions,
        "softmax": not are_regions,
        "use_softmax": not are_regions,
        "sigmoid": are_regions,
    }
    return {key: value for key, value in wanted.items() if plugin.takes(key)}


def _certain(logits: Tensor, left_out: Tensor, background: int) -> Tensor:
    """Logits that say background where voxels are left out, and have no gradient.

    Args:
        logits: Shape (N, L, *spatial).
        left_out: Boolean, shape (N, 1, *spatial).
        background: 1 where the first channel is the background; -1 for regions.
    """
    sure = torch.full_like(logits, -CERTAIN)
    if background > 0:
        sure[:, 0] = CERTAIN
    # NaN and infinity stay what they are, so that a guard sees them
    return torch.where(left_out, logits.detach() * 0 + sure, logits)


def _masks(labels: Tensor, regions: Sequence[Sequence[int]]) -> Tensor:
    """Masks of overlapping regions, shape (N, R, *spatial)."""
    if not regions:
        raise LabelError("no region is named")
    members = [
        torch.stack([labels == value for value in classes]).any(dim=0)
        for classes in regions
    ]
    return torch.stack(members, dim=1)
