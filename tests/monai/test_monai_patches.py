"""medseg.monai.PatchDataset in data loaders."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, RandFlipd, RandGaussianNoised

import medseg.monai as ours
from medseg.datasets import load_dataset
from medseg.errors import SettingsError, StoreError
from medseg.preparation import prepare
from medseg.sampling import SamplingSettings
from medseg.store import Store
from medseg.testing.tiny_study import make_tiny_study

SIZE = (8, 12, 10)
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    data = load_dataset(make_tiny_study(folder / "study", num_cases=4))
    return prepare(data, folder / "store")


def patches(store, **kwargs):
    return ours.PatchDataset(
        store, **{"num_patches": 12, "patch_size": SIZE, "seed": 3} | kwargs
    )


def run(dataset, *, epochs=2, **kwargs):
    loader = DataLoader(dataset, batch_size=3, sampler=dataset.sampler(), **kwargs)
    batches = [batch for _ in range(epochs) for batch in loader]
    return {
        name: list(itertools.chain.from_iterable(batch[name] for batch in batches))
        for name in ("image", "label", "case_id", "corner")
    }


def assert_equal(one, other):
    for name in ("image", "label", "corner"):
        assert torch.equal(torch.stack(one[name]), torch.stack(other[name]))
    assert one["case_id"] == other["case_id"]


def test_items_are_the_stores_voxels(store):
    dataset = patches(store)
    for index in range(len(dataset)):
        item, draw = dataset[index], dataset.draw(index)
        case = store.case(item["case_id"])
        inside = draw.inside(case.shape)
        i, j, k = (
            slice(part.start - start, part.stop - start)
            for part, start in zip(inside, draw.corner, strict=True)
        )
        assert item["image"].shape == (1, *SIZE)
        assert item["label"].shape == (1, *SIZE)
        np.testing.assert_array_equal(
            item["image"][:, i, j, k], case.read_image(inside)
        )
        np.testing.assert_array_equal(
            item["label"][0, i, j, k], case.read_label(inside)
        )


@pytest.mark.parametrize(
    "kwargs", [{"num_workers": 2}, {"num_workers": 3, "persistent_workers": True}]
)
def test_workers_change_nothing(store, kwargs):
    assert_equal(run(patches(store)), run(patches(store), **kwargs))


def test_a_spawned_copy_gives_the_same(store):
    dataset = patches(store)
    copy = pickle.loads(pickle.dumps(dataset))
    order = np.random.default_rng(0).permutation(30)
    assert [copy.draw(int(n)) for n in order] == [dataset.draw(int(n)) for n in order]


def test_epochs_and_seeds_differ(store):
    found = run(patches(store))
    half = len(found["corner"]) // 2
    corners = torch.stack(found["corner"])
    assert not torch.equal(corners[:half], corners[half:])
    other = torch.stack(run(patches(store, seed=4))["corner"])
    assert not torch.equal(corners, other)


def test_an_epoch_can_be_resumed(store):
    dataset = patches(store)
    sampler = dataset.sampler()
    first, second = list(sampler), list(sampler)
    again = dataset.sampler()
    again.set_epoch(1)
    assert list(again) == second != first
    assert len(sampler) == len(dataset) == 12


def test_structures_have_equal_shares(store):
    """Of the patches that a structure was chosen for, half show each of the two."""
    settings = SamplingSettings(strategy="class_balanced", foreground_share=1)
    dataset = patches(store, num_patches=400, sampling=settings)
    labels = [dataset.draw(n).label for n in range(400)]
    assert 160 < labels.count(1) < 240
    assert labels.count(1) + labels.count(2) == 400
    assert all(dataset[n]["label"].eq(labels[n]).any() for n in range(20))


def test_random_transforms_are_seeded_by_the_patch(store):
    chain = Compose(
        [
            RandFlipd(["image", "label"], prob=0.5, spatial_axis=0),
            RandGaussianNoised("image", prob=1.0),
        ]
    )
    dataset = patches(store, transform=chain)
    plain = run(dataset)
    assert_equal(plain, run(patches(store, transform=chain), num_workers=2))
    item = dataset[5]
    dataset[1]
    assert torch.equal(item["image"], dataset[5]["image"])
    flips = [
        not torch.equal(dataset[n]["label"], patches(store)[n]["label"])
        for n in range(12)
    ]
    assert 1 <= sum(flips) <= 11


def test_folds(store):
    train, val = store.split(0)
    assert patches(store, fold=0).case_ids == train
    assert patches(store, fold=0, part="val").case_ids == val
    assert patches(str(store.folder)).case_ids == Store.open(store.folder).case_ids


def test_the_plans_patch_is_the_default(store):
    assert patches(store, patch_size=None).patch_size == store.plan.patch_size


def test_wrong_arguments(store, tmp_path):
    with pytest.raises(SettingsError, match="num_patches is 0"):
        patches(store, num_patches=0)
    with pytest.raises(SettingsError, match="expected 3 numbers from 1"):
        patches(store, patch_size=(8, 8))
    with pytest.raises(SettingsError, match="hard_example follows the losses"):
        patches(store, sampling=SamplingSettings(strategy="hard_example"))
    with pytest.raises(StoreError, match="no fold 7"):
        patches(store, fold=7)
    with pytest.raises(StoreError, match="is not a store"):
        patches(tmp_path)
    with pytest.raises(IndexError):
        patches(store)[-1]
