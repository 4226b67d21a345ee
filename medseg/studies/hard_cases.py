"""The cases that all variations found hardest, as each of them segmented them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medseg.errors import MedsegError
from medseg.evaluation.by_size import IS_BIN
from medseg.io import read_label_map
from medseg.progress import Progress, Silent
from medseg.reading import read_volume
from medseg.reporting.content import Picture
from medseg.reporting.mosaic import MosaicTile, write_mosaic
from medseg.reporting.panels import cut_alike
from medseg.runs.config import RunConfig
from medseg.runs.data import open_data
from medseg.runs.held_out import prediction_path
from medseg.settings import load_settings
from medseg.store import Store
from medseg.studies.run_facts import RunFacts
from medseg.volume import LabelMap

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "hard_cases"
MOST_CASES = 4
MOST_COLUMNS = 6


def draw_hard_cases(
    out: Path,
    tables: Mapping[str, pd.DataFrame],
    runs: Sequence[RunFacts],
    *,
    progress: Progress,
) -> tuple[Picture, ...]:
    """A picture for each of the hardest cases: the same slice in every variation.

    Args:
        out: The study's folder; the pictures go to ``hard_cases/``.
        tables: Scores of each variation, a row per case and structure.
        runs: Where the label maps lie, with the configuration that names the data.
        progress: Warned of what cannot be drawn.

    Returns:
        Hardest first; none where the data or the label maps are not there.
    """
    scores = _dice(tables)
    done = [run for run in runs if run.folder is not None and not run.failure]
    if scores.empty or not done:
        return ()
    try:
        store = _store_of(done[0])
    except MedsegError as error:
        progress.warn(f"no pictures of hard cases: {error}")
        return ()
    pictures = []
    for case_id in scores.mean(axis=1).sort_values().index[:MOST_CASES]:
        try:
            picture = _picture(out, str(case_id), scores.loc[case_id], store, done)
        except MedsegError as error:
            progress.warn(f"{case_id}: no picture: {error}")
            continue
        pictures.append(picture)
    return tuple(pictures)


def _dice(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean Dice over structures: a row per case, a column per variation."""
    import pandas as pd

    found = {}
    for name, table in tables.items():
        rows = table[~table[IS_BIN].eq(True)] if IS_BIN in table else table  # noqa: FBT003
        if "dice" in rows:
            found[name] = rows.groupby("case_id")["dice"].mean()
    return pd.DataFrame(found).dropna()


def _store_of(run: RunFacts) -> Store:
    """The prepared data of a run, which is there already.

    Raises:
        MedsegError: It is not, or the run's configuration cannot be read.
    """
    assert run.folder is not None
    config = load_settings(RunConfig, run.folder / "config.yaml")
    cpu = torch.device("cpu")
    return open_data(config, run.folder, device=cpu, progress=Silent())


def _picture(
    out: Path,
    case_id: str,
    scores: pd.Series,
    store: Store,
    runs: Sequence[RunFacts],
) -> Picture:
    """The picture of a case.

    Raises:
        MedsegError: Its scan or a label map cannot be read, or it cannot be written.
    """
    maps = _label_maps(case_id, [str(name) for name in scores.index], runs)
    scheme = store.plan.labels
    panels = cut_alike(
        read_volume(store.images(case_id)),
        predictions=list(maps.values()),
        reference=read_label_map(store.label(case_id)),
        scheme=scheme,
    )
    tiles = [
        MosaicTile(panel.closer(), name, f"Dice {scores[name]:.3f}")
        for name, panel in zip(maps, panels, strict=True)
    ]
    path = out / FOLDER / f"{case_id}.png"
    write_mosaic(path, tiles, scheme=scheme, title=case_id, columns=MOST_COLUMNS)
    worst, best = scores.min(), scores.max()
    found = ", ".join(f"{name} {scores[name]:.3f}" for name in maps)
    detail = f"Dice {worst:.3f} to {best:.3f}; from left to right {found}"
    return Picture(path, case_id, float(scores.mean()), detail)


def _label_maps(
    case_id: str, variations: Sequence[str], runs: Sequence[RunFacts]
) -> dict[str, LabelMap]:
    """The label map of each variation, of its first run that held the case out."""
    found: dict[str, LabelMap] = {}
    for name in variations:
        for run in runs:
            assert run.folder is not None
            path = prediction_path(run.folder, case_id)
            if run.variation == name and path.is_file():
                found[name] = read_label_map(path)
                break
    return found
