"""The network of a bundle, by its class in MONAI, and its weights."""

import inspect
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from medseg.errors import ModelError
from medseg.imported.bundle_arguments import class_name
from medseg.imported.bundle_config import BundleConfig
from medseg.imported.checkpoint import load_plain
from medseg.networks.plugin_network import ALIASES, require_harmless
from medseg.networks.settings import PluginNetworkSettings
from medseg.plugins import find
from medseg.setting_errors import nearest_name
from medseg.settings import parse_settings

PLACE = "monai.networks.nets"
NETWORKS = (
    *("UNet", "BasicUNet", "AttentionUnet", "DynUNet", "VNet", "SegResNet"),
    *("SegResNetVAE", "SegResNetDS", "SegResNetDS2", "UNETR", "SwinUNETR"),
    *("FlexibleUNet", "HighResNet"),
)
"""Networks that are taken."""
_OF_TRAINING = ("use_checkpoint", "pretrained", "img_size")
"""Arguments that change no weight and no answer: SwinUNETR saves memory while training,
and no longer wants the size of images; weights are the bundle's own. UNETR keeps
``img_size``, since it takes it."""
_NESTED = ("model", "state_dict", "network", "network_weights")
"""Keys under which checkpoints keep the weights."""


def network_of(
    config: BundleConfig, value: Any, place: str
) -> tuple[PluginNetworkSettings, dict[str, int]]:
    """The settings of a bundle's network, and its axes and channels.

    Raises:
        ModelError: It is not in the list, or an argument is not known.
    """
    value, place = config.followed(value, place)
    if isinstance(value, str) and "jit" in value:
        raise ModelError(
            f"{config.source}: {place} is {value!r:.80}: TorchScript is a program and "
            "not weights; loading it would run what somebody else wrote; refused. The "
            f"network's class and its state_dict are needed: one of "
            f"{', '.join(NETWORKS)}"
        )
    target, args, place = config.component(value, place)
    name = _known_network(config, target, place)
    # MONAI tells of an optional DICOM decoder that is absent; none is needed here
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    plugin = find(f"{PLACE}:{name}", kind="networks")
    parameters = inspect.signature(plugin.item).parameters
    chosen = {
        key: config.plain(part, f"{place}::{key}")
        for key, part in args.items()
        if key not in _OF_TRAINING or (key == "img_size" and key in parameters)
    }
    for key in chosen:
        if key not in parameters:
            near = nearest_name(key, parameters)
            raise ModelError(
                f"{config.source}: {place}: {name} has no argument {key!r:.60}{near}"
            )
    if "pretrained" in parameters:
        chosen["pretrained"] = False
    numbers = _numbers(parameters, chosen, f"{config.source}: {place}: {name}")
    settings = parse_settings(
        PluginNetworkSettings,
        {"name": f"{PLACE}:{name}", "args": chosen},
        source=f"{config.source}: {place}",
    )
    require_harmless(settings)
    return settings, numbers


def _known_network(config: BundleConfig, target: str, place: str) -> str:
    """The name of a network's class.

    Raises:
        ModelError: It is not in the list.
    """
    name = class_name(target, dict.fromkeys(NETWORKS))
    if name is None:
        near = nearest_name(target.rpartition(".")[2], NETWORKS)
        raise ModelError(
            f"{config.source}: {place} is {target!r:.80}, which is no network that is "
            f"taken{near}; refused, nothing was executed. Known are: "
            f"{', '.join(NETWORKS)}"
        )
    return name


def _numbers(
    parameters: Mapping[str, inspect.Parameter], chosen: Mapping[str, Any], what: str
) -> dict[str, int]:
    """Axes, channels of the image, and channels of the answer.

    Raises:
        ModelError: One is neither given nor has a default.
    """
    numbers = {}
    for meaning, names in ALIASES.items():
        name = next((n for n in names if n in parameters), meaning)
        parameter = parameters.get(name)
        value = chosen.get(name, None if parameter is None else parameter.default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ModelError(f"{what}: {name} is not given as a number")
        numbers[meaning] = value
    return numbers


def read_weights(path: Path, *, shown: str, key: str | None) -> dict[str, Tensor]:
    """The parameters in a file of weights, by MONAI's names.

    Args:
        path: A state_dict as ``torch.save`` writes it, or safetensors.
        shown: What messages call it.
        key: Under which the checkpoint keeps them, where the configuration says so.

    Raises:
        ModelError: It is TorchScript, asks for code to be run, or holds no weights.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{shown}: cannot be read: {error}") from error
    _require_no_script(path, shown)
    try:
        content = load_plain(path, tool="MONAI")
    except ModelError as error:
        raise ModelError(str(error).replace(str(path), shown)) from error
    return _parameters(_unpacked(content, key), shown)


def _unpacked(content: Any, key: str | None) -> Any:
    """The part of a checkpoint that holds the parameters; itself where none does."""
    for name in (key, *_NESTED):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            return content[name]
    return content


def _parameters(content: Any, shown: str) -> dict[str, Tensor]:
    """A state_dict, its names as without data parallelism.

    Raises:
        ModelError: It is none.
    """
    if not isinstance(content, dict) or not content:
        raise ModelError(
            f"{shown}: holds a {type(content).__name__}, expected a state_dict"
        )
    strange = [k for k, v in content.items() if not isinstance(v, Tensor)]
    if strange:
        raise ModelError(f"{shown}: {strange[0]!r:.80} is no tensor of weights")
    return {str(k).removeprefix("module."): v for k, v in content.items()}


def _require_no_script(path: Path, shown: str) -> None:
    """Refuses TorchScript under the name of weights.

    Raises:
        ModelError: It is TorchScript.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return  # said when it is read
    if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
        raise ModelError(
            f"{shown}: is TorchScript, a program and not weights: loading it would run "
            "what somebody else wrote; refused. Save the network's state_dict"
        )


def require_fit(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, shown: str, name: str
) -> None:
    """Refuses weights of another network.

    Raises:
        ModelError: A name or a shape differs.
    """
    missing, spare = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    if missing or spare:
        raise ModelError(
            f"{shown}: the weights are not those of {name}: {len(missing)} are missing "
            f"(the first: {missing[0] if missing else '-'}), {len(spare)} are not the "
            f"network's (the first: {spare[0] if spare else '-'})"
        )
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            raise ModelError(
                f"{shown}: {key} has the shape {tuple(state[key].shape)}, {name} with "
                f"these arguments wants {tuple(tensor.shape)}"
            )
