"""What a report holds: plain tables, pictures and facts, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Picture:
    """An overlay of one case."""

    path: Path
    """A PNG file; the page carries its bytes."""
    case_id: str
    score: float
    """The page sorts pictures by it, worst first; NaN comes last."""
    detail: str = ""
    """Score and why it is shown, for the caption."""
    thumbnail: Path | None = None
    """A small PNG file to show until the picture is clicked; the picture itself
    when left out."""


@dataclass(frozen=True)
class NamedTable:
    """A table of a study's own, such as scores of membranes or of patients."""

    title: str
    table: pd.DataFrame
    note: str = ""
    """How to read it."""
    file: str = ""
    """Name of the CSV file that holds it; not written without one."""
    rows_in_text: int = 20
    """A longer table is in files and on the page, and not in the terminal's text."""


@dataclass(frozen=True)
class ReportContent:
    """Everything a page may show; what is left out has no section."""

    title: str
    subtitle: str = ""
    """What was done, in a line: data, fold, model, time."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """Key figures for the head of the page, such as {"mean Dice": "0.887"}."""
    warnings: tuple[str, ...] = ()
    """What a reader must know first: failed cases, missing predictions, alarms."""
    notes: tuple[str, ...] = ()
    """How numbers were made: tolerance, definition of a surface, interval."""
    summary: pd.DataFrame | None = None
    """As `medseg.evaluation.summary.summarize` gives."""
    cases: pd.DataFrame | None = None
    """A row per case and structure."""
    lesions: pd.DataFrame | None = None
    """Lesions by size, as `summarize_lesions` gives."""
    objects: pd.DataFrame | None = None
    """Single objects, as `summarize_objects` gives."""
    tables: tuple[NamedTable, ...] = ()
    """Tables of the study's own, behind the scores."""
    histories: Mapping[str, Path] = field(default_factory=dict)
    """``metrics.csv`` of each run, by its name, for curves; of several runs a line
    each."""
    pictures: tuple[Picture, ...] = ()
    viewers: Mapping[str, str] = field(default_factory=dict)
    """Address of each case's viewer page, relative to the report."""
    sampling_stats: pd.DataFrame | None = None
    """Sampling statistics by structure and size; of several runs, by run too."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Where the time went: seconds of each part."""
    legend: Mapping[str, str] = field(default_factory=dict)
    """Colour of each structure in pictures, as CSS has it."""
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Environment, hashes, settings: lists of names and values under headings."""
