"""How single objects are found, chosen on held-out cases and never on test cases.

What the choice may cost is counted, in cases, voxels and trials, and never timed: it
must not depend on how fast a machine is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

from medseg.evaluation.instances import score_instances
from medseg.inference.objects import decode_prepared, on_scan
from medseg.inference.predictor import Predictor
from medseg.instances.decoding_settings import DecodingSettings
from medseg.instances.object_maps import ObjectMaps
from medseg.labels import LabelScheme
from medseg.placement import Placement
from medseg.plan import Plan
from medseg.progress import Progress
from medseg.reading import read_label_map
from medseg.store import Store
from medseg.types import LabelArray

SEEDS = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Distance levels of seeds that are tried, at the default foreground."""
FOREGROUNDS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Probabilities of any object that are tried, at the best seed."""
ALONE = (1.0, 0.5, 0.55, 0.6, 0.65, 0.7)
"""Levels of objects without a seed that are tried, at the best of both; 1 is none."""
LEAST = (1.0, 1.5, 2.0)
"""Least sizes that are tried at last, as multiples of the one to begin with."""
MOST_CASES, LEAST_CASES = 16, 4
"""Held-out cases that are looked at, evenly spread over all of them."""
MOST_VOXELS = 4_000_000
"""Of all these cases together, unless they are the fewest: 16 pictures of 512 x 512."""
SHARE_OF_TRAINING = 0.25
"""Voxels that are looked at, of those that were trained on, at most."""
SMALLEST_SHARE = 0.5
"""Of the smallest training objects' voxels, to begin with."""
SMALLEST_PERCENTILE = 1.0
"""Which training objects are the smallest."""


T = TypeVar("T")


@dataclass(frozen=True)
class _Answer:
    """What the network said about one held-out case, and what is true."""

    depths: ObjectMaps
    placement: Placement
    truth: LabelArray

    def score(
        self, settings: DecodingSettings, plan: Plan, thresholds: Sequence[float]
    ) -> float:
        """Mean AP over the thresholds; 1 where rightly nothing was found."""
        labels = decode_prepared(self.depths, plan, settings)
        found = on_scan(labels, self.placement, _PLAIN).voxels
        matches = score_instances(found, self.truth, thresholds=thresholds).matches
        scores = np.array([match.average_precision for match in matches])
        return float(np.nan_to_num(scores, nan=1.0).mean())


_PLAIN = LabelScheme(names={"object": 1}, instances=True)


def choose_decoding(
    predictor: Predictor,
    store: Store,
    held_out: Sequence[str],
    *,
    start: DecodingSettings,
    thresholds: Sequence[float],
    steps: int | None = None,
    progress: Progress,
) -> DecodingSettings:
    """The thresholds with the best mean AP over held-out cases and IoU thresholds.

    One after another, each from coarse to fine: the depth of seeds, the foreground, the
    depth of what has no seed, and the least size. The scores of these cases are a
    little better for it than those of other images will be.

    Args:
        predictor: Answers about scans; its own decoding is not used.
        store: Where the cases are found.
        held_out: Cases that were not trained on.
        start: What is not chosen, and what to begin with.
        thresholds: IoU thresholds of the AP.
        steps: Of the training, after few of which fewer cases are looked at.
        progress: Shows progress.

    Raises:
        MedsegError: A case cannot be read.
    """
    chosen = cases_to_look_at(store, held_out, plan=predictor.plan, steps=steps)
    answers = [
        _answer(predictor, store, case_id)
        for case_id in progress.track(chosen, label="looking for objects")
    ]

    @cache  # each round begins with the best of the last
    def mean_score(settings: DecodingSettings) -> float:
        scores = [a.score(settings, predictor.plan, thresholds) for a in answers]
        return float(np.mean(scores))

    best, score = start, 0.0
    for name, values in (
        ("seed", SEEDS),
        ("foreground", FOREGROUNDS),
        ("alone", ALONE),
        ("min_voxels", sorted({round(start.min_voxels * times) for times in LEAST})),
    ):
        options = [best.replaced(**{name: value}) for value in values]
        best, score = coarse_to_fine(options, mean_score)
    reason = (
        f"mean AP {score:.4f} over IoU {min(thresholds):g} to {max(thresholds):g} on "
        f"the {len(answers)} held-out cases it was chosen on; {start.reason}"
    )
    return best.replaced(reason=reason)


