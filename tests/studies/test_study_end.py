"""How studies and calls end: time, mosaics, tracked runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medseg.io import read_label_map
from medseg.labels import LabelScheme
from medseg.prediction.folder_report import (
    EXPERIMENT,
    _files_of,
    track_predictions,
    write_prediction_mosaic,
)
from medseg.prediction.records import DONE, FAILED, Prediction
from medseg.reporting.text import format_duration, format_table
from medseg.runs.time_spent import TimeSpent, time_of
from medseg.tracking.address import default_tracking_uri
from medseg.tracking.store import connect

SCHEME = LabelScheme(names={"ball": 1, "kernel": 2})


def test_parts_add_up_over_runs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        TimeSpent({"training": 60.0, "scoring": 30.0}).write(tmp_path / name)
    spent = time_of([tmp_path / "a", tmp_path / "b", tmp_path / "never run"])
    assert spent.seconds == {"training": 120.0, "scoring": 60.0}
    assert spent.describe() == "training: 67% of 3 min 0 s"


def test_a_block_is_measured_even_when_it_fails() -> None:
    spent = TimeSpent()
    with pytest.raises(ValueError, match="no"), spent.measure("part"):
        raise ValueError("no")
    assert list(spent.seconds) == ["part"]
    assert TimeSpent().describe() == "nothing was done anew"


def test_durations_read_as_people_say_them() -> None:
    assert [format_duration(s) for s in (4.2, 63, 4800)] == [
        "4.2 s",
        "1 min 3 s",
        "1 h 20 min",
    ]


def test_a_table_in_text_keeps_whole_numbers_whole() -> None:
    table = pd.DataFrame({"fold": ["all"], "n": [22.0], "dice": [0.81234]})
    assert format_table(table).splitlines()[-1].split() == ["all", "22", "0.812"]


def results(study: Path) -> list[Prediction]:
    lines = []
    for path in sorted((study / "labelsTr").glob("*.nii.gz")):
        name = path.name.removesuffix(".nii.gz")
        volume = float((read_label_map(path).voxels > 0).sum() * 0.0015)
        lines.append(
            Prediction(
                name,
                DONE,
                outputs=(path.name,),
                source=path.name,
                volumes_ml={"ball": volume},
            )
        )
    return [*lines, Prediction("broken", FAILED, reason="no")]


def test_the_mosaic_shows_scans_from_smallest_to_largest(
    tmp_path: Path, tiny_study: Path
) -> None:
    drawn = write_prediction_mosaic(
        tmp_path / "mosaic.png",
        results(tiny_study),
        scans=tiny_study / "imagesTr",
        label_maps=tiny_study / "labelsTr",
        scheme=SCHEME,
        each=1,
    )
    assert drawn
    assert np.asarray(Image.open(tmp_path / "mosaic.png")).std() > 10


def test_nothing_segmented_is_no_mosaic(tmp_path: Path) -> None:
    failed = [Prediction("broken", FAILED, reason="no")]
    path = tmp_path / "mosaic.png"
    assert not write_prediction_mosaic(
        path, failed, scans=tmp_path, label_maps=tmp_path, scheme=SCHEME
    )
    assert not path.exists()


def test_a_call_is_a_tracked_run_with_its_files(
    tmp_path: Path, tiny_study: Path
) -> None:
    out = tmp_path / "calls" / "one"
    out.mkdir(parents=True)
    (out / "volumes.csv").write_text("scan\n")
    for _ in range(2):  # a second call adds to the same run
        track_predictions(
            out, results(tiny_study), [out / "volumes.csv"], params={"model": "liver"}
        )
    client = connect(default_tracking_uri(out.parent))
    (experiment,) = (e for e in client.search_experiments() if e.name == EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["failed"] == 1
    assert run.data.params["model"] == "liver"
    assert [f.path for f in client.list_artifacts(run.info.run_id)] == ["volumes.csv"]


def test_files_of_a_case_are_not_those_of_another_whose_name_begins_alike(
    tmp_path: Path,
) -> None:
    channels = ("t1", "flair")
    wanted = ["case_1_0000.nii.gz", "case_1_0001.nii.gz"]
    others = [f"case_1{more}_{n:04d}.nii.gz" for more in ("0", "_b") for n in (0, 1)]
    for name in [*wanted, *others, "case_1_seg.nii.gz", "case_[2].nii.gz"]:
        (tmp_path / name).touch()
    found = _files_of("case_1*", tmp_path, channels)
    assert [file.name for file in found] == wanted
    (single,) = _files_of("case_[2].nii.gz", tmp_path, channels)
    assert single.name == "case_[2].nii.gz"
    assert _files_of("", tmp_path, channels) == []
