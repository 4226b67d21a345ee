"""Exact mode, or fast mode, against nnU-Net's own predictor, scan by scan.

    python nnunet_exact.py WORK > results/nnunet_exact.jsonl
    python nnunet_exact.py WORK --fast > results/nnunet_fast.jsonl

WORK is made by `peer_nnunet_models.py` in an environment with nnunetv2. One row per
scan: smallest Dice of a structure, voxels that differ, and their share of the
foreground (voxels that are not background in either). Fast mode is allowed here without
a calibration, since this is one; it runs on the engine that it chooses on this machine.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, print_rows

from medseg.inference.settings import InferenceSettings
from medseg.io import read_label_map
from medseg.io.identity import Pseudonymizer
from medseg.nnunet_recipe import FastAgreement, NnUNetRecipe
from medseg.prediction.ensemble import load_ensemble
from medseg.prediction.scan_volume import load_scan
from medseg.prediction.scans import Collector
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.prediction.series_rules import parse_series_rules


def loaded(path: Path, *, fast: bool, cleaned: bool) -> SegmentationModel:
    members = load_ensemble(path)
    recipe = members.combined.exact
    assert isinstance(recipe, NnUNetRecipe)
    allowed = recipe.replaced(fast=FastAgreement(num_scans=1, dice={}))
    return SegmentationModel.of_members(
        replace(members, combined=replace(members.combined, exact=allowed)),
        device="cpu",
        settings=InferenceSettings(fast=fast),
        postprocess=cleaned,
    )


def rows_of(work: Path, entry: dict[str, Any], *, fast: bool) -> list[dict[str, Any]]:
    rows = []
    for peer, cleaned in ((entry["peer"], False), (entry["cleaned"], True)):
        if peer is None:
            continue
        model = loaded(work / entry["model"], fast=fast, cleaned=cleaned)
        for scan in scans_of(model, work / entry["scans"]):
            volume = load_scan(scan, model.saved.plan).volume
            started = time.perf_counter()
            found = model.segment(volume).voxels
            seconds = time.perf_counter() - started
            file = work / peer / f"{scan.name}{entry['ending']}"
            wanted = read_label_map(file).voxels
            rows.append(
                {
                    "model": entry["name"],
                    "scan": scan.name,
                    "postprocessed": cleaned,
                    "engine": model.engine,
                    "shape": list(wanted.shape),
                    "classes": int(wanted.max()) + 1,
                    **difference(found, wanted),
                    "seconds": round(seconds, 3),
                }
            )
    return rows


def scans_of(model: SegmentationModel, folder: Path) -> list[Any]:
    plan = model.saved.plan
    rules = parse_series_rules((), channels=plan.channel_names)
    names = Pseudonymizer(bytes(32))
    return Collector(plan.channels, names, rules, folder / "none").collect(folder)


def difference(found: np.ndarray, wanted: np.ndarray) -> dict[str, Any]:
    """Smallest Dice of a structure that is in either, and voxels that differ."""
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    dice = []
    for value in np.union1d(np.unique(found), np.unique(wanted)):
        one, other = found == value, wanted == value
        if value:
            both = int((one & other).sum())
            dice.append(2 * both / int(one.sum() + other.sum()))
    differing = int((found != wanted).sum())
    foreground = int(((found != 0) | (wanted != 0)).sum())
    return {
        "smallest_dice": min(dice, default=1.0),
        "differing_voxels": differing,
        "foreground_voxels": foreground,
        "share": differing / max(foreground, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--fast", action="store_true")
    arguments = parser.parse_args()
    entries = json.loads((arguments.work / "models.json").read_text())
    for name, entry in entries.items():
        if not arguments.only or name in arguments.only:
            rows = rows_of(arguments.work, entry, fast=arguments.fast)
            print_rows(rows, machine=describe_machine())


if __name__ == "__main__":
    main()
