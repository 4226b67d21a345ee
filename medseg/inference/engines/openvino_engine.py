"""The network run by OpenVINO on the CPU (extra ``[openvino]``).

OpenVINO's CPU plugin gives the calling thread an alternate signal stack of its own and
unmaps it with the network, sometimes without taking it back: the next signal, such as
Ctrl-C, then ends the process with a segmentation fault.

The graph goes in as ONNX bytes, read by the runtime itself. OpenVINO is imported
without the package by which it reports its use over the network.
"""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from medseg.inference.engines.engine import (
    CoreLogits,
    Engine,
    Precision,
    Variant,
    smallest_example,
    takes_any_size,
    with_foreign_core,
)
from medseg.inference.engines.onnx_engine import onnx_graph
from medseg.networks.folding import fold
from medseg.networks.network import SegmentationNetwork
from medseg.telemetry import import_openvino

_DISABLED = 2


class _SignalStack(ctypes.Structure):
    """``stack_t`` on Linux."""

    _fields_ = (
        ("pointer", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


@contextmanager
def keep_signal_stack() -> Iterator[None]:
    """Puts this thread's alternate signal stack back at the end of the block."""
    if sys.platform != "linux":
        yield
        return
    library = ctypes.CDLL(None)
    before = _SignalStack()
    library.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        if library.sigaltstack(ctypes.byref(before), None) != 0:
            none = _SignalStack(None, _DISABLED, 0)
            library.sigaltstack(ctypes.byref(none), None)


SHAPES_KEPT = 4
"""Shapes of windows whose compiled networks stay loaded."""

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def openvino_engine(
    network: SegmentationNetwork, *, precision: Precision = "float32"
) -> Engine:
    """The network compiled by OpenVINO for each shape of windows it meets.

    The number format is always said: left to itself, OpenVINO computes in bfloat16
    wherever the processor can.

    Args:
        network: As trained; it is copied.
        precision: ``float32`` or ``bfloat16``.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    folded = fold(network).cpu()
    open_sizes = takes_any_size(network)

    @lru_cache(maxsize=1 if open_sizes else SHAPES_KEPT)
    def graph(size: tuple[int, ...]) -> bytes:
        return onnx_graph(
            CoreLogits(folded.core).eval(),
            size,
            in_channels=network.in_channels,
            any_size=open_sizes,
        )

    @lru_cache(maxsize=SHAPES_KEPT)
    def compiled(shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
        size = smallest_example(network) if open_sizes else shape[2:]
        return openvino_network(graph(size), shape, precision=precision)

    def run(windows: Tensor) -> Tensor:
        logits = compiled(tuple(windows.shape))(
            windows.float().contiguous().cpu().numpy()
        )
        return torch.from_numpy(logits).to(windows.device)

    shell = with_foreign_core(network, run)

    @torch.inference_mode()
    def predict(windows: Tensor) -> Tensor:
        logits: Tensor = shell(windows)
        return logits

    return Engine(Variant("openvino", precision), predict)


def openvino_network(
    graph: bytes, shape: tuple[int, ...], *, precision: Precision
) -> Callable[[np.ndarray], np.ndarray]:
    """A function that runs an ONNX graph on inputs of one shape."""
    openvino = import_openvino()
    with keep_signal_stack():
        core = openvino.Core()
        model = core.read_model(graph)
        model.reshape(list(shape))
        network = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
    request = network.create_infer_request()

    def run(image: np.ndarray) -> np.ndarray:
        # Without copies, the next window's logits would overwrite these.
        with keep_signal_stack():
            results = request.infer([image], share_inputs=True, share_outputs=False)
        return np.asarray(results[0])

    return run
