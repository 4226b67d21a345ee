"""How far an imported model's fast mode is from the steps of its own tool."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from medseg.errors import InputError, ModelError
from medseg.inference.settings import InferenceSettings
from medseg.io.identity import Pseudonymizer
from medseg.nnunet_recipe import FastAgreement, NnUNetRecipe
from medseg.plan import Plan
from medseg.prediction.ensemble import Ensemble
from medseg.prediction.scan import Scan
from medseg.prediction.scan_volume import load_scan
from medseg.prediction.scans import Collector
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.prediction.series_rules import parse_series_rules
from medseg.progress import Progress
from medseg.volume import LabelMap


def measure_fast(
    members: Ensemble, scans: Path, *, device: str, progress: Progress
) -> FastAgreement:
    """Smallest Dice of each structure between fast mode and exact mode.

    Args:
        members: The imported model.
        scans: A scan, or a folder of scans.
        device: Where to predict.
        progress: Shows progress.

    Raises:
        ModelError: The model is a MONAI bundle, which has no fast mode.
        InputError: There is no scan, or one cannot be segmented.
    """
    recipe = members.combined.exact
    if not isinstance(recipe, NnUNetRecipe):
        raise ModelError(
            "--calibrate: a MONAI bundle predicts by its own transforms alone; import "
            "it without"
        )
    exact = SegmentationModel.of_members(members, device=device)
    trusted = recipe.replaced(fast=FastAgreement(num_scans=1, dice={}))
    fast = SegmentationModel.of_members(
        replace(members, combined=replace(members.combined, exact=trusted)),
        device=device,
        settings=InferenceSettings(fast=True),
        progress=progress,
    )
    plan = members.combined.plan
    smallest: dict[str, float] = {}
    found = list(_usable(plan, scans))
    for scan in progress.track(found, label="comparing", total=len(found)):
        volume = load_scan(scan, plan).volume
        one, other = (model.segment(volume, name=scan.name) for model in (exact, fast))
        for name, dice in _dice(one, other, plan).items():
            smallest[name] = min(dice, smallest.get(name, 1.0))
    return FastAgreement(num_scans=len(found), dice=smallest)


def _usable(plan: Plan, scans: Path) -> Iterator[Scan]:
    """The scans of a folder that the model can take.

    Raises:
        InputError: There is none.
    """
    rules = parse_series_rules((), channels=plan.channel_names)
    with TemporaryDirectory() as out:
        names = Pseudonymizer(bytes(32))  # they are not written anywhere
        found = Collector(plan.channels, names, rules, Path(out)).collect(scans)
    usable = [scan for scan in found if not scan.reason]
    if not usable:
        raise InputError(f"{scans}: no scan that the model can take")
    yield from usable


def _dice(one: LabelMap, other: LabelMap, plan: Plan) -> dict[str, float]:
    """Dice of each structure; 1 where neither has it."""
    found = {}
    for name, value in plan.labels.names.items():
        first, second = one.voxels == value, other.voxels == value
        total = int(first.sum()) + int(second.sum())
        shared = int(np.count_nonzero(first & second))
        found[name] = 2 * shared / total if total else 1.0
    return found
