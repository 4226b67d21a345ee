"""Wrong input to every verb: one message, exit code 2, nothing left behind."""

import shlex
import sys
from pathlib import Path

import pytest

from medseg.cli import main

CALLS = {
    "doctor nowhere -o found.csv": "nowhere: no such file or folder",
    "init nowhere": "nowhere: no such file or folder",
    "prepare nowhere -o out": "nowhere: no such file or folder",
    "train --data nowhere -o out": "nowhere: no such file or folder",
    "train --data empty -o out": "empty: no data set is recognised",
    "train --data empty -o runs/out": "empty: no data set is recognised",
    "train --data empty --networks 2 -o out": "empty: no data set is recognised",
    "train --data empty --fold all -o out": "empty: no data set is recognised",
    "train typo.yaml --data empty -o out": "trainig: unknown key (nearest: training)",
    "train value.yaml --data empty -o out": "(nearest: dice_ce), found 'dice_cee'",
    "train --data empty -o out --budget soon": "'soon' is no duration",
    "train --data empty -o out --device gpu": "--device gpu: expected auto, cpu",
    "train --data empty -o out --set training.stpes=3": "(nearest: steps)",
    "train --data empty -o text.txt": "text.txt is no folder",
    "predict nowhere empty -o out": "nowhere: no model folder here",
    "predict MODEL nowhere -o out": "nowhere: no such file or folder",
    "predict MODEL empty -o out": "empty: no scan found",
    "predict MODEL empty -o out --engine onx": "(nearest: onnx)",
    "evaluate nowhere empty -o out": "empty: holds no label map",
    "evaluate empty nowhere -o out": "nowhere: no such file or folder",
    "convert nowhere -o out": "nowhere: no such file or folder",
    "convert empty -o out": "empty: no scan found",
    "convert empty -o out --to sgg": "'sgg'",
    "compare nowhere.yaml --data empty -o out": "nowhere.yaml: no such file",
    "compare typo.yaml --data empty -o out": "trainig: unknown key",
    "compare --runs a=nowhere -o out": "nowhere: no such folder of a run",
    "demo --data nowhere -o out": "nowhere: no such file or folder",
    "demo --budget soon -o out": "'soon' is no duration",
    "inspect nowhere -o out": "nowhere: no such file",
    "inspect empty -o out": "empty: neither a model, a run nor a store",
    "inspect text.txt -o out": "text.txt",
    "export nowhere --to onnx -o out": "nowhere: no model folder here",
    "export MODEL --to onxn -o out": "--to onxn: expected one of onnx",
    "import nowhere -o out": "nowhere: no such file or folder",
    "import empty -o out": "empty: no trained model",
    "pacs nowhere -o out --allow A": "nowhere: no model folder here",
    "pacs MODEL -o out": "--allow",
    "ui nowhere": "nowhere: no such file or folder",
    "ui empty": "empty: no mlflow.db",
}


@pytest.mark.parametrize("call", CALLS)
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    call: str,
    tmp_path: Path,
    bright_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = tmp_path / "here"
    (here / "empty").mkdir(parents=True)
    (here / "text.txt").write_text("hello\n")
    (here / "typo.yaml").write_text("trainig: {steps: 3}\n")
    (here / "value.yaml").write_text("training: {loss: {name: dice_cee}}\n")
    before = sorted(here.rglob("*"))
    monkeypatch.chdir(here)
    words = shlex.split(call.replace("MODEL", str(bright_model)))
    monkeypatch.setattr(sys, "argv", ["medseg", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert CALLS[call] in said
    assert "Traceback" not in said
    assert "a defect" not in said
    assert sorted(here.rglob("*")) == before
