"""What a call names wrongly is refused before any case of the data set is read."""

import shlex
import sys
from pathlib import Path

import pytest

from medseg.cli import main
from medseg.preparation.inputs import FileHashes
from medseg.testing import make_tiny_study

CALLS = {
    "train --data data -o run --fold 99": "no fold 99, only [0, 1, 2, 3, 4]",
    "train --data data -o run --fold 5": "no fold 5, only [0, 1, 2, 3, 4]",
    "train --data data -o run --networks 2 --fold 7": "no fold 7, only [0, 1, 2, 3, 4]",
    "train --data data -o run --set prepare.num_folds=2 --fold 2": "only [0, 1]",
    "train --data data -o run --set prepare.num_folds=1": "prepare.num_folds",
    "train --data data -o run --set training.seed=-1": "training.seed",
    "train --data data -o run --budget soon": "'soon' is no duration",
    "train --data data -o run --device gpu": "--device gpu: expected auto, cpu",
    "train --data data -o run --init nowhere": "nowhere: no",
    "train --data data -o run --set metrics.lesions=[kernal]": "(nearest: kernel)",
    "train --data data -o text.txt": "text.txt is no folder",
    "compare study.yaml --data data --folds 0,6 -o out": "no fold 6, only [0, 1, 2",
    "prepare data -o store --folds 1": "cannot be split into 1 folds",
    "prepare data -o store --folds 0": "cannot be split into 0 folds",
    "prepare data -o store --plan nowhere.yaml": "nowhere.yaml: no such file",
    "prepare data -o store --plan typo.yaml": "patch_sise",
    "prepare data -o store --device gpu": "--device gpu: expected auto, cpu",
    "prepare data -o text.txt": "text.txt is no folder",
    "prepare data -o text.txt/store": "text.txt is no folder",
}


@pytest.mark.parametrize("call", CALLS)
def test_what_can_be_known_before_is_refused_before(
    call: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_tiny_study(tmp_path / "data")
    (tmp_path / "text.txt").write_text("hello\n")
    (tmp_path / "typo.yaml").write_text("patch_sise: [8, 8, 8]\n")
    (tmp_path / "study.yaml").write_text(
        "name: two\nshared: {training: {steps: 1}}\n"
        "variations: {a: {}, b: {training: {loss: {name: focal}}}}\n"
    )
    before = sorted(tmp_path.rglob("*"))

    def read(*_: object) -> None:
        raise AssertionError("a case was read")

    monkeypatch.setattr(FileHashes, "of_case", read)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["medseg", *shlex.split(call)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert CALLS[call] in said
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    kept = {"run", "out", "run.log", "study.log", "study.yaml", ".medseg.lock"}
    assert {path.name for path in left} <= kept


def test_a_model_that_needs_another_channel_is_refused_before(
    tmp_path: Path,
    bright_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_tiny_study(tmp_path / "data", num_channels=2)

    def read(*_: object) -> None:
        raise AssertionError("a case was read")

    monkeypatch.setattr(FileHashes, "of_case", read)
    monkeypatch.chdir(tmp_path)
    call = f"medseg train --data data -o run --init {bright_model}"
    monkeypatch.setattr(sys, "argv", [*shlex.split(call), "--set", NEEDED])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert "training.init.channels" in said


NEEDED = "training.init.channels={nothing: bright}"


def test_the_folds_that_are_named_are_those_that_are_made(tmp_path: Path) -> None:
    from medseg.datasets import load_dataset
    from medseg.preparation.completion import choose_splits, fold_numbers
    from medseg.progress import Silent

    data = load_dataset(make_tiny_study(tmp_path / "data"))
    for wanted in (2, 3, 5, 9):
        made = choose_splits(data, num_folds=wanted, seed=0, progress=Silent())
        assert fold_numbers(data, wanted) == tuple(split.fold for split in made)
    assert len(fold_numbers(data, 9)) == len(data.patients)
