"""Encoder weights of VGG16 from a local file, for FCNs.

torchvision's layout is understood, with and without batch normalization: convolutions
in order as ``features.N.weight`` and ``classifier.0`` and ``classifier.3``. Nothing is
downloaded, and no code in the file is executed.
"""

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from medseg.errors import MissingFileError, ModelError, UnreadableFileError
from medseg.networks.blocks import ConvBlock
from medseg.networks.fcn import FCNCore
from medseg.networks.network import SegmentationNetwork
from medseg.networks.settings import FCNSettings, NetworkSettings

StateDict = dict[str, Tensor]
NORM_STATE = ("weight", "bias", "running_mean", "running_var")
CLASSIFIER = ("classifier.0", "classifier.3")


def load_pretrained(network: SegmentationNetwork, settings: NetworkSettings) -> str:
    """Loads what the settings name into a fresh network.

    Returns:
        What was taken and what was not, in words; empty where there is nothing to load.

    To be called once, before training: a trained model needs no such file.

    Raises:
        MissingFileError: The file is not there.
        UnreadableFileError: It is no state dict.
        ModelError: Its layers do not fit the settings.
    """
    if not isinstance(settings, FCNSettings) or settings.encoder_weights is None:
        return ""
    return load_vgg16(network, settings.encoder_weights)


def load_vgg16(network: SegmentationNetwork, path: Path) -> str:
    """Loads VGG16's convolutions into an FCN's encoder, and its classifier if it fits.

    Returns:
        What was taken and what was not, in words.

    Raises:
        MissingFileError: The file is not there.
        UnreadableFileError: It is no state dict.
        ModelError: Its layers do not fit the network's.
    """
    core = network.core
    if not isinstance(core, FCNCore):
        raise ModelError(f"{path}: VGG16 weights fit an FCN only")
    state = read_state_dict(path)
    blocks = [m for m in core.blocks.modules() if isinstance(m, ConvBlock)]
    names = convolution_names(state)
    if len(names) != len(blocks):
        raise ModelError(
            f"{path}: expected {len(blocks)} convolutions as in convs_per_block, found "
            f"{len(names)}"
        )
    for name, block in zip(names, blocks, strict=True):
        _copy(state, name, block, path)
    head = [m for m in core.head if isinstance(m, ConvBlock)]
    reasons = {
        name: _copy_classifier(state, name, block)
        for name, block in zip(CLASSIFIER, head, strict=True)
    }
    taken = [name for name, reason in reasons.items() if not reason]
    left = [f"{name} ({reason})" for name, reason in reasons.items() if reason]
    words = f"{path}: took {', '.join([f'{len(blocks)} convolutions', *taken])}"
    return f"{words}; left out {', '.join(left)}" if left else words


def read_state_dict(path: Path) -> StateDict:
    """Tensors by name, from a ``.safetensors`` file or a plain torch file.

    Raises:
        MissingFileError: The file is not there.
        UnreadableFileError: It holds something else than tensors by name.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors: StateDict = load_file(path)
        except SafetensorError as error:
            raise UnreadableFileError(f"{path}: not a safetensors file") from error
        return tensors
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise UnreadableFileError(
            f"{path}: not a file of plain weights; save the state dict alone"
        ) from error
    if not isinstance(state, dict):
        raise UnreadableFileError(f"{path}: expected tensors by name")
    return state


def convolution_names(state: StateDict) -> list[str]:
    """``features.N`` of every convolution, in order."""
    names = [
        name.removesuffix(".weight")
        for name, tensor in state.items()
        if name.startswith("features.")
        and name.endswith(".weight")
        and tensor.dim() == 4
    ]
    return sorted(names, key=lambda name: int(name.split(".")[1]))


def adapt_filters(weight: Tensor, *, in_channels: int, spatial_dims: int) -> Tensor:
    """Filters of 2D colour images for any number of channels, in 2D or 3D.

    Another number of channels C than the filters' own gets their mean over channels,
    times the ratio of the numbers, so that responses keep their size. In 3D, filters
    are repeated along the third axis and divided by its length (Carreira and
    Zisserman, arXiv:1705.07750), so that an image repeated along k responds as in 2D.

    Args:
        weight: Shape (C_out, C_in, k, k).
        in_channels: Channels wanted.
        spatial_dims: 2 or 3.
    """
    if weight.shape[1] != in_channels:
        scale = weight.shape[1] / in_channels
        mean = weight.mean(dim=1, keepdim=True) * scale
        weight = mean.repeat(1, in_channels, 1, 1)
    if spatial_dims == 3:
        depth = weight.shape[-1]
        weight = weight.unsqueeze(-1).repeat(1, 1, 1, 1, depth) / depth
    return weight


def _copy(state: StateDict, name: str, block: ConvBlock, path: Path) -> None:
    """One convolution, and the batch normalization after it where both have one."""
    conv = block.conv
    assert isinstance(conv, nn.Conv2d | nn.Conv3d)
    weight = adapt_filters(
        state[f"{name}.weight"],
        in_channels=conv.in_channels,
        spatial_dims=conv.weight.dim() - 2,
    )
    if weight.shape != conv.weight.shape:
        raise ModelError(
            f"{path}: {name} has filters of shape {tuple(weight.shape)}, expected "
            f"{tuple(conv.weight.shape)}; set channels to (64, 128, 256, 512, 512)"
        )
    bias = state.get(f"{name}.bias")
    norm = _next(name)
    normalized = f"{norm}.running_mean" in state
    if normalized and not isinstance(block.norm, nn.BatchNorm2d | nn.BatchNorm3d):
        raise ModelError(
            f"{path}: these weights are of VGG16 with batch normalization; set "
            "normalization: batch"
        )
    with torch.no_grad():
        conv.weight.copy_(weight)
        if conv.bias is not None and bias is not None:
            conv.bias.copy_(bias)
        if normalized:
            for key in NORM_STATE:
                getattr(block.norm, key).copy_(state[f"{norm}.{key}"])
            if conv.bias is None and bias is not None:
                block.norm.running_mean.sub_(bias)  # type: ignore[operator]


def _copy_classifier(state: StateDict, name: str, block: ConvBlock) -> str:
    """A fully connected layer as a convolution; why not, where it does not fit."""
    conv = block.conv
    assert isinstance(conv, nn.Conv2d | nn.Conv3d)
    weight = state.get(f"{name}.weight")
    if weight is None:
        return "not in the file"
    if weight.shape[0] != conv.out_channels:
        return f"head_channels is {conv.out_channels}, the file's {weight.shape[0]}"
    kernel = conv.kernel_size[0]
    if weight.shape[1] != conv.in_channels * kernel**2:
        if kernel == 1:
            return f"it takes {weight.shape[1]} channels, this layer {conv.in_channels}"
        side = (weight.shape[1] / conv.in_channels) ** 0.5
        return f"head_kernel is {kernel}, the file's {side:g}"
    filters = weight.reshape(conv.out_channels, conv.in_channels, kernel, kernel)
    with torch.no_grad():
        conv.weight.copy_(
            adapt_filters(
                filters,
                in_channels=conv.in_channels,
                spatial_dims=conv.weight.dim() - 2,
            )
        )
        if conv.bias is not None and f"{name}.bias" in state:
            conv.bias.copy_(state[f"{name}.bias"])
    return ""


def _next(name: str) -> str:
    prefix, number = name.rsplit(".", 1)
    return f"{prefix}.{int(number) + 1}"
