"""Pictures and the page that go with an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medseg.errors import MedsegError
from medseg.evaluation.folder import read_pair
from medseg.evaluation.pairs import CasePair
from medseg.evaluation.summary import OVERALL, summarize_objects
from medseg.files import hash_file, hash_text
from medseg.labels import LabelScheme
from medseg.progress import Progress, Silent
from medseg.reporting.content import Picture, ReportContent
from medseg.reporting.environment import describe_environment
from medseg.reporting.mosaic import MosaicTile, make_tile, write_mosaic, write_tile
from medseg.reporting.overlay import write_overlay
from medseg.reporting.palette import colors_of
from medseg.reporting.shown_cases import ChosenCase, choose_cases
from medseg.reporting.text import format_fact, format_number
from medseg.scoring.result import Evaluation
from medseg.scoring.scan_of_case import scan_or_black

PICTURES = "pictures"
"""Folder of the overlays, beside the tables."""
_SURFACES = {
    "voxels": "surface voxels, each counted the same (as MONAI and SimpleITK)",
    "elements": "surface elements, weighted by area (as surface-distance)",
}


def case_scores(evaluation: Evaluation) -> dict[str, float]:
    """The score that ranks cases: mean Dice, or panoptic quality of single objects."""
    if len(evaluation.objects):
        table = evaluation.objects.set_index("case_id")["panoptic_quality"]
    else:
        names = overall_structures(evaluation.scheme)
        chosen = evaluation.cases[evaluation.cases["structure"].isin(names)]
        table = chosen.groupby("case_id")["dice"].mean()
    return {str(case): float(score) for case, score in table.items()}


def score_kind(evaluation: Evaluation) -> str:
    """What `case_scores` are, in short."""
    return "PQ" if len(evaluation.objects) else "Dice"


def overall_structures(scheme: LabelScheme) -> list[str]:
    """What an average over structures is over: regions where there are any."""
    return list(scheme.regions) or list(scheme.structures)


def write_pictures(
    out: Path,
    evaluation: Evaluation,
    *,
    images: Mapping[str, Sequence[Path]],
    each: int = 4,
    progress: Progress | None = None,
) -> tuple[Picture, ...]:
    """Overlays of the worst, middle and best cases, and a mosaic of them.

    A case whose scan cannot be read is shown without it, and told.

    Args:
        out: Gets ``pictures/`` and ``mosaic.png``.
        evaluation: The scores.
        images: Files of the scan of each case; cases left out are drawn on black.
        each: Cases of each kind.
        progress: Shows progress and warnings.
    """
    progress = progress or Silent()
    pairs = {case.pair.case_id: case.pair for case in evaluation.scored}
    chosen = choose_cases(case_scores(evaluation), each=each)
    pictures, tiles = [], []
    for case in progress.track(chosen, label="pictures", total=len(chosen)):
        try:
            picture, tile = _picture(
                out, case, pairs[case.case_id], evaluation, images, progress
            )
        except MedsegError as error:
            progress.warn(f"{case.case_id}: no picture: {error}")
            continue
        pictures.append(picture)
        tiles.append(tile)
    if tiles:
        write_mosaic(out / "mosaic.png", tiles, scheme=evaluation.scheme)
    return tuple(pictures)


def evaluation_content(
    evaluation: Evaluation,
    *,
    title: str,
    subtitle: str = "",
    pictures: tuple[Picture, ...] = (),
    viewers: Mapping[str, str] | None = None,
    facts: Mapping[str, Mapping[str, str]] | None = None,
) -> ReportContent:
    """What a page says about an evaluation; more can be added by `replace`.

    Args:
        evaluation: The scores.
        title: Head of the page.
        subtitle: A line below it.
        pictures: As `write_pictures` returns.
        viewers: Address of each case's viewer page, relative to the report.
        facts: Further facts, by heading.
    """
    settings = evaluation.settings
    lesions = evaluation.lesions
    objects = evaluation.objects
    return ReportContent(
        title=title,
        subtitle=subtitle,
        figures=_key_figures(evaluation),
        warnings=_warnings(evaluation),
        notes=_notes(evaluation),
        summary=evaluation.summary,
        cases=evaluation.cases,
        lesions=evaluation.lesions_by_size if len(lesions) else None,
        objects=summarize_objects(objects, settings=settings) if len(objects) else None,
        pictures=pictures,
        viewers=viewers or {},
        legend={} if evaluation.scheme.instances else colors_of(evaluation.scheme),
        facts={
            "Environment": describe_environment(),
            "Scoring": {
                "labels": evaluation.scheme.describe(),
                **{
                    key.replace("_", " "): format_fact(value)
                    for key, value in settings.model_dump().items()
                },
            },
            "Hashes (SHA-256)": {
                "predictions": _hash_of(
                    p.pair.prediction for p in evaluation.scored if p.pair.prediction
                ),
                "references": _hash_of(p.pair.reference for p in evaluation.scored),
                "settings": hash_text(settings.model_dump_json()),
            },
            **(facts or {}),
        },
    )


def _picture(
    out: Path,
    case: ChosenCase,
    pair: CasePair,
    evaluation: Evaluation,
    images: Mapping[str, Sequence[Path]],
    progress: Progress,
) -> tuple[Picture, MosaicTile]:
    prediction, reference = read_pair(pair, evaluation.scheme)
    scan = images.get(case.case_id, ())
    volume = scan_or_black(case.case_id, reference, scan, progress)
    score = f"{score_kind(evaluation)} {case.score:.3f}"
    path = out / PICTURES / f"{case.case_id}.png"
    write_overlay(
        path,
        volume,
        prediction=prediction,
        reference=reference,
        scheme=evaluation.scheme,
        title=f"{case.case_id}   {score}",
        subtitle=_structures_in_words(evaluation, case.case_id),
    )
    tile = make_tile(
        volume,
        prediction=prediction,
        reference=reference,
        scheme=evaluation.scheme,
        title=case.case_id,
        detail=score + " (worst)" * case.is_outlier,
    )
    thumbnail = out / PICTURES / "small" / path.name
    write_tile(thumbnail, tile, scheme=evaluation.scheme)
    return Picture(path, case.case_id, case.score, tile.detail, thumbnail), tile


def _structures_in_words(evaluation: Evaluation, case_id: str) -> str:
    rows = evaluation.cases[evaluation.cases["case_id"] == case_id]
    if not 1 < len(rows) <= 6:
        return ""
    return ", ".join(
        f"{name} {format_number(float(dice))}"
        for name, dice in zip(rows["structure"], rows["dice"], strict=True)
    )


def _key_figures(evaluation: Evaluation) -> dict[str, str]:
    summary = evaluation.summary
    if summary.empty:
        return {}
    names = list(summary["structure"])
    overall = OVERALL if OVERALL in names else names[0]
    rows = summary[summary["structure"] == overall].set_index("metric")
    figures = {"cases": str(evaluation.num_scored)}
    for metric, name in (
        ("dice", "mean Dice"),
        ("nsd", f"mean NSD at {evaluation.settings.tolerance_mm:g} mm"),
    ):
        mean = float(rows["mean"].get(metric, math.nan))
        if not math.isnan(mean):
            figures[name] = format_number(mean)
    figures |= _distance_figure(evaluation)
    missed = (evaluation.cases["outcome"] == "missed").sum()
    figures["structures missed"] = str(int(missed))
    return figures


def _distance_figure(evaluation: Evaluation) -> dict[str, str]:
    """The median HD95 of structures that were found, as the mean says little.

    Where one was missed or invented there is no distance, and the diagonal of the
    image takes its place: a few of these decide the mean alone.
    """
    cases = evaluation.cases
    if "hd95_mm" not in cases:
        return {}
    names = overall_structures(evaluation.scheme)
    found = cases[cases["structure"].isin(names) & (cases["outcome"] == "scored")]
    median = float(found["hd95_mm"].median())
    if math.isnan(median):
        return {}
    name = "median HD95 where found"
    return {name: format_number(median, unit=" mm") + " mm"}


def _warnings(evaluation: Evaluation) -> tuple[str, ...]:
    warnings = list(evaluation.failures)
    if missing := evaluation.without_prediction:
        names = ", ".join(missing[:5])
        more = ", ..." if len(missing) > 5 else ""
        warnings.append(
            f"{len(missing)} references have no prediction and count as missed, the "
            f"worst score: {names}{more}"
        )
    return tuple(warnings)


def _notes(evaluation: Evaluation) -> tuple[str, ...]:
    settings = evaluation.settings
    notes = [
        "Missed and invented structures count as the worst value: 0, or for distances "
        "the diagonal of the image. Structures in neither are left out; n says so."
    ]
    outcomes = evaluation.cases["outcome"]
    if settings.distances and (
        lost := int(outcomes.isin(["missed", "invented"]).sum())
    ):
        notes.append(
            f"{lost} of {int((outcomes != 'absent').sum())} structures were missed or "
            "invented and have the diagonal for a distance, which lifts the means of "
            "HD95, HD and ASSD; the head of this page has the median of those found."
        )
    if settings.distances:
        special = "".join(
            f", {name} {mm:g} mm" for name, mm in settings.tolerances_mm.items()
        )
        notes.append(
            f"Distances are between {_SURFACES[settings.surface]}. NSD: share of both "
            f"surfaces within {settings.tolerance_mm:g} mm of the other{special}."
        )
    notes.append(
        f"{settings.confidence:.0%} intervals: bootstrap over patients, "
        f"{settings.num_resamples} resamples, seed {settings.seed}."
    )
    return tuple(notes)


def _hash_of(paths: Iterable[Path]) -> str:
    """One hash of several files, in order; files that cannot be read are told."""
    lines = []
    for path in paths:
        try:
            lines.append(hash_file(path))
        except OSError:
            lines.append("unreadable")
    return hash_text("\n".join(lines))
