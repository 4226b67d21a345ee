"""Dice, HD95, NSD and ASSD of two structures at 256 x 256 x 160, against peers.

    python benchmarks/metrics.py [--json] [--repeats 3] [--only MONAI]

Each row is one job done by us and by one peer in the same process, best of the
repeats, with one thread each (MONAI and SimpleITK may use more). Scenes:

organs   two organ-like bodies, the prediction deformed: what a trained model gives
far      the same, with a false positive in a far corner
noise    random voxels at 128 x 128 x 80: what an untrained model gives

The peers are called the way their documentation shows: MONAI once per metric, the
SimpleITK recipe with one pair of distance maps, surface-distance with one call for
all its metrics.
"""

import argparse
import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from machine import describe_machine, print_rows
from scipy import ndimage

from medseg.evaluation.cases import score_case
from medseg.evaluation.settings import MetricSettings
from medseg.geometry import affine_from_spacing
from medseg.labels import LabelScheme
from medseg.volume import LabelMap

SHAPE = (256, 256, 160)
SMALLER = (128, 128, 80)
"""For the noise, on which a peer's k-d tree takes minutes at full size."""
SPACING = (0.9, 0.9, 1.5)
TOLERANCE_MM = 1.0
SCHEME = LabelScheme(names={"large": 1, "small": 2})


@dataclass(frozen=True)
class Scene:
    name: str
    prediction: np.ndarray
    reference: np.ndarray


def blob(center, radii, *, seed, amount, shape):
    grid = np.ogrid[tuple(slice(0, size) for size in shape)]
    terms = zip(grid, center, radii, strict=True)
    radius = np.sqrt(sum(((g - c) / r) ** 2 for g, c, r in terms))
    coarse = np.random.default_rng(seed).normal(size=(9, 9, 7))
    waves = ndimage.zoom(coarse, np.array(shape) / coarse.shape, order=3)
    return radius + amount * waves < 1


def organs(shape=SHAPE):
    middle = np.array(shape) / 2
    scale = np.array(shape) / SHAPE
    reference = np.zeros(shape, np.uint8)
    prediction = np.zeros(shape, np.uint8)
    large, small = np.array((85, 70, 55)) * scale, np.array((25, 25, 20)) * scale
    reference[blob(middle, large, seed=1, amount=0.1, shape=shape)] = 1
    prediction[blob(middle + 1, large * 0.99, seed=1, amount=0.12, shape=shape)] = 1
    spot = middle - 20 * scale
    reference[blob(spot, small, seed=3, amount=0.1, shape=shape)] = 2
    prediction[blob(spot + 1, small, seed=4, amount=0.1, shape=shape)] = 2
    return prediction, reference


def scenes():
    prediction, reference = organs()
    yield Scene("organs", prediction, reference)
    far = prediction.copy()
    far[2:12, 2:12, 2:8] = 2
    yield Scene("far", far, reference)
    _, reference = organs(SMALLER)
    noise = np.random.default_rng(0).integers(0, 3, SMALLER).astype(np.uint8)
    yield Scene("noise", noise, reference)


def ours(scene, surface):
    affine = affine_from_spacing(SPACING)
    rows = score_case(
        LabelMap(scene.prediction, affine),
        LabelMap(scene.reference, affine),
        SCHEME,
        MetricSettings(tolerance_mm=TOLERANCE_MM, surface=surface),
    )
    return [(row.dice, row.hd95_mm, row.nsd, row.assd_mm) for row in rows]


def monai(scene, surface):
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    pair = [
        torch.from_numpy(np.stack([a == value for value in range(3)])[None])
        for a in (scene.prediction, scene.reference)
    ]
    spacing = list(SPACING)
    dice = compute_dice(*pair, include_background=False)[0]
    hd95 = compute_hausdorff_distance(*pair, percentile=95, spacing=spacing)[0]
    nsd = compute_surface_dice(
        *pair,
        class_thresholds=[TOLERANCE_MM] * 2,
        spacing=spacing,
        use_subvoxels=surface == "elements",
    )[0]
    assd = compute_average_surface_distance(*pair, symmetric=True, spacing=spacing)[0]
    columns = (dice, hd95, nsd, assd)
    return [tuple(float(c[n]) for c in columns) for n in range(2)]


