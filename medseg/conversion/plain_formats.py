"""ONNX and TorchScript: one file for the network, an example, a page."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medseg.conversion.portable import Portable, trace
from medseg.conversion.recipe import readme
from medseg.errors import SettingsError
from medseg.extras import how_to_install
from medseg.inference.engines.onnx_engine import onnx_graph
from medseg.plan import write_plan

EXAMPLE_FILES = {
    "plan.yaml": "how scans are prepared, for programs",
    "example_image.npy": "a synthetic input (no patient's), already prepared",
    "example_logits.npy": "what the network says to it",
}


def write_onnx(folder: Path, portable: Portable) -> str:
    """Writes the network as ONNX; returns how it was checked, in words.

    Raises:
        SettingsError: The package onnx is not installed.
        ModelError: Read back, it does not compute the same.
    """
    if find_spec("onnx") is None:
        raise SettingsError(f"--to onnx needs onnx: {how_to_install('onnx')}")
    path = folder / "network.onnx"
    path.write_bytes(
        onnx_graph(
            portable.module,
            portable.sizes[0],
            in_channels=portable.in_channels,
            any_size=portable.any_size,
        )
    )
    checked = _check_onnx(path, portable)
    what = "the network (opset 17, weights inside)"
    _write_rest(folder, portable, "network.onnx", what, checked)
    return checked


def write_torchscript(folder: Path, portable: Portable) -> str:
    """Writes the network as TorchScript; returns how it was checked, in words.

    Raises:
        ModelError: Read back, it does not compute the same.
    """
    path = folder / "network.ts"
    checked = save_traced(path, portable)
    _write_rest(
        folder, portable, "network.ts", "the network, for torch.jit.load", checked
    )
    return checked


def save_traced(path: Path, portable: Portable) -> str:
    """Saves the network as TorchScript and reads it back; how it agreed, in words.

    Raises:
        ModelError: It does not compute the same.
    """
    trace(portable).save(str(path))
    loaded = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def run(image: Tensor) -> Tensor:
        logits: Tensor = loaded(image)
        return logits

    worst = portable.verify(run, name=path.name)
    return _in_words(worst, "torch.jit")


def write_example(folder: Path, portable: Portable) -> None:
    """Writes the plan, and an input with its logits, for the receiver to compare."""
    image = portable.image(portable.sizes[0])
    write_plan(folder / "plan.yaml", portable.model.plan)
    np.save(folder / "example_image.npy", image.numpy())
    np.save(folder / "example_logits.npy", portable.logits(image).numpy())


def _write_rest(
    folder: Path, portable: Portable, name: str, what: str, checked: str
) -> None:
    write_example(folder, portable)
    page = readme(portable, files={name: what, **EXAMPLE_FILES}, checked=checked)
    (folder / "README.md").write_text(page, encoding="utf-8")


def _check_onnx(path: Path, portable: Portable) -> str:
    runtime = _onnx_runtime(path)
    if runtime is None:
        import onnx

        onnx.checker.check_model(path, full_check=True)
        return (
            "NOT compared with the original: neither ONNX Runtime nor OpenVINO is "
            f"installed here ({how_to_install('onnx')}); the file is well-formed."
        )
    name, run = runtime
    worst = portable.verify(run, name=path.name)
    return _in_words(worst, name)


def _onnx_runtime(path: Path) -> tuple[str, Callable[[Tensor], Tensor]] | None:
    """What can run the file here, by name."""
    graph = path.read_bytes()
    if find_spec("onnxruntime") is not None:
        from medseg.inference.engines.onnx_engine import onnx_session

        session = onnx_session(graph, device=torch.device("cpu"))
        return "ONNX Runtime", lambda image: torch.from_numpy(session(image.numpy()))
    if find_spec("openvino") is not None:
        from medseg.inference.engines.openvino_engine import openvino_network

        def run(image: Tensor) -> Tensor:
            shape = tuple(image.shape)
            network = openvino_network(graph, shape, precision="float32")
            return torch.from_numpy(network(image.numpy()))

        return "OpenVINO", run
    return None


def _in_words(worst: float, name: str) -> str:
    if worst == 0:
        return f"Checked: read back by {name}, its logits are the original's exactly."
    return (
        f"Checked: read back by {name}, logits of synthetic images differ from the\n"
        f"original's by at most {worst:.1e} of their range."
    )
