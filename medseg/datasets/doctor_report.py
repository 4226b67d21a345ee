"""The doctor's findings as a table on the terminal, or as CSV, JSON or HTML."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from medseg.datasets import Dataset
from medseg.datasets.finding import Finding
from medseg.errors import OutputError
from medseg.files import write_text
from medseg.pages import render
from medseg.tables import csv_text

COLUMNS = ("severity", "case_id", "file", "kind", "message", "repair")


@dataclass(frozen=True)
class Report:
    """What the doctor found."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    """Errors first, then by case."""

    def __repr__(self) -> str:
        """The report as on a terminal."""
        return format_report(self)

    @property
    def exit_code(self) -> int:
        """1 where there is a finding, else 0."""
        return 1 if self.findings else 0

    @property
    def rows(self) -> list[dict[str, str]]:
        """Each finding as plain text; files relative to the data set's folder."""
        return [
            {
                "severity": finding.severity,
                "case_id": finding.case_id,
                "file": _shown(finding.file, self.dataset.root),
                "kind": finding.kind,
                "message": finding.message,
                "repair": finding.repair,
            }
            for finding in self.findings
        ]

    @property
    def verdict(self) -> str:
        """How many findings of which kind, in one line."""
        if not self.findings:
            return "nothing to complain about"
        errors = sum(finding.severity == "error" for finding in self.findings)
        kinds = Counter(finding.kind for finding in self.findings)
        listed = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        numbers = {"error": errors, "warning": len(self.findings) - errors}
        counted = (f"{n} {what}{'' if n == 1 else 's'}" for what, n in numbers.items())
        return f"{', '.join(counted)} ({listed})"


def format_report(report: Report, *, most: int = 50) -> str:
    """The report as text: the data set, each finding in three lines, the verdict.

    Args:
        report: What was found.
        most: Findings that are shown; the rest is counted.
    """
    blocks = [report.dataset.describe()]
    for row in report.rows[:most]:
        where = ", ".join(filter(None, (row["case_id"], row["file"])))
        where = where or "the data set"
        blocks.append(
            f"{row['severity'].upper():7} {row['kind']}: {where}\n"
            f"        {row['message']}\n        -> {row['repair']}"
        )
    if len(report.findings) > most:
        blocks.append(f"and {len(report.findings) - most} more; write them with -o")
    return "\n".join([*blocks, report.verdict])


def write_report(path: Path, report: Report) -> None:
    """Writes all findings; the suffix .csv, .json, .html or .txt chooses the form.

    Raises:
        OutputError: The file cannot be written, or has another suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMS:
        raise OutputError(
            f"{path}: reports are written as {', '.join(_FORMS)}, not as {suffix!r}"
        )
    write_text(path, _FORMS[suffix](report))


def _as_csv(report: Report) -> str:
    return csv_text(COLUMNS, ([row[c] for c in COLUMNS] for row in report.rows))


def _as_json(report: Report) -> str:
    values = {
        "dataset": report.dataset.name,
        "layout": report.dataset.layout,
        "cases": len(report.dataset.cases),
        "patients": report.dataset.patient_source,
        "verdict": report.verdict,
        "findings": report.rows,
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def _as_html(report: Report) -> str:
    return render(
        "findings.html",
        title=report.dataset.name,
        subtitle=report.dataset.describe(),
        figures={},
        warnings=(),
        sections={},
        verdict=report.verdict,
        columns=COLUMNS,
        rows=report.rows,
    )


def _as_text(report: Report) -> str:
    return format_report(report, most=len(report.findings)) + "\n"


def _shown(path: Path | None, root: Path) -> str:
    if path is None:
        return ""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


_FORMS = {".csv": _as_csv, ".json": _as_json, ".html": _as_html, ".txt": _as_text}