def simpleitk(scene, surface):
    import SimpleITK

    del surface  # knows voxels only
    rows = []
    for value in (1, 2):
        images = []
        for array in (scene.prediction, scene.reference):
            image = SimpleITK.GetImageFromArray((array == value).astype(np.uint8).T)
            image.SetSpacing(SPACING)
            images.append(image)
        overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
        overlap.Execute(*images)
        contours = [SimpleITK.LabelContour(image) for image in images]
        fields = [
            SimpleITK.GetArrayFromImage(
                SimpleITK.Abs(
                    SimpleITK.SignedMaurerDistanceMap(
                        image, squaredDistance=False, useImageSpacing=True
                    )
                )
            )
            for image in images
        ]
        edges = [SimpleITK.GetArrayFromImage(c) > 0 for c in contours]
        forth, back = fields[1][edges[0]], fields[0][edges[1]]
        every = np.concatenate([forth, back])
        rows.append(
            (
                overlap.GetDiceCoefficient(),
                max(np.percentile(forth, 95), np.percentile(back, 95)),
                float((every <= TOLERANCE_MM).mean()),
                float(every.mean()),
            )
        )
    return rows


def deepmind(scene, surface):
    from surface_distance import metrics

    del surface  # knows elements only
    rows = []
    for value in (1, 2):
        masks = scene.reference == value, scene.prediction == value
        distances = metrics.compute_surface_distances(*masks, SPACING)
        directed = metrics.compute_average_surface_distance(distances)
        rows.append(
            (
                metrics.compute_dice_coefficient(*masks),
                metrics.compute_robust_hausdorff(distances, 95),
                metrics.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM),
                float(np.mean(directed)),
            )
        )
    return rows


PEERS: dict[str, tuple[str, Callable]] = {
    "MONAI": ("voxels", monai),
    "SimpleITK recipe": ("voxels", simpleitk),
    "surface-distance": ("elements", deepmind),
    "MONAI subvoxels": ("elements", monai),
}


def best_of(clock, repeats, function, *arguments):
    best, result = math.inf, None
    for _ in range(repeats):
        start = clock()
        result = function(*arguments)
        best = min(best, clock() - start)
    return best, result


def measure(clock, repeats, only):
    for scene in scenes():
        for peer, (surface, function) in PEERS.items():
            if only and peer not in only:
                continue
            size = "x".join(map(str, scene.reference.shape))
            rounds = 1 if scene.name == "noise" else repeats
            try:
                theirs, their_rows = best_of(clock, rounds, function, scene, surface)
            except ImportError:
                continue
            mine, my_rows = best_of(clock, repeats, ours, scene, surface)
            yield {
                "name": f"Dice+HD95+NSD+ASSD, 2 labels, {size}, {scene.name}, "
                f"{surface}, vs {peer}",
                "ours": round(mine, 4),
                "peer": round(theirs, 4),
                "ratio": round(theirs / mine, 2),
                "unit": "s",
                "largest_difference": difference(my_rows, their_rows),
            }


def difference(mine, theirs):
    """Largest relative difference of Dice, HD95 and NSD.

    ASSD is left out, as surface-distance reports two directed means instead.
    """
    pairs = [
        (a, b)
        for m, t in zip(mine, theirs, strict=True)
        for a, b in zip(m[:3], t[:3], strict=True)
    ]
    return float(f"{max(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs):.2g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one object per row")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", action="append", help="a peer; may be repeated")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: seconds of all threads, for a machine that others use too",
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    machine = describe_machine()
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    for row in measure(clock, arguments.repeats, arguments.only):
        row["clock"] = arguments.clock
        if arguments.json:
            print_rows([row], machine=machine)
        else:
            print(
                f"{row['name']}: ours {row['ours']} s, peer {row['peer']} s, "
                f"{row['ratio']} x, differs by {row['largest_difference']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
