"""A recipe's transforms and inferer as MONAI's own objects."""

import logging
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from medseg.bundle_recipe import SELECTION, BundleInferer, BundleTransform
from medseg.errors import ModelError

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "!=": operator.ne,
}


def composed(steps: Sequence[BundleTransform], *, inverse_of: Any = None) -> Any:
    """The transforms one after another.

    Args:
        steps: As the recipe keeps them.
        inverse_of: The transforms that ``Invertd`` is to invert.

    Raises:
        ModelError: MONAI does not take an argument.
    """
    with quiet():
        from monai import transforms as known
        from monai.transforms.compose import Compose

        parts = []
        for step in steps:
            args = {key: _argument(key, value) for key, value in step.args.items()}
            if step.name == "Invertd":
                args["transform"] = inverse_of
            try:
                parts.append(getattr(known, step.name)(**args))
            except Exception as error:
                raise ModelError(
                    f"{step.name}: MONAI does not take {step.args}: {error!s:.200}"
                ) from error
        return Compose(parts)


def inferer_of(settings: BundleInferer) -> Any:
    """The inferer, which takes (1, C, *spatial) and a network."""
    with quiet():
        from monai import inferers as known
        from monai.inferers.inferer import SimpleInferer

        values = settings.model_dump(exclude={"name"}, exclude_unset=True)
        if settings.name == "SimpleInferer":
            return SimpleInferer()
        if settings.name != "SliceInferer":
            values.pop("spatial_dim", None)
        return getattr(known, settings.name)(**values)


@contextmanager
def quiet() -> Iterator[None]:
    """Without MONAI's warnings of readers that are absent and names that change."""
    # and of an optional DICOM decoder; none is needed here
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _argument(key: str, value: Any) -> Any:
    if key == "dtype" and value is not None:
        return getattr(torch, value)
    if key == "select_fn" and value is not None:
        found = re.fullmatch(SELECTION, value)
        assert found is not None
        compare, number = _COMPARISONS[found[1]], float(found[2])
        return partial(_compared, compare=compare, number=number)
    return value


def _compared(
    image: Tensor, *, compare: Callable[[Any, Any], Any], number: float
) -> Any:
    return compare(image, number)
