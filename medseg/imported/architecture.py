"""The network that nnU-Net's plans describe, as medseg's own U-Net.

Classes are named in plans.json by their path; nnU-Net imports whatever stands there.
Here each is looked up in a list of the few that its planners write, and anything else
is refused by name. ``PlainConvUNet`` and ``ResidualEncoderUNet`` are layer for layer
what medseg's U-Net is with ``block: plain`` and ``residual``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medseg.errors import ModelError
from medseg.networks.settings import Activation, Normalization, UNetSettings
from medseg.settings import parse_settings

_CONVOLUTIONS = {
    f"{place}.Conv{dims}d": dims
    for place in ("torch.nn", "torch.nn.modules.conv")
    for dims in (2, 3)
}
_NORMS: dict[str, Normalization] = {
    **{
        f"{place}.InstanceNorm{dims}d": "instance"
        for place in ("torch.nn", "torch.nn.modules.instancenorm")
        for dims in (2, 3)
    },
    **{
        f"{place}.BatchNorm{dims}d": "batch"
        for place in ("torch.nn", "torch.nn.modules.batchnorm")
        for dims in (2, 3)
    },
}
_BY_NAME: dict[str, Activation] = {
    "LeakyReLU": "leakyrelu",
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
    "ELU": "elu",
}
_ACTIVATIONS = {
    f"{place}.{name}": kind
    for place in ("torch.nn", "torch.nn.modules.activation")
    for name, kind in _BY_NAME.items()
}
_DROPOUTS = [
    f"{place}.Dropout{dims}d"
    for place in ("torch.nn", "torch.nn.modules.dropout")
    for dims in (2, 3)
]
_NETWORK = re.compile(
    r"dynamic_network_architectures\.architectures\.\w+\."
    r"(PlainConvUNet|ResidualEncoderUNet)"
)
_IMPORTED = {"conv_op", "norm_op", "dropout_op", "nonlin", "block"}
_KNOWN = _IMPORTED | {
    *("n_stages", "features_per_stage", "kernel_sizes", "strides", "conv_bias"),
    *("n_conv_per_stage", "n_blocks_per_stage", "n_conv_per_stage_decoder"),
    *("norm_op_kwargs", "dropout_op_kwargs", "nonlin_kwargs", "deep_supervision"),
    *("nonlin_first", "bottleneck_channels", "stem_channels"),
}
_BLOCK = "dynamic_network_architectures.building_blocks.residual.BasicBlockD"
_EXPECTED: dict[str, tuple[dict[str, Any], ...]] = {
    "norm_op_kwargs": (
        {"eps": 1e-5, "affine": True, "momentum": 0.1, "track_running_stats": None},
    ),
    "nonlin_kwargs": (
        {"inplace": None, "negative_slope": 0.01, "alpha": 1.0, "approximate": "none"},
    ),
}
"""Arguments that may be given, and the only value of each; None: any."""


def network_settings(
    configuration: Mapping[str, Any],
    *,
    order: Sequence[int],
    batch_norm: bool = False,
    source: str,
) -> UNetSettings:
    """The network of a configuration.

    Args:
        configuration: Of plans.json, of version 2.0 or later.
        order: For each axis of medseg's patch, nnU-Net's axis.
        batch_norm: The trainer puts batch normalisation in place of the plans'.
        source: The file, for error messages.

    Raises:
        ModelError: It names a class that is not in the list, or is a network that
            medseg's U-Net is not.
        SettingsError: A number is out of range.
    """
    if "architecture" in configuration:
        name, values = _new_style(configuration["architecture"], source)
    else:
        name, values = _old_style(configuration, source)
    match = _NETWORK.fullmatch(name)
    if match is None:
        raise _refused(source, "network_class_name", name, _NETWORK.pattern)
    kind = match[1]
    _require_plain(values, source)
    dims = _listed(values.get("conv_op"), _CONVOLUTIONS, "conv_op", source)
    if dims != len(order):
        raise ModelError(
            f"{source}: conv_op {values['conv_op']} for patches of {len(order)} axes"
        )
    norm: Normalization = "none"
    if values.get("norm_op") is not None:
        norm = _listed(values["norm_op"], _NORMS, "norm_op", source)
    if values.get("dropout_op") is not None:
        known = dict.fromkeys(_DROPOUTS, 0)
        _listed(values["dropout_op"], known, "dropout_op", source)
    stages = values.get("n_stages")
    if not isinstance(stages, int) or not 2 <= stages <= 16:
        raise ModelError(f"{source}: n_stages is {stages!r:.40}, expected 2 to 16")
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    strides = _by_axis(values.get("strides"), stages, order, "strides", source)
    if any(step != 1 for step in strides[0]):
        raise ModelError(
            f"{source}: the first stage strides by {strides[0]}; only networks that "
            "begin at full resolution can be imported"
        )
    decoder = _counts(values, "n_conv_per_stage_decoder", stages - 1, source)
    return parse_settings(
        UNetSettings,
        {
            "channels": _counts(values, "features_per_stage", stages, source),
            "strides": strides,
            "kernel_sizes": _by_axis(
                values.get("kernel_sizes"), stages, order, "kernel_sizes", source
            ),
            "convs_per_stage": _counts(values, blocks, stages, source),
            "decoder_convs": decoder[::-1],
            "block": "plain" if kind == "PlainConvUNet" else "residual",
            "normalization": "batch" if batch_norm else norm,
            "activation": _listed(values.get("nonlin"), _ACTIVATIONS, "nonlin", source),
            "conv_bias": bool(values.get("conv_bias", False)),
            "deep_supervision": True,
        },
        source=source,
    )


def _new_style(architecture: Any, source: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments, as plans of nnU-Net 2.5 and later have them."""
    if not isinstance(architecture, dict):
        raise ModelError(f"{source}: architecture is no mapping")
    values = architecture.get("arch_kwargs")
    if not isinstance(values, dict):
        raise ModelError(f"{source}: architecture has no arch_kwargs")
    asked = architecture.get("_kw_requires_import", [])
    strange = [name for name in asked if name not in _IMPORTED]
    if strange:
        raise ModelError(
            f"{source}: _kw_requires_import names {strange[0]!r:.80}, which nnU-Net "
            "would import; refused"
        )
    return str(architecture.get("network_class_name")), values


