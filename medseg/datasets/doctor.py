"""What is wrong with a data set: every case read, nothing on disk changed."""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from medseg.datasets import Case, load_dataset
from medseg.datasets.case import FOUND_IN_LABEL_MAPS
from medseg.datasets.check_across import check_across, check_found_scheme
from medseg.datasets.check_case import check_case, hash_channels
from medseg.datasets.doctor_report import Report, format_report, write_report
from medseg.datasets.finding import Finding
from medseg.errors import UnreadableFileError
from medseg.files import hash_file
from medseg.io import GeometryWarning
from medseg.labels import LabelScheme
from medseg.progress import Progress, Silent

_HASH_LENGTH = 64


def check_sums(sums: Path, root: Path) -> Iterator[Finding]:
    """A finding for each file below a root that is missing or another.

    Args:
        sums: Lines of a hash, two spaces and a path, as ``sha256sum`` writes them.
        root: Folder that the paths are relative to.

    Raises:
        UnreadableFileError: It is no list of sums.
    """
    for name, expected in read_sums(sums).items():
        path = root / name
        if not path.is_file():
            message = f"listed in {sums.name}, not there"
        elif hash_file(path) != expected:
            message = f"other bytes than {sums.name} lists"
        else:
            continue
        yield Finding(
            "",
            path,
            "checksum",
            message,
            "get the file again from the data set's source, or correct the list",
            "warning",
        )


def read_sums(path: Path) -> dict[str, str]:
    """Hash by relative path.

    Raises:
        UnreadableFileError: A line is not a hash and a path.
    """
    sums = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"{path}: not a list of sums: {error}") from error
    for number, line in enumerate(lines, start=1):
        value, _, name = line.partition(" ")
        name = name.lstrip(" *")
        if len(value) != _HASH_LENGTH or not name:
            raise UnreadableFileError(
                f"{path}, line {number}: expected a SHA-256 sum and a path"
            )
        sums[name] = value
    return sums


__all__ = ["Report", "examine", "format_report", "write_report"]


def examine(
    dataset_path: Path,
    *,
    scheme: LabelScheme | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Report:
    """Reads every file of a data set and reports what is wrong; changes nothing.

    Args:
        dataset_path: Any layout that `load_dataset` understands.
        scheme: Labels that the maps should hold; the data set's own by default.
        root: Folder of the files of a table or description.
        progress: Follows the cases.
        workers: Cases read at the same time; by default as many as there are
            processors, at most four.

    Raises:
        MissingFileError: There is no such path.
        DatasetError: The layout is not understood.
    """
    shown = progress or Silent()
    dataset = load_dataset(dataset_path, scheme=scheme, root=root, progress=shown)
    cases = (*dataset.cases, *dataset.test_cases)
    check = partial(check_case, channels=dataset.channels, scheme=dataset.scheme)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GeometryWarning)
        with ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool:
            results = pool.map(check, cases)
            facts = list(shown.track(results, label="Reading", total=len(cases)))
            hashes = pool.map(hash_channels, dataset.orphans)
            lone = dict(zip(dataset.orphans, hashes, strict=True))
    findings = [finding for fact in facts for finding in fact.findings]
    findings += _from_warnings({str(item.message) for item in caught}, cases)
    findings += check_across(dataset, facts, lone)
    if dataset.checksums is not None:
        findings += check_sums(dataset.checksums, dataset.root)
    guessed = dataset.scheme_source == FOUND_IN_LABEL_MAPS
    if guessed and not dataset.scheme.instances:
        findings += check_found_scheme(facts)
    return Report(dataset, _ordered(findings))


def _from_warnings(messages: Iterable[str], cases: Sequence[Case]) -> list[Finding]:
    """Findings from what the readers said about headers; a message starts with a path.

    Readers warn rather than return, and warnings of all threads come in one list.
    """
    files = {
        str(path): (case.case_id, path)
        for case in cases
        for path in (*case.images, *([case.label] if case.label else []))
    }
    findings = []
    for message in sorted(messages):
        name, _, text = message.partition(": ")
        case_id, path = files.get(name, ("", None))
        findings.append(
            Finding(
                case_id,
                path,
                "header",
                text if path else message,
                "write the header anew with one consistent geometry",
                "warning",
            )
        )
    return findings


def _ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then by case and file."""
    return tuple(
        sorted(
            findings,
            key=lambda f: (f.severity != "error", f.case_id, str(f.file), f.kind),
        )
    )
