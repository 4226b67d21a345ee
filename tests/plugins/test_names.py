"""Names of plug-ins: what is found where, and what is refused."""

from pathlib import Path

import pytest
import yaml

from medseg import plugins
from medseg.errors import PluginError, SettingsError
from medseg.losses.settings import DiceSettings, PluginLossSettings
from medseg.networks.settings import PluginNetworkSettings, UNetSettings
from medseg.runs.config import RunConfig, read_config


def config_file(folder: Path, values: object) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_own_names_stay_what_they_are_and_paths_are_plug_ins(tmp_path: Path) -> None:
    config = read_config(
        config_file(
            tmp_path,
            {
                "plan": {"network": {"name": "unet"}},
                "training": {"loss": {"name": "monai.losses:DiceLoss"}},
            },
        ),
        [],
    )
    assert isinstance(config.plan.network, UNetSettings)
    assert isinstance(config.training.loss, PluginLossSettings)
    again = RunConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    assert isinstance(
        RunConfig(training={"loss": {"name": "dice"}}).training.loss, DiceSettings
    )


def test_files_are_relative_to_the_configuration(tmp_path: Path) -> None:
    values = {"plan": {"network": {"name": "nets/own.py:Net", "args": {"width": 3}}}}
    config = read_config(config_file(tmp_path, values), [])
    network = config.plan.network
    assert isinstance(network, PluginNetworkSettings)
    assert network.name == f"{(tmp_path / 'nets' / 'own.py').resolve()}:Net"
    assert plugins.portable_name(network.name) == "own.py:Net"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "unett"}, "nearest: unet"),
        ({"name": "unett"}, "package.module:Name"),
        ({"name": "a.b:C", "arg": {}}, "plan.network.arg: unknown key .nearest: args."),
        ({"name": "a.b:"}, "'unet', 'fcn'"),
        ({"channels": [4, 8]}, "must say which by its key 'name'"),
    ],
)
def test_wrong_names_are_told_what_is_known(
    tmp_path: Path, values: object, said: str
) -> None:
    path = config_file(tmp_path, {"plan": {"network": values}})
    with pytest.raises(SettingsError, match=said):
        read_config(path, [])


def test_what_is_missing_is_named_with_what_is_like_it(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("class Network: ...\n")
    with pytest.raises(
        PluginError,
        match=r"no network is called 'Netwrk' in .*own.py.*nearest: Network",
    ):
        plugins.find(f"{tmp_path}/own.py:Netwrk", kind="networks", is_trusted=True)
    with pytest.raises(PluginError, match=r"no such file: .*gone.py"):
        plugins.find(f"{tmp_path}/gone.py:Net", kind="networks", is_trusted=True)
    with pytest.raises(PluginError, match=r"there is no module monaii .nearest: monai"):
        plugins.find("monaii.losses:DiceLoss", kind="losses", is_trusted=True)
    with pytest.raises(PluginError, match="nearest: DiceLoss"):
        plugins.find("monai.losses:DiceLos", kind="losses", is_trusted=True)
    with pytest.raises(PluginError, match=r"entry points of the group medseg.losses"):
        plugins.find("my_loss", kind="losses")
    (tmp_path / "bad.py").write_text("import not_there\n")
    with pytest.raises(PluginError, match=r"running .*bad.py failed: ModuleNotFound"):
        plugins.find(f"{tmp_path}/bad.py:Net", kind="networks", is_trusted=True)


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "torch.nn:Linear",
        "monai.networks.nets:torch",
        "monai.networks.nets.unet:warnings",
        "monai.networks.nets.resnet:resnet18",
        "monai.networks.netsx:UNet",
        "monai.utils:optional_import",
        "evil.py:Net",
        "/tmp/evil.py:Net",
    ],
)
def test_nothing_is_run_that_nobody_allowed(name: str) -> None:
    with pytest.raises(PluginError):
        plugins.find(name, kind="networks")


def test_what_was_allowed_is_found(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("class Net: ...\n")
    plugins.allow(file)
    found = plugins.find("own.py:Net", kind="networks")
    assert found.item.__name__ == "Net"
    assert (found.source.file, found.source.package) == ("own.py", "")
    assert found.source.sha256 == plugins.hash_file(file)
    plugins.allow("torch")
    found = plugins.find("torch.nn:CrossEntropyLoss", kind="losses")
    assert found.source.package == "torch"


def test_of_two_files_of_one_name_the_one_that_was_used_is_taken(
    tmp_path: Path,
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(f"WHERE = '{folder}'\n")
        plugins.allow(tmp_path / folder / "own.py")
    assert plugins.find("own.py:WHERE", kind="networks").item == "b"
    first = plugins.PluginSource(sha256=plugins.hash_file(tmp_path / "a" / "own.py"))
    found = plugins.find("own.py:WHERE", kind="networks", source=first)
    assert found.item == "a"


def test_a_given_object_has_a_name_for_this_process() -> None:
    name = plugins.give(UNetSettings)
    assert name == "python:UNetSettings"
    assert plugins.find(name, kind="networks").item is UNetSettings
    with pytest.raises(PluginError, match="was an object of a Python call"):
        plugins.find("python:Other", kind="networks")


def test_a_changed_file_is_run_anew(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("VALUE = 1\n")
    plugins.allow(file)
    assert plugins.find("own.py:VALUE", kind="losses").item == 1
    file.write_text("VALUE = 22\n")
    assert plugins.find("own.py:VALUE", kind="losses").item == 22
