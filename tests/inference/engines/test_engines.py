"""Every engine says what torch says; where a library is absent, its tests skip."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medseg.errors import SettingsError
from medseg.inference.engines.available import make_engine
from medseg.inference.engines.engine import Engine, Name, Variant
from medseg.inference.engines.onnx_engine import onnx_graph
from medseg.inference.engines.torch_engine import torch_engine
from medseg.networks.build import build_network
from medseg.networks.network import SegmentationNetwork
from medseg.networks.presets import original_unet
from medseg.networks.settings import (
    FCNSettings,
    NetworkSettings,
    SegResNetSettings,
    UNetSettings,
)

CPU = torch.device("cpu")
SMALL = {"channels": (4, 8), "strides": (1, 2)}
NETWORKS: dict[str, NetworkSettings] = {
    "instance": UNetSettings(**SMALL),
    "batch": UNetSettings(normalization="batch", **SMALL),
    "strided stem": UNetSettings(channels=(4, 8), strides=(2, 2)),
    "attention": UNetSettings(attention=True, **SMALL),
    "unpadded": original_unet(stages=2, width=4),
    "fcn": FCNSettings(
        variant=32, channels=(4, 4, 4, 8, 8), head_channels=8, head_kernel=3
    ),
    "segresnet": SegResNetSettings(init_filters=8),
}
ENGINES = [Variant("torch", "float32"), Variant("onnx", "float32"),
           Variant("openvino", "float32")]  # fmt: skip
LIBRARIES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}


def need(name: str) -> None:
    for library in LIBRARIES.get(name, ()):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")


def network(name: str, dims: int = 3) -> SegmentationNetwork:
    torch.manual_seed(0)
    return build_network(
        NETWORKS[name], spatial_dims=dims, in_channels=2, out_channels=3
    ).eval()


def windows(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def agree(engine: Engine, original: SegmentationNetwork, image: torch.Tensor) -> None:
    with torch.inference_mode():
        expected = original(image)
    torch.testing.assert_close(engine(image), expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("variant", ENGINES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_torch(name: str, variant: Variant) -> None:
    need(variant.name)
    original = network(name)
    engine = make_engine(variant, original, device=CPU)
    agree(engine, original, windows(1, 2, 16, 12, 16))


@pytest.mark.parametrize("variant", ENGINES, ids=str)
def test_any_size_and_batch_goes_in(variant: Variant) -> None:
    need(variant.name)
    original = network("instance", 2)
    engine = make_engine(variant, original, device=CPU)
    for shape in ((1, 2, 16, 16), (3, 2, 16, 16), (1, 2, 17, 23), (2, 2, 5, 40)):
        agree(engine, original, windows(*shape))


@pytest.mark.parametrize("variant", ENGINES, ids=str)
def test_earlier_logits_are_not_overwritten(variant: Variant) -> None:
    need(variant.name)
    engine = make_engine(variant, network("batch"), device=CPU)
    first = engine(windows(1, 2, 8, 8, 8))
    kept = first.clone()
    engine(torch.zeros(1, 2, 8, 8, 8))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bfloat16_is_near(name: Name) -> None:
    need(name)
    original = network("batch")
    image = windows(1, 2, 16, 16, 16)
    found = make_engine(Variant(name, "bfloat16"), original, device=CPU)(image)
    with torch.inference_mode():
        expected = original(image)
    spread = float(expected.max() - expected.min())
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < 0.05 * spread


def test_the_network_itself_stays(tmp_path: Path) -> None:
    original = network("batch")
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    torch_engine(original, device=CPU)(windows(1, 2, 8, 8, 8))
    assert all(torch.equal(before[n], t) for n, t in original.state_dict().items())


def test_compiling_is_for_gpus() -> None:
    with pytest.raises(SettingsError, match="needs a CUDA device"):
        torch_engine(network("batch"), device=CPU, compiled=True)


def test_openvino_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    need("openvino")
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    engine = make_engine(Variant("openvino", "float32"), network("batch"), device=CPU)
    engine(windows(1, 2, 8, 8, 8))
    converter = sys.modules.get("openvino.tools.ovc.convert_impl")
    assert converter is None or not getattr(converter, "telemetry", None)


def test_a_graph_of_open_sizes_says_so() -> None:
    need("onnx")
    import onnx

    from medseg.inference.engines.engine import CoreLogits

    core = CoreLogits(network("batch").core).eval()
    graph = onnx.load_from_string(
        onnx_graph(core, (8, 8, 8), in_channels=2, any_size=True)
    )
    axes = graph.graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["batch", 2, *"ijk"]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["torch", "torch-compile"])
def test_gpu_agrees_with_cpu(name: Name, precision: str) -> None:
    original = network("instance")
    image = windows(1, 2, 32, 32, 32)
    variant = Variant(name, precision)  # type: ignore[arg-type]
    engine = make_engine(variant, original, device=torch.device("cuda"))
    found = engine(image.cuda()).cpu()
    with torch.inference_mode():
        expected = original.cpu()(image)
    spread = float(expected.max() - expected.min())
    assert float((found - expected).abs().max()) < 0.05 * spread


SIGNALS = """
import ctypes, gc, os, signal, threading
import numpy as np, torch
from medseg.inference.engines.available import candidates, make_engine
from medseg.inference.engines.engine import Variant
from medseg.networks.build import build_network
from medseg.networks.settings import UNetSettings

settings = UNetSettings(channels=(8, 16), strides=(1, 2))
network = build_network(settings, spatial_dims=3, in_channels=1, out_channels=2)
variant, cpu = Variant("openvino", "float32"), torch.device("cpu")
engines = [make_engine(variant, network.eval(), device=cpu) for _ in range(3)]
for engine in engines:
    engine.run(torch.randn(1, 1, 16, 16, 16))
hits = []
signal.signal(signal.SIGINT, lambda *_: hits.append(1))
os.kill(os.getpid(), signal.SIGINT)
del engines[0]
os.kill(os.getpid(), signal.SIGINT)
thread = threading.Thread(target=engines.clear)  # let go by another thread
thread.start(); thread.join(); del engine; gc.collect()
os.kill(os.getpid(), signal.SIGINT)
assert len(hits) == 3
"""


def test_ctrl_c_survives_openvino() -> None:
    need("openvino")
    command = [sys.executable, "-X", "faulthandler", "-c", SIGNALS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
