"""TorchScript and ONNX give what the network gives."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from network_zoo import NETWORKS, build

KINDS = [
    "unet",
    "residual",
    "attention",
    "interpolate",
    "subpixel",
    "stem_branch",
    "original",
    "batch",
    "fcn32",
    "fcn16",
    "fcn8",
    "deeplab",
    "segresnet",
]
CASES = [(name, dims) for name in KINDS for dims in (2, 3)]
SLOW = [  # tracing its windows takes a minute in 3D
    pytest.param("swinunetr", dims, marks=pytest.mark.slow) for dims in (2, 3)
]


def example(dims: int, count: int = 1) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 1, *(32, 32, 32)[:dims])


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("name", "dims"), [*CASES, *SLOW])
def test_torchscript_gives_equal_outputs(name: str, dims: int) -> None:
    network = build(NETWORKS[name], dims).eval()
    with torch.no_grad():
        script = torch.jit.trace(network, example(dims), check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(script, buffer)
        buffer.seek(0)
        loaded = torch.jit.load(buffer)
        torch.testing.assert_close(
            loaded(example(dims)), network(example(dims)), atol=1e-4, rtol=1e-4
        )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "dims"), [*CASES, *SLOW])
def test_onnx_gives_equal_outputs(name: str, dims: int, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="extra 'export' absent")
    pytest.importorskip("onnxscript", reason="extra 'export' absent")
    network = build(NETWORKS[name], dims).eval()
    path = tmp_path / "network.onnx"
    torch.onnx.export(
        network,
        (example(dims),),
        path,
        input_names=["image"],
        output_names=["logits"],
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": example(dims).numpy()})
    with torch.no_grad():
        expected = network(example(dims)).numpy()
    # Attention adds up thousands of float32 terms in another order.
    atol = 5e-4 if name == "swinunetr" else 1e-4
    np.testing.assert_allclose(found, expected, atol=atol, rtol=1e-3)
