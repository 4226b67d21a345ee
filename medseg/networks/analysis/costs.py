"""What a network costs: parameters, operations and memory, before it runs."""

import copy
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from medseg.errors import SettingsError
from medseg.networks.folding import fold
from medseg.networks.network import SegmentationNetwork


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations create, until each is freed.

    What a library needs inside of an operation, such as oneDNN's and cuDNN's copies in
    their own layouts, is not among them.

    Attributes:
        current: Bytes in use now.
        peak: Largest number of bytes in use at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.current = 0
        self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs the operation and notes the storages of what it returns."""
        kwargs = kwargs or {}
        before = {id(s) for s in map(_storage, tree_leaves((args, kwargs))) if s}
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            storage = _storage(leaf)
            if storage is not None and id(storage) not in before:
                self._note(storage)
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key in self._known:
            return
        size = storage.nbytes()
        self.current += size
        self.peak = max(self.peak, self.current)
        self._known[key] = weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.current -= size
        self._known.pop(key, None)


def _storage(value: object) -> torch.UntypedStorage | None:
    return value.untyped_storage() if isinstance(value, Tensor) else None


Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Costs:
    """Costs of a network for one batch.

    Attributes:
        parameters: Trainable numbers.
        parameter_bytes: Their memory, held once more by gradients and once or twice
            more by the optimiser.
        flops_per_voxel: Floating point operations of one forward pass per voxel of
            the patch; a multiplication and an addition count as two.
        training_bytes: Largest memory in use at once by forward and backward, beyond
            weights, gradients and the batch itself.
        inference_bytes: The same for a forward pass without gradients.
    """

    parameters: int
    parameter_bytes: int
    flops_per_voxel: float
    training_bytes: int
    inference_bytes: int


def check_precision(name: str) -> Precision:
    """The precision of that name.

    Raises:
        SettingsError: There is none.
    """
    if name not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise SettingsError(f"precision {name}: expected one of {known}")
    return cast(Precision, name)


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def predict_costs(
    network: SegmentationNetwork,
    patch_size: Sequence[int],
    *,
    batch_size: int,
    precision: Precision = "float32",
    channels_last: bool = True,
) -> Costs:
    """Costs at a patch and batch size, without computing a single voxel.

    Args:
        network: Any network.
        patch_size: Spatial size of the input.
        batch_size: Patches at once.
        precision: What autocast computes convolutions in.
        channels_last: Whether memory is laid out channels last, as training does.
    """
    shape = (batch_size, network.in_channels, *patch_size)
    return Costs(
        parameters=count_parameters(network),
        parameter_bytes=sum(p.numel() * p.element_size() for p in network.parameters()),
        flops_per_voxel=count_flops(network, patch_size) / prod(patch_size),
        training_bytes=predict_memory(
            network, shape, precision=precision, channels_last=channels_last
        ),
        inference_bytes=predict_memory(
            network,
            shape,
            precision=precision,
            channels_last=channels_last,
            training=False,
        ),
    )


def count_flops(network: SegmentationNetwork, size: Sequence[int]) -> int:
    """Floating point operations of one image's forward pass; 2 per multiply-add."""
    ghost = copy.deepcopy(network).to("meta").eval()
    x = torch.zeros((1, network.in_channels, *size), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ghost(x)
    return int(counter.get_total_flops())


def predict_memory(
    network: SegmentationNetwork,
    shape: Sequence[int],
    *,
    precision: Precision = "float32",
    channels_last: bool = True,
    training: bool = True,
) -> int:
    """Largest number of bytes in use at once, beyond weights, gradients and batch.

    The network runs on tensors that have a shape, a type and a lifetime but no
    memory; what they would occupy is added up as they come and go. Working memory
    inside of operations, such as oneDNN's or cuDNN's, comes on top.

    Args:
        network: Any network.
        shape: Of the batch, (N, C, *spatial).
        precision: What autocast computes convolutions in.
        channels_last: Whether memory is laid out channels last.
        training: Forward and backward, or forward only by the folded network.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    ghost = copy.deepcopy(network).train() if training else fold(network)
    if channels_last:
        ghost = ghost.to(memory_format=layout)  # type: ignore[call-overload]
    with FakeTensorMode():
        _give_ghost_tensors(ghost)
        x = torch.zeros(tuple(shape))
        if channels_last:
            x = x.to(memory_format=layout)
        live = LiveMemory()
        with live:
            run_once(ghost, x, precision=precision, training=training)
    return live.peak


def run_once(
    network: nn.Module, x: Tensor, *, precision: Precision, training: bool
) -> None:
    """One forward pass, or one forward and backward pass with a plain loss."""
    cast = torch.autocast(
        x.device.type,
        dtype=getattr(torch, precision),
        enabled=precision != "float32",
    )
    if not training:
        with torch.no_grad(), cast:
            network(x)
        return
    with cast:
        outputs = network(x)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    loss = sum((logits.float().square().mean() for logits in outputs), torch.zeros(()))
    loss.backward()


def _give_ghost_tensors(network: nn.Module) -> None:
    """Replaces weights and buffers by new ones, within a fake tensor mode."""
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            fresh = nn.Parameter(_empty_like(weight))
            fresh.grad = _empty_like(weight)
            setattr(module, name, fresh)
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, _empty_like(buffer))


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
