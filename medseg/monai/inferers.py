"""MONAI's sliding window with its signature, in less memory.

Windows, their order and what the predictor is given are MONAI's to the letter; only
what becomes of the answers differs, see ``window_sums.py``. `process_fn` and
`condition` are left to MONAI, as are images that are no floating-point numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import inferer as peer
from monai.inferers.utils import sliding_window_inference as monai_inference
from monai.utils.enums import BlendMode, PytorchPadMode
from monai.utils.module import optional_import
from torch import Tensor

from medseg.monai.label_maps import sliding_window_labels
from medseg.monai.window_answers import (
    Answer,
    Outputs,
    Predictor,
    WindowCall,
    like_inputs,
)
from medseg.monai.window_sums import grid_or_none, without_meta_data


def sliding_window_inference(
    inputs: Tensor,
    roi_size: Sequence[int] | int,
    sw_batch_size: int,
    predictor: Predictor,
    overlap: Sequence[float] | float = 0.25,
    mode: BlendMode | str = BlendMode.CONSTANT,
    sigma_scale: Sequence[float] | float = 0.125,
    padding_mode: PytorchPadMode | str = PytorchPadMode.CONSTANT,
    cval: float = 0.0,
    sw_device: torch.device | str | None = None,
    device: torch.device | str | None = None,
    progress: bool = False,  # noqa: FBT001, FBT002 MONAI's signature
    roi_weight_map: Tensor | None = None,
    process_fn: Callable | None = None,
    buffer_steps: int | None = None,
    buffer_dim: int = -1,
    with_coord: bool = False,  # noqa: FBT001, FBT002
    *args: Any,
    **kwargs: Any,
) -> Answer:
    """What `monai.inferers.sliding_window_inference` returns; arguments are its own.

    Memory beyond the answer is a window's depth of weights, where MONAI holds those of
    the whole volume; where `device` is another one than `sw_device`, the latter holds
    a window's depth of sums. `buffer_steps` asks for no more than that, and changes
    nothing.
    """
    call = WindowCall(predictor, args, kwargs, with_coord=with_coord)
    buffered = buffer_steps is not None and buffer_steps > 0
    axes = inputs.ndim - 2
    plain = process_fn is None and "condition" not in kwargs and sw_batch_size > 0
    plain = plain and not (buffered and not -axes <= buffer_dim < axes)
    found = None
    if plain:
        found = grid_or_none(
            inputs, roi_size, overlap, mode, sigma_scale, roi_weight_map, sw_device
        )
    if found is None:
        return monai_inference(
            inputs,
            roi_size,
            sw_batch_size,
            predictor,
            overlap,
            mode,
            sigma_scale,
            padding_mode,
            cval,
            sw_device,
            device,
            progress,
            roi_weight_map,
            process_fn,
            buffer_steps,
            buffer_dim,
            with_coord,
            *args,
            **kwargs,
        )
    target = torch.device(device or inputs.device)
    images = found.padded(without_meta_data(inputs), mode=padding_mode, value=cval)
    batches = list(found.batches(len(images), sw_batch_size))
    sums = Outputs(found, batches, device=target, only_first=buffered)
    shown = optional_import("tqdm", name="tqdm")[0](batches) if progress else batches
    for number, batch in enumerate(shown):
        sums.add(number, call(images, found, batch))
    answer: Answer = like_inputs(sums.answer(), inputs, target)
    return answer


class SlidingWindowInferer(peer.SlidingWindowInferer):
    """`monai.inferers.SlidingWindowInferer` in less memory; arguments are its own."""

    def __call__(
        self, inputs: Tensor, network: Predictor, *args: Any, **kwargs: Any
    ) -> Answer:
        """What `sliding_window_inference` returns for images (N, C, *spatial)."""
        if kwargs.get("condition") is not None:
            return super().__call__(inputs, network, *args, **kwargs)
        device = kwargs.pop("device", self.device)
        buffer_steps = kwargs.pop("buffer_steps", self.buffer_steps)
        buffer_dim = kwargs.pop("buffer_dim", self.buffer_dim)
        return sliding_window_inference(
            inputs,
            self.roi_size,
            self.sw_batch_size,
            network,
            self.overlap,
            self.mode,
            self.sigma_scale,
            self.padding_mode,
            self.cval,
            self.sw_device,
            self._where(inputs, device),
            self.progress,
            self.roi_weight_map,
            None,
            buffer_steps,
            buffer_dim,
            self.with_coord,
            *args,
            **kwargs,
        )

    def labels(
        self, inputs: Tensor, network: Predictor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """What `sliding_window_labels` returns for images (N, C, *spatial).

        Args:
            inputs: Images.
            network: Returns logits (n, L, *window), or several outputs, these first.
            args: For the network.
            kwargs: For the network, and `decide`.
        """
        return sliding_window_labels(
            inputs,
            self.roi_size,
            self.sw_batch_size,
            network,
            self.overlap,
            self.mode,
            self.sigma_scale,
            self.padding_mode,
            self.cval,
            self.sw_device,
            self._where(inputs, self.device),
            self.roi_weight_map,
            *args,
            **kwargs,
        )

    def _where(
        self, inputs: Tensor, device: torch.device | str | None
    ) -> torch.device | str | None:
        """MONAI's rule of large images."""
        large = self.cpu_thresh is not None and (
            inputs.shape[2:].numel() > self.cpu_thresh
        )
        return "cpu" if device is None and large else device
