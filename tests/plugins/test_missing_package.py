"""A model whose network is of a package that is not there says which, everywhere."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow_models import make_model

import medseg
from medseg import plugins
from medseg.conversion.export import export
from medseg.errors import MedsegError, PluginError
from medseg.plan import Plan
from medseg.prediction.ensemble import plan_of_models
from medseg.prediction.predict import predict
from medseg.runs.parent import open_parent
from medseg.serving.pacs.worker import Worker, WorkerOptions
from medseg.settings import parse_settings
from medseg.studies.inspect import inspect
from medseg.training.settings import InitSettings

MONAI = {
    "name": "monai.networks.nets:UNet",
    "args": {"channels": [4, 8], "strides": [2]},
    "multiple_of": 2,
}
SOURCE = {"package": "absent-nets", "version": "2.3"}


@pytest.fixture
def folder(small_plan: Plan, tmp_path: Path) -> Path:
    """A model folder as one would be that was trained where the package was."""
    values = small_plan.model_dump() | {"network": MONAI}
    return make_model(tmp_path / "model", Plan.model_validate(values))


def renamed(folder: Path, name: str, source: dict[str, str] | None) -> Path:
    description = folder / "model.yaml"
    values = yaml.safe_load(description.read_text())
    values["plan"]["network"] |= {"name": name, "source": source}
    description.write_text(yaml.safe_dump(values))
    return folder


def check_node(folder: Path) -> None:
    worker = Worker(WorkerOptions(folder, device="cpu"), time_limit=200)
    try:
        worker.check()
    finally:
        worker.stop()


def begin_with(folder: Path) -> Any:
    init = parse_settings(InitSettings, {"model": str(folder)}, source="test")
    return open_parent(init, folder.parent / "run")


VERBS: dict[str, Callable[[Path], Any]] = {
    "predict": lambda model: predict(model, model, model / "out", device="cpu"),
    "export": lambda model: export(model, model.parent / "out", to="torchscript"),
    "inspect": lambda model: inspect(model),
    "train --init": begin_with,
    "load_model": lambda model: medseg.load_model(model, device="cpu"),
}
NAMES = {
    "by path": "absent_nets.half:HalfNet",
    "registered": "half_net",
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("form", NAMES)
def test_the_package_is_named(verb: str, form: str, folder: Path) -> None:
    renamed(folder, NAMES[form], SOURCE)
    with pytest.raises(MedsegError) as caught:
        VERBS[verb](folder)
    message = str(caught.value)
    assert 'pip install "absent-nets==2.3"' in message
    assert "model.yaml" in message
    assert ("--plugin absent_nets" in message) == (form == "by path")


@pytest.mark.slow
def test_the_node_names_it_too(folder: Path) -> None:
    renamed(folder, NAMES["by path"], SOURCE)
    with pytest.raises(MedsegError, match=r"pip install \"absent-nets==2\.3\""):
        check_node(folder)


def test_allowed_beforehand_it_is_named_as_well(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed(folder, NAMES["by path"], SOURCE)
    monkeypatch.setattr(plugins, "_allowed", {"absent_nets"})
    with pytest.raises(PluginError, match="if you trust it, pip install") as caught:
        medseg.load_model(folder, device="cpu")
    assert "--plugin" not in str(caught.value)


def test_names_of_structures_need_no_network(folder: Path) -> None:
    """What `view` and `convert` take of a model."""
    renamed(folder, NAMES["by path"], SOURCE)
    plan, weights = plan_of_models(folder)
    assert plan.labels.structures == ("ball", "kernel")
    assert len(weights) == 64


@pytest.mark.parametrize(
    "package", ["", "absent-nets; curl evil", "--index-url=http://evil", "a b"]
)
def test_what_is_no_name_of_a_package_is_not_repeated(
    package: str, folder: Path
) -> None:
    renamed(folder, NAMES["by path"], {"package": package, "version": "$(x)"})
    with pytest.raises(PluginError, match="there is no module absent_nets") as caught:
        medseg.load_model(folder, device="cpu")
    assert not re.search(r"curl|--index-url|\$\(x\)", str(caught.value))
