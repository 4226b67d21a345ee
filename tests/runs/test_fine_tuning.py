"""Training that begins with a trained model: what is inherited, recorded and said."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from nnunet_folders import Example
from typer.testing import CliRunner

from medseg.ancestry import TrainedOn, read_trained_on
from medseg.cli.app import app
from medseg.errors import MedsegError, ModelError, SettingsError
from medseg.files import hash_file
from medseg.imported.nnunet import read_nnunet
from medseg.labels import LabelScheme
from medseg.model import Model, Provenance, load_model, save_model
from medseg.networks.build import build_network
from medseg.progress import Progress, Silent
from medseg.runs import tracked_run
from medseg.runs.config import RunConfig
from medseg.runs.parent import open_parent
from medseg.runs.train import TrainedRun, train
from medseg.testing.tiny_study import make_tiny_study
from medseg.training.logger import NullLogger
from medseg.training.settings import InitSettings

NETWORK = {"name": "unet", "channels": [4, 8], "strides": [1, 2]}
QUICK = {
    "metrics": {"distances": False},
    "inference": {"engine": "torch", "overlap": 0.5},
    "tracking": {"enabled": False},
    "postprocessing": "none",
}
STILL = {"steps": 1, "optimizer": {"learning_rate": 1e-12, "weight_decay": 0.0}}
"""So little that what is trained is what was begun with."""


class Heard(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")


class Tags(NullLogger):
    """Keeps the tags of a tracked run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, str] = {}

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.tags |= tags


def trained(
    data: Path,
    out: Path,
    *,
    init: Path | None = None,
    more: Mapping[str, object] | None = None,
    fold: int | None = 0,
    plan: dict[str, object] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **training: object,
) -> TrainedRun:
    settings = {"validation_cases": 1, "precision": "float32", **training}
    if init is not None:
        settings["init"] = {"model": str(init), **(more or {})}
    values = {"data": data, "fold": fold, "training": settings, **QUICK}
    if plan is not None:
        values["plan"] = plan
    config = RunConfig.model_validate(values)
    return train(config, out, device="cpu", resume=resume, progress=progress)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_tiny_study(tmp_path_factory.mktemp("study") / "tiny")
    (folder / "dataset.yaml").write_text("licence: CC0\n")
    return folder


