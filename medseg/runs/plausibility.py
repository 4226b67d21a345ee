"""What later scans are compared with: the cases of a run, measured after its fit."""

from collections.abc import Sequence
from pathlib import Path

from medseg.errors import MedsegError
from medseg.files import write_text
from medseg.plausibility.finding_measures import measure_findings
from medseg.plausibility.fitting import MeasuredRun, fit_ranges, odd_cases
from medseg.plausibility.measure import Measures
from medseg.plausibility.scan_measures import ScanMeasures, measure_scan
from medseg.reading import read_label_map, read_volume
from medseg.runs.held_out import FOLDER, prediction_path
from medseg.runs.setup import RunSetup
from medseg.tables import csv_text
from medseg.training_ranges import TrainingRanges

TABLE = "plausibility.csv"
GROUPS = {False: "trained on", True: "held out"}
MOST_CASES = 200
"""Cases trained on that are measured; all held-out cases are."""


def ranges_of_run(run: RunSetup) -> TrainingRanges | None:
    """Training ranges, their limits calibrated on the cases that the run held out.

    Label maps of held-out cases are taken as they are in ``validation/``, after
    post-processing. Which cases are unlike the others stands in
    ``validation/plausibility.csv``. A case that cannot be measured is warned of and
    left out.

    Args:
        run: Whose held-out cases, where there are any, were segmented.

    Raises:
        OutputError: The table cannot be written.

    Returns:
        None where no case could be measured.
    """
    trained = _spread(run.train_ids, MOST_CASES)
    scans: dict[str, ScanMeasures] = {}
    references: dict[str, Measures] = {}
    predictions: dict[str, Measures] = {}
    plan, store = run.plan, run.store
    cases = [*trained, *run.held_out]
    for case in run.progress.track(cases, label="training ranges"):
        try:
            volume = read_volume(store.images(case))
            scans[case] = measure_scan(volume, plan, name=case)
            if case in run.held_out:
                path = prediction_path(run.out, case)
                predictions[case] = _measured(run, case, path)
            else:
                references[case] = _measured(run, case, store.label(case))
        except (MedsegError, OSError, MemoryError) as error:
            reason = str(error) or "not enough memory"
            run.progress.warn(f"left out of the training ranges: {reason}")
    if not references:
        return None
    measured = MeasuredRun(store.patients, scans, references, predictions)
    ranges = fit_ranges(measured)
    odd = odd_cases(measured, ranges)
    rows = [(c, GROUPS[c in run.held_out], "; ".join(odd.get(c, ()))) for c in scans]
    columns = ("case_id", "group", "suspect_because")
    write_text(run.out / FOLDER / TABLE, csv_text(columns, rows))
    for case, doubts in odd.items():
        run.progress.say(f"{case}: unlike the others: {'; '.join(doubts)}")
    run.progress.say(f"plausibility: {ranges.describe()}")
    return ranges


def _measured(run: RunSetup, case: str, path: Path) -> Measures:
    """Measures of a label map; of a reference without what is not annotated."""
    skipped = set(run.store.unannotated(case)) if case not in run.held_out else set()
    label_map = read_label_map(path, scheme=run.plan.labels)
    found = measure_findings(label_map, run.plan, name=case)
    return {key: value for key, value in found.items() if not skipped & set(key[1])}


def _spread(cases: Sequence[str], most: int) -> list[str]:
    """At most so many cases, evenly over all."""
    step = max(len(cases) / most, 1.0)
    return [cases[int(n * step)] for n in range(min(len(cases), most))]
