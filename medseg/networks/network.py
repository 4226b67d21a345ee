"""The wrapper that lets a network take any size."""

from collections.abc import Sequence

from torch import Tensor, nn

from medseg.networks.core import Core


def nonfinite_weights(network: nn.Module) -> list[str]:
    """Names of the parameters and buffers that hold NaN or infinity.

    Buffers count, since running statistics may break while the loss stays finite:
    training normalises by the batch's own.
    """
    return [
        name
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]


def spatial_size(x: Tensor) -> tuple[int, ...]:
    """Voxels along each spatial axis, as plain numbers also while x is traced.

    A trace otherwise records the arithmetic of sizes, step by step.
    """
    return tuple(int(n) for n in x.shape[2:])


def repeat_border(x: Tensor, after: Sequence[int]) -> Tensor:
    """`x` with the last voxel of each spatial axis repeated."""
    if not any(after):
        return x
    widths = [width for count in reversed(after) for width in (0, count)]
    return nn.functional.pad(x, widths, mode="replicate")


def mirror_border(x: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """`x` continued by its mirror image about the border voxels.

    Margins may exceed the image, which is then mirrored again and again; an axis of
    one voxel is repeated.
    """
    missing = [list(pair) for pair in zip(before, after, strict=True)]
    while any(count for pair in missing for count in pair):
        widths = [
            [min(count, n - 1) for count in pair]
            for n, pair in zip(spatial_size(x), missing, strict=True)
        ]
        if not any(width for pair in widths for width in pair):
            flat = [count for pair in reversed(missing) for count in pair]
            return nn.functional.pad(x, flat, mode="replicate")
        flat = [width for pair in reversed(widths) for width in pair]
        x = nn.functional.pad(x, flat, mode="reflect")
        missing = [
            [count - width for count, width in zip(pair, done, strict=True)]
            for pair, done in zip(missing, widths, strict=True)
        ]
    return x


def keep_start(logits: Tensor, size: Sequence[int], padded: Sequence[int]) -> Tensor:
    """Logits, possibly coarser than the input, without what stands for padding.

    Args:
        logits: Shape (N, L, *coarse).
        size: Spatial size of the image.
        padded: Spatial size that the logits stand for.
    """
    for axis, (wanted, whole) in enumerate(zip(size, padded, strict=True), start=2):
        have = int(logits.shape[axis])
        keep = -(-wanted * have // whole)
        if keep != have:
            logits = logits.narrow(axis, 0, keep)
    return logits


class SegmentationNetwork(nn.Module):
    """A core with padding, cropping and heads, for images of any size.

    The logits always have the spatial size of the input. Sizes that a padded network
    cannot take are filled up by repeating the last voxels of each axis, and the
    logits are cut back. A network of unpadded convolutions loses a margin; it is
    given the mirror image of the borders instead (the overlap-tile strategy of
    Ronneberger et al., arXiv:1505.04597), unless the caller brings the true
    surroundings: see `forward_centre` and `output_margin`.
    """

    def __init__(
        self,
        core: Core,
        *,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        presence_head: bool = False,
    ) -> None:
        """Wraps a core.

        Args:
            core: The network proper.
            spatial_dims: 2 or 3.
            in_channels: Channels of the image.
            out_channels: Channels of the logits.
            presence_head: Whether to add a whole-image head.
        """
        super().__init__()
        self.core = core
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.presence = (
            nn.Linear(core.deep_channels, out_channels) if presence_head else None
        )

    @property
    def divisor(self) -> tuple[int, ...]:
        """Patch sizes that are multiples of this need no padding (``same``)."""
        return self.core.divisor

    @property
    def output_margin(self) -> tuple[int, ...]:
        """Voxels that unpadded convolutions lose on each side; zeros otherwise."""
        inside = self.core.input_size((1,) * self.spatial_dims)
        outside = self.core.output_size(inside)
        return tuple((i - o) // 2 for i, o in zip(inside, outside, strict=True))

    def output_shape(self, size: Sequence[int]) -> tuple[int, ...]:
        """Spatial size of what `forward_centre` returns for an input size.

        Raises:
            SettingsError: The size does not fit; the nearest that do are named.
        """
        return self.core.output_size(tuple(size))

    def forward(
        self, x: Tensor, *, with_presence: bool = False
    ) -> Tensor | list[Tensor] | tuple[Tensor | list[Tensor], Tensor]:
        """Logits of shape (N, L, *spatial).

        Args:
            x: Images of shape (N, C, *spatial).
            with_presence: Also return the presence head's logits.

        Returns:
            Logits. While training with deep supervision, a list of logits, full
            resolution first. With `with_presence`, a pair of that and the logits of
            presence, shape (N, L).

        Raises:
            ValueError: The input has the wrong number of axes or channels, or an
                empty axis; or presence is asked of a network without that head.
        """
        self._check(x)
        size = spatial_size(x)
        padded, held = self._pad(x)
        outputs, deepest = self.core(padded)
        outputs = [keep_start(logits, size, held) for logits in outputs]
        logits = outputs if self.training and len(outputs) > 1 else outputs[0]
        if not with_presence:
            return logits
        return logits, self._presence(deepest)

    def forward_centre(self, x: Tensor) -> Tensor:
        """Logits of the centre of images that bring their own surroundings.

        Args:
            x: Images of shape (N, C, *spatial), of which `output_margin` voxels on
                each side are context only.

        Returns:
            Logits of shape (N, L, *output_shape(spatial)).

        Raises:
            SettingsError: The size does not fit; the nearest that do are named.
        """
        self._check(x)
        self.core.output_size(spatial_size(x))
        outputs, _ = self.core(x)
        logits: Tensor = outputs[0]
        return logits

    def _pad(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """The image as the core needs it, and the size that its logits stand for."""
        size = spatial_size(x)
        needed = self.core.input_size(self._at_least_two(size))
        held = self.core.output_size(needed)
        before = [(n - h) // 2 for n, h in zip(needed, held, strict=True)]
        after = [n - b - s for n, b, s in zip(needed, before, size, strict=True)]
        if any(before):
            return mirror_border(x, before, after), held
        return repeat_border(x, after), held

    def _at_least_two(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """`size`, larger if the deepest features would be a single voxel.

        Instance normalization has nothing to normalize over in a single voxel.
        """
        if any(n > d for n, d in zip(size, self.divisor, strict=True)):
            return size
        return tuple(d + 1 for d in self.divisor)

    def _presence(self, deepest: Tensor) -> Tensor:
        if self.presence is None:
            raise ValueError("the network has no presence head; set presence_head")
        logits: Tensor = self.presence(deepest.mean(dim=tuple(range(2, deepest.dim()))))
        return logits

    def _check(self, x: Tensor) -> None:
        if x.dim() != self.spatial_dims + 2 or x.shape[1] != self.in_channels:
            axes = "(N, C, I, J, K)" if self.spatial_dims == 3 else "(N, C, I, J)"
            raise ValueError(
                f"expected images of shape {axes} with C = {self.in_channels}, "
                f"found {tuple(x.shape)}"
            )
        if 0 in x.shape:
            raise ValueError(f"an axis is empty: {tuple(x.shape)}")
