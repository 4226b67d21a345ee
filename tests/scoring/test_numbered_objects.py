"""Numbered cells are scored as cells, structures as structures, and which is said."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.errors import LabelError, SettingsError
from medseg.evaluation.settings import MetricSettings
from medseg.io import write_label_map
from medseg.progress import Silent
from medseg.scoring.evaluate import evaluate
from medseg.scoring.result import Evaluation
from medseg.volume import LabelMap

QUICK = MetricSettings(num_resamples=100, distances=False)


class Listener(Silent):
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.said.append(message)


def cells(count: int, *, thick: int = 1) -> np.ndarray:
    """Squares of 9 pixels on a grid, numbered from 1."""
    side = int(np.ceil(np.sqrt(count)))
    numbers = np.zeros((4 * side, 4 * side, thick), np.uint32)
    for number in range(count):
        i, j = 4 * (number // side), 4 * (number % side)
        numbers[i : i + 3, j : j + 3] = number + 1
    return numbers


def renumbered(labels: np.ndarray, *, seed: int = 0, gaps: int = 1) -> np.ndarray:
    """The same objects under other numbers."""
    count = int(labels.max())
    numbers = gaps * (1 + np.random.default_rng(seed).permutation(count))
    return np.append(0, numbers).astype(np.uint32)[labels]


def write(folder: Path, maps: dict[str, np.ndarray], suffix: str = ".tif") -> Path:
    for name, labels in maps.items():
        values = labels.astype(np.uint16)
        write_label_map(folder / f"{name}{suffix}", LabelMap(values, np.eye(4)))
    return folder


def run(root: Path, listener: Listener | None = None, **options: object) -> Evaluation:
    return evaluate(
        root / "predicted",
        root / "true",
        root / "scores",
        settings=options.pop("settings", QUICK),
        pictures=0,
        progress=listener,
        **options,
    )


def ap(evaluation: Evaluation) -> float:
    return float(evaluation.objects["ap_0.5"].mean())


@pytest.mark.parametrize("count", [40, 400])
@pytest.mark.parametrize("gaps", [1, 3])
def test_renumbered_cells_of_a_picture_are_all_found(tmp_path, count, gaps):
    truth = cells(count)
    write(tmp_path / "true", {"a": truth, "b": renumbered(truth, seed=5, gaps=gaps)})
    write(
        tmp_path / "predicted",
        {"a": renumbered(truth, gaps=gaps), "b": renumbered(truth, seed=2)},
    )
    listener = Listener()
    evaluation = run(tmp_path, listener)
    assert ap(evaluation) == 1
    assert evaluation.objects["num_reference"].tolist() == [count, count]
    assert any("taken as numbers of objects" in line for line in listener.said)
    assert any("--classes" in line for line in listener.said)


def test_cells_in_a_volume_are_told_by_their_other_numbers(tmp_path):
    truth = cells(40, thick=4)
    write(tmp_path / "true", {"a": truth}, ".nii.gz")
    write(tmp_path / "predicted", {"a": renumbered(truth)}, ".nii.gz")
    listener = Listener()
    assert ap(run(tmp_path, listener)) == 1
    assert any("under other numbers" in line for line in listener.said)


def test_half_of_the_cells_missed_is_half_an_average_precision(tmp_path):
    truth = cells(40)
    found = renumbered(np.where(truth > 20, 0, truth))
    write(tmp_path / "true", {"a": truth})
    write(tmp_path / "predicted", {"a": found})
    assert ap(run(tmp_path)) == 0.5


def test_organs_of_a_volume_stay_structures(tmp_path):
    truth = cells(40, thick=4)
    found = truth.copy()
    found[truth == 7] = 8  # one organ under its neighbour's name
    write(tmp_path / "true", {"a": truth, "b": truth}, ".nii.gz")
    write(tmp_path / "predicted", {"a": found, "b": truth}, ".nii.gz")
    listener = Listener()
    evaluation = run(tmp_path, listener)
    assert evaluation.objects.empty
    means = evaluation.summary.set_index(["structure", "metric"])["mean"]
    assert means[("label_7", "dice")] == 0.5
    assert means[("label_40", "dice")] == 1
    assert any("40 label_40" in line for line in listener.said)


def test_few_swapped_structures_are_scored_as_such_and_told(tmp_path):
    truth = cells(3, thick=4)
    write(tmp_path / "true", {"a": truth}, ".nii.gz")
    swapped = np.array([0, 2, 3, 1])[truth]
    write(tmp_path / "predicted", {"a": swapped}, ".nii.gz")
    listener = Listener()
    evaluation = run(tmp_path, listener)
    assert evaluation.objects.empty
    assert any("--instances scores them" in line for line in listener.said)
    assert ap(run(tmp_path, objects=True)) == 1


def test_the_user_has_the_last_word(tmp_path):
    truth = cells(40)
    write(tmp_path / "true", {"a": truth})
    write(tmp_path / "predicted", {"a": renumbered(truth)})
    evaluation = run(tmp_path, objects=False)
    assert evaluation.objects.empty
    assert len(evaluation.cases) == 40


def test_too_many_values_are_no_structures(tmp_path):
    truth = cells(400)
    write(tmp_path / "true", {"a": truth})
    write(tmp_path / "predicted", {"a": truth})
    with pytest.raises(LabelError, match="--classes: the label maps hold 400 values"):
        run(tmp_path, objects=False)
    assert ap(run(tmp_path)) == 1


def test_lesions_of_a_structure_that_is_not_there_are_refused(tmp_path):
    truth = cells(3, thick=4)
    write(tmp_path / "true", {"a": truth}, ".nii.gz")
    write(tmp_path / "predicted", {"a": truth}, ".nii.gz")
    settings = QUICK.model_validate(QUICK.model_dump() | {"lesions": ("label_9",)})
    with pytest.raises(SettingsError, match="label_9"):
        run(tmp_path, settings=settings)


def test_the_command_has_both_options(tmp_path):
    truth = cells(4, thick=4) > 0
    write(tmp_path / "true", {"a": truth}, ".nii.gz")
    write(tmp_path / "predicted", {"a": truth}, ".nii.gz")
    words = [str(tmp_path / "predicted"), str(tmp_path / "true")]
    result = CliRunner().invoke(
        app, ["evaluate", *words, "-o", str(tmp_path / "l"), "--lesions", "all"]
    )
    assert result.exit_code == 0, result.output
    table = (tmp_path / "l" / "lesions.csv").read_text().splitlines()
    assert len(table) == 5  # the head, and four lesions
    result = CliRunner().invoke(
        app, ["evaluate", *words, "-o", str(tmp_path / "o"), "--instances"]
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "o" / "objects.csv").is_file()