@pytest.fixture(scope="module")
def parent(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("parent") / "run"
    plan = {"network": NETWORK, "patch_size": [16, 16, 8], "batch_size": 3}
    trained(study, out, plan=plan, steps=4)
    return out


def weights(model: Model) -> dict[str, object]:
    return {name: t.clone() for name, t in model.network.state_dict().items()}


def test_a_model_folder_keeps_licence_and_which_files_it_was_trained_on(
    study: Path, parent: Path
) -> None:
    model = load_model(parent)
    assert model.provenance.licence == "CC0"
    seen = read_trained_on(parent / "model")
    files = sorted((study / "imagesTr").glob("*.nii.gz"))
    known = {hash_file(path)[:16] for path in files}
    assert seen.complete
    assert seen.images < known
    assert len(seen.images) == model.provenance.num_training_cases
    assert "Licence of the data: CC0" in (parent / "model" / "card.md").read_text()


def test_training_goes_on_where_the_model_is(
    study: Path, parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plan, weights, ancestry; another fold holds out what the model was trained on."""
    tracked = Tags()
    monkeypatch.setattr(tracked_run, "_open_logger", lambda *_, **__: tracked)
    heard, out = Heard(), tmp_path / "child"
    trained(study, out, init=parent, fold=1, progress=heard, **STILL)
    child, first = load_model(out), load_model(parent)
    assert child.plan.patch_size == (16, 16, 8)
    assert child.plan.batch_size == 3
    assert child.plan.network == first.plan.network
    for name, tensor in weights(child).items():
        assert bool((tensor - weights(first)[name]).abs().max() < 1e-6), name
    (ancestor,) = child.provenance.ancestors
    assert ancestor.weights_sha256 == first.weights_sha256
    assert ancestor.licence == "CC0"
    assert tracked.tags["medseg.parent_sha256"] == first.weights_sha256
    assert tracked.tags["medseg.parent_licence"] == "CC0"
    held_out = child.provenance.num_validation_cases
    assert child.provenance.num_seen_before == held_out
    said = "\n".join(heard.lines)
    assert f"warning: {held_out} of {held_out} held-out cases are of patients" in said
    card = (out / "model" / "card.md").read_text()
    assert (
        f"Training began with {first.plan.name}, weights {first.weights_sha256}" in card
    )
    assert "Scores are too good" in card
    assert "Scores are too good" in (out / "report.html").read_text()
    assert (
        read_trained_on(out / "model").images > read_trained_on(parent / "model").images
    )
    again = tmp_path / "grandchild"
    trained(study, again, init=out, fold=None, **STILL)
    found = load_model(again).provenance.ancestors
    assert [a.weights_sha256 for a in found] == [
        child.weights_sha256,
        first.weights_sha256,
    ]


def test_the_same_fold_holds_out_what_nobody_has_seen(
    study: Path, parent: Path, tmp_path: Path
) -> None:
    heard, out = Heard(), tmp_path / "child"
    trained(study, out, init=parent, progress=heard, **STILL)
    assert load_model(out).provenance.num_seen_before == 0
    assert not any(line.startswith("warning") for line in heard.lines)
    shutil.rmtree(tmp_path / "old", ignore_errors=True)
    old = tmp_path / "old"  # a folder of an earlier version says nothing
    shutil.copytree(parent / "model", old)
    (old / "trained_on.txt").unlink()
    assert read_trained_on(old) == TrainedOn()
    trained(study, tmp_path / "b", init=old, progress=heard, **STILL)
    assert load_model(tmp_path / "b").provenance.num_seen_before is None
    assert any("is not known; where held-out cases" in line for line in heard.lines)
    assert not read_trained_on(tmp_path / "b" / "model").complete


def test_a_run_that_took_its_first_steps_goes_on_without_the_model(
    study: Path, parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was named by a path relative to a folder that is left then."""
    monkeypatch.chdir(tmp_path)
    moved = tmp_path / "parent"
    shutil.copytree(parent / "model", moved)
    out = tmp_path / "child"
    trained(study, out, init=Path("parent"), steps=2)
    shutil.rmtree(moved)
    monkeypatch.chdir("/")
    kept = yaml.safe_load((out / "config.yaml").read_text())["training"]["init"]
    assert kept["model"] == str(moved)
    again = trained(study, out, init=moved, steps=4, resume=True)
    assert again.fit.steps == 4
    assert load_model(out).provenance.ancestors
    with pytest.raises(MedsegError, match="no model"):
        trained(study, tmp_path / "other", init=moved, steps=2)
    with pytest.raises(MedsegError, match="other data, plan or settings"):
        trained(
            study,
            out,
            init=moved,
            steps=6,
            resume=True,
            more={"freeze_encoder": 0.5},
        )


def test_what_does_not_fit_is_named(study: Path, parent: Path, tmp_path: Path) -> None:
    model = load_model(parent)
    other = tmp_path / "two"
    channels = [c.replaced(name=n) for n in ("T1", "T2") for c in model.plan.channels]
    network = build_network(
        model.plan.network, spatial_dims=3, in_channels=2, out_channels=3
    )
    plan = model.plan.replaced(channels=tuple(channels))
    save_model(other, network, plan, Provenance())
    with pytest.raises(SettingsError, match="needs the channels T1, T2, and the data"):
        trained(study, tmp_path / "a", init=other, steps=1)
    with pytest.raises(
        SettingsError, match=r"plan\.preset resenc_m and training\.init"
    ):
        trained(
            study, tmp_path / "b", init=parent, plan={"preset": "resenc_m"}, steps=1
        )
    wide = {"network": {**NETWORK, "channels": [6, 8]}}
    with pytest.raises(ModelError, match=r"another network than plan\.network"):
        trained(study, tmp_path / "c", init=parent, plan=wide, steps=1)


def test_structures_that_the_model_knows_keep_their_rows(
    study: Path, parent: Path, tmp_path: Path
) -> None:
    """Learned as ball and kernel; the data set calls one of them otherwise."""
    data = tmp_path / "renamed"
    shutil.copytree(study, data)
    (data / "dataset.yaml").write_text("labels: {bone: 1, kernel: 2}\n")
    trained(data, tmp_path / "child", init=parent, **STILL)
    first = load_model(parent).network.state_dict()["core.heads.0.weight"]
    child = load_model(tmp_path / "child").network.state_dict()["core.heads.0.weight"]
    same = [bool((child[n] - first[n]).abs().max() < 1e-6) for n in range(3)]
    assert same == [True, False, True]
    same_thing = {"structures": {"bone": "ball"}}
    trained(data, tmp_path / "told", init=parent, more=same_thing, **STILL)
    told = load_model(tmp_path / "told").network.state_dict()["core.heads.0.weight"]
    assert bool((told - first).abs().max() < 1e-6)
    assert load_model(tmp_path / "told").plan.labels == LabelScheme(
        names={"bone": 1, "kernel": 2}
    )


def test_training_goes_on_from_a_trained_folder_of_nnunet(
    study: Path, tmp_path: Path
) -> None:
    """As it is, not imported before; of two folds the first, with its heads."""
    example = Example(folds=("0", "1"), channels=("MRI",))
    source, heard = example.write(tmp_path / "nnUNetTrainer__plans__3d"), Heard()
    trained(study, tmp_path / "child", init=source, progress=heard, **STILL)
    child = load_model(tmp_path / "child")
    assert child.exact is None
    (ancestor,) = child.provenance.ancestors
    checkpoint = source / "fold_0" / "checkpoint_final.pth"
    assert ancestor.checkpoint == hash_file(checkpoint)
    assert any("the first of 2 models is taken" in line for line in heard.lines)
    imported = read_nnunet(source).models[0].network.state_dict()
    for name, tensor in weights(child).items():
        if ".heads." not in name:
            assert bool((tensor - imported[name]).abs().max() < 1e-6), name


def test_the_second_stage_of_a_cascade_is_refused(study: Path, tmp_path: Path) -> None:
    low = Example(configuration="3d_lowres", spacing=(2.0, 2.0, 2.0))
    low.write(tmp_path / "nnUNetTrainer__plans__3d_lowres")
    second = Example(
        configuration="3d_cascade_fullres",
        extra_inputs=2,
        changes={"previous_stage": "3d_lowres"},
    )
    source = second.write(tmp_path / "nnUNetTrainer__plans__3d_cascade_fullres")
    with pytest.raises(ModelError, match="second stage of a cascade"):
        trained(study, tmp_path / "child", init=source, **STILL)


def test_from_the_command_line(study: Path, parent: Path, tmp_path: Path) -> None:
    """Also with a configuration that says ``init: null``, as resolved ones do."""
    config = yaml.safe_load((parent / "config.yaml").read_text())
    assert config["training"]["init"] is None
    config["plan"]["network"] = None
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    out = tmp_path / "run"
    command = ["train", str(path), "--init", str(parent), "--steps", "2", "-q"]
    result = CliRunner().invoke(app, [*command, "--device", "cpu", "-o", str(out)])
    assert result.exit_code == 0, result.output
    kept = yaml.safe_load((out / "config.yaml").read_text())["training"]["init"]
    assert kept["model"] == str(parent.absolute())
    assert open_parent(InitSettings(model=kept["model"]), out) is not None
