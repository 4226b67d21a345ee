import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medseg.errors import MissingFileError, ModelError
from medseg.model import Provenance, load_model, save_model
from medseg.networks.build import build_network
from medseg.plan import Plan
from medseg.store import Store


@pytest.fixture
def folder(tiny_store: Store, tmp_path: Path) -> Path:
    plan = tiny_store.plan
    save_model(tmp_path / "model", network_of(plan), plan, Provenance(dataset="tiny"))
    return tmp_path / "model"


def network_of(plan: Plan) -> torch.nn.Module:
    return build_network(
        plan.network,
        spatial_dims=plan.spatial_dims,
        in_channels=len(plan.channels),
        out_channels=plan.num_outputs,
    )


def test_a_model_comes_back_as_it_was(tiny_store: Store, folder: Path) -> None:
    network = network_of(tiny_store.plan).eval()
    save_model(folder, network, tiny_store.plan, Provenance())
    model = load_model(folder.parent)
    image = torch.randn(1, 1, 24, 28, 20)
    with torch.no_grad():
        assert torch.equal(model.network(image), network(image))
    assert model.plan == tiny_store.plan
    assert sorted(p.name for p in folder.iterdir()) == [
        "card.md",
        "golden.safetensors",
        "model.yaml",
        "weights.safetensors",
    ]


def test_all_files_have_the_permissions_of_the_users_umask(
    tiny_store: Store, tmp_path: Path
) -> None:
    plan = tiny_store.plan
    former = os.umask(0o027)
    try:
        save_model(tmp_path / "model", network_of(plan), plan, Provenance())
    finally:
        os.umask(former)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "model").iterdir()}
    assert set(modes.values()) == {0o640}, modes


def test_exchanged_weights_are_refused(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match=r"not the one that model\.yaml describes"):
        load_model(folder)


def test_a_folder_without_model_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"expected model\.yaml"):
        load_model(tmp_path)


def test_a_newer_format_asks_for_a_newer_medseg(folder: Path) -> None:
    path = folder / "model.yaml"
    path.write_text(path.read_text().replace("format: 1", "format: 99"))
    with pytest.raises(ModelError, match="install a newer medseg"):
        load_model(folder)


def test_card_names_structures_and_is_no_medical_device(folder: Path) -> None:
    card = (folder / "card.md").read_text()
    assert "kernel" in card
    assert "not a medical device" in card


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_diverged_is_not_written(
    value: float, tiny_store: Store, folder: Path
) -> None:
    before = (folder / "weights.safetensors").read_bytes()
    network = network_of(tiny_store.plan)
    next(network.parameters()).data.view(-1)[0] = value
    with pytest.raises(ModelError, match=r"1 tensors .* NaN or infinity.*diverged"):
        save_model(folder, network, tiny_store.plan, Provenance())
    assert (folder / "weights.safetensors").read_bytes() == before


def test_a_model_of_a_diverged_training_is_refused(folder: Path) -> None:
    weights = load_file(folder / "weights.safetensors")
    name = next(iter(weights))
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(
        ModelError, match=rf"the first is {name}: the training diverged"
    ):
        load_model(folder, verify=False)
