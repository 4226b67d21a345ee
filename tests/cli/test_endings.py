"""Every verb ends with the paths of what it made and a command that can follow."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from medseg.cli.app import app

COMMANDS = get_command(app).commands
"""The verbs, as click knows them."""


CALLS = [
    ("doctor DATA -o found.csv", ("findings",), "train"),
    ("init DATA -o a.yaml", ("configuration",), "train"),
    ("prepare DATA -o store", ("store", "plan"), "train"),
    (
        "predict MODEL DATA/imagesTr -o out",
        ("label maps", "table", "page"),
        "evaluate",
    ),
    (
        "evaluate DATA/labelsTr DATA/labelsTr -o out",
        ("cases", "summary", "report"),
        "compare",
    ),
    ("convert DATA/imagesTr -o out", ("table",), "predict"),
    ("inspect MODEL -o out", ("page", "picture"), "predict"),
    ("export MODEL --to torchscript -o out", ("folder", "how to use it"), "predict"),
    (
        "compare compare_losses --data DATA --slurm-script study.sh -o out",
        ("script",),
        "study.sh",
    ),
]
"""A call, what it says that it made, and the verb or the file that is to follow."""


def ending(output: str) -> dict[str, str]:
    """The last lines by their first words, which two blanks or more set off."""
    lines = [line.split("  ", 1) for line in output.splitlines() if "  " in line]
    return {words[0].strip(): words[1].strip() for words in lines}


def check(output: str, *, made: tuple[str, ...], following: str) -> None:
    said = ending(output)
    for what in made:
        assert Path(said[what]).exists(), f"{what}: {said[what]}"
    words = shlex.split(said["next"])
    assert output.splitlines()[-1].split("  ")[0] == "next", output
    if words[0] == "medseg":
        assert words[1] == following
        known = {name for p in COMMANDS[following].params for name in p.opts}
        assert {word for word in words if word.startswith("-")} <= known
    else:
        assert following in words[1]


@pytest.mark.parametrize(("call", "made", "following"), CALLS)
def test_a_verb_ends_with_what_it_made_and_what_follows(
    call: str,
    made: tuple[str, ...],
    following: str,
    tiny_study: Path,
    bright_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = call.replace("DATA", str(tiny_study)).replace("MODEL", str(bright_model))
    done = CliRunner().invoke(app, shlex.split(words))
    assert done.exit_code in (0, 1), done.output
    check(done.stderr, made=made, following=following)


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, answer: object, *files: Path):
    """Puts a function that only makes files in the place of the one that works."""

    def work(*arguments: object, **options: object) -> object:
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        return answer

    monkeypatch.setattr(name, work)


@pytest.mark.parametrize(
    ("verb", "name", "answer", "files", "arguments", "made", "following"),
    [
        (
            "train", "medseg.runs.train.train",
            SimpleNamespace(fit=SimpleNamespace(interrupted=False)),
            ["r/model/model.yaml", "r/validation/summary.csv", "r/report.html"],
            ["default_3d", "--data", ".", "-o", "r"],
            ("model", "scores", "report"), "predict",
        ),
        (
            "train", "medseg.studies.train_ensemble.train_ensemble", None,
            ["r/network1/config.yaml"],
            ["default_3d", "--data", ".", "--networks", "2", "--only", "1", "-o", "r"],
            ("network 1",), "train",
        ),
        (
            "compare", "medseg.studies.compare.compare",
            SimpleNamespace(text="", failures=[]),
            ["s/report.html", "s/statistics.csv"],
            ["compare_losses", "--data", ".", "-o", "s"],
            ("report", "statistics"), "ui",
        ),
        (
            "compare", "medseg.studies.compare.compare_finished",
            SimpleNamespace(text="", failures=[]),
            ["s/report.html", "s/statistics.csv"],
            ["--runs", "a=A", "--runs", "b=B", "-o", "s"],
            ("report", "statistics"), "predict",
        ),
        (
            "compare", "medseg.studies.tasks.run_task", None, ["s/task"],
            ["compare_losses", "--data", ".", "--task", "0", "-o", "s"],
            ("study",), "compare",
        ),
        (
            "demo", "medseg.studies.demo.demo", Path("d/runs/demo"),
            ["d/runs/demo/report.html", "d/scores/summary.csv", "d/runs/demo/model"],
            ["-o", "d"], ("pictures", "scores", "model"), "predict",
        ),
        (
            "import", "medseg.conversion.import_model.import_model", None,
            ["m/model.yaml"], ["nnunet", "-o", "m"], ("model",), "predict",
        ),
        (
            "predict", "medseg.prediction.watch.watch", False, ["p/predictions.csv"],
            ["m", "scans", "--watch", "-o", "p"], ("label maps", "table"), "evaluate",
        ),
        (
            "pacs", "medseg.serving.pacs.service.serve", False, ["n/results/a"],
            ["m", "-o", "n", "--allow", "A"], ("results",), "evaluate",
        ),
        (
            "view", "medseg.serving.viewer.serve.serve", None, ["d/kept"],
            ["-o", "d", "--no-browser"], ("results",), "predict",
        ),
        (
            "ui", "medseg.tracking.show_ui", None, ["runs/mlflow.db"], ["runs"],
            ("runs",), "compare",
        ),
    ],
)  # fmt: skip
def test_verbs_that_take_long_end_so_too(
    verb: str,
    name: str,
    answer: object,
    files: list[str],
    arguments: list[str],
    made: tuple[str, ...],
    following: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch, name, answer, *map(Path, files))
    done = CliRunner().invoke(app, [verb, *arguments])
    assert done.exit_code == 0, done.output
    check(done.stderr, made=made, following=following)


def test_no_verb_is_left_out() -> None:
    long = {"train", "demo", "import", "pacs", "ui", "view"}  # by stand-ins
    assert {call.split()[0] for call, _, _ in CALLS} | long == set(COMMANDS)
