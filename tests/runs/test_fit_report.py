"""The ledger of a run, kept and read again."""

from pathlib import Path

import pandas as pd

from medseg.runs.fit_report import sampling_stats_of, write_sampling_stats


def test_counts_stay_whole_and_names_stay_names(tmp_path: Path) -> None:
    sampling_stats = pd.DataFrame(
        [
            {"structure": "NA", "size_bin": "all", "voxels_shown": 12_345_678},
            {"structure": "NA", "size_bin": "under 10", "shows_per_lesion": 0.25},
        ]
    )
    for name in ("fold0", "fold1"):
        (tmp_path / name).mkdir()
    write_sampling_stats(tmp_path / "fold0", sampling_stats)
    write_sampling_stats(tmp_path / "fold1", sampling_stats)
    runs = {f"fold {n}": tmp_path / f"fold{n}" for n in (0, 1, 2)}
    found = sampling_stats_of(runs)
    assert found is not None
    assert list(found["run"]) == ["fold 0"] * 2 + ["fold 1"] * 2
    assert set(found["structure"]) == {"NA"}
    assert found["voxels_shown"].iloc[0] == 12_345_678
    assert ",12345678," in (tmp_path / "fold0" / "sampling.csv").read_text()
    assert found["voxels_shown"].isna().sum() == 2
    assert sampling_stats_of({"fold 2": tmp_path / "fold2"}) is None
