"""A network's core as an ONNX graph."""

import inspect
import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

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
