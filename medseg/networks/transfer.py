"""Weights of a trained network in one for other channels or other structures.

Which tensors depend on the channels of the image, and which on those of the logits, is
found by building the network with one more of each: so it works for any network. The
rest of two networks must be the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from medseg.errors import ModelError
from medseg.networks.build import build_network
from medseg.networks.network import SegmentationNetwork
from medseg.networks.settings import NetworkSettings

Sources = tuple[int | None, ...]
"""For each channel of the new network, that of the old one, or None."""


@dataclass(frozen=True)
class ChannelAxes:
    """Axes of a tensor along which it has a slice for each channel.

    Attributes:
        image: Of the image.
        logits: Of the logits.
    """

    image: tuple[int, ...] = ()
    logits: tuple[int, ...] = ()


@dataclass(frozen=True)
class InitialWeights:
    """Weights of a trained network, and what becomes of them in another.

    Attributes:
        name: Of the trained network, for messages.
        state: Its tensors by name.
        channels: For each channel of the new network's images, the trained one's.
        structures: For each channel of its logits, likewise.
        num_channels: Of the trained network's images.
        num_structures: Of its logits.
    """

    name: str
    state: Mapping[str, Tensor] = field(repr=False)
    channels: Sources
    structures: Sources
    num_channels: int
    num_structures: int

    def put_into(self, network: SegmentationNetwork, settings: NetworkSettings) -> str:
        """Replaces a fresh network's weights; says what was taken and what is new.

        Filters of a channel that the trained network did not have become zero, so that
        the new network begins with the old one's answers; rows of structures that it
        did not have stay as they are.

        Args:
            network: With fresh weights.
            settings: That it was built by.

        Raises:
            ModelError: The two differ in more than channels and structures.
        """
        axes = channel_axes(network, settings)
        fresh = network.state_dict()
        new_heads: list[str] = []
        state: dict[str, Tensor] = {}
        for name, tensor in fresh.items():
            found = axes.get(name, ChannelAxes())
            parent = self.state.get(name)
            if found.logits and not self._has_rows(tensor, parent, found):
                new_heads.append(name)
                state[name] = tensor
            else:
                state[name] = self._placed(name, tensor, parent, found)
        network.load_state_dict(state)
        return self._in_words(new_heads)

    def _has_rows(
        self, fresh: Tensor, parent: Tensor | None, axes: ChannelAxes
    ) -> bool:
        """Whether the trained network has rows of a head that can be told apart."""
        if parent is None or parent.dim() != fresh.dim():
            return False
        if self._same_structures and fresh.shape == parent.shape:
            return True
        return all(
            fresh.shape[axis] == len(self.structures)
            and parent.shape[axis] == self.num_structures
            for axis in axes.logits
        )

    @property
    def _same_structures(self) -> bool:
        return self.structures == tuple(range(self.num_structures))

    def _placed(
        self, name: str, fresh: Tensor, parent: Tensor | None, axes: ChannelAxes
    ) -> Tensor:
        """A tensor of the new network, its slices taken from the trained one's."""
        if parent is None or parent.dim() != fresh.dim():
            raise self._misfit(name, fresh, parent)
        sources: dict[int, Sources] = {}
        if not (self._same_structures and fresh.shape == parent.shape):
            sources = dict.fromkeys(axes.logits, self.structures)
        for axis in axes.image:
            sources[axis] = self._of_image(name, fresh, parent, axis)
        for axis in range(fresh.dim()):
            if axis not in sources and fresh.shape[axis] != parent.shape[axis]:
                raise self._misfit(name, fresh, parent)
        placed = fresh.clone()
        for axis in axes.image:
            missing = [n for n, source in enumerate(sources[axis]) if source is None]
            placed.index_fill_(axis, torch.tensor(missing, dtype=torch.long), 0)
        into, out_of = _slices(fresh, sources)
        placed[into] = parent[out_of].to(placed)
        return placed

    def _of_image(self, name: str, fresh: Tensor, parent: Tensor, axis: int) -> Sources:
        """For each slice along a tensor's channels of the image, the trained one's."""
        fits = parent.shape[axis] == self.num_channels
        if fits and fresh.shape[axis] == len(self.channels):
            return self.channels
        unchanged = self.channels == tuple(range(self.num_channels))
        if unchanged and fresh.shape == parent.shape:
            return tuple(range(fresh.shape[axis]))
        raise ModelError(
            f"{self.name}: {name} holds other features beside the channels, so that "
            "they can neither be reordered nor be others; give the data set the "
            "channels of the model, in its order"
        )

    def _misfit(self, name: str, fresh: Tensor, parent: Tensor | None) -> ModelError:
        found = "does not have it" if parent is None else f"has {tuple(parent.shape)}"
        return ModelError(
            f"{self.name}: is another network than plan.network: {name} is "
            f"{tuple(fresh.shape)} there, and the model {found}; leave plan.network "
            "out to take the model's own"
        )

    def _in_words(self, new_heads: Sequence[str]) -> str:
        found = sum(source is not None for source in self.structures)
        words = f"weights of {self.name}; {found} of {len(self.structures)} rows of "
        words += "the head are its own, the others begin at random"
        if found == len(self.structures):
            words = f"weights of {self.name}, the head's as well"
        if new_heads:
            words += f"; new: {', '.join(new_heads)}"
        return words


