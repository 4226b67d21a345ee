"""The held-out cases of a run: segmented from their own files, scored, pictured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.evaluation.pairs import CasePair
from medseg.evaluation.presence import THRESHOLD, presence_table, summarize_presence
from medseg.evaluation.settings import MetricSettings
from medseg.evaluation.summary import MEAN_OF_IMAGES, summarize_objects
from medseg.io import read_label_map, write_label_map
from medseg.labels import LabelScheme
from medseg.model import Provenance
from medseg.postprocessing import CleaningRule, rules_in_words
from medseg.prediction.segmentation_model import SegmentationModel, clean_label_map
from medseg.progress import Progress
from medseg.reading import read_volume
from medseg.reporting.content import NamedTable
from medseg.reporting.page import write_page
from medseg.reporting.text import format_fact
from medseg.runs.fit_report import histories_of, write_sampling_stats
from medseg.runs.time_spent import TimeSpent
from medseg.scoring.report import evaluation_content, write_pictures
from medseg.scoring.result import Evaluation, score, write_evaluation
from medseg.scoring.viewer_pages import write_viewer_pages
from medseg.store import Store
from medseg.tables import write_frame
from medseg.training.loop import FitResult
from medseg.training.process_group import ProcessGroup
from medseg.training.stopwatch import most_expensive
from medseg.training_ranges import TrainingRanges

Presence = dict[str, dict[str, float]]
"""Probability that a structure occurs, by case and structure."""
FOLDER = "validation"
"""Where a run keeps its held-out cases, below its folder."""
REPORT = "report.html"
"""The run's page, in its folder."""


def segment_held_out(
    out: Path,
    store: Store,
    case_ids: Sequence[str],
    *,
    model: SegmentationModel,
    processes: ProcessGroup,
    spent: TimeSpent,
    progress: Progress,
) -> Presence:
    """Segments the held-out cases as `medseg predict` does; every process its share.

    Writes label maps to ``validation/`` below the run's folder, and returns when those
    of all processes are there.

    Returns:
        What the presence head says of each case; of models without one, nothing.

    Raises:
        MedsegError: A case cannot be read, or the folder cannot be written.
        LostProcessError: Another process ended.
    """
    mine = case_ids[processes.number :: processes.size]
    presence: Presence = {}
    for case_id in progress.track(mine, label="held-out cases"):
        with spent.measure("segmenting held-out cases"):
            volume = read_volume(store.images(case_id))
            label_map = model.segment(volume, name=case_id)
            write_label_map(prediction_path(out, case_id), label_map)
            if model.presence_networks:
                presence[case_id] = model.presence(volume, name=case_id)
    shares = processes.gather(presence)
    return {case: found for share in shares for case, found in share.items()}


def score_held_out(
    out: Path,
    store: Store,
    case_ids: Sequence[str],
    *,
    scheme: LabelScheme,
    metrics: MetricSettings,
    spent: TimeSpent,
    progress: Progress,
) -> Evaluation:
    """Scores what `segment_held_out` wrote; tables go to ``validation/``, too.

    Raises:
        OutputError: The folder cannot be written.
    """
    patients = store.patients
    pairs = [
        CasePair(
            case_id,
            prediction_path(out, case_id),
            store.label(case_id),
            patients[case_id],
            store.unannotated(case_id),
        )
        for case_id in case_ids
    ]
    with spent.measure("scoring"):
        evaluation = score(pairs, scheme, metrics, progress=progress)
        write_evaluation(out / FOLDER, evaluation)
    return evaluation


def score_presence(
    out: Path, evaluation: Evaluation, presence: Presence
) -> NamedTable | None:
    """Scores of the presence head; ``validation/presence.csv`` has every case.

    Raises:
        OutputError: The folder cannot be written.
    """
    if not presence:
        return None
    table = presence_table(evaluation.cases, presence)
    write_frame(out / FOLDER / "presence.csv", table)
    return NamedTable(
        "Presence of structures",
        summarize_presence(table),
        note="What the presence head says of each held-out case, whatever its label "
        f"map holds; sensitivity and specificity at a probability of {THRESHOLD}, "
        "intervals over patients.",
    )


def presence_metrics(scores: NamedTable | None) -> dict[str, float]:
    """Scores of the presence head, named ``held_out/presence_auc/liver``."""
    if scores is None:
        return {}
    return {
        f"held_out/presence_{name}/{row['structure']}": float(row[name])
        for row in scores.table.to_dict(orient="records")
        for name in ("auc", "sensitivity", "specificity")
        if row[name] == row[name]
    }


def clean_held_out(
    out: Path, case_ids: Sequence[str], model: SegmentationModel
) -> None:
    """Applies a model's post-processing to the label maps of held-out cases.

    Raises:
        OutputError: The folder cannot be written.
    """
    for case_id in case_ids:
        path = prediction_path(out, case_id)
        before = read_label_map(path)
        after = clean_label_map(before, model, notes=[])
        if after is not before:
            write_label_map(path, after)


