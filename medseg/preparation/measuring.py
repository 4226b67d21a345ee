"""Every case of a data set measured, every broken one named, oddities said once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, TypeVar

import numpy as np

from medseg.datasets import Case, Dataset
from medseg.datasets.splits import some
from medseg.errors import DatasetError, InputError
from medseg.fingerprint import (
    CaseFacts,
    ClassFacts,
    Fingerprint,
    Ground,
    IntensityFacts,
    PictureContrast,
)
from medseg.io.formats import Format, format_of
from medseg.plan import Plan
from medseg.preparation.case_facts import MeasuredCase, measure_case
from medseg.preparation.parallel import choose_workers, map_cases
from medseg.preparation.preprocessing import axes_with_last
from medseg.progress import Progress, Silent


def warn_of_oddities(fingerprint: Fingerprint, plan: Plan, progress: Progress) -> None:
    """Warns of channels without contrast, and of slices that lie across the plan's."""
    total = fingerprint.num_cases
    for number, channel in enumerate(plan.channels):
        flat = [
            case.case_id
            for case in fingerprint.cases
            if case.channels[number].smallest == case.channels[number].largest
        ]
        if flat:
            progress.warn(
                f"channel {channel.name} is the same everywhere in {len(flat)} of "
                f"{total} cases ({some(flat)}): nothing can be learnt from it there"
            )
    if across := _across(fingerprint, plan):
        progress.warn(
            f"{len(across)} of {total} cases ({some(across)}) are one slice that lies "
            f"across the others' (slices along {plan.slice_axis}): a 2D network sees "
            "them row by row; take them out, or prepare for 3D (spatial_dims: 3)"
        )


def _across(fingerprint: Fingerprint, plan: Plan) -> Sequence[str]:
    """Cases that are one slice along another axis than the plan's."""
    if plan.spatial_dims == 3:
        return ()
    turned = fingerprint.permuted(axes_with_last("ijk".index(plan.slice_axis)))
    return [
        case.case_id
        for case in turned.cases
        if case.shape[2] > 1 and min(case.shape[:2]) == 1
    ]


R = TypeVar("R")

LOWEST_AIR_HU = -500
"""A CT reaches air below this in most scans; no other modality goes there."""
FAINTEST_PERCENT = 5.0
"""So many pictures may have less contrast than is taken for usual."""

MOST_NAMED = 20
"""Broken cases named in one message."""


@dataclass(frozen=True)
class Attempt(Generic[R]):
    """What became of a case: a result, or the reason why there is none."""

    result: R | None
    problem: str = ""


def make_fingerprint(
    dataset: Dataset,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    skip_broken: bool = False,
    key: str = "",
) -> Fingerprint:
    """What a data set is like, measured on all its labelled cases.

    Args:
        dataset: Its labelled cases are read.
        workers: Processes; None chooses.
        progress: Follows the cases.
        skip_broken: Leave out cases that cannot be used, with a warning each.
        key: Hash of the files, to recognise the fingerprint by.

    Raises:
        DatasetError: Cases cannot be used; all of them are named.
    """
    require_cases(dataset)
    pictures = are_pictures(dataset)
    measure = partial(
        measure_case,
        scheme=dataset.scheme,
        channels=dataset.channels,
        reorient=not pictures,
    )
    attempts = try_cases(
        measure, dataset.cases, workers=workers, progress=progress, label="measuring"
    )
    report_broken(dataset, attempts, skip=skip_broken, progress=progress)
    measured = [attempt.result for attempt in attempts if attempt.result is not None]
    return summarize_cases(dataset, measured, pictures=pictures, key=key)


def require_cases(dataset: Dataset) -> None:
    """Refuses a data set without labelled cases.

    Raises:
        DatasetError: It has none.
    """
    if not dataset.cases:
        raise DatasetError(
            f"{dataset.root}: no case has an image and a label map; `medseg doctor "
            f"{dataset.root}` says which files lack a partner"
        )


def are_pictures(dataset: Dataset) -> bool:
    """Whether the images are pictures, which have no anatomical axes."""
    first = dataset.cases[0].images[0]
    return first.is_file() and format_of(first) is Format.PICTURE


def try_cases(
    function: Callable[[Case], R],
    cases: Sequence[Case],
    *,
    workers: int | None,
    progress: Progress | None,
    label: str,
) -> list[Attempt[R]]:
    """What became of each case, in the order of the cases."""
    if workers is None:
        workers = choose_workers(len(cases), sum(_bytes_of(case) for case in cases))
    results = map_cases(partial(_attempt, function), cases, workers=workers)
    tracked = (progress or Silent()).track(results, label=label, total=len(cases))
    return [attempt for _, attempt in sorted(tracked, key=lambda pair: pair[0])]


