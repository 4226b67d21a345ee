"""Networks by path, MONAI's or the user's own, behind the promises of `Core`."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from medseg.errors import PluginError, SettingsError
from medseg.networks.core import Core
from medseg.networks.settings import PluginNetworkSettings, per_axis
from medseg.networks.size_trial import Sizes, find_sizes, logits_in
from medseg.plugins import Plugin, find, parameters_of, portable_name

ALIASES = {
    "spatial_dims": ("spatial_dims", "dimensions", "ndim"),
    "in_channels": ("in_channels", "in_chans", "num_channels", "n_channels"),
    "out_channels": ("out_channels", "num_classes", "n_classes", "out_chans"),
}
"""What networks call the numbers that medseg knows; the first that one takes counts."""

IMAGE_SIZES = ("img_size", "input_image_size", "image_size")
"""What networks of one size call it."""

FETCHES = ("pretrained", "checkpoint", "weights", "url", "path", "file")
"""Parts of names of arguments that may read files or ask a server: what a model folder
may not say, since its weights are in the folder."""

FETCHING = ("Transchex", "MILModel", "TorchVisionFCModel", "CellSamWrapper")
"""Classes of MONAI that fetch weights when they are built, and segment nothing here."""

LARGEST_NUMBER = 1 << 14
"""In the arguments of a network that a model folder names."""


class PluginCore(Core):
    """A network of others behind the promises of `Core`."""

    def __init__(
        self, body: nn.Module, *, sizes: Sizes, name: str, out_channels: int
    ) -> None:
        super().__init__()
        self.body = body
        self.divisor = sizes.multiple_of
        self.sizes = sizes
        self._name = name
        self._out_channels = out_channels

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits, full resolution first; its deeper features are not shown."""
        found = logits_in(self.body(x), spatial_dims=x.dim() - 2)
        if not found or found[0].shape[1] != self._out_channels:
            raise PluginError(
                f"network {self._name}: expected logits (N, {self._out_channels}, "
                f"*spatial) for images {tuple(x.shape)}, found "
                f"{[tuple(z.shape) for z in found] or 'something else'}"
            )
        if self.training and not torch.compiler.is_compiling():
            _let_go(self.body)
        outputs = found if self.training else found[:1]
        return outputs, outputs[0]

    def axis_output(self, size: int, axis: int) -> int | None:
        """Voxels along an axis that come out; None if the input does not fit."""
        if self.sizes.only is not None:
            return size if size == self.sizes.only[axis] else None
        if size < self.sizes.smallest[axis]:
            return None
        return super().axis_output(size, axis)

    def _needed(self, size: int, axis: int) -> int:
        only = self.sizes.only
        if only is None:
            return super()._needed(size, axis)
        if size > only[axis]:
            raise SettingsError(
                f"network {self._name} takes {' x '.join(map(str, only))} voxels and "
                f"no other size; axis {axis} of the input has {size}"
            )
        return only[axis]


def _let_go(body: nn.Module) -> None:
    """Detaches what modules keep of a pass beside their weights: DynUNet keeps heads.

    It would hold the graph of the step in memory, and could not be copied.
    """
    for module in body.modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                setattr(module, key, value.detach())
            elif isinstance(value, list):
                for number, part in enumerate(value):
                    if isinstance(part, Tensor) and part.grad_fn is not None:
                        value[number] = part.detach()


def make_plugin_network(
    settings: PluginNetworkSettings,
    *,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
) -> PluginCore:
    """A network by path, with the sizes that it takes.

    Raises:
        PluginError: It cannot be found or built, or was not allowed.
    """
    numbers = dict(zip(ALIASES, (spatial_dims, in_channels, out_channels), strict=True))
    _, body = _built(settings, numbers)
    sizes = _stated(settings, spatial_dims)
    if sizes is None:
        sizes = find_sizes(body, in_channels=in_channels, spatial_dims=spatial_dims)
        if sizes is None:
            raise PluginError(
                f"network {settings.name}: takes none of the sizes that were tried; "
                "say which it takes by multiple_of or only_size"
            )
    name = portable_name(settings.name)
    return PluginCore(body, sizes=sizes, name=name, out_channels=out_channels)


