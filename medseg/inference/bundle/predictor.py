"""A scan's label map as a MONAI bundle's own inference computes it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from medseg.bundle_recipe import IMAGE, PREDICTION, BundleRecipe
from medseg.errors import InputError, PredictionError
from medseg.inference.bundle.transforms import composed, inferer_of, quiet
from medseg.inference.settings import InferenceSettings
from medseg.networks.network import SegmentationNetwork
from medseg.plan import Plan
from medseg.preparation.preprocessing import require_finite, with_channels
from medseg.types import ImageArray, LabelArray
from medseg.volume import LabelMap, Volume


@dataclass(frozen=True)
class BundlePredictor:
    """A bundle's network and what MONAI does around it.

    Attributes:
        network: As imported, on its device and in eval mode.
        plan: What the network is.
        recipe: What the bundle does.
        device: Where the network runs.
        settings: Of which only those count that a bundle has no own of: none.
    """

    network: nn.Module
    plan: Plan
    recipe: BundleRecipe
    device: torch.device
    settings: InferenceSettings

    has_probabilities: ClassVar[bool] = False

    def predict(
        self,
        volume: Volume,
        *,
        name: str = "scan",
        notes: list[str] | None = None,
        probabilities: Path | None = None,
    ) -> LabelMap:
        """As `ExactPredictor` says; no probabilities are written.

        Raises:
            InputError: The scan does not fit the bundle.
            PredictionError: Probabilities are asked for, or memory does not suffice.
        """
        if probabilities is not None:
            raise PredictionError(
                "no probabilities are written of a MONAI bundle, whose transforms end "
                "in labels; leave --probabilities out"
            )
        if notes is not None and (left_out := self.settings.of_own_windows()):
            notes.append(f"a MONAI bundle does without {', '.join(left_out)}")
        volume = with_channels(volume, self.plan.channel_names, name=name)
        require_finite(volume.voxels, name)
        with quiet(), torch.inference_mode():
            labels = self._labels(self._items(volume, name), name)
        voxels = self._on_grid(labels, volume, name)
        return LabelMap(_smallest(voxels), volume.affine)

    @property
    def description(self) -> str:
        """See `ExactPredictor`."""
        return self.recipe.model_dump_json()

    @cached_property
    def _before(self) -> Any:
        return composed(self.recipe.before)

    @cached_property
    def _after(self) -> Any:
        return composed(self.recipe.after, inverse_of=self._before)

    def _items(self, volume: Volume, name: str) -> dict[str, Tensor]:
        """What MONAI's reader would give: MetaTensors by key, channel first."""
        voxels: ImageArray = volume.voxels.astype(np.float32)
        inputs = self.recipe.inputs
        if len(inputs) > 1 and len(inputs) != len(voxels):
            raise InputError(
                f"{name}: {len(voxels)} channels, the bundle reads {', '.join(inputs)}"
            )
        parts = [voxels] if len(inputs) == 1 else [part[None] for part in voxels]
        return {
            key: self._meta_tensor(part, volume)
            for key, part in zip(inputs, parts, strict=True)
        }

    def _meta_tensor(self, voxels: ImageArray, volume: Volume) -> Tensor:
        from monai.data.meta_tensor import MetaTensor

        affine = torch.as_tensor(np.array(volume.affine, dtype=np.float64))
        if self._is_flat:
            voxels = voxels[..., 0]
        meta = {
            "original_affine": affine.clone(),
            "spatial_shape": np.asarray(voxels.shape[1:]),
            "original_channel_dim": 0,
            "space": "RAS",
        }
        made: Tensor = MetaTensor(
            torch.from_numpy(np.ascontiguousarray(voxels)), affine=affine, meta=meta
        )
        return made

    @property
    def _is_flat(self) -> bool:
        """Whether images have two axes: pictures, of a network of two axes."""
        slices = self.recipe.inferer.name == "SliceInferer"
        return self.plan.spatial_dims == 2 and not slices

    def _labels(self, items: dict[str, Tensor], name: str) -> Tensor:
        """What the transforms after the network leave, shape (C, *spatial).

        Raises:
            InputError: A transform does not take the scan.
            PredictionError: There is not enough memory.
        """
        from monai.utils.type_conversion import convert_to_dst_type

        try:
            prepared = self._before(items)
            image = prepared[IMAGE]
            logits = inferer_of(self.recipe.inferer)(
                image[None].to(self.device), self._forward
            )
            found, *_ = convert_to_dst_type(logits[0], image)  # knows where it lies
            answer = self._after({IMAGE: image, PREDICTION: found})[PREDICTION]
            return self._saved(answer)
        except (ValueError, RuntimeError, IndexError, KeyError, TypeError) as error:
            if "memory" in str(error):
                raise PredictionError(
                    f"{name}: not enough memory; MONAI's transforms keep all classes "
                    "of the whole scan at once"
                ) from error
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise InputError(
                f"{name}: the bundle's transforms or network do not take it: {reason}"
            ) from error

    def _forward(self, window: Tensor) -> Tensor:
        """Logits of a window, exactly as large: what does not fit is MONAI's matter."""
        plain = window.as_subclass(torch.Tensor)
        network = self.network
        if isinstance(network, SegmentationNetwork):
            outputs, _ = network.core(plain)
            return cast(Tensor, outputs[0])
        return cast(Tensor, network(plain))

    def _saved(self, answer: Tensor) -> Tensor:
        """The answer on the grid that it is saved on, where its transforms moved it."""
        from monai.data.image_writer import ImageWriter
        from monai.data.meta_tensor import MetaTensor

        known = {"affine", "original_affine", "spatial_shape"}
        if not isinstance(answer, MetaTensor) or not known <= set(answer.meta):
            return answer  # one-hot coding forgets where it lies
        shape = tuple(int(n) for n in answer.meta["spatial_shape"])
        saving = self.recipe.saving
        same = torch.allclose(
            answer.affine.double(), answer.meta["original_affine"].double(), atol=1e-4
        )
        if same and tuple(answer.shape[1:]) == shape:
            return answer
        array = np.moveaxis(answer.cpu().numpy(), 0, -1)
        moved, _ = ImageWriter.resample_if_needed(
            data_array=array,
            affine=answer.affine,
            target_affine=answer.meta["original_affine"],
            output_spatial_shape=shape,
            mode=saving.mode,
            padding_mode=saving.padding_mode,
        )
        return torch.from_numpy(np.moveaxis(np.asarray(moved), -1, 0))

    def _on_grid(self, answer: Tensor, volume: Volume, name: str) -> LabelArray:
        """Label values (I, J, K) of what the transforms leave.

        Raises:
            InputError: It does not lie on the scan's grid.
        """
        found = answer.as_subclass(torch.Tensor).cpu()
        kind = self.recipe.answer
        if kind == "labels":
            labels = torch.round(found[0]).numpy().astype(np.int64)
        elif kind == "onehot":
            values = np.asarray(self.plan.labels.values)
            labels = values[found.argmax(dim=0).numpy()]
        else:
            labels = sum(
                (mask > 0).numpy().astype(np.int64) << n for n, mask in enumerate(found)
            )
        if self._is_flat:
            labels = labels[..., None]
        if labels.shape != volume.grid.shape:
            raise InputError(
                f"{name}: the bundle's label map has {labels.shape} voxels, the scan "
                f"{volume.grid.shape}"
            )
        return cast(LabelArray, labels)


def _smallest(labels: LabelArray) -> LabelArray:
    """The labels in the smallest type that holds them."""
    high, low = int(labels.max(initial=0)), int(labels.min(initial=0))
    kind = np.min_scalar_type(high) if low >= 0 else np.dtype(np.int16)
    return labels.astype(kind)
