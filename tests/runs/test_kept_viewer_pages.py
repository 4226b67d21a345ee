"""Pages of cases among a tracked run's files: each opens by itself."""

from pathlib import Path

import numpy as np

from medseg.labels import LabelScheme
from medseg.reporting.viewer.page import ViewedCase, write_viewer_page
from medseg.runs.config import RunConfig
from medseg.runs.tracked_run import log_files
from medseg.volume import LabelMap, Volume


class KeepingLogger:
    """Reads files as a tracking store does: at once."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def log_artifact(self, path: Path, *, folder: str = "") -> None:
        if path.is_file():
            self.kept[f"{folder}/{path.name}"] = path.read_text()


def test_pages_of_pictured_cases_are_kept_whole(tmp_path: Path) -> None:
    labels = LabelMap(np.ones((4, 4, 4), np.uint8), np.eye(4))
    volume = Volume(np.zeros((1, 4, 4, 4), np.uint8), np.eye(4))
    for name in ("pictured", "other"):
        case = ViewedCase(name, volume, LabelScheme(names={"organ": 1}), labels)
        page = tmp_path / "validation" / "viewer" / f"{name}.html"
        write_viewer_page(page, case, back="../../report.html")
    (tmp_path / "validation" / "pictures").mkdir()
    (tmp_path / "validation" / "pictures" / "pictured.png").write_bytes(b"")
    logger = KeepingLogger()
    log_files(tmp_path, RunConfig(), logger)  # type: ignore[arg-type]
    assert list(logger.kept) == ["viewer/pictured.html"]
    text = logger.kept["viewer/pictured.html"]
    assert 'id="niivue-script"' in text
    assert "<script src" not in text
    assert "all cases" not in text
