"""Which engines can run on this machine, and how one is made."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch

from medseg.device import has_bfloat16
from medseg.errors import SettingsError
from medseg.extras import how_to_install
from medseg.inference.engines.engine import REFERENCE, Engine, Precision, Variant
from medseg.inference.settings import InferenceSettings
from medseg.networks.network import SegmentationNetwork

PACKAGES = {
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
}
"""What each optional engine needs."""

FORMATS = {
    "onnx": ("float32",),
    "openvino": ("float32", "bfloat16"),
    "torch": ("float32", "bfloat16", "float16"),
    "torch-compile": ("float32", "bfloat16", "float16"),
}


def make_engine(
    variant: Variant, network: SegmentationNetwork, *, device: torch.device
) -> Engine:
    """The network in an engine; libraries are imported here.

    Args:
        variant: Which.
        network: As trained.
        device: Where windows come from.

    Raises:
        Exception: Whatever the library raises where it cannot run the network.
    """
    if variant.name == "onnx":
        from medseg.inference.engines.onnx_engine import onnx_engine

        return onnx_engine(network, device=device)
    if variant.name == "openvino":
        from medseg.inference.engines.openvino_engine import openvino_engine

        return openvino_engine(network, precision=variant.precision)
    from medseg.inference.engines.torch_engine import torch_engine

    return torch_engine(
        network,
        device=device,
        precision=variant.precision,
        compiled=variant.name == "torch-compile",
    )


def candidates(
    settings: InferenceSettings, *, device: torch.device
) -> tuple[Variant, ...]:
    """What the settings allow and this machine can run; the reference first.

    torch.compile is taken only when named: it takes about a minute for each size of
    window.

    Raises:
        SettingsError: The engine that was named is not installed, or cannot compute
            in the format or on the device that was named.
    """
    if settings.reproducible:
        return (REFERENCE,)
    named = settings.engine != "auto"
    names = [settings.engine] if named else ["torch", "onnx", "openvino"]
    if named:
        _require(settings, device)
    found = [
        Variant(name, precision)  # type: ignore[arg-type]
        for name in names
        if _is_installed(name) and _runs_on(name, device)
        for precision in _precisions(name, settings.precision, device)
    ]
    return tuple(sorted(found, key=lambda variant: variant != REFERENCE))


def versions() -> dict[str, str]:
    """Versions of everything that decides which engine is fastest."""
    found = {}
    for package in ("medseg", "torch", "onnxruntime", "openvino"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _require(settings: InferenceSettings, device: torch.device) -> None:
    name = settings.engine
    if not _is_installed(name):
        raise SettingsError(
            f"engine {name}: {' and '.join(PACKAGES[name])} must be installed: "
            f"{how_to_install(name)}"
        )
    if not _runs_on(name, device):
        where = "the CPU" if name == "openvino" else "a CUDA device"
        raise SettingsError(
            f"engine {name} runs on {where} only, the device is {device.type}"
        )
    if settings.precision not in ("auto", *FORMATS[name]):
        raise SettingsError(
            f"engine {name} computes in {' or '.join(FORMATS[name])}, "
            f"not {settings.precision}"
        )


def _is_installed(name: str) -> bool:
    return all(find_spec(package) is not None for package in PACKAGES.get(name, ()))


def _runs_on(name: str, device: torch.device) -> bool:
    if name == "torch-compile":
        return device.type == "cuda"
    if name == "onnx" and device.type == "cuda":
        import onnxruntime

        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return name != "openvino" or device.type == "cpu"


def _precisions(name: str, wanted: str, device: torch.device) -> Iterator[Precision]:
    for precision in FORMATS[name]:
        if wanted == precision or (wanted == "auto" and _pays(precision, device)):
            yield precision  # type: ignore[misc]


def _pays(precision: str, device: torch.device) -> bool:
    """Whether the device computes in the format itself rather than by emulation."""
    if precision == "float32":
        return True
    if device.type == "cuda":
        return precision == "float16" or has_bfloat16(device)
    if precision == "float16":
        return False
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)
