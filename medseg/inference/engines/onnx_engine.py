"""The network run by ONNX Runtime (extra ``[onnx]``)."""

import inspect
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medseg.inference.engines.engine import (
    CoreLogits,
    Engine,
    Variant,
    smallest_example,
    takes_any_size,
    with_foreign_core,
)
from medseg.networks.folding import fold
from medseg.networks.network import SegmentationNetwork

OPSET = 17
"""Of 2022: understood by ONNX Runtime since 1.12 and by OpenVINO since 2022.2."""

IMAGE, LOGITS = "image", "logits"
AXES = ("i", "j", "k")


def onnx_graph(
    module: nn.Module, size: Sequence[int], *, in_channels: int, any_size: bool
) -> bytes:
    """The graph of a module from images (N, C, *size) to logits, on the CPU.

    It is recorded on one pass (torch's exporter by tracing: within a second, where the
    newer exporter takes up to a minute for the same graph).

    Args:
        module: Maps a tensor to a tensor, in eval mode.
        size: Spatial size of the example; the only one that the graph takes unless
            `any_size`.
        in_channels: Channels of the images.
        any_size: Leave the spatial axes open; the batch always is.
    """
    example = torch.zeros(1, in_channels, *size)
    axes = {0: "batch"}
    if any_size:
        axes |= {2 + n: name for n, name in zip(range(len(size)), AXES, strict=False)}
    options: dict[str, Any] = {
        "input_names": [IMAGE],
        "output_names": [LOGITS],
        "dynamic_axes": {IMAGE: axes, LOGITS: axes},
        "opset_version": OPSET,
    }
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    stream = io.BytesIO()
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about the recorder, not about the network
        quiet.setLevel(logging.ERROR)
        try:
            torch.onnx.export(module, (example,), stream, **options)  # type: ignore[arg-type]
        finally:
            quiet.setLevel(level)
    return stream.getvalue()


GRAPHS_KEPT = 4
"""Sizes whose graphs stay loaded, for networks whose graph is of one size."""


def onnx_engine(network: SegmentationNetwork, *, device: torch.device) -> Engine:
    """The network in ONNX Runtime, on as many threads as torch uses.

    Args:
        network: As trained; it is copied.
        device: Where windows come from and logits go; ONNX Runtime itself works on
            the GPU where its GPU package is installed.

    Raises:
        ImportError: ONNX Runtime is not installed.
    """
    folded = fold(network).cpu()
    open_sizes = takes_any_size(network)

    @lru_cache(maxsize=GRAPHS_KEPT)
    def session(size: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
        graph = onnx_graph(
            CoreLogits(folded.core).eval(),
            size,
            in_channels=network.in_channels,
            any_size=open_sizes,
        )
        return onnx_session(graph, device=device)

    def run(windows: Tensor) -> Tensor:
        size = smallest_example(network) if open_sizes else tuple(windows.shape[2:])
        logits = session(size)(windows.float().contiguous().cpu().numpy())
        return torch.from_numpy(logits).to(windows.device)

    shell = with_foreign_core(network, run)

    @torch.inference_mode()
    def predict(windows: Tensor) -> Tensor:
        logits: Tensor = shell(windows)
        return logits

    return Engine(Variant("onnx", "float32"), predict)


def onnx_session(
    graph: bytes, *, device: torch.device
) -> Callable[[np.ndarray], np.ndarray]:
    """A function that runs an ONNX graph of one input and one output."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in available:
        providers.insert(0, "CUDAExecutionProvider")
    session = onnxruntime.InferenceSession(graph, options, providers=providers)

    def run(image: np.ndarray) -> np.ndarray:
        (logits,) = session.run(None, {IMAGE: image})
        return np.asarray(logits)

    return run
