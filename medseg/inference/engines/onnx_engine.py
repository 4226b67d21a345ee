"""The network run by ONNX Runtime (extra ``[onnx]``)."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from medseg.inference.engines.engine import Engine, Variant
from medseg.inference.engines.foreign_core import (
    CoreLogits,
    smallest_example,
    takes_any_size,
    with_foreign_core,
)
from medseg.inference.engines.onnx_graph import IMAGE, onnx_graph
from medseg.networks.folding import fold
from medseg.networks.network import SegmentationNetwork

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
