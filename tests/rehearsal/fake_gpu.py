"""A GPU that is not there: fake CUDA tensors among real ones of the CPU.

Inside of ``with FakeGPU() as gpu`` production code runs with the device ``cuda``. CPU
tensors are real and are computed; CUDA tensors have a shape, a type, strides and a
device, but no values. What a GPU would refuse (operations that mix devices, a generator
of another device) is refused with torch's own words, and what it would do slowly is
noted: operations that compute (each would launch a kernel or a few), the bytes they
read and write, and whatever makes the host wait for the device.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from copies import PinnedMemory, copy_to_device, copy_to_host
from fake_runtime import replace_runtime
from indexing import SHARE_TRUE, without_masks
from observations import Observations
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from medseg.losses.streaming import counted_launches

aten = torch.ops.aten


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FREE = _names(
    "view _unsafe_view reshape t transpose permute expand expand_as slice "
    "select split split_with_sizes chunk unsqueeze squeeze narrow as_strided "
    "detach alias unbind _reshape_alias lift lift_fresh empty empty_like "
    "empty_strided new_empty new_empty_strided diagonal unfold view_as "
    "view_as_real view_as_complex movedim is_pinned set_ resize_ record_stream "
    "size stride device storage_offset _version"
)
"""Operations that launch nothing: views and empty memory."""

WAITING = _names(
    "nonzero masked_select bincount _unique2 unique_dim unique_consecutive "
    "repeat_interleave equal is_nonzero multinomial _linalg_check_errors"
)
"""Operations whose result has a size, or a use, that the host must know."""

SELECTING = _names(
    "index index_select gather embedding take grid_sampler_2d grid_sampler_3d"
)
"""Operations that read no more of their input than they write."""

TAKING_HOST_TENSORS = _names(
    "_to_copy copy_ _foreach_copy_ set_ lift_fresh index index_put index_put_ "
    "_index_put_impl_ _unsafe_index"
)
"""Operations that take tensors of the host: copies, and indices, which are copied."""


class MixedDevicesError(RuntimeError):
    """An operation was given tensors of several devices."""


class GeneratorCheck(TorchFunctionMode):
    """Refuses random numbers of one device from a generator of another."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        generator = (kwargs or {}).get("generator")
        if generator is not None and isinstance(out, Tensor):
            of = torch.device(getattr(generator, "stands_for", "cpu"))
            if out.device != of:
                raise MixedDevicesError(
                    f"expected a {out.device.type!r} device type for generator but "
                    f"found {of.type!r}"
                )
        return out


class FakeGPU:
    """The fake device, in force inside `with`.

    Attributes:
        seen: What was launched, moved and waited for.
        capability: CUDA compute capability that the device claims, as (9, 0).
        truth: What the host is told that asks whether something holds.
        float64: Whether the device has double precision.
        asked: Numbers of the devices whose streams were asked for something.
        mode: Computes shapes, types, strides and devices.
    """

    def __init__(
        self,
        *,
        capability: tuple[int, int] = (9, 0),
        truth: bool = True,
        float64: bool = True,
    ) -> None:
        self.seen = Observations()
        self.capability = capability
        self.asked: set[int | None] = set()
        self.pinned = PinnedMemory()
        self.mode = FakeDispatch(self.seen, self.pinned, truth=truth, float64=float64)

    def __enter__(self) -> "FakeGPU":
        self._stack = ExitStack()
        replace_runtime(self, self._stack)
        self._stack.enter_context(counted_launches(self.mode.hear))
        self._stack.enter_context(self.mode)
        self._stack.enter_context(GeneratorCheck())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


