"""A graph whose convolutions compute in 8-bit integers, by ONNX Runtime's quantizer."""

import logging
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from medseg.inference.engines.onnx_graph import IMAGE


def int8_graph(graph: bytes, images: Tensor) -> bytes:
    """The graph with scales for 8 bits, found on images (static quantization).

    Weights have a scale per channel, activations one each, from the least to the
    largest value that they took (Jacob et al., CVPR 2018, arXiv:1712.05877).
    Normalization and upsampling without weights stay in float32.

    Args:
        graph: Of `onnx_graph`.
        images: What scales are found on, one after the other, shape (N, C, *spatial).

    Raises:
        ImportError: ONNX Runtime is not installed.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(images.float().cpu().numpy())

        def get_next(self) -> Any:
            image = next(self._left, None)
            return None if image is None else {IMAGE: image[None]}

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # advice about the graph, given at each call
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            quantize_static(
                onnx.load_from_string(graph),
                path,
                Images(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                op_types_to_quantize=["Conv", "ConvTranspose"],
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return path.read_bytes()
    finally:
        logger.setLevel(level)