def _old_style(
    configuration: Mapping[str, Any], source: str
) -> tuple[str, dict[str, Any]]:
    """The same of plans of nnU-Net 2.0 to 2.4, as later versions translate them."""
    name = configuration.get("UNet_class_name")
    if name not in {"PlainConvUNet", "ResidualEncoderUNet"}:
        raise _refused(
            source, "UNet_class_name", str(name), "PlainConvUNet, ResidualEncoderUNet"
        )
    try:
        per_stage = list(configuration["n_conv_per_stage_encoder"])
        base, most = (
            int(configuration[key])
            for key in ("UNet_base_num_features", "unet_max_num_features")
        )
        dims = len(configuration["patch_size"])
        blocks = "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage"
        return f"dynamic_network_architectures.architectures.unet.{name}", {
            "n_stages": len(per_stage),
            "features_per_stage": [
                min(base * 2**stage, most) for stage in range(min(len(per_stage), 16))
            ],
            "conv_op": f"torch.nn.Conv{dims}d",
            "kernel_sizes": configuration["conv_kernel_sizes"],
            "strides": configuration["pool_op_kernel_sizes"],
            blocks: per_stage,
            "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": f"torch.nn.InstanceNorm{dims}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{source}: neither `architecture` nor all keys of older plans: {error!r}"
        ) from error


def _require_plain(values: Mapping[str, Any], source: str) -> None:
    """Refuses arguments that make it a network which medseg's U-Net is not.

    Raises:
        ModelError: There is one.
    """
    for key in values:
        if key not in _KNOWN:
            raise ModelError(f"{source}: arch_kwargs: unknown key {key!r:.80}; refused")
    for key in ("nonlin_first", "bottleneck_channels", "stem_channels"):
        if values.get(key):
            raise ModelError(
                f"{source}: {key} is {values[key]!r:.80}; such networks cannot be "
                "imported"
            )
    if values.get("block") not in {None, _BLOCK}:
        raise _refused(source, "block", str(values["block"]), _BLOCK)
    for key, (allowed,) in _EXPECTED.items():
        for name, value in (values.get(key) or {}).items():
            if name not in allowed:
                raise ModelError(f"{source}: {key}: unknown {name!r:.80}; refused")
            if allowed[name] is not None and value != allowed[name]:
                raise ModelError(
                    f"{source}: {key}: {name} is {value!r:.80}, only {allowed[name]!r} "
                    "can be imported"
                )


def _listed(name: Any, known: Mapping[str, Any], key: str, source: str) -> Any:
    """What a class path stands for.

    Raises:
        ModelError: It is not in the list.
    """
    if not isinstance(name, str) or name not in known:
        raise _refused(source, key, str(name), ", ".join(known))
    return known[name]


def _refused(source: str, key: str, name: str, known: str) -> ModelError:
    return ModelError(
        f"{source}: {key} is {name!r:.120}, which nnU-Net would import and run; "
        f"refused, since only these are known: {known}"
    )


def _counts(
    values: Mapping[str, Any], key: str, stages: int, source: str
) -> tuple[int, ...]:
    """One whole number per stage, where one number may stand for all."""
    found = values.get(key)
    found = [found] * stages if isinstance(found, int) else found
    if (
        not isinstance(found, (list, tuple))
        or len(found) != stages
        or not all(isinstance(n, int) for n in found)
    ):
        raise ModelError(
            f"{source}: {key} is {found!r:.80}, expected {stages} whole numbers"
        )
    return tuple(found)


def _by_axis(
    values: Any, stages: int, order: Sequence[int], key: str, source: str
) -> tuple[tuple[int, ...], ...]:
    """Numbers per stage and axis, in the axes of medseg's patch."""
    values = [values] * stages if isinstance(values, int) else values
    if not isinstance(values, (list, tuple)) or len(values) != stages:
        raise ModelError(f"{source}: {key}: expected one entry per stage ({stages})")
    found = []
    for entry in values:
        sides = [entry] * len(order) if isinstance(entry, int) else entry
        if not isinstance(sides, (list, tuple)) or len(sides) != len(order):
            raise ModelError(
                f"{source}: {key}: {entry!r:.80} for {len(order)} axes of the patch"
            )
        found.append(tuple(sides[axis] for axis in order))
    return tuple(found)
