"""What torch says about CUDA while a fake GPU is in force."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.utils import clip_grad
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map

if TYPE_CHECKING:
    from fake_gpu import FakeGPU

TOTAL_BYTES = 141 * 10**9
FREE_BYTES = 138 * 10**9
NUM_DEVICES = 2


class DeviceGenerator(torch.Generator):
    """A generator of the CPU that stands for one of the device it was asked for."""

    def __new__(cls, device: str | torch.device = "cpu") -> "DeviceGenerator":
        self: DeviceGenerator = super().__new__(cls, "cpu")
        self.stands_for = str(_with_index(torch.device(device)))
        return self

    def manual_seed(self, seed: int) -> "DeviceGenerator":
        super().manual_seed(seed)
        return self


def replace_runtime(gpu: "FakeGPU", stack: ExitStack) -> None:
    """Replaces parts of torch until the stack is closed."""
    for name, value in _cuda(gpu).items():
        stack.enter_context(mock.patch.object(torch.cuda, name, value))
    replace: Callable[..., Any] = mock.patch.object
    stack.enter_context(replace(torch, "Generator", DeviceGenerator))
    pin = lambda tensor, *_: gpu.pinned.add(tensor.clone())  # noqa: E731
    stack.enter_context(replace(Tensor, "pin_memory", pin))
    stack.enter_context(replace(Tensor, "is_pinned", gpu.pinned.holds))
    stack.enter_context(replace(torch, "save", _saver(gpu, torch.save)))
    stack.enter_context(replace(torch, "load", _disable_current_modes()(torch.load)))
    stack.enter_context(replace(FakeTensor, "__deepcopy__", _deepcopy, create=True))
    layout = "_conv_determine_backend_memory_format"
    stack.enter_context(replace(torch._C, layout, _cudnn_layout))
    stack.enter_context(replace(nn.Module, "_apply", _apply))
    many_at_once = lambda tensors, device: True  # noqa: E731
    stack.enter_context(replace(clip_grad, "_has_foreach_support", many_at_once))
    stack.enter_context(_tensors_made_on_the_host_first())


def _cuda(gpu: "FakeGPU") -> dict[str, Any]:
    """The functions and classes of ``torch.cuda``."""
    major, minor = gpu.capability
    properties = SimpleNamespace(
        name="Fake GPU",
        total_memory=TOTAL_BYTES,
        major=major,
        minor=minor,
        multi_processor_count=132,
    )
    current = threading.local()

    class Event:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            pass

        def record(self, stream: Any = None) -> None:
            index = torch.cuda.current_device() if stream is None else stream.index
            gpu.asked.add(index)

        def wait(self, stream: Any = None) -> None:
            pass

        def query(self) -> bool:
            return True

        def elapsed_time(self, end: "Event") -> float:
            return 1.0

        def synchronize(self) -> None:
            gpu.seen.note_wait("Event.synchronize")

    def set_device(device: Any) -> None:
        if (index := _index(device)) is not None:
            current.index = index

    def synchronize(device: Any = None) -> None:
        gpu.asked.add(torch.cuda.current_device() if device is None else _index(device))
        gpu.seen.note_wait("torch.cuda.synchronize")

    def native_bfloat16(including_emulation: bool = True) -> bool:
        return including_emulation or major >= 8

    def no_driver(*_: Any) -> int:
        raise ModuleNotFoundError("No module named 'pynvml'")

    def nothing(*_: Any, **__: Any) -> None:
        pass

    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": nothing,
        "_is_in_bad_fork": lambda: False,
        "device_count": lambda: NUM_DEVICES,
        "current_device": lambda: getattr(current, "index", 0),
        "set_device": set_device,
        "get_device_name": lambda *_: properties.name,
        "get_device_capability": lambda *_: gpu.capability,
        "get_device_properties": lambda *_: properties,
        "is_bf16_supported": native_bfloat16,
        "mem_get_info": lambda *_: (FREE_BYTES, TOTAL_BYTES),
        "memory_allocated": lambda *_: 0,
        "memory_reserved": lambda *_: 0,
        "max_memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": nothing,
        "empty_cache": lambda: gpu.seen.note_wait("torch.cuda.empty_cache"),
        "synchronize": synchronize,
        "is_current_stream_capturing": lambda: False,
        "utilization": no_driver,
        "manual_seed": nothing,
        "manual_seed_all": nothing,
        "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": nothing,
        "get_rng_state_all": lambda: [torch.zeros(16, dtype=torch.uint8)] * NUM_DEVICES,
        "set_rng_state_all": nothing,
        "current_stream": lambda device=None: SimpleNamespace(
            index=torch.cuda.current_device() if device is None else _index(device)
        ),
        "Event": Event,
    }


def _index(device: Any) -> int | None:
    return device if isinstance(device, int) else torch.device(device).index


def _with_index(device: torch.device) -> torch.device:
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _saver(gpu: "FakeGPU", save: Callable[..., None]) -> Callable[..., None]:
    """`torch.save`, which writes zeros for what has no values."""

    def on_host(value: Any) -> Any:
        if not isinstance(value, FakeTensor):
            return value
        gpu.seen.note_wait("torch.save of a tensor of the device")
        return torch.zeros(value.shape, dtype=value.dtype)

    def saved(values: Any, *args: Any, **kwargs: Any) -> None:
        with _disable_current_modes():
            plain = tree_map(on_host, values)
            save(plain, *args, **kwargs)

    return saved


def _deepcopy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    if id(tensor) not in memo:
        copied = tensor.detach().clone(memory_format=torch.preserve_format)
        if isinstance(tensor, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, tensor.requires_grad)
        memo[id(tensor)] = copied
    new: Tensor = memo[id(tensor)]
    return new


def _cudnn_layout(image: Tensor, weight: Tensor, _: Any) -> torch.memory_format:
    """Memory layout of a convolution's result, ``cudnn_conv_suggest_memory_format``."""
    channels_last = {4: torch.channels_last, 5: torch.channels_last_3d}
    for tensor in (image, weight):
        layout = channels_last.get(tensor.dim())
        if layout is None or tensor.is_contiguous():
            continue
        if tensor.is_contiguous(memory_format=layout):
            return layout
    return torch.contiguous_format


def _apply(self: nn.Module, convert: Callable[[Tensor], Tensor]) -> nn.Module:
    """`Module._apply`, which puts fake parameters in the place of real ones."""
    for module in self.modules():
        for name, old in module._parameters.items():
            if old is None:
                continue
            with torch.no_grad():
                new = convert(old)
            if new is not old:
                module._parameters[name] = nn.Parameter(new, old.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = convert(buffer)
    return self


@contextmanager
def _tensors_made_on_the_host_first() -> Iterator[None]:
    """``torch.tensor(numbers, device="cuda")`` is seen as the copy that it is."""
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