def settled(
    settings: PluginNetworkSettings,
    *,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    patch_size: tuple[int, ...],
) -> PluginNetworkSettings:
    """The settings with what was left open decided: sizes by trial, and the source.

    Args:
        settings: As configured.
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        out_channels: Channels of the logits.
        patch_size: That it will be trained on.

    Raises:
        PluginError: It cannot be found, built, or used on patches of that size.
    """
    plugin = find(settings.name, kind="networks", source=settings.source)
    args = dict(settings.args)
    for key in IMAGE_SIZES:
        if plugin.takes(key) and key not in args:
            args[key] = list(patch_size)
    settings = settings.replaced(args=args)
    sizes = _stated(settings, spatial_dims)
    if sizes is None:
        numbers = (spatial_dims, in_channels, out_channels)
        with torch.random.fork_rng(devices=[]):
            _, body = _built(settings, dict(zip(ALIASES, numbers, strict=True)))
            sizes = find_sizes(
                body,
                in_channels=in_channels,
                spatial_dims=spatial_dims,
                hint=patch_size,
            )
    if sizes is None:
        raise PluginError(
            f"network {settings.name}: takes neither patches of "
            f"{' x '.join(map(str, patch_size))} voxels nor any other size that was "
            "tried; say which sizes it takes by multiple_of, or change its args"
        )
    return settings.replaced(
        name=portable_name(settings.name),
        args=_without_fetching(args),
        multiple_of=sizes.multiple_of,
        smallest_size=sizes.smallest,
        only_size=sizes.only,
        source=plugin.source,
    )


def _built(
    settings: PluginNetworkSettings, numbers: dict[str, int]
) -> tuple[Plugin, nn.Module]:
    plugin = find(settings.name, kind="networks", source=settings.source)
    kwargs = {**_numbers_for(plugin, numbers, settings.args), **settings.args}
    for key, parameter in parameters_of(plugin.item).items():
        if "pretrained" in key and parameter.default is True and key not in kwargs:
            kwargs[key] = False  # nothing is fetched that nobody asked for
    body = plugin.build(**kwargs)
    if not isinstance(body, nn.Module):
        raise PluginError(
            f"network {settings.name}: expected a torch.nn.Module, found "
            f"{type(body).__name__}"
        )
    return plugin, body


def _numbers_for(
    plugin: Plugin, numbers: dict[str, int], args: dict[str, Any]
) -> dict[str, int]:
    """What medseg knows, by the names that the network has for it."""
    known = parameters_of(plugin.item)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    chosen = {}
    for key, aliases in ALIASES.items():
        taken = [alias for alias in aliases if alias in known]
        if not taken and open_ended:
            taken = [key]
        if taken and not set(taken) & set(args):
            chosen[taken[0]] = numbers[key]
    return chosen


def _stated(settings: PluginNetworkSettings, dims: int) -> Sizes | None:
    """The sizes that the settings tell; None where they tell none."""
    if settings.only_size is not None:
        ones = (1,) * dims
        return Sizes(ones, ones, per_axis(settings.only_size, dims))
    if settings.multiple_of is None:
        return None
    multiple = per_axis(settings.multiple_of, dims)
    smallest = settings.smallest_size
    return Sizes(multiple, per_axis(smallest, dims) if smallest else multiple)


def _without_fetching(args: dict[str, Any]) -> dict[str, Any]:
    """Arguments without those that fetch weights: the model folder has its own."""
    kept = {
        key: False if "pretrained" in key and value is True else value
        for key, value in args.items()
    }
    return cast(dict[str, Any], kept)


def require_harmless(settings: PluginNetworkSettings) -> None:
    """Refuses what a model folder may not ask of a network that nobody vouched for.

    Raises:
        PluginError: An argument names a file or a server, or is a number beyond use.
    """
    name = settings.name
    if name.rpartition(":")[2] in FETCHING:
        raise PluginError(f"network {name}: fetches weights when built; not loaded")
    for key, value in settings.args.items():
        names = any(part in key.lower() for part in FETCHES)
        if names and (isinstance(value, str) or value is True):
            raise PluginError(
                f"network {name}: its argument {key} may read a file or ask a server, "
                "which no model folder may do by itself; not loaded"
            )
        _require_bounded(value, f"network {name}: its argument {key}")


def _require_bounded(value: Any, what: str) -> None:
    if isinstance(value, int | float) and abs(value) > LARGEST_NUMBER:
        raise PluginError(f"{what} holds {value}, more than {LARGEST_NUMBER}")
    parts: list[Any] = []
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = list(value)
    if len(parts) > LARGEST_NUMBER:
        raise PluginError(f"{what} holds {len(parts)} values")
    for part in parts:
        _require_bounded(part, what)
