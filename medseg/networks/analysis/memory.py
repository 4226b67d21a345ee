"""Memory in use at once while tensors come and go."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.networks.instance_norm import CHANNELS_LAST


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations create, until each is freed.

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
        self.peak = max(self.peak, self.current + _scratch(func, args))
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


def _scratch(func: Any, args: tuple[Any, ...]) -> int:
    """Bytes that an operation needs for itself, where they are worth counting.

    On the CPU, oneDNN brings what it convolves into its own layouts first, and sums
    of two number formats copy one of them. Which copies there are was found by
    measuring (benchmarks/network_memory.py), on a processor with AMX. Large kernels,
    such as those of FCN-32s, are copied once for each thread that has a sample.
    """
    operations = torch.ops.aten
    if not args or not isinstance(args[0], Tensor) or args[0].device.type != "cpu":
        return 0
    if func in (operations.add.Tensor, operations.mul.Tensor):
        return _promoted(args[:2])
    if func is operations.convolution.default:
        x, weight, transposed = args[0], args[1], args[6]
        own = int(weight.nbytes)
        if transposed and weight.dtype == torch.bfloat16:
            own = _filled_up(weight, axis=1) + 5 * own * _busy_threads(x)
        return _reordered_copy(x, weight) + own
    if func is operations.convolution_backward.default:
        gradient, x, weight = args[:3]
        if weight.dtype != torch.bfloat16:
            filled = _filled_up(weight, axis=1)
            return max(filled, 13 * filled * _busy_threads(x) // 16)
        pair = _filled_up(gradient, axis=1) + _filled_up(x, axis=1)
        blocked = _blocked(weight)
        return max(pair, blocked + 3 * blocked * _busy_threads(x) // 2)
    return 0


def _busy_threads(x: Tensor) -> int:
    """Threads that oneDNN gives samples of their own to."""
    return min(torch.get_num_threads(), x.shape[0])


def _promoted(args: tuple[Any, ...]) -> int:
    """Bytes of the copies that bring two tensors to one number format."""
    tensors = [arg for arg in args if isinstance(arg, Tensor) and arg.dim() > 0]
    if len({tensor.dtype for tensor in tensors}) < 2:
        return 0
    common = torch.promote_types(tensors[0].dtype, tensors[1].dtype)
    different = [tensor for tensor in tensors if tensor.dtype != common]
    return sum(tensor.numel() * common.itemsize for tensor in different)


def _filled_up(tensor: Tensor, *, axis: int, block: int = 16) -> int:
    """Bytes of a copy whose channels are filled up to whole blocks."""
    channels = tensor.shape[axis]
    return tensor.nbytes // channels * -(-channels // block) * block


def _blocked(weight: Tensor) -> int:
    """Bytes of bfloat16 weights in blocks of 16 by 32 channels."""
    return (
        _filled_up(weight, axis=0)
        * _filled_up(weight, axis=1, block=32)
        // (weight.nbytes)
    )


def _reordered_copy(x: Tensor, weight: Tensor) -> int:
    """Bytes of a copy of the input where weights lie channels last and it does not."""
    layout = CHANNELS_LAST.get(x.dim())
    if layout is None:
        return 0
    if not weight.is_contiguous(memory_format=layout) or weight.is_contiguous():
        return 0
    return 0 if x.is_contiguous(memory_format=layout) else x.nbytes


def _storage(value: object) -> torch.UntypedStorage | None:
    return value.untyped_storage() if isinstance(value, Tensor) else None