def start_decoding(store: Store, train_ids: Sequence[str]) -> DecodingSettings:
    """Default thresholds, and the smallest object by those trained on.

    Raises:
        MedsegError: A label map cannot be read.
    """
    sizes = [_object_sizes(store, case_id) for case_id in train_ids]
    every = np.concatenate([np.zeros(0, dtype=np.int64), *sizes])
    if not len(every):
        return DecodingSettings()
    smallest = float(np.percentile(every, SMALLEST_PERCENTILE))
    return DecodingSettings(
        min_voxels=int(SMALLEST_SHARE * smallest),
        reason=f"1 % of the {len(every)} training objects have under {smallest:.0f} "
        "voxels",
    )


def _object_sizes(store: Store, case_id: str) -> np.ndarray:
    """Voxels of each object of a case, on the prepared grid's scale."""
    scheme, placement = store.plan.labels, store.case(case_id).placement
    label_map = read_label_map(store.label(case_id), scheme=scheme)
    values, counts = np.unique(label_map.voxels, return_counts=True)
    outside = [scheme.background, *([] if scheme.ignore is None else [scheme.ignore])]
    scale = placement.cropped.voxel_volume_mm3 / placement.prepared.voxel_volume_mm3
    return np.asarray(counts[~np.isin(values, outside)] * scale)


def _answer(predictor: Predictor, store: Store, case_id: str) -> _Answer:
    case, scheme = store.case(case_id), store.plan.labels
    truth = read_label_map(
        store.label(case_id), scheme=scheme, grid=case.placement.source
    ).voxels
    outside = truth == scheme.background
    if scheme.ignore is not None:
        outside |= truth == scheme.ignore
    depths = predictor.depths(case.read_image(), name=case_id)
    return _Answer(depths, case.placement, np.where(outside, 0, truth))


def cases_to_look_at(
    store: Store, held_out: Sequence[str], *, plan: Plan, steps: int | None
) -> list[str]:
    """Held-out cases, evenly spread, as many as `MOST_CASES` and voxels allow.

    Args:
        store: Where the cases are found.
        held_out: Cases that were not trained on.
        plan: What was trained.
        steps: Of the training; None where they are not known.
    """
    voxels = MOST_VOXELS
    if steps is not None:
        trained = steps * plan.batch_size * math.prod(plan.patch_size)
        voxels = min(voxels, int(SHARE_OF_TRAINING * trained))
    sizes = [math.prod(store.case(case_id).shape) for case_id in held_out]
    count = int(voxels * len(sizes) / max(sum(sizes), 1))
    count = min(max(count, LEAST_CASES), MOST_CASES, len(held_out))
    places = np.linspace(0, len(held_out) - 1, count).round().astype(int)
    return [held_out[place] for place in places]


def coarse_to_fine(
    options: Sequence[T], score: Callable[[T], float]
) -> tuple[T, float]:
    """The best option of an ordered row, and its score; the first of equal ones.

    Every second, fourth, ... is tried, then the neighbours of the best so far, ever
    nearer.
    """
    step = _first_step(len(options))
    scores = {place: score(options[place]) for place in range(0, len(options), step)}
    while step > 1:
        step //= 2
        best = _best(scores)
        for place in (best - step, best + step):
            if 0 <= place < len(options) and place not in scores:
                scores[place] = score(options[place])
    best = _best(scores)
    return options[best], scores[best]


def _best(scores: dict[int, float]) -> int:
    return max(sorted(scores), key=lambda place: scores[place])


def _first_step(count: int) -> int:
    """The greatest power of two that leaves three options at least, or one."""
    step = 1
    while 4 * step <= count - 1:
        step *= 2
    return step


def _most_trials(count: int) -> int:
    step = _first_step(count)
    return math.ceil(count / step) + 2 * int(math.log2(step))


NUM_TRIALS = sum(
    _most_trials(len(values)) for values in (SEEDS, FOREGROUNDS, ALONE, LEAST)
)
"""Choices that are scored on each case, at most."""
