"""The head of a scored page: distances that a reader can make sense of."""

from pathlib import Path

import numpy as np

from medseg.evaluation.pairs import CasePair
from medseg.evaluation.settings import MetricSettings
from medseg.geometry import affine_from_spacing
from medseg.io import write_label_map
from medseg.labels import LabelScheme
from medseg.scoring.report import evaluation_content
from medseg.scoring.result import score
from medseg.volume import LabelMap

AFFINE = affine_from_spacing((1.0, 1.0, 1.0))


def cube(path: Path, start: int, size: int) -> Path:
    voxels = np.zeros((40, 40, 40), np.uint8)
    voxels[start : start + size, 10:20, 10:20] = 1
    write_label_map(path, LabelMap(voxels, AFFINE))
    return path


def test_a_missed_structure_moves_the_mean_distance_and_not_the_head(
    tmp_path: Path,
) -> None:
    """Shifts of 1, 2 and 3 mm, and one structure that was missed."""
    pairs = []
    for case, (shift, size) in enumerate([(1, 10), (2, 10), (3, 10), (0, 0)]):
        prediction = cube(tmp_path / f"p{case}.nii.gz", 10 + shift, size)
        reference = cube(tmp_path / f"r{case}.nii.gz", 10, 10)
        pairs.append(CasePair(f"c{case}", prediction, reference, f"c{case}"))
    settings = MetricSettings(num_resamples=100)
    evaluation = score(pairs, LabelScheme(names={"cube": 1}), settings)
    content = evaluation_content(evaluation, title="t")
    assert content.figures["median HD95 where found"] == "2.00 mm"
    assert not any("mean HD95" in name for name in content.figures)
    mean = evaluation.summary.set_index("metric")["mean"]["hd95_mm"]
    assert mean > 15  # a diagonal of 69 mm among 1, 2 and 3 mm
    assert any("1 of 4 structures were missed or invented" in n for n in content.notes)