def prediction_path(out: Path, case_id: str) -> Path:
    """The label map of a held-out case, below a run's folder."""
    return out / FOLDER / "predictions" / f"{case_id}.nii.gz"


def write_report(
    out: Path,
    store: Store,
    evaluation: Evaluation,
    fit: FitResult,
    *,
    provenance: Provenance,
    rules: Sequence[CleaningRule] | None = None,
    ranges: TrainingRanges | None = None,
    tables: Sequence[NamedTable] = (),
    spent: TimeSpent,
    progress: Progress,
) -> None:
    """Writes the run's ``report.html``, with pictures, and its sampling statistics.

    Args:
        out: The run's folder.
        store: Where the scans are found.
        evaluation: Scores of the held-out cases.
        fit: How training went.
        provenance: Where the model comes from.
        rules: Post-processing that was chosen on these cases; None if none was sought.
        ranges: What later scans are compared with.
        tables: Further scores, shown behind the others.
        spent: Where the time went so far; gets that of the pictures.
        progress: Shows progress.

    Raises:
        OutputError: The folder cannot be written.
    """
    case_ids = [case.pair.case_id for case in evaluation.scored]
    images = {case_id: store.images(case_id) for case_id in case_ids}
    facts = _model_facts(provenance) | _training_facts(out, fit)
    if rules is not None:
        facts["Post-processing"] = {"of label maps": rules_in_words(rules)}
    if ranges is not None:
        facts["Plausibility"] = {"of later scans": ranges.describe()}
    sampling_stats = fit.sampling_stats.table()
    write_sampling_stats(out, sampling_stats)
    with spent.measure("pictures"):
        pictures = write_pictures(
            out / FOLDER, evaluation, images=images, progress=progress
        )
    with spent.measure("viewer pages"):
        pages = write_viewer_pages(
            out / FOLDER,
            evaluation,
            images=images,
            channels=store.plan.channel_names,
            report="../../report.html",
            progress=progress,
        )
    content = evaluation_content(
        evaluation,
        title=f"{provenance.dataset}: {out.name}",
        subtitle=f"{_held_out_in_words(provenance)}; {fit.steps} steps in "
        f"{fit.seconds / 60:.1f} minutes on {provenance.device}, {fit.precision}",
        pictures=pictures,
        viewers={name: f"{FOLDER}/{page}" for name, page in pages.items()},
        facts=facts,
    )
    write_page(
        out / REPORT,
        replace(
            content,
            warnings=(*_too_good(provenance), *fit.alarms, *content.warnings),
            histories=histories_of({out.name: out}),
            sampling_stats=sampling_stats,
            tables=tuple(tables),
            seconds=spent.seconds,
        ),
    )


def _model_facts(provenance: Provenance) -> dict[str, dict[str, str]]:
    """Where the model comes from, and what its training began with."""
    own = provenance.model_dump(exclude={"ancestors"})
    facts = {"Model": {key.replace("_", " "): format_fact(v) for key, v in own.items()}}
    if provenance.ancestors:
        named = {str(n): a.describe() for n, a in enumerate(provenance.ancestors, 1)}
        facts["Training began with"] = named
    return facts


def _training_facts(out: Path, fit: FitResult) -> dict[str, dict[str, str]]:
    """How busy the device was, and what took its time, where that was measured."""
    facts = {}
    if fit.utilisation is not None:
        facts["Training"] = {"device in use": f"{fit.utilisation:.0%}"}
    if operations := most_expensive(out):
        facts["Where the time of five traced steps went"] = {
            name: f"{share:.0%}" for name, share in operations.items()
        }
    return facts


def _too_good(provenance: Provenance) -> tuple[str, ...]:
    """That held-out cases are known to a model that training began with, if so."""
    words = provenance.in_words_if_too_good()
    return (words,) if words else ()


def _held_out_in_words(provenance: Provenance) -> str:
    return (
        f"fold {provenance.fold}: {provenance.num_validation_cases} cases held out, "
        f"{provenance.num_training_cases} trained on"
    )


def dice_of_structures(evaluation: Evaluation) -> dict[str, float]:
    """Mean Dice of each structure, and of all of them where there are several."""
    rows = evaluation.summary[evaluation.summary["metric"] == "dice"]
    return dict(zip(rows["structure"], rows["mean"].astype(float), strict=True))


def summary_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Every mean and interval, named ``held_out/dice/liver`` or ``held_out/ap_0.5``."""
    named = {
        f"held_out/{row['metric']}/{row['structure']}": row
        for row in evaluation.summary.to_dict(orient="records")
    }
    if len(evaluation.objects):
        objects = summarize_objects(evaluation.objects, settings=evaluation.settings)
        means = objects[objects["structure"] == MEAN_OF_IMAGES]
        named |= {
            f"held_out/{row['metric']}": row for row in means.to_dict(orient="records")
        }
    metrics: dict[str, float] = {}
    for name, row in named.items():
        values = {"": row["mean"], "/low": row["ci_low"], "/high": row["ci_high"]}
        metrics |= {name + end: float(v) for end, v in values.items() if v == v}
    return metrics
