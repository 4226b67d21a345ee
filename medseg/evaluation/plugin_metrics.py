"""Metrics by path: a class of `monai.metrics`, or a function of two masks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.errors import PluginError
from medseg.evaluation.settings import PluginMetricSettings
from medseg.plugins import find, parameters_of
from medseg.types import Spacing

Measure = Callable[[np.ndarray, np.ndarray, Spacing], float]
"""A number of a prediction's mask and a reference's, with the voxel size in mm."""


@dataclass(frozen=True)
class PluginMetric:
    """One metric, ready to measure."""

    settings: PluginMetricSettings
    measure: Measure

    def value(
        self, prediction: np.ndarray, reference: np.ndarray, *, spacing: Spacing
    ) -> float:
        """The score of one structure; NaN where neither mask holds it.

        Args:
            prediction: Mask of the whole case, shape (I, J, K).
            reference: Mask to compare with, shape (I, J, K).
            spacing: Voxel size in mm along (i, j, k).

        Raises:
            PluginError: The metric failed, or gives something else than a number.
        """
        held = bool(prediction.any()), bool(reference.any())
        if not any(held):
            return math.nan
        try:
            found = float(self.measure(prediction, reference, spacing))
        except Exception as error:  # whatever its code raises
            raise PluginError(
                f"metric {self.settings.name}: {type(error).__name__}: "
                f"{str(error)[:300]}"
            ) from error
        if not all(held) and not math.isfinite(found):
            worst = self.settings.worst
            return math.nan if worst is None else worst
        return found


def build_metrics(settings: Sequence[PluginMetricSettings]) -> list[PluginMetric]:
    """The metrics that settings name: the user's own word, in any process.

    Raises:
        PluginError: One cannot be found or built.
    """
    return [PluginMetric(one, _measure_of(one)) for one in settings]


def _measure_of(settings: PluginMetricSettings) -> Measure:
    plugin = find(settings.name, kind="metrics", is_trusted=True)
    flags: dict[str, Any] = {}
    if plugin.takes("include_background") and isinstance(plugin.item, type):
        flags["include_background"] = True  # one channel, the structure
    metric = plugin.function(**{**flags, **settings.args})
    if not callable(metric):
        kind = type(metric).__name__
        raise PluginError(f"metric {settings.name}: {kind} is not callable")
    if any(k.__module__.startswith("monai.metrics") for k in type(metric).__mro__):
        return _by_monai(metric)
    return lambda p, r, spacing: metric(p, r, spacing=spacing)


def _by_monai(metric: Any) -> Measure:
    """One case and one structure through a metric of MONAI's."""
    compute = getattr(metric, "_compute_tensor", metric)
    known = parameters_of(compute)
    takes_spacing = "spacing" in known or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()
    )

    def measure(p: np.ndarray, r: np.ndarray, spacing: Spacing) -> float:
        import torch

        if p.shape[-1] == 1:  # a picture
            p, r = p[..., 0], r[..., 0]
        masks = [torch.from_numpy(np.ascontiguousarray(m))[None, None] for m in (p, r)]
        extra = {"spacing": list(spacing[: p.ndim])} if takes_spacing else {}
        found = metric(*(mask.float() for mask in masks), **extra)
        if isinstance(found, torch.Tensor) and found.numel() == 1:
            value = float(found)
        else:
            value = float(_first(metric.aggregate()))
        if hasattr(metric, "reset"):
            metric.reset()
        return value

    return measure


def _first(value: Any) -> Any:
    return _first(value[0]) if isinstance(value, list | tuple) else value