class FakeDispatch(FakeTensorMode):
    """Sees every operation: computes those of the CPU, imitates those of the GPU."""

    def __init__(
        self, seen: Observations, pinned: PinnedMemory, *, truth: bool, float64: bool
    ) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.seen, self.pinned = seen, pinned
        self._truth, self._float64 = truth, float64
        self._inner = threading.local()
        self._declared: dict[str, int] = {}

    def hear(self, operator: str, number: int) -> None:
        """Notes how many kernels an operator of the project's launches inside."""
        self._declared[operator] = number

    def make(
        self,
        shape: Sequence[int],
        dtype: torch.dtype,
        *,
        device: str | torch.device = "cuda:0",
        strides: Sequence[int] | None = None,
    ) -> Tensor:
        """An empty fake tensor, made without a note."""
        options = {"dtype": dtype, "device": torch.device(device)}
        if strides is None:
            return self._compute(aten.empty.memory_format, (list(shape),), options)
        sizes = (list(shape), list(strides))
        return self._compute(aten.empty_strided.default, sizes, options)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(self._inner, "depth", 0):  # part of an operation that was noted
            return super().__torch_dispatch__(func, types, args, kwargs)
        leaves = tree_leaves((args, kwargs))
        on_device = [t for t in leaves if isinstance(t, FakeTensor)]
        makes = any(_is_cuda(leaf) for leaf in leaves)
        if not on_device and not makes:
            return self._on_host(func, args, kwargs)
        if _is_composite(func):
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        name = func._schema.name.partition("::")[2]
        special: Callable[..., Any] | None = _SPECIAL.get(name)
        if special is not None:
            done = special(self, func, args, kwargs)
            if done is not NotImplemented:
                return done
        if name in _INDEXING:
            args = without_masks(self, name, args)
            leaves = tree_leaves((args, kwargs))
            on_device = [t for t in leaves if isinstance(t, FakeTensor)]
        if name in WAITING:
            self.seen.note_wait(name)
        self._refuse_mixing(func, name, leaves)
        out = self._compute(func, args, kwargs)
        if name not in FREE:
            self._note(func, name, on_device, out)
        return out

    def _compute(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Shapes, types and strides of the result, as fake tensors."""
        self._inner.depth = getattr(self._inner, "depth", 0) + 1
        try:
            return super().__torch_dispatch__(func, (), args, kwargs)
        finally:
            self._inner.depth -= 1

    def _on_host(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """An operation of the CPU, computed; pinned memory is remembered."""
        wants_pinned = bool(kwargs.pop("pin_memory", False))
        out = func(*args, **kwargs)
        if wants_pinned:
            self.pinned.add(out)
        return out

    def _refuse_mixing(self, func: Any, name: str, leaves: Sequence[Any]) -> None:
        numbers = _takes_numbers(func)
        devices = {
            t.device
            for t in leaves
            if isinstance(t, Tensor) and not (numbers and _is_number(t))
        }
        if len(devices) > 1 and name not in TAKING_HOST_TENSORS:
            raise MixedDevicesError(
                f"{func}: expected all tensors to be on the same device, but found at "
                f"least two devices, {' and '.join(sorted(map(str, devices)))}!"
            )

    def _note(self, func: Any, name: str, inputs: Sequence[Tensor], out: Any) -> None:
        outputs = [t for t in tree_leaves(out) if isinstance(t, FakeTensor)]
        if not self._float64 and any(t.dtype == torch.float64 for t in outputs):
            raise TypeError(f"{func}: the device has no float64")
        new = [t for t in outputs if not any(t is one for one in inputs)]
        read = new if name in SELECTING else inputs
        moved = sum(t.numel() * t.element_size() for t in (*read, *new))
        number = self._declared.pop(func._schema.name, 1)
        self.seen.note_launch(name, number=number, moved=moved)

    def _to_copy(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        source, target = args[0], kwargs.get("device")
        if isinstance(source, FakeTensor) and target == torch.device("cpu"):
            dtype = kwargs.get("dtype") or source.dtype
            waits = not kwargs.get("non_blocking")  # the copy's memory is pinned
            return copy_to_host(self, source, dtype=dtype, waits=waits)
        if not isinstance(source, FakeTensor) and _is_cuda(target):
            copy_to_device(self, source, non_blocking=kwargs.get("non_blocking", False))
            stand_in = self.make(
                source.shape, source.dtype, device="cpu", strides=source.stride()
            )
            return self._compute(func, (stand_in, *args[1:]), kwargs)
        return NotImplemented

    def _copy(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        del func
        target, source = args[:2]
        non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
        if isinstance(target, FakeTensor) and not isinstance(source, FakeTensor):
            copy_to_device(self, source, non_blocking=non_blocking)
            return target
        if isinstance(source, FakeTensor) and not isinstance(target, FakeTensor):
            waits = not (non_blocking and self.pinned.holds(target))
            copy_to_host(self, source, dtype=source.dtype, waits=waits)
            return target
        return NotImplemented

    def _item(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        del func, kwargs
        self.seen.note_wait("the value of a tensor (.item(), float(), int(), bool())")
        dtype = args[0].dtype
        if dtype == torch.bool:
            return self._truth
        return 0.5 if dtype.is_floating_point else 1

    def _equal(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
        del func, args, kwargs
        self.seen.note_wait("torch.equal")
        return True

    def _nonzero(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        del kwargs
        self.seen.note_wait("nonzero")
        source = args[0]
        shape = (max(1, source.numel() // SHARE_TRUE), source.dim())
        places = self.make(shape, torch.int64, device=source.device)
        self._note(func, "nonzero", [source], places)
        return places


_SPECIAL: dict[str, Any] = {
    "_to_copy": FakeDispatch._to_copy,
    "copy_": FakeDispatch._copy,
    "_local_scalar_dense": FakeDispatch._item,
    "equal": FakeDispatch._equal,
    "nonzero": FakeDispatch._nonzero,
}
_INDEXING = frozenset(
    ("index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_")
)


def _is_cuda(value: object) -> bool:
    return isinstance(value, torch.device) and value.type == "cuda"


def _is_composite(func: Any) -> bool:
    """Whether autograd takes an operation apart, which inference mode does not."""
    key = "CompositeImplicitAutograd"
    return func.namespace == "aten" and torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), key
    )


def _is_number(tensor: Tensor) -> bool:
    return tensor.dim() == 0 and tensor.device.type == "cpu"


def _takes_numbers(func: Any) -> bool:
    """Whether a CPU tensor without axes may stand for a number beside CUDA tensors."""
    name = func._schema.name.partition("::")[2]
    return (
        torch.Tag.pointwise in func.tags
        or name in _NUMBERS
        or name.startswith("_foreach")
    )


_NUMBERS = TAKING_HOST_TENSORS | _names(
    "masked_fill masked_fill_ fill fill_ where index_fill index_fill_"
)
