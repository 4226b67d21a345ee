"""The network run by torch: folded, in its fastest layout, compiled on request."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from medseg.errors import SettingsError
from medseg.extras import how_to_install
from medseg.inference.engines.engine import Engine, Precision, Variant
from medseg.networks.folding import inference_form


def torch_engine(
    network: nn.Module,
    *,
    device: torch.device,
    precision: Precision = "float32",
    compiled: bool = False,
) -> Engine:
    """The network on its device.

    Args:
        network: As trained; it is copied.
        device: Where windows come from and logits go.
        precision: Short formats are used where torch's autocast thinks them safe.
        compiled: By torch.compile, which takes a minute at the first window of each
            size; on GPUs only.

    Raises:
        SettingsError: Compiling was asked for on a CPU.
    """
    if compiled and device.type != "cuda":
        raise SettingsError(
            "engine torch-compile needs a CUDA device; on the CPU take openvino or "
            f"onnx ({how_to_install('openvino')})"
        )
    form: nn.Module = inference_form(network, device=device)
    if compiled:
        form = torch.compile(form)  # type: ignore[assignment]

    @torch.inference_mode()
    def run(windows: Tensor) -> Tensor:
        with _cast(device, precision):
            logits: Tensor = form(windows)
        return logits

    return Engine(Variant("torch-compile" if compiled else "torch", precision), run)


def _cast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))