def report_broken(
    dataset: Dataset,
    attempts: Sequence[Attempt[R]],
    *,
    skip: bool,
    progress: Progress | None,
) -> None:
    """Warns about broken cases, or refuses the data set because of them.

    Raises:
        DatasetError: There are broken cases and they are not skipped, or no case is
            left.
    """
    problems = [attempt.problem for attempt in attempts if attempt.problem]
    if (problems and not skip) or len(problems) == len(attempts):
        named = "\n  ".join(problems[:MOST_NAMED])
        more = len(problems) - MOST_NAMED
        raise DatasetError(
            f"{dataset.name}: {len(problems)} of {len(attempts)} cases cannot be used; "
            f"`medseg doctor {dataset.root}` proposes repairs; to go on without them, "
            "`medseg prepare --skip-broken`, or prepare.skip_broken: true in a "
            f"configuration\n  {named}" + (f"\n  and {more} more" if more > 0 else "")
        )
    for problem in problems:
        (progress or Silent()).warn(f"left out: {problem}")


def _attempt(function: Callable[[Case], R], case: Case) -> Attempt[R]:
    try:
        return Attempt(function(case))
    except InputError as error:
        text = str(error)
        named = text if text.startswith(case.case_id) else f"{case.case_id}: {text}"
        return Attempt(None, named)
    except MemoryError:
        return Attempt(None, f"{case.case_id}: memory ran out while reading it")


def _bytes_of(case: Case) -> int:
    files = [*case.images, *([case.label] if case.label else [])]
    parts = [p for f in files for p in (f.iterdir() if f.is_dir() else [f])]
    return sum(part.stat().st_size for part in parts if part.is_file())


def summarize_cases(
    dataset: Dataset, measured: Sequence[MeasuredCase], *, pictures: bool, key: str
) -> Fingerprint:
    """The fingerprint of a data set, from the measurements of its cases."""
    facts = [case.facts for case in measured]
    samples = np.concatenate([case.samples for case in measured], axis=1)
    return Fingerprint(
        name=dataset.name,
        key=key,
        num_cases=len(facts),
        channels=tuple(
            _intensities(name, number, facts, samples[number])
            for number, name in enumerate(dataset.channels)
        ),
        classes=tuple(
            _class_facts(name, number, measured)
            for number, name in enumerate(dataset.scheme.structures)
        ),
        pictures=pictures,
        cases=tuple(facts),
    )


def _intensities(
    name: str, number: int, facts: Sequence[CaseFacts], samples: np.ndarray
) -> IntensityFacts:
    channels = [case.channels[number] for case in facts]
    inside = samples.astype(np.float64) if samples.size else np.zeros(1)
    low, median, high = (float(p) for p in np.percentile(inside, [0.5, 50, 99.5]))
    lowest = [channel.smallest for channel in channels]
    integer = sum(channel.integer for channel in channels)
    modality, reason = _modality(name, float(np.median(lowest)), integer, len(facts))
    return IntensityFacts(
        name=name,
        modality=modality,
        modality_reason=reason,
        mean=float(inside.mean()),
        std=float(inside.std()),
        median=median,
        percentile_00_5=low,
        percentile_99_5=high,
        smallest=min(lowest),
        largest=max(channel.largest for channel in channels),
        integer_cases=integer,
        zero_fraction=float(np.median([c.zero_fraction for c in channels])),
        contrasts=_contrasts(number, facts),
    )


def _contrasts(
    number: int, facts: Sequence[CaseFacts]
) -> dict[Ground, PictureContrast]:
    """Of one channel: see `IntensityFacts.contrasts`."""
    shown: dict[Ground, list[tuple[float, float, float]]]
    shown = {"all": [], "dark": [], "light": []}
    for case in facts:
        channel = case.channels[number]
        if channel.spreads is None or channel.contrast is None:
            continue
        row = (*channel.spreads, channel.contrast)
        shown["all"].append(row)
        shown["light" if case.light else "dark"].append(row)
    found = {}
    for ground, rows in shown.items():
        if rows:
            narrow, wide, contrast = np.percentile(rows, FAINTEST_PERCENT, axis=0)
            found[ground] = PictureContrast(
                percentile_range=float(narrow),
                stain_range=float(wide),
                contrast=float(contrast),
            )
    return found


def _modality(
    name: str, lowest: float, integer: int, cases: int
) -> tuple[Literal["ct", "other"], str]:
    if name.strip().upper() == "CT":
        return "ct", "the data set calls the channel CT"
    if lowest <= LOWEST_AIR_HU and 2 * integer > cases:
        return "ct", (
            f"the lowest intensity is {lowest:g} (median over cases) and {integer} of "
            f"{cases} cases hold whole numbers, as Hounsfield units do"
        )
    return "other", f"no CT, as the lowest intensity is {lowest:g} (median over cases)"


def _class_facts(
    name: str, number: int, measured: Sequence[MeasuredCase]
) -> ClassFacts:
    voxels = [case.facts.num_voxels[number + 1] for case in measured]
    sizes = np.concatenate([case.component_voxels[number] for case in measured])
    scored = sum(sum(case.facts.num_voxels) for case in measured)
    three = np.percentile(sizes, [0, 50, 100]) if len(sizes) else np.zeros(3)
    return ClassFacts(
        name=name,
        num_cases=sum(count > 0 for count in voxels),
        voxels=sum(voxels),
        fraction=sum(voxels) / max(scored, 1),
        num_components=len(sizes),
        component_voxels=(float(three[0]), float(three[1]), float(three[2])),
    )
