"""Scores of many cases, in parallel; one bad pair never stops the rest."""

import math
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial

import numpy as np

from medseg.errors import MedsegError, StoreError
from medseg.evaluation.cases import StructureScore, score_case, score_objects
from medseg.evaluation.instances import InstanceScores
from medseg.evaluation.pairs import CasePair
from medseg.evaluation.settings import MetricSettings
from medseg.labels import LabelScheme
from medseg.plugins import GIVEN
from medseg.preparation.parallel import map_cases
from medseg.progress import Progress, Silent
from medseg.reading import read_grid, read_label_map
from medseg.volume import LabelMap

WORTH_A_PROCESS = 100_000_000
"""Voxels that outweigh the second or two that starting a process takes."""


@dataclass(frozen=True)
class ScoredCase:
    """What became of one pair: its rows, or why there are none."""

    pair: CasePair
    structures: tuple[StructureScore, ...] = ()
    """One row per structure and region; empty when it failed."""
    objects: InstanceScores | None = None
    """Scores of single objects, where the label values number them."""
    failure: str = ""
    """Why it could not be scored; empty when it could."""


def score_pairs(
    pairs: Sequence[CasePair],
    scheme: LabelScheme,
    settings: MetricSettings | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[ScoredCase]:
    """The scores of every pair, in the order given.

    Args:
        pairs: Label maps that belong together.
        scheme: Names of the values.
        settings: What is measured.
        workers: Processes; 1 works in this one, None chooses.
        progress: Where to show how far it is.
    """
    progress = progress or Silent()
    work = partial(_score_pair, scheme=scheme, settings=settings or MetricSettings())
    if any(one.name.startswith(f"{GIVEN}:") for one in work.keywords["settings"].extra):
        workers = 1  # other processes were not given the object
    done: dict[int, ScoredCase] = {}
    results = _survivors(work, pairs, workers)
    for number, result in progress.track(results, label="scoring", total=len(pairs)):
        done[number] = result
        if result.failure:
            progress.warn(result.failure)
    return [done[number] for number in range(len(pairs))]


def read_pair(pair: CasePair, scheme: LabelScheme) -> tuple[LabelMap, LabelMap]:
    """Prediction and reference; a prediction that is missing holds nothing.

    Raises:
        InputError: A file is missing or cannot be read.
    """
    drawn = scheme.without(pair.unannotated)
    if pair.prediction is not None:
        prediction = read_label_map(pair.prediction, scheme=scheme, allow_shear=True)
        grid = prediction.grid
        return prediction, read_label_map(
            pair.reference, scheme=drawn, grid=grid, allow_shear=True
        )
    reference = read_label_map(pair.reference, scheme=drawn, allow_shear=True)
    nothing = np.full_like(reference.voxels, scheme.background)
    return LabelMap(nothing, reference.affine), reference


def _score_pair(
    pair: CasePair, *, scheme: LabelScheme, settings: MetricSettings
) -> ScoredCase:
    try:
        prediction, reference = read_pair(pair, scheme)
        rows = score_case(
            prediction,
            reference,
            scheme,
            settings,
            case_id=pair.case_id,
            patient_id=pair.patient_id,
            unannotated=pair.unannotated,
        )
        objects = None
        if scheme.instances:
            objects = score_objects(
                prediction, reference, scheme, settings, case_id=pair.case_id
            )
    except (MedsegError, OSError, MemoryError) as error:
        text = str(error) or type(error).__name__
        named = text if pair.case_id in text else f"{pair.case_id}: {text}"
        return ScoredCase(pair, failure=named)
    return ScoredCase(pair, tuple(rows), objects)


def _survivors(
    work: "partial[ScoredCase]", pairs: Sequence[CasePair], workers: int | None
) -> Iterator[tuple[int, ScoredCase]]:
    """Results in the order in which they are finished.

    When a process dies, most often because memory ran out, the pairs that are left
    are scored one at a time, each in a process of its own.
    """
    left = set(range(len(pairs)))
    try:
        count = _choose_workers(pairs) if workers is None else workers
        for number, result in map_cases(work, pairs, workers=count):
            left.discard(number)
            yield number, result
    except StoreError:
        for number in sorted(left):
            yield number, _score_alone(work, pairs[number])


def _score_alone(work: "partial[ScoredCase]", pair: CasePair) -> ScoredCase:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        try:
            return pool.submit(work, pair).result()
        except BrokenProcessPool:
            return ScoredCase(
                pair,
                failure=f"{pair.case_id}: the process that scored it died, most often "
                "because memory ran out; close other programs or use a larger machine",
            )


def _choose_workers(pairs: Sequence[CasePair]) -> int:
    """As many processes as there are cores, as far as there is work for them."""
    try:
        voxels = math.prod(read_grid(pairs[0].reference, allow_shear=True).shape) * len(
            pairs
        )
    except (IndexError, MedsegError):
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, voxels // WORTH_A_PROCESS))