def channel_axes(
    network: SegmentationNetwork, settings: NetworkSettings
) -> dict[str, ChannelAxes]:
    """Axes of a network's tensors that have a slice for each channel.

    Args:
        network: The network.
        settings: That it was built by.

    Returns:
        By name of the tensor; those that depend on neither are left out.
    """
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    count_in, count_out = network.in_channels, network.out_channels
    dims = network.spatial_dims
    wider = _shapes(settings, dims, count_in + 1, count_out)
    taller = _shapes(settings, dims, count_in, count_out + 1)
    found = {
        name: ChannelAxes(
            _different(shape, wider.get(name)), _different(shape, taller.get(name))
        )
        for name, shape in shapes.items()
    }
    return {name: axes for name, axes in found.items() if axes != ChannelAxes()}


def head_names(
    network: SegmentationNetwork, settings: NetworkSettings
) -> frozenset[str]:
    """Names of the tensors that depend on which structures there are."""
    axes = channel_axes(network, settings)
    return frozenset(name for name, found in axes.items() if found.logits)


def _shapes(
    settings: NetworkSettings, dims: int, in_channels: int, out_channels: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's tensors; torch's random numbers stay where they are."""
    sizes = {
        "spatial_dims": dims,
        "in_channels": in_channels,
        "out_channels": out_channels,
    }
    with torch.random.fork_rng(devices=[]):
        built: nn.Module = build_network(settings, **sizes)
    return {name: tuple(t.shape) for name, t in built.state_dict().items()}


def _different(
    shape: tuple[int, ...], other: tuple[int, ...] | None
) -> tuple[int, ...]:
    if other is None or len(other) != len(shape):
        return ()
    return tuple(axis for axis, n in enumerate(shape) if other[axis] != n)


def _slices(
    fresh: Tensor, sources: Mapping[int, Sources]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Indices of the elements that are replaced, and of those that replace them."""
    into, out_of = [], []
    for axis, size in enumerate(fresh.shape):
        along: Sequence[int | None] = sources.get(axis, tuple(range(size)))
        pairs = [(n, source) for n, source in enumerate(along) if source is not None]
        shape = [1] * fresh.dim()
        shape[axis] = len(pairs)
        into.append(torch.tensor([n for n, _ in pairs], dtype=torch.long).view(shape))
        out_of.append(torch.tensor([s for _, s in pairs], dtype=torch.long).view(shape))
    return tuple(into), tuple(out_of)
